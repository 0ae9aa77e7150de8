"""Views with another shape, which share memory wherever NumPy can return a view.

Each view is a function in NumPy's vocabulary, ``show(x)``, which runs on arrays; it runs on tensors if a gradient is
itself recorded, or if a view that was changed in place is taken again from its base.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from rondeau.kernels.errors import ArgumentValueError
from rondeau.tensor._arguments import Shape, array_of, integers, shape_of, sizes
from rondeau.tensor._backward import sum_to
from rondeau.tensor._graph import Op, record
from rondeau.tensor._ops._aliases import numpy_names
from rondeau.tensor._ops._dims import axes_of, normalize_dim, normalize_dims
from rondeau.tensor._views import record_view

if TYPE_CHECKING:
    from rondeau.tensor._tensor import Tensor

# --------------------------------------------------------------------------------------------------- reshape

_RESHAPE = Op("reshape", lambda g, _out, _x, _show, shape: np.reshape(g, shape), view=True)
_RESHAPE_COPY = Op("reshape", lambda g, _out, _x, shape: np.reshape(g, shape))


def _reshape_to(shape: Shape, x: Any) -> Any:
    return np.reshape(x, shape)


def reshape(x: Tensor, *shape: Any) -> Tensor:
    """Return the same elements in another shape, sharing memory if the strides allow it.

    Parameters
    ----------
    x : Tensor
    *shape : int, or one sequence of int
        One size may be -1, which is inferred from the others.

    Returns
    -------
    Tensor

    Raises
    ------
    TypeError
        If a size is not an integer.
    ValueError
        If the number of elements differs, or a size is below -1.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> rt.reshape(rt.arange(6), (2, -1)).tolist()
    [[0, 1, 2], [3, 4, 5]]
    """
    target = sizes(shape)
    try:
        array = x._array
        result = array.reshape(target)
        # If the shapes differ, a size was inferred, and NumPy infers any negative size.
        if result.shape != target and -1 not in target:
            shape_of(target, least=-1)
    except (AttributeError, TypeError, ValueError) as error:
        array = array_of(x)
        target = shape_of(target, least=-1)
        raise ArgumentValueError(
            f"cannot reshape a tensor of shape {array.shape} ({array.size} elements) to {target}"
        ) from error
    base = result.base
    if base is not array and (base is None or base is not array.base):
        return record(_RESHAPE_COPY, result, (x,), array.shape)
    return record_view(_RESHAPE, result, x, partial(_reshape_to, result.shape), array.shape)


def flatten(x: Tensor, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    """Return `x` with a range of dimensions merged into one.

    Parameters
    ----------
    x : Tensor
    start_dim, end_dim : int
        The first and last dimension of the range.

    Returns
    -------
    Tensor
        With at least one dimension.

    Raises
    ------
    ValueError
        If the range is empty.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> rt.flatten(rt.zeros(2, 3, 4), start_dim=1).shape
    (2, 12)
    """
    shape = array_of(x).shape
    first, last = normalize_dim(start_dim, len(shape)), normalize_dim(end_dim, len(shape))
    if first > last:
        raise ArgumentValueError(f"flatten: start_dim {start_dim} comes after end_dim {end_dim}")
    return reshape(x, (*shape[:first], math.prod(shape[first : last + 1]), *shape[last + 1 :]))


@numpy_names
def unflatten(x: Tensor, dim: int, sizes: Sequence[int]) -> Tensor:
    """Return `x` with one dimension split into several.

    Parameters
    ----------
    x : Tensor
    dim : int
    sizes : sequence of int
        Their product must be the size of `dim`; one may be -1.

    Returns
    -------
    Tensor

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> rt.unflatten(rt.zeros(2, 12), 1, (3, 4)).shape
    (2, 3, 4)
    """
    shape = array_of(x).shape
    axis = normalize_dim(dim, len(shape))
    wanted = shape_of((integers(sizes, "sizes"),), "sizes", least=-1)
    known = math.prod(s for s in wanted if s != -1)
    inner = tuple(shape[axis] // (known or 1) if s == -1 else s for s in wanted)
    return reshape(x, (*shape[:axis], *inner, *shape[axis + 1 :]))


@numpy_names
def squeeze(x: Tensor, dim: int | Sequence[int] | None = None) -> Tensor:
    """Return `x` without dimensions of size 1.

    Parameters
    ----------
    x : Tensor
    dim : int or sequence of int, optional
        Only these; a dimension of another size is kept.

    Returns
    -------
    Tensor
        Sharing memory with `x`.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> rt.squeeze(rt.zeros(1, 3, 1)).shape, rt.squeeze(rt.zeros(1, 3, 1), 0).shape
    ((3,), (3, 1))
    """
    shape = array_of(x).shape
    dropped = () if isinstance(dim, tuple) and not dim else normalize_dims(dim, len(shape))
    return reshape(x, tuple(n for i, n in enumerate(shape) if n != 1 or i not in dropped))


@numpy_names
def unsqueeze(x: Tensor, dim: int) -> Tensor:
    """Return `x` with a dimension of size 1 inserted.

    Parameters
    ----------
    x : Tensor
    dim : int
        The position of the new dimension.

    Returns
    -------
    Tensor
        Sharing memory with `x`.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> rt.unsqueeze(rt.zeros(3), -1).shape
    (3, 1)
    """
    shape = array_of(x).shape
    axis = normalize_dim(dim, len(shape) + 1)
    return reshape(x, (*shape[:axis], 1, *shape[axis:]))


# --------------------------------------------------------------------------------------------------- permute

_PERMUTE = Op("permute", lambda g, _out, _x, _show, back: np.transpose(g, back), view=True)


def _permute_to(order: Shape, x: Any) -> Any:
    return np.transpose(x, order)


def permute(x: Tensor, *dims: Any) -> Tensor:
    """Return `x` with its dimensions in another order.

    Parameters
    ----------
    x : Tensor
    *dims : int, or one sequence of int
        The new order, with every dimension once.

    Returns
    -------
    Tensor
        Sharing memory with `x`.

    Raises
    ------
    ValueError
        If a dimension is missing or named twice.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> rt.permute(rt.zeros(2, 3, 4), (2, 0, 1)).shape
    (4, 2, 3)
    """
    ndim = array_of(x).ndim
    given = sizes(dims)
    order = tuple(normalize_dim(d, ndim) for d in given) if ndim else ()
    if sorted(order) != list(range(ndim)):
        raise ArgumentValueError(
            f"permute needs each of the {ndim} dimensions of shape {x._array.shape} once, got {given}"
        )
    back = tuple(sorted(range(ndim), key=order.__getitem__))
    return record_view(_PERMUTE, x._array.transpose(order), x, partial(_permute_to, order), back)


_REVERSE = Op("permute", lambda g, _out, _x, _show: np.transpose(g), view=True)


def reverse(x: Tensor) -> Tensor:
    """Return `x` with its dimensions in reverse order, ``x.T``."""
    return record_view(_REVERSE, array_of(x).T, x, np.transpose)


def transpose(x: Tensor, dim0: int, dim1: int) -> Tensor:
    """Return `x` with two dimensions swapped.

    Parameters
    ----------
    x : Tensor
    dim0, dim1 : int

    Returns
    -------
    Tensor
        Sharing memory with `x`.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> rt.transpose(rt.zeros(2, 3, 4), 0, -1).shape
    (4, 3, 2)
    """
    ndim = array_of(x).ndim
    order = list(range(ndim))
    i, j = normalize_dim(dim0, ndim), normalize_dim(dim1, ndim)
    if ndim:
        order[i], order[j] = j, i
    return permute(x, order)


def t(x: Tensor) -> Tensor:
    """Return the transpose of a matrix; a tensor of fewer dimensions is returned as it is.

    Parameters
    ----------
    x : Tensor
        With at most two dimensions.

    Returns
    -------
    Tensor
        Sharing memory with `x`.

    Raises
    ------
    ValueError
        If it has more dimensions.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> rt.t(rt.zeros(2, 3)).shape
    (3, 2)
    """
    ndim = array_of(x).ndim
    if ndim > 2:
        raise ArgumentValueError(
            f"t() is for at most 2 dimensions, this tensor has shape {x._array.shape}: use transpose()"
        )
    return permute(x, tuple(reversed(range(ndim))))


def movedim(x: Tensor, source: int, destination: int) -> Tensor:
    """Return `x` with one dimension moved and the others in their original order.

    Parameters
    ----------
    x : Tensor
    source, destination : int

    Returns
    -------
    Tensor
        Sharing memory with `x`.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> rt.movedim(rt.zeros(2, 3, 4), 0, -1).shape
    (3, 4, 2)
    """
    ndim = array_of(x).ndim
    order = list(range(ndim))
    first, last = normalize_dim(source, ndim), normalize_dim(destination, ndim)
    if ndim:
        order.insert(last, order.pop(first))
    return permute(x, order)


# ---------------------------------------------------------------------------------------------------- expand

_EXPAND = Op("expand", lambda g, _out, _x, _show, shape: sum_to(g, shape), view=True)


def _expand_to(shape: Shape, x: Any) -> Any:
    return np.broadcast_to(x, shape)


def _broadcast_view(array: Any, shape: Shape) -> Any:
    """Do as ``np.broadcast_to`` does, at a quarter of its cost if the memory has no gaps."""
    if type(array) is not np.ndarray or not array.flags.c_contiguous or not array.size:
        return np.broadcast_to(array, shape)
    extra = len(shape) - array.ndim
    strides = [0] * extra
    for size, old, stride in zip(shape[extra:], array.shape, array.strides, strict=True):
        strides.append(stride if size == old else 0)
    view: Any = np.ndarray(shape, array.dtype, array, 0, strides)
    view.flags.writeable = False
    return view


def expand(x: Tensor, *shape: Any) -> Tensor:
    """Return `x` repeated along dimensions of size 1, without copying.

    Parameters
    ----------
    x : Tensor
    *shape : int, or one sequence of int
        The new sizes; dimensions may be added in front, and -1 keeps a size.

    Returns
    -------
    Tensor
        A view that cannot be changed in place: its elements share memory.

    Raises
    ------
    ValueError
        If a size other than 1 would change.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> rt.expand(rt.tensor([[1.0], [2.0]]), -1, 3).tolist()
    [[1.0, 1.0, 1.0], [2.0, 2.0, 2.0]]
    """
    array = array_of(x)
    wanted = shape_of(shape, least=-1)
    extra = len(wanted) - array.ndim
    target = list(wanted)
    fits = extra >= 0 and -1 not in wanted[:extra]
    if fits:
        for i, old in enumerate(array.shape, extra):
            if target[i] == -1:
                target[i] = old
            elif old not in (1, target[i]):
                fits = False
    if not fits:
        raise ArgumentValueError(
            f"cannot expand a tensor of shape {array.shape} to {wanted}: only sizes of 1 stretch, "
            "new dimensions come first"
        )
    return record_view(
        _EXPAND, _broadcast_view(array, tuple(target)), x, partial(_expand_to, tuple(target)), array.shape
    )


def broadcast_to(x: Tensor, shape: Sequence[int]) -> Tensor:
    """Return `x` expanded to a shape; the same as `expand`.

    Parameters
    ----------
    x : Tensor
    shape : sequence of int

    Returns
    -------
    Tensor

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> rt.broadcast_to(rt.tensor([1.0, 2.0]), (2, 2)).tolist()
    [[1.0, 2.0], [1.0, 2.0]]
    """
    return expand(x, shape_of((shape,)))


# ----------------------------------------------------------------------------------- copies: flip and repeat

_FLIP = Op("flip", lambda g, _out, _x, axes: np.flip(g, axes))


def flip(x: Tensor, dims: int | Sequence[int]) -> Tensor:
    """Return a copy with the order along dimensions reversed.

    Parameters
    ----------
    x : Tensor
    dims : int or sequence of int

    Returns
    -------
    Tensor

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> rt.flip(rt.tensor([1, 2, 3]), 0).tolist()
    [3, 2, 1]
    """
    axes = () if isinstance(dims, Sequence) and not len(dims) else axes_of(dims, array_of(x).ndim)
    return record(_FLIP, np.flip(x._array, axes).copy(), (x,), axes)


def repeat(x: Tensor, *repeats: Any) -> Tensor:
    """Return copies of `x` side by side.

    Parameters
    ----------
    x : Tensor
    *repeats : int, or one sequence of int
        The number of repeats along each dimension; dimensions may be added in front.

    Returns
    -------
    Tensor

    Raises
    ------
    ValueError
        If there are fewer numbers than dimensions.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> rt.repeat(rt.tensor([1, 2]), 2, 2).tolist()
    [[1, 2, 1, 2], [1, 2, 1, 2]]
    """
    counts = shape_of(repeats, "repeats")
    extra = len(counts) - array_of(x).ndim
    if extra < 0:
        raise ArgumentValueError(
            f"repeat needs a number for each dimension of shape {x._array.shape}, got {counts}"
        )
    shape = (1,) * extra + x._array.shape
    spread = reshape(x, tuple(n for size in shape for n in (1, size)))
    spread = expand(
        spread, tuple(n for count, size in zip(counts, shape, strict=True) for n in (count, size))
    )
    return reshape(spread, tuple(count * size for count, size in zip(counts, shape, strict=True)))
