"""Softmax and related functions, which subtract the largest argument so that no exponential overflows."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import DTypeLike

from rondeau.kernels.errors import ArgumentTypeError
from rondeau.kernels.ops.sums import in_single_precision, total
from rondeau.tensor._arguments import array_of
from rondeau.tensor._devices import as_array
from rondeau.tensor._dtypes import as_dtype
from rondeau.tensor._graph import Op, Recorded, record, unwrap
from rondeau.tensor._modes import modes
from rondeau.tensor._ops._aliases import numpy_names
from rondeau.tensor._ops._dims import Dims, axes_of, kept, normalize_dim
from rondeau.tensor._ops._operands import as_float, cast
from rondeau.tensor._ops._reductions import MAXIMUM

if TYPE_CHECKING:
    from rondeau.tensor._tensor import Tensor


def _as_given(x: Tensor, dtype: DTypeLike | None) -> Tensor:
    """Return `x` in a floating-point type: the given one, or its own."""
    if dtype is None:
        return as_float(x)
    found = as_dtype(dtype)
    if found.kind != "f":
        raise ArgumentTypeError(f"softmax and log_softmax need a floating dtype, got {found}")
    return cast(x, found)


def _axis(dim: int, ndim: int) -> int | None:
    """Return the dimension as NumPy's axis, which is None for a tensor without dimensions."""
    axis = normalize_dim(dim, ndim)
    return axis if ndim else None


def _largest(array: Any, axis: Any) -> Any:
    if not array.size:
        return np.full_like(array, -math.inf, shape=_reduced(array.shape, axis))
    reduce = MAXIMUM.method if type(array) is np.ndarray else MAXIMUM.function
    return reduce(array, axis=axis, keepdims=True)


def _reduced(shape: tuple[int, ...], axis: Any) -> tuple[int, ...]:
    """Return `shape` with size one for the reduced dimensions."""
    axes = (axis,) if isinstance(axis, int) else range(len(shape)) if axis is None else axis
    return tuple(1 if i in axes else n for i, n in enumerate(shape))


def _of_softmax(g: Any, out: Any, _x: Any, axis: Any) -> Any:
    if isinstance(g, Recorded) or not g.ndim:
        return out * (g - total(g * out, axis, keepdims=True))
    d = g * out  # the only new memory: passes over a large matrix wait for it
    np.subtract(g, total(d, axis, keepdims=True), out=d)
    return np.multiply(out, d, out=d)


_SOFTMAX = Op("softmax", _of_softmax)


@numpy_names
def softmax(x: Tensor, dim: int, *, dtype: DTypeLike | None = None) -> Tensor:
    """Return exp(x) / sum(exp(x)) along a dimension; the maximum is subtracted first.

    Parameters
    ----------
    x : Tensor
    dim : int
        The dimension that sums to 1.
    dtype : dtype_like, optional
        Convert to this type first.

    Returns
    -------
    Tensor
        With the shape of `x`; integers give float32.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> rt.softmax(rt.tensor([1000.0, 1000.0]), dim=0).tolist()
    [0.5, 0.5]
    """
    x = _as_given(x, dtype)
    array = array_of(x)
    axis = _axis(dim, array.ndim)
    return record(_SOFTMAX, modes.quiet(_softmax, array, axis), (x,), axis)


@in_single_precision
def _softmax(array: Any, axis: Any) -> Any:
    e = array - _largest(array, axis)
    if not e.ndim:
        e = as_array(e)
    np.exp(e, out=e)
    return np.divide(e, total(e, axis, keepdims=True), out=e)


def _of_log_softmax(g: Any, out: Any, _x: Any, axis: Any) -> Any:
    if isinstance(g, Recorded) or not g.ndim:
        return g - np.exp(out) * total(g, axis, keepdims=True)
    d = np.exp(out)
    np.multiply(d, total(g, axis, keepdims=True), out=d)
    return np.subtract(g, d, out=d)


_LOG_SOFTMAX = Op("log_softmax", _of_log_softmax)


@numpy_names
def log_softmax(x: Tensor, dim: int, *, dtype: DTypeLike | None = None) -> Tensor:
    """Return log(softmax(x)) along a dimension, without overflow or logarithms of 0.

    Parameters
    ----------
    x : Tensor
    dim : int
        The dimension along which probabilities sum to 1.
    dtype : dtype_like, optional
        Convert to this type first.

    Returns
    -------
    Tensor
        With the shape of `x`; integers give float32.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> rt.log_softmax(rt.tensor([0.0, 1000.0]), dim=0).tolist()
    [-1000.0, 0.0]
    """
    x = _as_given(x, dtype)
    array = array_of(x)
    axis = _axis(dim, array.ndim)
    return record(_LOG_SOFTMAX, modes.quiet(_log_softmax, array, axis), (x,), axis)


@in_single_precision
def _log_softmax(array: Any, axis: Any) -> Any:
    shifted = array - _largest(array, axis)
    shifted -= np.log(total(np.exp(shifted), axis, keepdims=True))
    return shifted


_LOGSUMEXP = Op(
    "logsumexp",
    lambda g, out, x, axes, keepdim: (
        kept(g, axes, keepdim) * np.exp(x - _above_all(kept(out, axes, keepdim)))
    ),
)


def _above_all(x: Any) -> Any:
    """Return `x` with 0 for -inf, so that the derivative is 0, not NaN, where all elements are -inf."""
    return np.where(np.equal(unwrap(x), -math.inf), 0.0, x)


@numpy_names
def logsumexp(x: Tensor, dim: Dims, keepdim: bool = False) -> Tensor:
    """Return log(sum(exp(x))) over dimensions, without overflow.

    If one element is inf, its gradient is NaN and that of the others is 0. If all are -inf, as in a fully masked row,
    the gradient is 0; in PyTorch it is NaN.

    Parameters
    ----------
    x : Tensor
    dim : int or sequence of int
    keepdim : bool
        Keep the reduced dimensions, with size 1.

    Returns
    -------
    Tensor
        Integers give float32.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> round(rt.logsumexp(rt.tensor([1000.0, 1000.0]), dim=0).item(), 3)
    1000.693
    """
    x = as_float(x)
    axes = axes_of(dim, x._array.ndim)
    return record(_LOGSUMEXP, modes.quiet(_logsumexp, x._array, axes, keepdim), (x,), axes, keepdim)


@in_single_precision
def _logsumexp(array: Any, axes: tuple[int, ...], keepdim: bool) -> Any:
    largest = _largest(array, axes)
    if type(array) is np.ndarray:
        largest = np.asarray(largest)
        largest[np.isinf(largest)] = 0
    else:  # where CuPy would wait for the number of True
        np.copyto(largest, 0, where=np.isinf(largest))
    result = np.log(total(np.exp(array - largest), axes, keepdims=True)) + largest
    return result if keepdim or not axes else np.squeeze(result, axes)
