"""The largest and smallest values, and their indices."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from rondeau.tensor._arguments import array_of
from rondeau.tensor._graph import Op, Recorded, record, unwrap, wrap
from rondeau.tensor._modes import modes
from rondeau.tensor._ops._aliases import numpy_names
from rondeau.tensor._ops._dims import Dims, axes_of, kept, normalize_dim
from rondeau.tensor._ops._reductions import MAXIMUM, MINIMUM, Reduction
from rondeau.tensor._ops.along_dim import scatter_into_zeros
from rondeau.tensor._ops.choice import maximum, minimum

if TYPE_CHECKING:
    from rondeau.tensor._tensor import Tensor


class ValuesIndices(NamedTuple):
    """Extreme values along a dimension, and their indices (int64)."""

    values: Tensor
    indices: Tensor


def _check_nonempty(name: str, array: Any, axes: tuple[int, ...]) -> None:
    if array.size == 0 and 0 in [array.shape[i] for i in axes]:
        raise IndexError(f"{name} of nothing: a reduced dimension of shape {array.shape} has size 0")


# ---------------------------------------------------------------------------------------------------- values


def _shared(g: Any, tied: Any, dtype: Any, axes: tuple[int, ...], keepdim: bool) -> Any:
    """Return the gradient, shared equally among tied elements; NaN if there are none."""
    share = tied / np.sum(tied, axis=axes, keepdims=True)
    return kept(g, axes, keepdim) * share.astype(dtype)


def _share_equal(g: Any, out: Any, x: Any, axes: tuple[int, ...], keepdim: bool) -> Any:
    tied = np.equal(unwrap(x), kept(unwrap(out), axes, keepdim))
    return _shared(g, tied, x.dtype, axes, keepdim)


def _share_of_all(g: Any, out: Any, x: Any, axes: tuple[int, ...], keepdim: bool) -> Any:
    values, extreme = unwrap(x), kept(unwrap(out), axes, keepdim)
    tied = np.equal(values, extreme) | (np.isnan(values) & np.isnan(extreme))
    return _shared(g, tied, x.dtype, axes, keepdim)


# For NaN the gradient of `amax` is NaN, and that of `max` over all elements goes to the NaNs, as in PyTorch.
_AMAX = Op("amax", _share_equal)
_AMIN = Op("amin", _share_equal)
_MAX_OF_ALL = Op("max", _share_of_all)
_MIN_OF_ALL = Op("min", _share_of_all)


def _extreme(x: Tensor, dim: Dims, keepdim: bool, op: Op, reduction: Reduction) -> Tensor:
    array = array_of(x)
    axes = axes_of(dim, array.ndim)
    _check_nonempty(op.name, array, axes)
    reduce = reduction.method if type(array) is np.ndarray else reduction.function
    return record(op, modes.quiet(reduce, array, axis=axes, keepdims=keepdim), (x,), axes, keepdim)


@numpy_names
def amax(x: Tensor, dim: Dims = None, keepdim: bool = False) -> Tensor:
    """Return the largest value over dimensions; equal ones share the gradient.

    Parameters
    ----------
    x : Tensor
    dim : int or sequence of int, optional
        All dimensions by default.
    keepdim : bool
        Keep the reduced dimensions, with size 1.

    Returns
    -------
    Tensor

    Raises
    ------
    IndexError
        If a reduced dimension has size 0.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> rt.amax(rt.tensor([[1.0, 2.0], [3.0, 0.0]]), dim=1).tolist()
    [2.0, 3.0]
    """
    return _extreme(x, dim, keepdim, _AMAX, MAXIMUM)


@numpy_names
def amin(x: Tensor, dim: Dims = None, keepdim: bool = False) -> Tensor:
    """Return the smallest value over dimensions; equal ones share the gradient.

    Parameters
    ----------
    x : Tensor
    dim : int or sequence of int, optional
        All dimensions by default.
    keepdim : bool
        Keep the reduced dimensions, with size 1.

    Returns
    -------
    Tensor

    Raises
    ------
    IndexError
        If a reduced dimension has size 0.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> rt.amin(rt.tensor([[1.0, 2.0], [3.0, 0.0]]), dim=1).tolist()
    [1.0, 0.0]
    """
    return _extreme(x, dim, keepdim, _AMIN, MINIMUM)


# ---------------------------------------------------------------------------------------- values and indices

_PICK = Op(
    "max",
    lambda g, _out, _x, index, shape, axis, keepdim: scatter_into_zeros(
        g if keepdim or not shape else np.expand_dims(g, axis),
        unwrap(index).reshape([1 if i == axis else n for i, n in enumerate(shape)]),
        shape,
        axis,
    ),
)


_ARGMAX = Reduction(np.ndarray.argmax, np.argmax)
_ARGMIN = Reduction(np.ndarray.argmin, np.argmin)


def _along(
    x: Tensor, dim: int, keepdim: bool, name: str, reduction: Reduction, argument: Reduction
) -> ValuesIndices:
    array = array_of(x)
    axis = normalize_dim(dim, array.ndim)
    if array.ndim == 0:
        zero = np.zeros_like(array, np.int64)
        return ValuesIndices(record(_PICK, array.copy(), (x,), zero, (), 0, True), wrap(zero.copy()))
    _check_nonempty(name, array, (axis,))
    way = 0 if type(array) is np.ndarray else 1
    values = modes.quiet(reduction[way], array, axis, keepdims=keepdim)
    index = argument[way](array, axis)
    indices = wrap(kept(index, (axis,), False) if keepdim else index)
    return ValuesIndices(record(_PICK, values, (x,), indices, array.shape, axis, keepdim), indices)


@numpy_names
def max(x: Tensor, dim: Any = None, keepdim: bool = False) -> Any:
    """Return the largest of all values, or the largest along one dimension with its index.

    Parameters
    ----------
    x : Tensor
    dim : int, optional
        The dimension. A Tensor here means `maximum`.
    keepdim : bool
        Keep the dimension, with size 1.

    Returns
    -------
    Tensor, or named tuple (values, indices) of Tensor
        Without `dim`, equal elements share the gradient; with it, the first of them gets all of it.

    Raises
    ------
    IndexError
        If a reduced dimension has size 0.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> values, indices = rt.max(rt.tensor([[1.0, 2.0], [3.0, 0.0]]), dim=1)
    >>> values.tolist(), indices.tolist()
    ([2.0, 3.0], [1, 0])
    """
    if dim is None:
        return _extreme(x, None, False, _MAX_OF_ALL, MAXIMUM)
    if isinstance(dim, Recorded):
        return maximum(x, dim)  # type: ignore[arg-type]
    return _along(x, dim, keepdim, "max", MAXIMUM, _ARGMAX)


@numpy_names
def min(x: Tensor, dim: Any = None, keepdim: bool = False) -> Any:
    """Return the smallest of all values, or the smallest along one dimension with its index.

    Parameters
    ----------
    x : Tensor
    dim : int, optional
        The dimension. A Tensor here means `minimum`.
    keepdim : bool
        Keep the dimension, with size 1.

    Returns
    -------
    Tensor, or named tuple (values, indices) of Tensor
        Without `dim`, equal elements share the gradient; with it, the first of them gets all of it.

    Raises
    ------
    IndexError
        If a reduced dimension has size 0.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> rt.min(rt.tensor([4.0, 2.0, 3.0]), dim=0).indices.item()
    1
    """
    if dim is None:
        return _extreme(x, None, False, _MIN_OF_ALL, MINIMUM)
    if isinstance(dim, Recorded):
        return minimum(x, dim)  # type: ignore[arg-type]
    return _along(x, dim, keepdim, "min", MINIMUM, _ARGMIN)


# --------------------------------------------------------------------------------------------------- indices


def _argument(name: str, function: Any, x: Tensor, dim: int | None, keepdim: bool) -> Tensor:
    array = array_of(x)
    axis = None if dim is None else normalize_dim(dim, array.ndim)
    _check_nonempty(name, array, tuple(range(array.ndim)) if axis is None else (axis,))
    if array.ndim == 0:
        return wrap(np.zeros_like(array, np.int64))
    return wrap(function(array, axis=axis, keepdims=keepdim))


@numpy_names
def argmax(x: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """Return the index of the largest value, in the flattened tensor or along a dimension.

    Parameters
    ----------
    x : Tensor
    dim : int, optional
    keepdim : bool
        Keep the dimension, with size 1.

    Returns
    -------
    Tensor
        int64; the first one of equal values.

    Raises
    ------
    IndexError
        If a reduced dimension has size 0.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> rt.argmax(rt.tensor([[1.0, 5.0], [7.0, 0.0]]), dim=1).tolist()
    [1, 0]
    """
    return _argument("argmax", np.argmax, x, dim, keepdim)


@numpy_names
def argmin(x: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """Return the index of the smallest value, in the flattened tensor or along a dimension.

    Parameters
    ----------
    x : Tensor
    dim : int, optional
    keepdim : bool
        Keep the dimension, with size 1.

    Returns
    -------
    Tensor
        int64; the first one of equal values.

    Raises
    ------
    IndexError
        If a reduced dimension has size 0.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> rt.argmin(rt.tensor([[1.0, 5.0], [7.0, 0.0]]), dim=1).tolist()
    [0, 1]
    """
    return _argument("argmin", np.argmin, x, dim, keepdim)
