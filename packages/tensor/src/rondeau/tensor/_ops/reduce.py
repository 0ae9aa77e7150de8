"""Reductions over dimensions (sums, means, variances, products, all and any), and running sums."""

from __future__ import annotations

import builtins
import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import DTypeLike

from rondeau.kernels.errors import ArgumentTypeError
from rondeau.kernels.ops.sums import in_single_precision, running_total, total
from rondeau.kernels.runtime.devices import is_of_device, library_of
from rondeau.tensor._arguments import array_of, number
from rondeau.tensor._dtypes import as_dtype, int64
from rondeau.tensor._graph import Op, Recorded, record, unwrap, wrap
from rondeau.tensor._modes import modes
from rondeau.tensor._ops._aliases import numpy_names
from rondeau.tensor._ops._dims import Dims, axes_of, kept, normalize_dim, restored
from rondeau.tensor._ops._operands import cast
from rondeau.tensor._ops._reductions import ALL, ANY, PRODUCT, Reduction
from rondeau.tensor._ops.shape import reshape

if TYPE_CHECKING:
    from rondeau.tensor._tensor import Tensor

_SUM = Op("sum", lambda g, _out, _x, shape, axes, keepdim: restored(g, shape, axes, keepdim))


def _summable(x: Tensor, dtype: DTypeLike | None) -> Tensor:
    """Return `x` in the given type; without one, integers and booleans in int64."""
    if dtype is not None:
        return cast(x, as_dtype(dtype))
    return x if array_of(x).dtype.kind == "f" else cast(x, int64)


@numpy_names
def sum(x: Tensor, dim: Dims = None, keepdim: bool = False, *, dtype: DTypeLike | None = None) -> Tensor:
    """Return the sum over dimensions; integers and booleans are summed in int64.

    Parameters
    ----------
    x : Tensor
    dim : int or sequence of int, optional
        All dimensions by default.
    keepdim : bool
        Keep the summed dimensions, with size 1.
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
    array = array_of(x)
    if dtype is not None or array.dtype.kind != "f":
        x = _summable(x, dtype)
        array = x._array
    axes = axes_of(dim, array.ndim)
    return record(_SUM, modes.quiet(total, array, axes, keepdim), (x,), array.shape, axes, keepdim)


_MEAN = Op("mean", lambda g, _out, _x, shape, axes, keepdim, count: restored(g / count, shape, axes, keepdim))


@numpy_names
def mean(x: Tensor, dim: Dims = None, keepdim: bool = False, *, dtype: DTypeLike | None = None) -> Tensor:
    """Return the mean over dimensions; NaN if there are no elements.

    Parameters
    ----------
    x : Tensor
        Of a floating-point type, unless `dtype` is given.
    dim : int or sequence of int, optional
        All dimensions by default.
    keepdim : bool
        Keep the averaged dimensions, with size 1.
    dtype : dtype_like, optional
        Convert to this type first.

    Returns
    -------
    Tensor

    Raises
    ------
    TypeError
        For integers, whose mean need not be an integer.

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
        raise ArgumentTypeError(f"mean of {array.dtype}: convert with .float(), or pass dtype='float32'")
    axes = axes_of(dim, array.ndim)
    count = math.prod([array.shape[i] for i in axes])
    return record(
        _MEAN, modes.quiet(_mean, array, axes, keepdim, count), (x,), array.shape, axes, keepdim, count
    )


@in_single_precision
def _mean(array: Any, axes: tuple[int, ...], keepdim: bool, count: int) -> Any:
    return np.true_divide(total(array, axes, keepdim), array.dtype.type(count))


def _var_derivative(
    g: Any, _out: Any, x: Any, axes: tuple[int, ...], keepdim: bool, count: int, divisor: float
) -> Any:
    centred = x - total(x, axes, keepdims=True) / count
    return kept(g, axes, keepdim) * (centred * (2 / divisor if divisor > 0 else math.nan))


_VAR = Op("var", _var_derivative)


