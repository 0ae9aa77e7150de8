"""Reading and adding to the parts of a tensor at an index along one dimension."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from rondeau.kernels.checks import checked_indices
from rondeau.kernels.errors import ArgumentTypeError, ArgumentValueError
from rondeau.kernels.runtime.devices import is_of_device, library_of
from rondeau.kernels.runtime.transfers import on_device_of
from rondeau.tensor._arguments import array_of
from rondeau.tensor._ops._aliases import numpy_names
from rondeau.tensor._ops._dims import normalize_dim
from rondeau.tensor._ops._operands import as_tensor, different_devices
from rondeau.tensor._ops.arithmetic import add
from rondeau.tensor._ops.indexing import getitem, scatter, take

if TYPE_CHECKING:
    from rondeau.tensor._tensor import Tensor

_largest: Any = np.maximum.reduce


def _index_array(name: str, index: Any, x: Any, axis: int) -> Any:
    """Return indices along a dimension of an array, on its device; see `checked_indices`."""
    array = as_tensor(index)._array.copy()  # backward reads it, and the caller may change it first
    if array.dtype.kind not in "iu":
        raise ArgumentTypeError(f"{name} needs integers as index, got {array.dtype}")
    size = x.shape[axis] if x.ndim else 1
    if is_of_device(array):
        if not is_of_device(x):
            raise different_devices(x, array)
        return checked_indices(array, size, lambda wrong: _out_of_range(name, wrong, size))
    # Read as unsigned, a negative index is larger than any size.
    unsigned = array if array.dtype.kind == "u" else array.view(f"u{array.itemsize}")
    if array.size and _largest(unsigned, None) >= size:
        wrong = array[(array < 0) | (array >= size)].flat[0]
        raise _out_of_range(name, wrong, size)
    array = array.astype(np.intp) if array.dtype == np.uint8 else array  # `x[index]` reads uint8 as a mask
    return on_device_of(x, array)


def _out_of_range(name: str, wrong: Any, size: int) -> IndexError:
    return IndexError(f"{name}: index {wrong} is out of range for a dimension of size {size}")


@numpy_names
def index_select(x: Tensor, dim: int, index: Any) -> Tensor:
    """Return the slices of `x` at `index` along a dimension.

    Parameters
    ----------
    x : Tensor
    dim : int
    index : Tensor, ndarray or sequence of int
        Shape (n,); where an index repeats, gradients add up.

    Returns
    -------
    Tensor
        With size n along `dim`.

    Raises
    ------
    IndexError
        If an index is out of range.
    TypeError
        If the index does not consist of integers.
    ValueError
        If it has more than one dimension, or for a tensor without dimensions other than one element.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> rt.index_select(rt.tensor([[1, 2], [3, 4]]), 1, rt.tensor([1, 1])).tolist()
    [[2, 2], [4, 4]]
    """
    axis = normalize_dim(dim, array_of(x).ndim)
    found = _index_array("index_select", index, x._array, axis)
    if found.ndim > 1:
        raise ArgumentValueError(f"index_select needs an index of one dimension, got shape {found.shape}")
    if x._array.ndim == 0:
        if found.size != 1:
            raise ArgumentValueError(
                f"index_select of a tensor without dimensions needs an index of one element, got {found.size}"
            )
        return take(x.reshape(1), found.reshape(1)).reshape(())
    found = found.reshape(-1)
    return take(x, found if axis == 0 else (slice(None),) * axis + (found,))


def _grid(index: Any, axis: int) -> tuple[Any, ...]:
    """Return the index that reads an element for each entry of `index`, at its own position except in `axis`."""
    arange, ndim = library_of(index).arange, index.ndim
    return tuple(
        [
            index if i == axis else arange(n).reshape((1,) * i + (n,) + (1,) * (ndim - 1 - i))
            for i, n in enumerate(index.shape)
        ]
    )


@numpy_names
def gather(x: Tensor, dim: int, index: Any) -> Tensor:
    """Return the elements of `x` at `index` along a dimension, for example ``x[index[i, j], j]`` for dim 0.

    Parameters
    ----------
    x : Tensor
    dim : int
    index : Tensor or ndarray of int
        As many dimensions as `x`, none larger except `dim`.

    Returns
    -------
    Tensor
        With the shape of `index`.

    Raises
    ------
    IndexError
        If an index is out of range.
    TypeError
        If the index does not consist of integers.
    ValueError
        If the shapes do not match.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> rt.gather(rt.tensor([[1.0, 2.0], [3.0, 4.0]]), 1, rt.tensor([[1], [0]])).tolist()
    [[2.0], [3.0]]
    """
    shape = array_of(x).shape
    axis = normalize_dim(dim, len(shape))
    found = _index_array("gather", index, x._array, axis)
    _check_along("gather", found.shape, shape, axis)
    if not shape:
        return x.clone()
    return take_along(x, found, axis)


def take_along(x: Tensor, index: Any, axis: int) -> Tensor:
    """Do as `gather` does, for an array that is as `take` needs it."""
    return take(x, _grid(index, axis))


def _check_along(name: str, index: tuple[int, ...], shape: tuple[int, ...], axis: int) -> None:
    if len(index) != len(shape) or any(
        n > m for i, (n, m) in enumerate(zip(index, shape, strict=True)) if i != axis
    ):
        raise ArgumentValueError(
            f"{name}: an index of shape {index} does not fit a tensor of shape {shape}: it needs as many dimensions, "
            f"none larger except dim {axis}"
        )


@numpy_names
def scatter_add(x: Tensor, dim: int, index: Any, src: Tensor) -> Tensor:
    """Return `x` with the elements of `src` added at `index` along a dimension; this is the derivative of `gather`.

    Parameters
    ----------
    x : Tensor
    dim : int
    index : Tensor or ndarray of int
        As many dimensions as `x` and `src`.
    src : Tensor
        Of the type of `x`, at least as large as `index`.

    Returns
    -------
    Tensor
        With the shape of `x`.

    Raises
    ------
    IndexError, TypeError, ValueError
        As for `gather`.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> rt.scatter_add(rt.zeros(3), 0, rt.tensor([0, 0, 2]), rt.ones(3)).tolist()
    [2.0, 0.0, 1.0]
    """
    shape = array_of(x).shape
    axis = normalize_dim(dim, len(shape))
    found = _index_array("scatter_add", index, x._array, axis)
    _check_along("scatter_add", found.shape, shape, axis)
    _check_along("scatter_add", found.shape, array_of(src, "src").shape, -1)
    part = getitem(src, tuple(slice(n) for n in found.shape))
    return add(x, part if not shape else scatter(part, _grid(found, axis), shape))


@numpy_names
def index_add(x: Tensor, dim: int, index: Any, source: Tensor) -> Tensor:
    """Return `x` with the slices of `source` added at `index` along a dimension.

    Parameters
    ----------
    x : Tensor
    dim : int
    index : Tensor, ndarray or sequence of int
        Shape (n,); may repeat.
    source : Tensor
        Like `x`, with size n along `dim`.

    Returns
    -------
    Tensor
        With the shape of `x`.

    Raises
    ------
    IndexError
        If an index is out of range.
    TypeError
        If the index does not consist of integers.
    ValueError
        If the index does not have one dimension, or `source` has the wrong shape.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> rt.index_add(rt.zeros(2, 1), 0, rt.tensor([1, 1]), rt.ones(2, 1)).tolist()
    [[0.0], [2.0]]
    """
    shape = array_of(x).shape
    axis = normalize_dim(dim, len(shape))
    found = _index_array("index_add", index, x._array, axis)
    wanted = (*shape[:axis], found.size, *shape[axis + 1 :])
    came = array_of(source, "source").shape
    if not shape or found.ndim != 1 or came != wanted:
        raise ArgumentValueError(
            f"index_add: with a tensor of shape {shape} and an index of shape {found.shape} along dimension {axis} the "
            f"source must have shape {wanted}, and all three one dimension or more; got {came}"
        )
    where = found if axis == 0 else (*(slice(None),) * axis, found)
    return add(x, scatter(source, where, shape))


def scatter_into_zeros(g: Any, index: Any, shape: tuple[int, ...], axis: int) -> Any:
    """Zeros of `shape` with `g` at one place along `axis` each; for an array or a tensor."""
    if not shape:
        return g
    return scatter(g, _grid(index, axis), shape)
