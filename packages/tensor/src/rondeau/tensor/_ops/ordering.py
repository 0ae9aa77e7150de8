"""Sorting, and the k largest elements."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from rondeau.kernels.errors import ArgumentValueError
from rondeau.tensor._arguments import array_of, integer
from rondeau.tensor._graph import wrap
from rondeau.tensor._ops._aliases import numpy_names
from rondeau.tensor._ops._dims import normalize_dim
from rondeau.tensor._ops.along_dim import take_along
from rondeau.tensor._ops.extremes import ValuesIndices
from rondeau.tensor._ops.indexing import getitem

if TYPE_CHECKING:
    from rondeau.tensor._tensor import Tensor


@numpy_names
def argsort(x: Tensor, dim: int = -1, descending: bool = False) -> Tensor:
    """Return the indices that sort `x` along a dimension; equal elements keep their order.

    Parameters
    ----------
    x : Tensor
    dim : int
    descending : bool

    Returns
    -------
    Tensor
        int64, of the shape of `x`.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> rt.argsort(rt.tensor([3.0, 1.0, 2.0])).tolist()
    [1, 2, 0]
    """
    array = array_of(x)
    axis = normalize_dim(dim, array.ndim)
    if array.ndim == 0:
        return wrap(np.zeros_like(array, np.int64))
    if not descending:
        return wrap(np.argsort(array, axis=axis, kind="stable"))
    reverse = np.argsort(np.flip(array, axis), axis=axis, kind="stable")
    return wrap(np.flip(array.shape[axis] - 1 - reverse, axis).copy())


@numpy_names
def sort(x: Tensor, dim: int = -1, descending: bool = False) -> ValuesIndices:
    """Return `x` sorted along a dimension, and the indices that sort it.

    Parameters
    ----------
    x : Tensor
    dim : int
    descending : bool

    Returns
    -------
    named tuple (values, indices) of Tensor

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> rt.sort(rt.tensor([3.0, 1.0, 2.0]), descending=True).values.tolist()
    [3.0, 2.0, 1.0]
    """
    indices = argsort(x, dim, descending)
    return ValuesIndices(_at(x, dim, indices), indices)


def _at(x: Tensor, dim: int, indices: Tensor) -> Tensor:
    """Return the elements at indices that `argsort` gave; they are copied, because the caller may change them."""
    if x._array.ndim == 0:
        return x.clone()
    return take_along(x, indices._array.copy(), normalize_dim(dim, x._array.ndim))


@numpy_names
def topk(x: Tensor, k: int, dim: int = -1, largest: bool = True) -> ValuesIndices:
    """Return the k largest (or smallest) elements along a dimension, sorted, and their indices.

    Parameters
    ----------
    x : Tensor
    k : int
    dim : int
    largest : bool

    Returns
    -------
    named tuple (values, indices) of Tensor

    Raises
    ------
    ValueError
        If there are fewer than `k` elements.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> rt.topk(rt.tensor([3.0, 1.0, 2.0]), 2).indices.tolist()
    [0, 2]
    """
    axis = normalize_dim(dim, array_of(x).ndim)
    k = integer(k, "k")
    size = x._array.shape[axis] if x._array.ndim else 1
    if not 0 <= k <= size:
        raise ArgumentValueError(f"topk: k must be between 0 and the size {size} of dim {dim}, got {k}")
    indices = argsort(x, dim, largest)
    kept = indices if x._array.ndim == 0 else getitem(indices, (slice(None),) * axis + (slice(k),)).clone()
    return ValuesIndices(_at(x, dim, kept), kept)
