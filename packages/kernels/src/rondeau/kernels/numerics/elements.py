"""Number formats: how the numbers of an array are stored, and what compiled code computes with.

Everything that depends on the number format, from the lanes of a vector register to the names of LLVM's intrinsics,
comes from its `Element`. A new format is a new entry, and its tiles (`rondeau.kernels.product.microkernel`).

A word of `PAIRS` holds two numbers of bfloat16 that are neighbours along the dimension that a product sums over, the
first in the lower half. Products of words are sums of two products, added to float32.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types

__all__ = ["ELEMENTS", "FORMATS", "INT8", "INT32", "PAIRS", "STORED", "Element", "element_of"]


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
    """NumPy's dtype of the arrays that store the numbers."""
    storage: Any
    """Numba's type of a number in memory."""
    compute: Any
    """Numba's type of a number in a register."""
    llvm: ir.Type
    """LLVM's type of a number in memory."""
    llvm_name: str
    """The same type, as the names of LLVM's intrinsics spell it: ``f32``."""

    @property
    def name(self) -> str:
        """The name of the dtype, such as ``float32``."""
        return self.dtype.name

    @property
    def sums(self) -> Element:
        """The format to which products of these numbers are added."""
        return _BY_STORAGE[self.compute]

    @property
    def left(self) -> Element:
        """The format of the numbers that these, as a right operand, are multiplied by."""
        return self.sums if self is INT8 else self

    @property
    def bytes(self) -> int:
        """The size of a number in memory."""
        return self.dtype.itemsize

    def lanes(self, vector_bytes: int) -> int:
        """Return how many numbers a vector register of `vector_bytes` holds."""
        return vector_bytes // self.bytes

    def vector_name(self, vector_bytes: int) -> str:
        """Return the type of such a vector as LLVM's intrinsics spell it: ``v16f32``."""
        return f"v{self.lanes(vector_bytes)}{self.llvm_name}"


def _floating(dtype: Any, kind: Any, llvm: ir.Type) -> Element:
    """Return a format whose numbers are computed with as they are stored."""
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
"""The formats of the arrays that the kernels accept, by dtype."""

PAIRS = Element(np.dtype(np.uint32), types.uint32, types.float32, ir.IntType(32), "i32")
"""Words of two bfloat16: operands of products, which no array of a caller consists of."""

FORMATS = (*ELEMENTS.values(), PAIRS)
"""The formats of the operands of products."""

INT32 = Element(np.dtype(np.int32), types.int32, types.int32, ir.IntType(32), "i32")
"""Sums of products of integers, and words of two int16, the left operands of such products."""

INT8 = Element(np.dtype(np.int16), types.int16, types.int32, ir.IntType(16), "i16")
"""Words of two int8: right operands of products, which no array of a caller consists of."""

STORED = (*FORMATS, INT32, INT8)
"""Every format that a kernel's arrays may consist of."""

_BY_STORAGE = {element.storage: element for element in STORED}


def element_of(storage: Any) -> Element:
    """Return the format of the numbers whose Numba type is `storage`, for the typing or the code of an intrinsic.

    Raises
    ------
    KeyError
        If no kernel accepts arrays of that type.
    """
    return _BY_STORAGE[storage]
