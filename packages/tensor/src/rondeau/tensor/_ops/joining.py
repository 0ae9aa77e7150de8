"""Joining tensors, and splitting them into pieces."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from rondeau.kernels.errors import ArgumentTypeError, ArgumentValueError
from rondeau.tensor._arguments import array_of, described, integer, integers
from rondeau.tensor._dtypes import promote
from rondeau.tensor._graph import Op, record
from rondeau.tensor._ops._aliases import numpy_names
from rondeau.tensor._ops._dims import normalize_dim
from rondeau.tensor._ops._operands import as_tensor, cast, on_one_device

if TYPE_CHECKING:
    from rondeau.tensor._tensor import Tensor


def _pieces(g: Any, axis: int, lengths: Sequence[int | None]) -> list[Any]:
    """Split into pieces of the given lengths; None is an empty vector, which took no part."""
    pieces, start = [], 0
    for n in lengths:
        if n is None:
            pieces.append(g.reshape(-1)[:0])
            continue
        pieces.append(g[(slice(None),) * axis + (slice(start, start + n),)])
        start += n
    return pieces


_CAT = Op("cat", lambda g, _out, axis, lengths: _pieces(g, axis, lengths), joint=True)
_STACK = Op(
    "stack", lambda g, _out, axis, count: [g[(slice(None),) * axis + (i,)] for i in range(count)], joint=True
)


def _common(tensors: Sequence[Any], name: str) -> tuple[tuple[Tensor, ...], list[Any]]:
    """Return tensors in their common type, and their arrays."""
    if not isinstance(tensors, (tuple, list)):
        try:
            tensors = tuple(tensors)
        except TypeError:
            raise ArgumentTypeError(f"{name} needs a sequence of tensors, got {described(tensors)}") from None
    found = tuple([as_tensor(x) for x in tensors])
    if not found:
        raise ArgumentValueError(f"{name} needs at least one tensor")
    arrays = [x._array for x in found]
    dtype = arrays[0].dtype
    if [a for a in arrays if a.dtype is not dtype]:
        for a in arrays[1:]:
            dtype = promote(dtype, a.dtype)
        found = tuple([cast(x, dtype) for x in found])
        arrays = [x._array for x in found]
    return found, arrays


@numpy_names
def cat(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """Return tensors joined along an existing dimension.

    Parameters
    ----------
    tensors : sequence of Tensor
        Equal in all other dimensions.
    dim : int

    Returns
    -------
    Tensor
        With the common type.

    Raises
    ------
    ValueError
        If there are no tensors, or their shapes do not match.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> rt.cat([rt.tensor([1, 2]), rt.tensor([3])]).tolist()
    [1, 2, 3]
    """
    found, arrays = _common(tensors, "cat")
    # PyTorch accepts an empty vector next to tensors of any shape.
    joined, shapes = arrays, [a.shape for a in arrays]
    if (0,) in shapes:
        joined = [a for a in arrays if a.shape != (0,)] or arrays[:1]
    if joined[0].ndim == 0:
        raise ArgumentValueError("cat needs tensors of at least one dimension: use stack() for numbers")
    axis = normalize_dim(dim, joined[0].ndim)
    try:
        result = _joined(joined, axis)
    except TypeError:  # of arrays on different devices
        return cat(on_one_device(*found), dim)
    except ValueError as error:
        raise ArgumentValueError(
            f"cat along dim {dim}: all other sizes must be equal, got {[a.shape for a in joined]}"
        ) from error
    lengths = [None if shape == (0,) else shape[axis] for shape in shapes]
    return record(_CAT, result, found, axis, lengths)


def _joined(arrays: Sequence[Any], axis: int) -> Any:
    """Concatenate into C order, as PyTorch does, so that a reshape of the result shares its memory."""
    result = np.concatenate(arrays, axis)  # in the memory order that all arrays share
    return result if result.flags.c_contiguous else result.copy()


@numpy_names
def stack(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """Return tensors of the same shape joined along a new dimension.

    Parameters
    ----------
    tensors : sequence of Tensor
    dim : int
        The position of the new dimension.

    Returns
    -------
    Tensor
        With the common type.

    Raises
    ------
    ValueError
        If there are no tensors, or their shapes differ.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> rt.stack([rt.tensor([1, 2]), rt.tensor([3, 4])], dim=1).tolist()
    [[1, 3], [2, 4]]
    """
    found, arrays = _common(tensors, "stack")
    shape = arrays[0].shape
    if [a.shape for a in arrays] != [shape] * len(arrays):
        raise ArgumentValueError(f"stack needs tensors of the same shape, got {[a.shape for a in arrays]}")
    axis = normalize_dim(dim, len(shape) + 1)
    place = (slice(None),) * axis + (None,)
    try:
        result = _joined([a[place] for a in arrays], axis)
    except TypeError:  # of arrays on different devices
        return stack(on_one_device(*found), dim)
    return record(_STACK, result, found, axis, len(arrays))


@numpy_names
def split(x: Tensor, split_size: int | Sequence[int], dim: int = 0) -> tuple[Tensor, ...]:
    """Return consecutive pieces along a dimension.

    Parameters
    ----------
    x : Tensor
    split_size : int or sequence of int
        The size of every piece (the last may be smaller), or a list of sizes.
    dim : int

    Returns
    -------
    tuple of Tensor
        Sharing memory with `x`.

    Raises
    ------
    ValueError
        If the sizes are not positive or do not add up.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> [p.tolist() for p in rt.split(rt.arange(5), 2)]
    [[0, 1], [2, 3], [4]]
    """
    axis = normalize_dim(dim, array_of(x).ndim)
    if x._array.ndim == 0:
        raise ArgumentValueError("split needs a tensor of at least one dimension")
    total = x._array.shape[axis]
    if not isinstance(split_size, (tuple, list)):
        size = integer(split_size, "split_size, if it is not a sequence of integers,")
        if size <= 0:
            raise ArgumentValueError(f"split_size must be positive, got {size}")
        lengths = [min(size, total - i) for i in range(0, total, size)] or [0]
    else:
        lengths = list(integers(split_size, "split_size"))
        if sum(lengths) != total or any(n < 0 for n in lengths):
            raise ArgumentValueError(f"split sizes {lengths} must add up to the size {total} of dim {dim}")
    return tuple(_pieces(x, axis, lengths))


@numpy_names
def chunk(x: Tensor, chunks: int, dim: int = 0) -> tuple[Tensor, ...]:
    """Return at most `chunks` consecutive pieces of equal size along a dimension; the last may be smaller.

    Parameters
    ----------
    x : Tensor
    chunks : int
    dim : int

    Returns
    -------
    tuple of Tensor
        Sharing memory with `x`.

    Raises
    ------
    ValueError
        If `chunks` is not positive.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> [p.tolist() for p in rt.chunk(rt.arange(5), 2)]
    [[0, 1, 2], [3, 4]]
    """
    chunks = integer(chunks, "chunks")
    if chunks <= 0:
        raise ArgumentValueError(f"chunks must be positive, got {chunks}")
    shape = array_of(x).shape
    total = shape[normalize_dim(dim, len(shape))] if shape else 0
    size = -(-total // chunks)
    return split(x, size, dim) if size else split(x, [0] * chunks, dim)


@numpy_names
def unbind(x: Tensor, dim: int = 0) -> tuple[Tensor, ...]:
    """Return the slices along a dimension, which is removed.

    Parameters
    ----------
    x : Tensor
    dim : int

    Returns
    -------
    tuple of Tensor
        Sharing memory with `x`.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> [p.item() for p in rt.unbind(rt.tensor([1, 2]))]
    [1, 2]
    """
    axis = normalize_dim(dim, array_of(x).ndim)
    if x._array.ndim == 0:
        raise ArgumentValueError("unbind needs a tensor of at least one dimension")
    return tuple(x[(slice(None),) * axis + (i,)] for i in range(x._array.shape[axis]))
