"""Number formats: how a number of an array lies in memory, and what compiled code computes with.

Everything that depends on the format of a number, from the width of a vector register to the names of LLVM's
intrinsics, asks its `Element`. Another format is another entry, and its tiles (`rondeau.kernels.product.microkernel`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types

__all__ = ["ELEMENTS", "Element", "element_of"]


@dataclass(frozen=True)
class Element:
    """One number format.

    Examples
    --------
    >>> import numpy as np
    >>> single = ELEMENTS[np.dtype(np.float32)]
    >>> single.name, single.bytes, single.vector_name(64)
    ('float32', 4, 'v16f32')
    """

    dtype: np.dtype[Any]
    """NumPy's dtype of the arrays that store such numbers."""
    storage: Any
    """Numba's type of a number in memory."""
    compute: Any
    """Numba's type of the number that it becomes in a register."""
    llvm: ir.Type
    """LLVM's type of a number in memory."""
    llvm_name: str
    """The same, as it stands in the names of LLVM's intrinsics: ``f32``."""

    @property
    def name(self) -> str:
        """The name of the dtype, as in ``float32``."""
        return self.dtype.name

    @property
    def bytes(self) -> int:
        """The size of a number in memory."""
        return self.dtype.itemsize

    def lanes(self, vector_bytes: int) -> int:
        """Return how many numbers a vector register of `vector_bytes` holds."""
        return vector_bytes // self.bytes

    def vector_name(self, vector_bytes: int) -> str:
        """Name the type of such a vector as LLVM's intrinsics do: ``v16f32``."""
        return f"v{self.lanes(vector_bytes)}{self.llvm_name}"


def _floating(dtype: Any, kind: Any, llvm: ir.Type) -> Element:
    """Return the format of numbers that are computed with as they are stored."""
    return Element(np.dtype(dtype), kind, kind, llvm, f"f{kind.bitwidth}")


ELEMENTS: Mapping[np.dtype[Any], Element] = MappingProxyType(
    {
        element.dtype: element
        for element in (
            _floating(np.float32, types.float32, ir.FloatType()),
            _floating(np.float64, types.float64, ir.DoubleType()),
        )
    }
)
"""The formats of the arrays that kernels take, by dtype."""

_BY_STORAGE = {element.storage: element for element in ELEMENTS.values()}


def element_of(storage: Any) -> Element:
    """Return the format of numbers that Numba knows as `storage`, within the typing or code of an intrinsic.

    Raises
    ------
    KeyError
        If no kernel takes arrays of them.
    """
    return _BY_STORAGE[storage]
