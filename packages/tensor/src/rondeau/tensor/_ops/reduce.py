"""Reductions over dimensions, and what is built on them: softmax and its relatives, running sums."""

from __future__ import annotations

import builtins
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike

from rondeau.tensor._arguments import array_of, integer, number
from rondeau.tensor._autograd import Op, Recorded, modes, record, wrap
from rondeau.tensor._dtypes import as_dtype, int64
from rondeau.tensor._ops._operands import as_float, cast

if TYPE_CHECKING:
    from rondeau.tensor._tensor import Tensor

Dims = int | Sequence[int] | None
_total: Any = np.add.reduce
_maximum: Any = np.maximum.reduce
_minimum: Any = np.minimum.reduce
_conjunction: Any = np.logical_and.reduce
_disjunction: Any = np.logical_or.reduce


def normalize_dims(dim: Dims, ndim: int) -> tuple[int, ...]:
    """Return dimensions as ascending numbers from 0; None and () mean all.

    Raises
    ------
    IndexError
        For a dimension that a tensor of `ndim` dimensions does not have.
    TypeError
        If they are no integers.
    ValueError
        For a dimension that is named twice.
    """
    if dim is None or (isinstance(dim, tuple) and not dim):
        return tuple(range(ndim))
    dims = tuple(dim) if isinstance(dim, (tuple, list, range)) else (dim,)
    found = sorted(normalize_dim(d, ndim) for d in dims)
    if len(set(found)) != len(found):
        raise ValueError(
            f"a dimension is named twice in dim={tuple(dims)} of a tensor with {ndim} dimensions"
        )
    return tuple(found)


def normalize_dim(dim: int, ndim: int) -> int:
    """Return one dimension as a number from 0; a 0-d tensor lets 0 and -1 stand for its only element.

    Raises
    ------
    IndexError
        For a dimension that a tensor of `ndim` dimensions does not have.
    TypeError
        If it is no integer.
    """
    size = ndim or 1
    if type(dim) is not int:
        dim = integer(dim, "dim")
    if not -size <= dim < size:
        raise IndexError(
            f"dim {dim} is out of range for a tensor with {ndim} dimensions: expected {-size} to {size - 1}"
        )
    return dim % size if ndim else 0


def _axes(dim: Dims, ndim: int) -> tuple[int, ...]:
    """As `normalize_dims`; nothing to reduce over in a 0-d array."""
    if dim is None and ndim < len(_ALL):
        return _ALL[ndim]
    if type(dim) is int and -ndim <= dim < ndim:
        return (dim % ndim,)
    axes = normalize_dims(dim, ndim)
    return axes if ndim else ()


_ALL = [tuple(range(n)) for n in range(8)]
_FILLED_UP_TO = 4096  # elements for which writing them all costs less than NumPy's broadcast view


def _restore(g: Any, shape: tuple[int, ...], axes: tuple[int, ...], keepdim: bool) -> Any:
    """Broadcast what was reduced over `axes` back to `shape`."""
    g = _kept(g, axes, keepdim)
    if type(g) is np.ndarray and math.prod(shape) <= _FILLED_UP_TO:
        full = np.empty(shape, g.dtype)
        full[...] = g
        return full
    return np.broadcast_to(g, shape)


def _kept(g: Any, axes: tuple[int, ...], keepdim: bool) -> Any:
    """Put the reduced dimensions back, of size one."""
    if keepdim or not axes:
        return g
    if isinstance(g, Recorded):
        return np.expand_dims(g, axes)  # type: ignore[call-overload]
    g = np.asarray(g)
    if g.ndim == 0:
        return g.reshape((1,) * len(axes))
    sizes = list(g.shape)
    for axis in axes:
        sizes.insert(axis, 1)
    return g.reshape(sizes)


# --------------------------------------------------------------------------------------------- sum and mean

_SUM = Op("sum", lambda g, _out, _x, shape, axes, keepdim: _restore(g, shape, axes, keepdim))


