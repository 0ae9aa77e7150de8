"""Sums of arrays whose error does not grow with the number of elements.

NumPy adds pairwise along memory (Higham, "The accuracy of floating point summation", 1993), but when it sums over rows
it adds one row after another: for a million rows of float32 this loses two digits, for ten million four. Here rows are
added in chains of at most `CHAIN`, the results of the chains in chains again, and so on, so the error grows with the
logarithm. The order depends only on shape and memory layout.
"""

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from rondeau.kernels.runtime.devices import is_of_device

__all__ = ["CHAIN", "in_single_precision", "running_total", "total"]

CHAIN = 64
"""Elements that are added one after another. With half as many, sums of 256 columns take 5 % longer."""

_INNER_FROM = 64
"""Adjacent elements in memory from which NumPy adds rows at the speed of memory."""

_reduce: Any = np.add.reduce
_HALF, _SINGLE = (
    np.dtype(np.float16),
    np.dtype(np.float32),
)  # with a class, NumPy would look up its dtype each time


def in_single_precision(function: Callable[..., Any]) -> Callable[..., Any]:
    """Make a function of an array compute float16 in float32, and round its result once.

    In float16 a sum of ones ends at 2048.

    Examples
    --------
    >>> @in_single_precision
    ... def mean(array):
    ...     return np.add.reduce(array) / array.dtype.type(array.size)
    >>> mean(np.ones(10_000, np.float16))
    np.float16(1.0)
    """

    @functools.wraps(function)
    def widened(array: Any, *arguments: Any) -> Any:
        if array.dtype != _HALF:
            return function(array, *arguments)
        return function(array.astype(np.float32), *arguments).astype(np.float16)

    return widened


def total(array: Any, axis: int | tuple[int, ...] | None = None, keepdims: bool = False) -> Any:
    """Return the sum over dimensions.

    Parameters
    ----------
    array : ndarray, or an object that implements NumPy's functions
        Of any shape; an array from another library is summed by that library.
    axis : int or tuple of int, optional
        Non-negative; all axes by default.
    keepdims : bool
        Keep the summed dimensions, with size 1.

    Returns
    -------
    ndarray or scalar
        Of the dtype of the array, whereas `numpy.sum` widens small integers; float16 is summed in float32.

    Examples
    --------
    >>> rows = np.full((1_000_000, 2), 0.1, np.float32)
    >>> print(f"{total(rows, 0)[0]:.0f} {np.sum(rows, 0)[0]:.0f}")
    100000 100958
    """
    if not isinstance(array, np.ndarray):
        if is_of_device(array):  # CuPy adds float16 in float32
            return np.sum(array, axis=axis, dtype=array.dtype, keepdims=keepdims)
        return np.sum(array, axis=axis, keepdims=keepdims)
    dtype = array.dtype
    if dtype == _HALF:
        return _total_of_halves(array, axis, keepdims)
    if dtype != _SINGLE or array.size <= CHAIN:
        return _reduce(array, axis=axis, dtype=dtype, keepdims=keepdims)
    if type(axis) is int and array.shape[axis] <= CHAIN:
        return _reduce(array, axis=axis, keepdims=keepdims)
    axes = tuple(range(array.ndim)) if axis is None else axis if isinstance(axis, tuple) else (axis,)
    if array.flags.c_contiguous and axes == tuple(range(array.ndim - len(axes), array.ndim)):
        return _reduce(array, axis=axis, keepdims=keepdims)  # one contiguous run, by far the most common case
    if math.prod([array.shape[i] for i in axes]) <= CHAIN:
        return _reduce(array, axis=axis, keepdims=keepdims)
    along, across = _by_memory(array, axes)
    if along:
        array = _reduce(array, axis=along, keepdims=True)
    for i in across:
        array = _in_chains(array, i)
    return array if keepdims else array[tuple(0 if i in axes else slice(None) for i in range(array.ndim))]


@in_single_precision
def _total_of_halves(array: Any, axis: Any, keepdims: bool) -> Any:
    return np.asarray(total(array, axis, keepdims))


def _by_memory(array: Any, axes: tuple[int, ...]) -> tuple[tuple[int, ...], list[int]]:
    """Return the axes that NumPy sums pairwise, which together are one run of memory, and then the others."""
    strides, shape = array.strides, array.shape
    moving = sorted((i for i in range(array.ndim) if strides[i]), key=lambda i: abs(strides[i]))
    along: list[int] = []
    for i in (i for i in moving if shape[i] > 1):
        if i not in axes or (along and strides[i] != strides[along[-1]] * shape[along[-1]]):
            break
        along.append(i)
    return tuple(along), [i for i in axes if i not in along]


def _in_chains(array: Any, axis: int) -> Any:
    """Return the sum over an axis, which is kept with size 1."""
    before, behind = array.shape[:axis], array.shape[axis + 1 :]
    is_narrow = math.prod(behind) < _INNER_FROM
    while (size := array.shape[axis]) > CHAIN:
        chains = size // CHAIN
        whole, rest = np.split(array, [chains * CHAIN], axis)
        if is_narrow:  # chains of distant rows, so that adjacent elements are added to adjacent elements
            sums = _reduce(whole.reshape(*before, CHAIN, chains, *behind), axis=axis)
        else:
            sums = _reduce(whole.reshape(*before, chains, CHAIN, *behind), axis=axis + 1)
        if rest.size:
            sums = np.concatenate([sums, _reduce(rest, axis=axis, keepdims=True)], axis)
        array = sums
    return _reduce(array, axis=axis, keepdims=True)


def running_total(array: Any, axis: int) -> Any:
    """Return the running sum along a dimension.

    Parameters
    ----------
    array : ndarray, or an object that implements NumPy's functions
        An array from another library is summed by that library.
    axis : int

    Returns
    -------
    ndarray
        With the shape and dtype of the array; float16 and float32 are added in float64 and rounded once.

    Examples
    --------
    >>> print(running_total(np.full(1_000_000, 0.1, np.float32), 0)[-1])
    100000.0
    """
    if is_of_device(array):
        dtype = np.float64 if array.dtype.char in "ef" else array.dtype
        return np.cumsum(array, axis=axis, dtype=dtype).astype(array.dtype)
    if not isinstance(array, np.ndarray):
        return np.cumsum(array, axis=axis)
    if array.dtype not in (np.float16, np.float32):
        return np.add.accumulate(array, axis=axis, dtype=array.dtype)
    wide = array.astype(np.float64)
    return np.add.accumulate(wide, axis=axis, out=wide).astype(array.dtype)
