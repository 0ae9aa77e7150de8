"""Explicit signatures: the types of a kernel's arguments, and kernels that are compiled for one dtype at a time.

Numba's dispatcher inspects every argument of every call to find or compile a specialisation. A kernel with an explicit
signature is called through its entry point, which inspects nothing: the caller must have checked the arguments.
"""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from numba import types

from rondeau.kernels.numerics.elements import STORED, Element
from rondeau.kernels.runtime.compiling import cached_njit

__all__ = ["INDICES", "TABLE", "array_type", "compiled_per_dtype", "record_type"]

_FORMATS = {element.dtype: element for element in STORED}
INDICES = types.Array(types.int64, 1, "C")
TABLE = types.Array(types.int64, 2, "C")


@functools.cache
def array_type(dtype: np.dtype[Any], dimensions: int) -> Any:
    """Return Numba's type of a contiguous array, whose dtype is that of one of those `STORED`."""
    return types.Array(_FORMATS[dtype].storage, dimensions, "C")


def record_type(record: Any, **fields: Any) -> Any:
    """Return Numba's type of a record, given the types of its fields by name."""
    return types.NamedTuple([fields[name] for name in record._fields], record)


class _Entries(dict[np.dtype[Any], Callable[..., Any]]):
    """The entry points of a kernel by dtype; the first look-up compiles one, or loads it from disk."""

    def __init__(self, dispatcher: Any, signature_of: Callable[[Element], Any]) -> None:
        super().__init__()
        self._dispatcher, self._signature_of = dispatcher, signature_of

    def __missing__(self, dtype: np.dtype[Any]) -> Callable[..., Any]:
        entry: Callable[..., Any] = self._dispatcher.compile(self._signature_of(_FORMATS[dtype]))
        self[dtype] = entry
        return entry


def compiled_per_dtype(signature_of: Callable[[Element], Any], **options: Any) -> Callable[..., Any]:
    """Compile a kernel with one explicit signature per dtype: ``kernel[dtype]`` is its entry point.

    Parameters
    ----------
    signature_of : callable
        Returns the kernel's signature for an `Element`.
    **options
        Options of `cached_njit`, such as ``fastmath=False``.

    Returns
    -------
    callable
        A decorator. Nothing is compiled until a dtype is first looked up.

    Examples
    --------
    >>> @compiled_per_dtype(lambda element: types.void(array_type(element.dtype, 1)))
    ... def double(x):
    ...     for i in range(x.size):
    ...         x[i] *= 2
    >>> x = np.array([1.0, 2.0])
    >>> double[x.dtype](x)
    >>> x
    array([2., 4.])
    """

    def decorate(function: Callable[..., Any]) -> _Entries:
        return _Entries(cached_njit(function, **options), signature_of)

    return decorate