def sum(x: Tensor, dim: Dims = None, keepdim: bool = False, *, dtype: DTypeLike | None = None) -> Tensor:
    """Return the sum over dimensions; integers and booleans add up in int64.

    Parameters
    ----------
    x : Tensor
    dim : int or sequence of int, optional
        Default: all.
    keepdim : bool
        Leave the summed dimensions, of size 1.
    dtype : dtype_like, optional
        Convert to this type first.

    Returns
    -------
    Tensor

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> rt.sum(rt.tensor([[1.0, 2.0], [3.0, 4.0]]), dim=0).tolist()
    [4.0, 6.0]
    """
    if dtype is not None:
        x = cast(x, as_dtype(dtype))
    elif array_of(x).dtype.kind != "f":
        x = cast(x, int64)
    array = array_of(x)
    axes = _axes(dim, array.ndim)
    return record(_SUM, _total(array, axis=axes, keepdims=keepdim), (x,), array.shape, axes, keepdim)


_MEAN = Op("mean", lambda g, _out, _x, shape, axes, keepdim, count: _restore(g / count, shape, axes, keepdim))


def mean(x: Tensor, dim: Dims = None, keepdim: bool = False, *, dtype: DTypeLike | None = None) -> Tensor:
    """Return the mean over dimensions; NaN over nothing.

    Parameters
    ----------
    x : Tensor
        Of a floating type, or give `dtype`.
    dim : int or sequence of int, optional
        Default: all.
    keepdim : bool
        Leave the averaged dimensions, of size 1.
    dtype : dtype_like, optional
        Convert to this type first.

    Returns
    -------
    Tensor

    Raises
    ------
    TypeError
        For integers: their mean is no integer.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> rt.mean(rt.tensor([[1.0, 2.0], [3.0, 4.0]]), dim=1).tolist()
    [1.5, 3.5]
    """
    if dtype is not None:
        x = cast(x, as_dtype(dtype))
    array = array_of(x)
    if array.dtype.kind != "f":
        raise TypeError(f"mean of {array.dtype}: convert with .float(), or pass dtype='float32'")
    axes = _axes(dim, array.ndim)
    count = math.prod([array.shape[i] for i in axes])
    return record(
        _MEAN, modes.quiet(_mean, array, axes, keepdim, count), (x,), array.shape, axes, keepdim, count
    )


def _mean(array: Any, axes: tuple[int, ...], keepdim: bool, count: int) -> Any:
    return np.true_divide(_total(array, axis=axes, keepdims=keepdim), array.dtype.type(count))


def _var_derivative(g: Any, x: Any, axes: tuple[int, ...], keepdim: bool, count: int, divisor: float) -> Any:
    centred = x - np.sum(x, axis=axes, keepdims=True) / count
    return _kept(g, axes, keepdim) * (centred * (2 / divisor if divisor > 0 else math.nan))


_VAR = Op(
    "var",
    lambda g, _out, x, axes, keepdim, count, divisor: _var_derivative(g, x, axes, keepdim, count, divisor),
)


def var(
    x: Tensor,
    dim: Dims = None,
    unbiased: bool = True,
    keepdim: bool = False,
    *,
    correction: int | None = None,
) -> Tensor:
    """Return the variance over dimensions.

    Parameters
    ----------
    x : Tensor
        Of a floating type.
    dim : int or sequence of int, optional
        Default: all.
    unbiased : bool
        Divide by the count minus one (Bessel), not by the count.
    keepdim : bool
        Leave the reduced dimensions, of size 1.
    correction : int, optional
        What to subtract from the count, in place of `unbiased`.

    Returns
    -------
    Tensor
        NaN where count - correction is not positive.

    Raises
    ------
    TypeError
        For integers.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> rt.var(rt.tensor([1.0, 2.0, 3.0])).item(), rt.var(rt.tensor([1.0, 3.0]), unbiased=False).item()
    (1.0, 1.0)
    """
    array = array_of(x)
    if array.dtype.kind != "f":
        raise TypeError(f"var of {array.dtype}: convert with .float() first")
    axes = _axes(dim, array.ndim)
    count = math.prod([array.shape[i] for i in axes])
    less = int(unbiased) if correction is None else number(correction, "correction")
    divisor = float(builtins.max(0, count - less))
    return record(
        _VAR, modes.quiet(_var, array, axes, keepdim, count, divisor), (x,), axes, keepdim, count, divisor
    )


