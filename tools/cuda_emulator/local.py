"""Arrays of one thread, which the compiler keeps in registers."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from .faults import KernelError, OutOfBoundsError, UninitialisedError
from .scalars import rounding


class _Nothing:
    """Stands where a local array has no value: to load it is allowed, to use it is not."""

    def __init__(self, error: type[KernelError], words: str) -> None:
        self._error = error
        self._words = words

    def _refuse(self, *others: Any) -> Any:
        raise self._error(f"uses an element of a local array {self._words}")


_OPERATIONS = (
    "abs add and bool eq float floordiv ge gt index int invert le lshift lt mod mul ne neg or pos pow radd rand "
    "rfloordiv rlshift rmod rmul ror rpow rrshift rshift rsub rtruediv rxor sub truediv xor"
)
for _name in _OPERATIONS.split():
    setattr(_Nothing, f"__{_name}__", _Nothing._refuse)

_UNSET = _Nothing(UninitialisedError, "that the thread has not stored")
_OUTSIDE = _Nothing(OutOfBoundsError, "that is past its end or before its begin")


class LocalArray(list[Any]):
    """A local array of one dimension.

    Loads are a list's own, for speed: as many elements as the array has stand behind it, for indices past the end and
    negative ones to find.
    """

    def __init__(self, size: int, dtype: np.dtype[Any]) -> None:
        super().__init__([_UNSET] * size + [_OUTSIDE] * size)
        self.dtype = dtype
        self.shape = (size,)
        self.size = size
        self._round: Callable[[Any], Any] = rounding(dtype)

    def __len__(self) -> int:
        return self.size

    def __setitem__(self, index: Any, value: Any) -> None:
        if not 0 <= index < self.size:
            raise OutOfBoundsError(f"a local array's element {index}, and it has {self.size}")
        super().__setitem__(index, self._round(value))


class LocalGrid:
    """A local array of several dimensions."""

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self.dtype = dtype
        self.shape = shape
        self.size = math.prod(shape)
        self._elements = LocalArray(self.size, dtype)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Any) -> Any:
        return self._elements[self._element(index)]

    def __setitem__(self, index: Any, value: Any) -> None:
        self._elements[self._element(index)] = value

    def _element(self, index: Any) -> int:
        indices = index if isinstance(index, tuple) else (index,)
        if len(indices) != len(self.shape):
            raise TypeError(
                f"a local array of shape {self.shape} needs {len(self.shape)} indices, got {index!r}"
            )
        number = 0
        for place, size in zip(indices, self.shape, strict=True):
            if not 0 <= place < size:
                raise OutOfBoundsError(f"a local array's element {index}, and its shape is {self.shape}")
            number = number * size + int(place)
        return number


def local_array(shape: Any, dtype: np.dtype[Any]) -> LocalArray | LocalGrid:
    """Return a local array of unset elements."""
    sizes = tuple(int(size) for size in shape) if isinstance(shape, tuple) else (int(shape),)
    return LocalArray(sizes[0], dtype) if len(sizes) == 1 else LocalGrid(sizes, dtype)