@numpy_names
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
        Of a floating-point type.
    dim : int or sequence of int, optional
        All dimensions by default.
    unbiased : bool
        Divide by the count minus one (Bessel's correction) rather than by the count.
    keepdim : bool
        Keep the reduced dimensions, with size 1.
    correction : int, optional
        The number to subtract from the count, instead of `unbiased`.

    Returns
    -------
    Tensor
        NaN where count - correction is not positive.

    Raises
    ------
    TypeError
        If `x` is an integer tensor.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> rt.var(rt.tensor([1.0, 2.0, 3.0])).item(), rt.var(rt.tensor([1.0, 3.0]), unbiased=False).item()
    (1.0, 1.0)
    """
    axes, count, divisor = _spread("var", x, dim, unbiased, correction)
    result = modes.quiet(_var, x._array, axes, keepdim, count, divisor)
    return record(_VAR, result, (x,), axes, keepdim, count, divisor)


def _spread(
    name: str, x: Tensor, dim: Dims, unbiased: bool, correction: int | None
) -> tuple[tuple[int, ...], int, float]:
    """Return the dimensions of a variance, the number of elements in them, and the divisor of the sum of squares."""
    array = array_of(x)
    if array.dtype.kind != "f":
        raise ArgumentTypeError(f"{name} of {array.dtype}: convert with .float() first")
    axes = axes_of(dim, array.ndim)
    count = math.prod([array.shape[i] for i in axes])
    less = int(unbiased) if correction is None else number(correction, "correction")
    return axes, count, float(builtins.max(0, count - less))


@in_single_precision
def _var(array: Any, axes: tuple[int, ...], keepdim: bool, count: int, divisor: float) -> Any:
    real = array.dtype.type
    centred = array - total(array, axes, keepdims=True) / real(count)
    return total(centred * centred, axes, keepdim) / real(divisor)


def _std_derivative(
    g: Any, out: Any, x: Any, axes: tuple[int, ...], keepdim: bool, count: int, divisor: float
) -> Any:
    constant = np.equal(unwrap(out), 0)  # where all elements are equal the derivative is 0, as in PyTorch
    half = np.where(constant, 0.0, g / (2 * np.where(constant, 1.0, out)))
    return _var_derivative(half, None, x, axes, keepdim, count, divisor)


_STD = Op("std", _std_derivative)


@numpy_names
def std(
    x: Tensor,
    dim: Dims = None,
    unbiased: bool = True,
    keepdim: bool = False,
    *,
    correction: int | None = None,
) -> Tensor:
    """Return the standard deviation over dimensions, the square root of `var`, with the same parameters.

    Parameters
    ----------
    x : Tensor
    dim : int or sequence of int, optional
    unbiased, keepdim : bool
    correction : int, optional

    Returns
    -------
    Tensor
        Where it is 0, so is the gradient.

    Raises
    ------
    TypeError
        If `x` is an integer tensor.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> rt.std(rt.tensor([1.0, 2.0, 3.0])).item()
    1.0
    """
    axes, count, divisor = _spread("std", x, dim, unbiased, correction)
    result = modes.quiet(_std, x._array, axes, keepdim, count, divisor)
    return record(_STD, result, (x,), axes, keepdim, count, divisor)


@in_single_precision
def _std(array: Any, axes: tuple[int, ...], keepdim: bool, count: int, divisor: float) -> Any:
    if is_of_device(array):  # which a look at the variance would wait for
        return np.sqrt(_var(array.astype(np.float64), axes, keepdim, count, divisor)).astype(array.dtype)
    variance = np.asarray(_var(array, axes, keepdim, count, divisor))
    root = np.sqrt(variance)
    # Squares can leave the range of float32 when their roots do not.
    lost = (variance < _LEAST_SQUARE) | (variance == math.inf)
    if array.dtype != np.float64 and np.any(lost):
        exact = np.sqrt(_var(array.astype(np.float64), axes, keepdim, count, divisor)).astype(array.dtype)
        root = np.where(lost, exact, root)
    return root


_LEAST_SQUARE = 1e-30
"""From this variance on, the squares that it sums are either not subnormal in float32, or negligible."""


# --------------------------------------------------------------------------------- products and running sums


def _products_of_others(x: Any, axis: int) -> Any:
    """Return, for each element of an array along `axis`, the product of the others, exact even if some are zero."""
    return _products_before(x, axis) * np.flip(_products_before(np.flip(x, axis), axis), axis)


def _products_before(x: Any, axis: int) -> Any:
    """Return, for each element along `axis`, the product of those before it."""
    shifted = np.roll(x, 1, axis)
    shifted[(slice(None),) * axis + (slice(1),)] = 1
    return np.cumprod(shifted, axis)


def _recorded_products_of_others(x: Any, axis: int) -> Any:
    """Do as `_products_of_others` does, for a tensor."""
    size = x.shape[axis]
    rows = np.expand_dims(np.moveaxis(x, axis, -1), -2)  # (..., 1, size)
    same = library_of(x._array).eye(size, dtype=bool)
    others = np.where(same, 1.0, np.broadcast_to(rows, (*rows.shape[:-2], size, size)))
    return np.moveaxis(np.prod(others, axis=-1), -1, axis)


def _prod_derivative(g: Any, out: Any, x: Any, axis: int, keepdim: bool) -> Any:
    g = g if keepdim else np.expand_dims(g, axis)
    if isinstance(x, Recorded):
        return g * _recorded_products_of_others(x, axis)
    # The quotient is accurate unless the product became zero or infinite on the way.
    if not is_of_device(out) and np.all(out) and np.all(np.isfinite(out)):
        return g * (out if keepdim else np.expand_dims(out, axis)) / x
    return g * _products_of_others(x, axis)


_PROD = Op("prod", _prod_derivative)


@numpy_names
def prod(
    x: Tensor, dim: int | None = None, keepdim: bool = False, *, dtype: DTypeLike | None = None
) -> Tensor:
    """Return the product of all elements, or along a dimension; integers are multiplied in int64.

    Parameters
    ----------
    x : Tensor
    dim : int, optional
        All dimensions by default.
    keepdim : bool
        Keep the dimension, with size 1.
    dtype : dtype_like, optional
        Convert to this type first.

    Returns
    -------
    Tensor
        The gradient is exact even if elements are zero.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> x = rt.tensor([2.0, 0.0, 4.0], requires_grad=True)
    >>> rt.prod(x).backward()
    >>> x.grad.tolist()
    [0.0, 8.0, 0.0]
    """
    x = _summable(x, dtype)
    axis = 0 if dim is None else normalize_dim(dim, x._array.ndim)
    if dim is None or x._array.ndim == 0:
        x, keepdim = reshape(x, (-1,)), False
    array = x._array
    reduce = PRODUCT.method if type(array) is np.ndarray else PRODUCT.function
    product = modes.quiet(reduce, array, axis=axis, dtype=array.dtype, keepdims=keepdim)
    return record(_PROD, product, (x,), axis, keepdim)


_CUMSUM = Op("cumsum", lambda g, _out, _x, axis: np.flip(running_total(np.flip(g, axis), axis), axis))


@numpy_names
def cumsum(x: Tensor, dim: int, *, dtype: DTypeLike | None = None) -> Tensor:
    """Return the running sum along a dimension; integers are summed in int64.

    Parameters
    ----------
    x : Tensor
    dim : int
    dtype : dtype_like, optional
        Convert to this type first.

    Returns
    -------
    Tensor
        With the shape of `x`.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> rt.cumsum(rt.tensor([1.0, 2.0, 3.0]), dim=0).tolist()
    [1.0, 3.0, 6.0]
    """
    x = _summable(x, dtype)
    axis = normalize_dim(dim, x._array.ndim)
    if x._array.ndim == 0:
        return x.clone()
    return record(_CUMSUM, modes.quiet(running_total, x._array, axis), (x,), axis)


# ----------------------------------------------------------------------------------------------------- logic


def _of_truth(reduction: Reduction, x: Tensor, dim: Dims, keepdim: bool) -> Tensor:
    """Reduce the truth of all values; uint8, PyTorch's old type of masks, stays uint8."""
    array = array_of(x)
    axes = () if isinstance(dim, (tuple, list)) and not dim else axes_of(dim, array.ndim)
    reduce = reduction.method if type(array) is np.ndarray else reduction.function
    result = reduce(array, axis=axes, keepdims=keepdim)
    return wrap(result.astype(np.uint8) if array.dtype == np.uint8 else result)


@numpy_names
def all(x: Tensor, dim: Dims = None, keepdim: bool = False) -> Tensor:
    """Return whether all values along dimensions are true (not zero).

    Parameters
    ----------
    x : Tensor
    dim : int or sequence of int, optional
        Default: all. ``()``, no dimensions, leaves every value on its own, where the sums take it for all: PyTorch's.
    keepdim : bool

    Returns
    -------
    Tensor
        bool, or uint8 for uint8.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> rt.all(rt.tensor([True, False])).item()
    False
    """
    return _of_truth(ALL, x, dim, keepdim)


@numpy_names
def any(x: Tensor, dim: Dims = None, keepdim: bool = False) -> Tensor:
    """Return whether any value along dimensions is true (not zero).

    Parameters
    ----------
    x : Tensor
    dim : int or sequence of int, optional
        Default: all. ``()``, no dimensions, leaves every value on its own, where the sums take it for all: PyTorch's.
    keepdim : bool

    Returns
    -------
    Tensor
        bool, or uint8 for uint8.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> rt.any(rt.tensor([True, False])).item()
    True
    """
    return _of_truth(ANY, x, dim, keepdim)