def _var(array: Any, axes: tuple[int, ...], keepdim: bool, count: int, divisor: float) -> Any:
    real = array.dtype.type
    centred = array - _total(array, axis=axes, keepdims=True) / real(count)
    return _total(centred * centred, axis=axes, keepdims=keepdim) / real(divisor)


def std(
    x: Tensor,
    dim: Dims = None,
    unbiased: bool = True,
    keepdim: bool = False,
    *,
    correction: int | None = None,
) -> Tensor:
    """Return the standard deviation over dimensions: the root of `var`, whose parameters it has.

    Parameters
    ----------
    x : Tensor
    dim : int or sequence of int, optional
    unbiased, keepdim : bool
    correction : int, optional

    Returns
    -------
    Tensor

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> rt.std(rt.tensor([1.0, 2.0, 3.0])).item()
    1.0
    """
    from rondeau.tensor._ops.elementwise import sqrt

    return sqrt(var(x, dim, unbiased, keepdim, correction=correction))


# ------------------------------------------------------------------------------------------------- extremes


class ValuesIndices(NamedTuple):
    """Extreme values along a dimension, and where they stand (int64)."""

    values: Tensor
    indices: Tensor


def _share_ties(g: Any, out: Any, x: Any, axes: tuple[int, ...], keepdim: bool) -> Any:
    tied = np.equal(_data(x), _kept(_data(out), axes, keepdim)) | (
        np.isnan(_data(x)) & np.isnan(_kept(_data(out), axes, keepdim))
    )
    share = tied / np.sum(tied, axis=axes, keepdims=True)
    return _kept(g, axes, keepdim) * share.astype(x.dtype)


def _data(x: Any) -> Any:
    return x._array if isinstance(x, Recorded) else x


_AMAX = Op("amax", lambda g, out, x, axes, keepdim: _share_ties(g, out, x, axes, keepdim))
_AMIN = Op("amin", lambda g, out, x, axes, keepdim: _share_ties(g, out, x, axes, keepdim))


def _put_at(g: Any, index: Any, shape: tuple[int, ...], axis: int) -> Any:
    from rondeau.tensor._ops.indexing import scatter_into_zeros

    return scatter_into_zeros(g, index, shape, axis)


_PICK = Op(
    "max",
    lambda g, _out, _x, index, shape, axis, keepdim: _put_at(
        g if keepdim or not shape else np.expand_dims(g, axis), index, shape, axis
    ),
)


def _extreme(x: Tensor, dim: Dims, keepdim: bool, op: Op, reduce: Any) -> Tensor:
    array = array_of(x)
    axes = _axes(dim, array.ndim)
    _check_nonempty(op.name, array, axes)
    return record(op, modes.quiet(reduce, array, axis=axes, keepdims=keepdim), (x,), axes, keepdim)


def _check_nonempty(name: str, array: Any, axes: tuple[int, ...]) -> None:
    if array.size == 0 and 0 in [array.shape[i] for i in axes]:
        raise IndexError(f"{name} of nothing: a reduced dimension of shape {array.shape} has size 0")


def _along(x: Tensor, dim: int, keepdim: bool, name: str, reduce: Any, argument: Any) -> ValuesIndices:
    array = array_of(x)
    axis = normalize_dim(dim, array.ndim)
    if array.ndim == 0:
        return ValuesIndices(
            record(_PICK, array.copy(), (x,), np.zeros((), np.int64), (), 0, True),
            wrap(np.zeros((), np.int64)),
        )
    _check_nonempty(name, array, (axis,))
    values = modes.quiet(reduce, array, axis, keepdims=keepdim)
    index = argument(array, axis)
    kept = _kept(index, (axis,), False)
    result = record(_PICK, values, (x,), kept, array.shape, axis, keepdim)
    return ValuesIndices(result, wrap(kept if keepdim else index))


def amax(x: Tensor, dim: Dims = None, keepdim: bool = False) -> Tensor:
    """Return the largest value over dimensions; equal ones share the gradient.

    Parameters
    ----------
    x : Tensor
    dim : int or sequence of int, optional
        Default: all.
    keepdim : bool
        Leave the reduced dimensions, of size 1.

    Returns
    -------
    Tensor

    Raises
    ------
    IndexError
        Over a dimension of size 0.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> rt.amax(rt.tensor([[1.0, 2.0], [3.0, 0.0]]), dim=1).tolist()
    [2.0, 3.0]
    """
    return _extreme(x, dim, keepdim, _AMAX, _maximum)


def amin(x: Tensor, dim: Dims = None, keepdim: bool = False) -> Tensor:
    """Return the smallest value over dimensions; equal ones share the gradient.

    Parameters
    ----------
    x : Tensor
    dim : int or sequence of int, optional
        Default: all.
    keepdim : bool
        Leave the reduced dimensions, of size 1.

    Returns
    -------
    Tensor

    Raises
    ------
    IndexError
        Over a dimension of size 0.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> rt.amin(rt.tensor([[1.0, 2.0], [3.0, 0.0]]), dim=1).tolist()
    [1.0, 0.0]
    """
    return _extreme(x, dim, keepdim, _AMIN, _minimum)


def max(x: Tensor, dim: Any = None, keepdim: bool = False) -> Any:
    """Return the largest value of all, or along one dimension with its index.

    Parameters
    ----------
    x : Tensor
    dim : int, optional
        The dimension. A Tensor here means `maximum`.
    keepdim : bool
        Leave the dimension, of size 1.

    Returns
    -------
    Tensor, or named tuple (values, indices) of Tensor
        Without `dim` equal elements share the gradient; with it the first of them takes it all.

    Raises
    ------
    IndexError
        Over a dimension of size 0.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> values, indices = rt.max(rt.tensor([[1.0, 2.0], [3.0, 0.0]]), dim=1)
    >>> values.tolist(), indices.tolist()
    ([2.0, 3.0], [1, 0])
    """
    if dim is None:
        return amax(x)
    if isinstance(dim, Recorded):
        from rondeau.tensor._ops.elementwise import maximum

        return maximum(x, dim)  # type: ignore[arg-type]
    return _along(x, dim, keepdim, "max", _maximum, np.ndarray.argmax)


def min(x: Tensor, dim: Any = None, keepdim: bool = False) -> Any:
    """Return the smallest value of all, or along one dimension with its index.

    Parameters
    ----------
    x : Tensor
    dim : int, optional
        The dimension. A Tensor here means `minimum`.
    keepdim : bool
        Leave the dimension, of size 1.

    Returns
    -------
    Tensor, or named tuple (values, indices) of Tensor
        Without `dim` equal elements share the gradient; with it the first of them takes it all.

    Raises
    ------
    IndexError
        Over a dimension of size 0.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> rt.min(rt.tensor([4.0, 2.0, 3.0]), dim=0).indices.item()
    1
    """
    if dim is None:
        return amin(x)
    if isinstance(dim, Recorded):
        from rondeau.tensor._ops.elementwise import minimum

        return minimum(x, dim)  # type: ignore[arg-type]
    return _along(x, dim, keepdim, "min", _minimum, np.ndarray.argmin)


def _argument(name: str, function: Any, x: Tensor, dim: int | None, keepdim: bool) -> Tensor:
    array = array_of(x)
    if array.size == 0:
        raise IndexError(f"{name} of an empty tensor of shape {array.shape}")
    if array.ndim == 0:
        return wrap(np.zeros((), np.int64))
    axis = None if dim is None else normalize_dim(dim, array.ndim)
    return wrap(function(array, axis=axis, keepdims=keepdim))


def argmax(x: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """Return the index of the largest value: of the flattened tensor, or along a dimension.

    Parameters
    ----------
    x : Tensor
    dim : int, optional
    keepdim : bool
        Leave the dimension, of size 1.

    Returns
    -------
    Tensor
        int64; the first of equals.

    Raises
    ------
    IndexError
        Of an empty tensor.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> rt.argmax(rt.tensor([[1.0, 5.0], [7.0, 0.0]]), dim=1).tolist()
    [1, 0]
    """
    return _argument("argmax", np.argmax, x, dim, keepdim)


def argmin(x: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """Return the index of the smallest value: of the flattened tensor, or along a dimension.

    Parameters
    ----------
    x : Tensor
    dim : int, optional
    keepdim : bool
        Leave the dimension, of size 1.

    Returns
    -------
    Tensor
        int64; the first of equals.

    Raises
    ------
    IndexError
        Of an empty tensor.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> rt.argmin(rt.tensor([[1.0, 5.0], [7.0, 0.0]]), dim=1).tolist()
    [0, 1]
    """
    return _argument("argmin", np.argmin, x, dim, keepdim)


def all(x: Tensor, dim: Dims = None, keepdim: bool = False) -> Tensor:
    """Return whether all values over dimensions are true (not zero).

    Parameters
    ----------
    x : Tensor
    dim : int or sequence of int, optional
    keepdim : bool

    Returns
    -------
    Tensor
        Of bool.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> rt.all(rt.tensor([True, False])).item()
    False
    """
    array = array_of(x)
    return wrap(_conjunction(array, axis=_axes(dim, array.ndim), keepdims=keepdim))


def any(x: Tensor, dim: Dims = None, keepdim: bool = False) -> Tensor:
    """Return whether any value over dimensions is true (not zero).

    Parameters
    ----------
    x : Tensor
    dim : int or sequence of int, optional
    keepdim : bool

    Returns
    -------
    Tensor
        Of bool.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> rt.any(rt.tensor([True, False])).item()
    True
    """
    array = array_of(x)
    return wrap(_disjunction(array, axis=_axes(dim, array.ndim), keepdims=keepdim))


# -------------------------------------------------------------------------------------- softmax and relatives

_SOFTMAX = Op("softmax", lambda g, out, _x, axis: out * (g - np.sum(g * out, axis=axis, keepdims=True)))


def softmax(x: Tensor, dim: int, *, dtype: DTypeLike | None = None) -> Tensor:
    """Return exp(x) / sum exp(x) along a dimension, the maximum subtracted first.

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
        Of the shape of `x`; integers give float32.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> rt.softmax(rt.tensor([1000.0, 1000.0]), dim=0).tolist()
    [0.5, 0.5]
    """
    x = _as_given(x, dtype)
    array = array_of(x)
    axis = normalize_dim(dim, array.ndim) if array.ndim else None
    return record(_SOFTMAX, modes.quiet(_softmax, array, axis), (x,), axis)


def _as_given(x: Tensor, dtype: DTypeLike | None) -> Tensor:
    """Return `x` in a floating type: the given one, or its own."""
    if dtype is None:
        return as_float(x)
    found = as_dtype(dtype)
    if found.kind != "f":
        raise TypeError(f"softmax and log_softmax need a floating dtype, got {found}")
    return cast(x, found)


def _largest(array: Any, axis: Any) -> Any:
    return (
        _maximum(array, axis=axis, keepdims=True)
        if array.size
        else np.full(_reduced(array.shape, axis), -math.inf, array.dtype)
    )


def _reduced(shape: tuple[int, ...], axis: Any) -> tuple[int, ...]:
    """`shape` with the reduced dimensions of size one."""
    axes = (axis,) if isinstance(axis, int) else range(len(shape)) if axis is None else axis
    return tuple(1 if i in axes else n for i, n in enumerate(shape))


def _softmax(array: Any, axis: Any) -> Any:
    e = np.asarray(array - _largest(array, axis))
    np.exp(e, out=e)
    return np.divide(e, _total(e, axis=axis, keepdims=True), out=e)


_LOG_SOFTMAX = Op(
    "log_softmax", lambda g, out, _x, axis: g - np.exp(out) * np.sum(g, axis=axis, keepdims=True)
)


def log_softmax(x: Tensor, dim: int, *, dtype: DTypeLike | None = None) -> Tensor:
    """Return log(softmax(x)) along a dimension, without overflow or a logarithm of 0.

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
        Of the shape of `x`; integers give float32.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> rt.log_softmax(rt.tensor([0.0, 1000.0]), dim=0).tolist()
    [-1000.0, 0.0]
    """
    x = _as_given(x, dtype)
    array = array_of(x)
    axis = normalize_dim(dim, array.ndim) if array.ndim else None
    return record(_LOG_SOFTMAX, modes.quiet(_log_softmax, array, axis), (x,), axis)


def _log_softmax(array: Any, axis: Any) -> Any:
    shifted = np.asarray(array - _largest(array, axis))
    shifted -= np.log(_total(np.exp(shifted), axis=axis, keepdims=True))
    return shifted


_LOGSUMEXP = Op(
    "logsumexp",
    lambda g, out, x, axes, keepdim: _kept(g, axes, keepdim) * np.exp(x - _finite(_kept(out, axes, keepdim))),
)


def _finite(x: Any) -> Any:
    """Infinities as 0, so that the derivative where all is -inf is 0 and not NaN."""
    return np.where(np.isinf(_data(x)), 0.0, x)


def logsumexp(x: Tensor, dim: Dims, keepdim: bool = False) -> Tensor:
    """Return log(sum(exp(x))) over dimensions, without overflow.

    Parameters
    ----------
    x : Tensor
    dim : int or sequence of int
    keepdim : bool
        Leave the reduced dimensions, of size 1.

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
    axes = _axes(dim, x._array.ndim)
    return record(_LOGSUMEXP, modes.quiet(_logsumexp, x._array, axes, keepdim), (x,), axes, keepdim)


def _logsumexp(array: Any, axes: tuple[int, ...], keepdim: bool) -> Any:
    largest = np.asarray(_largest(array, axes))
    largest[np.isinf(largest)] = 0
    total = np.log(_total(np.exp(array - largest), axis=axes, keepdims=True)) + largest
    return total if keepdim or not axes else np.squeeze(total, axes)


# ---------------------------------------------------------------------------------------------------- norm


def _norm_derivative(g: Any, out: Any, x: Any, p: float, axes: tuple[int, ...], keepdim: bool) -> Any:
    g, out = _kept(g, axes, keepdim), _kept(out, axes, keepdim)
    if p == 2:
        return np.where(np.equal(_data(out), 0), 0.0, x * (g / _nonzero(out)))
    if p == 1:
        return g * np.sign(x)
    if p == 0:
        return np.zeros_like(_data(x)) * g
    if math.isinf(p):
        magnitude = np.abs(_data(x))
        tied = np.equal(magnitude, _data(out))
        share = (tied / np.sum(tied, axis=axes, keepdims=True)).astype(x.dtype)
        return g * (np.sign(x) * share)
    # The derivative at 0 is 0, as for every p > 1; for p < 1 it does not exist.
    zero = np.equal(_data(x), 0)
    inner = np.where(zero, 1.0, np.abs(x)) ** (p - 1) * np.sign(x)
    return np.where(np.equal(_data(out), 0), 0.0, inner * (g * _nonzero(out) ** (1 - p)))


def _nonzero(x: Any) -> Any:
    return np.where(np.equal(_data(x), 0), 1.0, x)


_NORM = Op("norm", lambda g, out, x, p, axes, keepdim: _norm_derivative(g, out, x, p, axes, keepdim))


def norm(x: Tensor, p: float | str = 2.0, dim: Dims = None, keepdim: bool = False) -> Tensor:
    """Return (sum abs(x)^p)^(1/p) over dimensions; its derivative at 0 is 0.

    Parameters
    ----------
    x : Tensor
        Of a floating type.
    p : float or "fro"
        2 ("fro"), 1, inf (largest), -inf (smallest), 0 (number of nonzeros) or any other number.
    dim : int or sequence of int, optional
        Default: all.
    keepdim : bool
        Leave the reduced dimensions, of size 1.

    Returns
    -------
    Tensor

    Raises
    ------
    TypeError
        For integers.
    ValueError
        For an unknown name in `p`.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> rt.norm(rt.tensor([3.0, -4.0])).item(), rt.norm(rt.tensor([3.0, -4.0]), 1).item()
    (5.0, 7.0)
    """
    if isinstance(p, str) and p != "fro":
        raise ValueError(f"norm: p must be a number or 'fro', got {p!r}")
    order = 2.0 if isinstance(p, str) else float(number(p, "p"))
    array = array_of(x)
    if array.dtype.kind != "f":
        raise TypeError(f"norm of {array.dtype}: convert with .float() first")
    axes = _axes(dim, array.ndim)
    return record(_NORM, modes.quiet(_norm, array, order, axes, keepdim), (x,), order, axes, keepdim)


def _norm(array: Any, p: float, axes: tuple[int, ...], keepdim: bool) -> Any:
    if p == 2:
        return np.sqrt(_total(array * array, axis=axes, keepdims=keepdim))
    magnitude = np.abs(array)
    if p == 1:
        return _total(magnitude, axis=axes, keepdims=keepdim)
    if p == 0:
        return _total((array != 0).astype(array.dtype), axis=axes, keepdims=keepdim)
    if p == math.inf:
        return _maximum(magnitude, axis=axes, keepdims=keepdim)
    if p == -math.inf:
        return _minimum(magnitude, axis=axes, keepdims=keepdim)
    return _total(magnitude**p, axis=axes, keepdims=keepdim) ** (1 / p)


# ------------------------------------------------------------------------------------- products, running sums


def _products_of_others(x: Any, axis: int) -> Any:
    """For each element along `axis` the product of the other ones, exact where some are zero."""
    size = x.shape[axis]
    rows = np.expand_dims(np.moveaxis(x, axis, -1), -2)  # (..., 1, size)
    others = np.where(np.eye(size, dtype=bool), 1.0, np.broadcast_to(rows, (*rows.shape[:-2], size, size)))
    return np.moveaxis(np.prod(others, axis=-1), -1, axis)


def _prod_derivative(g: Any, out: Any, x: Any, axis: int, keepdim: bool) -> Any:
    g = g if keepdim else np.expand_dims(g, axis)
    if isinstance(x, Recorded) or not np.all(x):
        return g * _products_of_others(x, axis)
    return g * (out if keepdim else np.expand_dims(out, axis)) / x


_PROD = Op("prod", lambda g, out, x, axis, keepdim: _prod_derivative(g, out, x, axis, keepdim))


def prod(
    x: Tensor, dim: int | None = None, keepdim: bool = False, *, dtype: DTypeLike | None = None
) -> Tensor:
    """Return the product of all elements, or along a dimension; integers multiply in int64.

    Parameters
    ----------
    x : Tensor
    dim : int, optional
        Default: all.
    keepdim : bool
        Leave the dimension, of size 1.
    dtype : dtype_like, optional
        Convert to this type first.

    Returns
    -------
    Tensor
        The gradient is exact where elements are zero.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> x = rt.tensor([2.0, 0.0, 4.0], requires_grad=True)
    >>> rt.prod(x).backward()
    >>> x.grad.tolist()
    [0.0, 8.0, 0.0]
    """
    if dtype is not None:
        x = cast(x, as_dtype(dtype))
    elif array_of(x).dtype.kind != "f":
        x = cast(x, int64)
    if dim is None or x._array.ndim == 0:
        from rondeau.tensor._ops.shape import reshape

        x, axis, keepdim = reshape(x, (-1,)), 0, False
    else:
        axis = normalize_dim(dim, x._array.ndim)
    return record(
        _PROD, modes.quiet(np.multiply.reduce, x._array, axis=axis, keepdims=keepdim), (x,), axis, keepdim
    )


_CUMSUM = Op("cumsum", lambda g, _out, _x, axis: np.flip(np.cumsum(np.flip(g, axis), axis), axis))


def cumsum(x: Tensor, dim: int, *, dtype: DTypeLike | None = None) -> Tensor:
    """Return the running sum along a dimension; integers add up in int64.

    Parameters
    ----------
    x : Tensor
    dim : int
    dtype : dtype_like, optional
        Convert to this type first.

    Returns
    -------
    Tensor
        Of the shape of `x`.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> rt.cumsum(rt.tensor([1.0, 2.0, 3.0]), dim=0).tolist()
    [1.0, 3.0, 6.0]
    """
    if dtype is not None:
        x = cast(x, as_dtype(dtype))
    elif array_of(x).dtype.kind != "f":
        x = cast(x, int64)
    axis = normalize_dim(dim, x._array.ndim)
    if x._array.ndim == 0:
        return x.clone()
    return record(_CUMSUM, np.add.accumulate(x._array, axis=axis), (x,), axis)
