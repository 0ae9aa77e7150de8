"""Reading and writing parts of a tensor by slices, integers and masks, and the sums that differentiate it."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from rondeau.kernels import scatter as compiled_scatter
from rondeau.kernels.errors import ArgumentTypeError
from rondeau.tensor._arguments import array_of, plain_array
from rondeau.tensor._backward import sum_to
from rondeau.tensor._graph import Op, Recorded, record, record_view, wrap
from rondeau.tensor._ops._operands import as_tensor, cast

if TYPE_CHECKING:
    from rondeau.tensor._tensor import Tensor

# -------------------------------------------------------------------------------------------------- an index

_BASIC = frozenset((int, slice, type(None), type(Ellipsis)))


def _part(index: Any) -> Any:
    """One entry of an index as NumPy takes it: tensors and lists as arrays, 0-d integers as Python's."""
    if isinstance(index, Recorded):
        index = index._array
    elif isinstance(index, list):
        index = plain_array([_part(i) for i in index]) if index else np.zeros(0, np.int64)
    elif isinstance(index, range):
        index = np.asarray(index)
    if isinstance(index, (np.ndarray, np.generic)):
        if index.dtype.kind not in "biu":
            raise IndexError(
                f"a tensor is indexed by integers, slices and masks, got values of {index.dtype}"
            )
        if index.ndim == 0 and index.dtype.kind != "b":
            return int(index)
        # Backward reads it: the caller may change his array before.
        index = index.copy()
    return index


def array_index(index: Any) -> tuple[Any, bool]:
    """Return an index as NumPy takes it, and whether it is basic: the result shows the same memory.

    Examples
    --------
    >>> array_index((0, slice(None)))
    ((0, slice(None, None, None)), True)
    """
    if type(index) in _BASIC:
        return index, True
    if isinstance(index, tuple):
        for part in index:
            if type(part) not in _BASIC:
                break
        else:
            return index, True
        parts = tuple([_part(part) for part in index])
        return parts, all(type(part) in _BASIC for part in parts)
    part = _part(index)
    return part, type(part) in _BASIC


def two_steps(index: Any, ndim: int) -> tuple[Any, Any] | None:
    """Return an index as one of integers and slices and then one of arrays, where NumPy would order axes otherwise.

    For NumPy an integer beside an array is an array too, and arrays that a slice separates move their axes to the
    front; in PyTorch integers take no part in that. None where both agree.

    Examples
    --------
    >>> two_steps((0, slice(None), np.array([1, 2])), 3)
    ((0, slice(None, None, None), slice(None, None, None)), (slice(None, None, None), array([1, 2])))
    """
    if not isinstance(index, tuple):
        return None
    placed = [i for i, part in enumerate(index) if isinstance(part, (int, np.ndarray))]
    integers = any(type(index[i]) is int for i in placed)
    if not integers or not placed or placed[-1] - placed[0] + 1 == len(placed):
        return None
    used = sum(part.ndim if _is_mask(part) else part is not None and part is not Ellipsis for part in index)
    first: list[Any] = []
    then: list[Any] = []
    for part in index:
        if part is Ellipsis:
            first += [slice(None)] * (ndim - used)
            then += [slice(None)] * (ndim - used)
        elif isinstance(part, np.ndarray):
            first += [slice(None)] * (part.ndim if _is_mask(part) else 1)
            then.append(part)
        else:
            first.append(part)
            if type(part) is not int:
                then.append(slice(None))
    return tuple(first), tuple(then)


def _is_mask(part: Any) -> bool:
    return isinstance(part, np.ndarray) and part.dtype.kind == "b"


# --------------------------------------------------------------------------------------------------- reading


def _put_slice(g: Any, index: Any, shape: tuple[int, ...]) -> Any:
    """Zeros of `shape` with `g` where a basic index reads."""
    if isinstance(g, Recorded):
        return record(_PUT_SLICE, _put_slice(g._array, index, shape), (g,), index)  # type: ignore[arg-type]
    total = np.zeros(shape, g.dtype)
    total[index] = g
    return total


def _add_slice(total: Any, g: Any, _out: Any, _x: Any, _show: Any, index: Any, _shape: Any) -> None:
    total[index] += g


_PUT_SLICE = Op("put_slice", lambda g, _out, _x, index: g[index])
_SLICE = Op(
    "getitem",
    lambda g, _out, _x, _show, index, shape: _put_slice(g, index, shape),
    view=True,
    add_into=_add_slice,
)


def _repeats(index: Any) -> bool:
    """Whether an index may read an element twice; masks do not."""
    parts = index if isinstance(index, tuple) else (index,)
    return any(isinstance(p, np.ndarray) and p.dtype.kind != "b" for p in parts)


def scatter(g: Any, index: Any, shape: tuple[int, ...]) -> Any:
    """Zeros of `shape`, with `g` added where an index with integer arrays or masks reads."""
    if isinstance(g, Recorded):
        return record(_SCATTER, scatter(g._array, index, shape), (g,), index)  # type: ignore[arg-type]
    total = np.zeros(shape, g.dtype)
    _add_scattered(total, g, None, None, index, shape)
    return total


def _add_scattered(total: Any, g: Any, _out: Any, _x: Any, index: Any, _shape: Any) -> None:
    if not _repeats(index):
        total[index] += g
    elif isinstance(index, np.ndarray) and total.ndim > 1:
        add_rows(total, index, g)
    else:
        np.add.at(total, index, g)


#: Elements from which the compiled scatter is worth its call; both add in the same order.
_COMPILED_FROM = 4096


def add_rows(total: Any, index: Any, g: Any) -> None:
    """Add ``g[i]`` to ``total[index[i]]`` in place, in ascending order of i, so that repeated indices add up."""
    if g.size >= _COMPILED_FROM and total.dtype.name in ("float32", "float64") and total.flags.c_contiguous:
        rows = np.where(index < 0, index + total.shape[0], index).reshape(-1).astype(np.int64, copy=False)
        compiled_scatter.add_rows(g.reshape(rows.size, -1), rows, total.reshape(total.shape[0], -1))
    else:
        np.add.at(total, index, g)


_SCATTER = Op("scatter", lambda g, _out, _x, index: g[index])
_TAKE = Op("getitem", lambda g, _out, _x, index, shape: scatter(g, index, shape), add_into=_add_scattered)


def _show_part(index: Any, x: Any) -> Any:
    return x[index]


def getitem(x: Tensor, index: Any) -> Tensor:
    """Return ``x[index]``.

    Parameters
    ----------
    x : Tensor
    index : int, slice, None, ..., integer array or Tensor, boolean mask, list, or a tuple of them

    Returns
    -------
    Tensor
        Integers and slices share memory with `x`; arrays, masks and lists copy. Where an index repeats, the
        gradients of its copies add up.

    Raises
    ------
    IndexError
        Out of range, or of a type that does not index.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> x = rt.tensor([1.0, 2.0, 3.0], requires_grad=True)
    >>> x[[0, 0, 2]].sum().backward()
    >>> x.grad.tolist()
    [2.0, 0.0, 1.0]
    """
    index, basic = array_index(index)
    array = x._array
    if not basic:
        steps = two_steps(index, array.ndim)
        if steps is not None:
            return getitem(getitem(x, steps[0]), steps[1])
        return record(_TAKE, array[index], (x,), index, array.shape)
    result = array[index]
    if type(result) is not np.ndarray:
        whole = index if isinstance(index, tuple) else (index,)
        index = whole if ... in whole else (*whole, ...)
        result = array[index]
    return record_view(_SLICE, result, x, partial(_show_part, index), index, array.shape)


def masked_select(x: Tensor, mask: Any) -> Tensor:
    """Return the elements where a mask holds, as one dimension.

    Parameters
    ----------
    x : Tensor
    mask : Tensor or ndarray of bool
        Broadcast with `x`.

    Returns
    -------
    Tensor
        Shape (n,).

    Raises
    ------
    TypeError
        If the mask is not boolean.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> rt.masked_select(rt.tensor([1, 2, 3]), rt.tensor([True, False, True])).tolist()
    [1, 3]
    """
    array = as_tensor(mask)._array
    if array.dtype.kind != "b":
        raise ArgumentTypeError(
            f"masked_select needs a boolean mask, got {array.dtype}: compare first, e.g. mask != 0"
        )
    shape = np.broadcast_shapes(array.shape, array_of(x).shape)
    return getitem(x.expand(shape), np.broadcast_to(array, shape))


def nonzero(x: Tensor) -> Tensor:
    """Return the indices of all elements that are not zero.

    Parameters
    ----------
    x : Tensor

    Returns
    -------
    Tensor
        int64 (n, ndim), in row-major order.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> rt.nonzero(rt.tensor([0, 3, 4])).tolist()
    [[1], [2]]
    """
    return wrap(np.argwhere(array_of(x)))


# --------------------------------------------------------------------------------------------------- writing


def _without(g: Any, index: Any) -> Any:
    """`g` with zeros where an index writes."""
    if isinstance(g, Recorded):
        keep = np.ones(g._array.shape, g._array.dtype)
        keep[index] = 0
        return g * keep
    kept = g.copy()
    kept[index] = 0
    return kept


def _written(g: Any, index: Any, shape: tuple[int, ...]) -> Any:
    """Return what the gradient of a written value gets: the part that was written, of the value's shape."""
    part = g[index]
    if part.shape == shape:
        return part
    extra = len(shape) - part.ndim
    if extra > 0:  # leading sizes of 1 that assignment drops
        return np.reshape(sum_to(part, shape[extra:]), shape)
    return sum_to(part, shape)


SETITEM = Op(
    "setitem",
    lambda g, _out, _x, _value, index, _shape: _without(g, index),
    lambda g, _out, _x, _value, index, shape: _written(g, index, shape),
)


def value_for(x: Tensor, value: Any) -> Tensor:
    """Return the value of an assignment into `x`, in its type.

    Raises
    ------
    RuntimeError
        If that would lose a fraction.
    """
    # Python's numbers are doubles until they are written: float32, their default, would round what float64 can hold.
    found = as_tensor(value if isinstance(value, (Recorded, np.ndarray)) else plain_array(value))
    if found._array.dtype.kind == "f" and x._array.dtype.kind != "f":
        if isinstance(value, Recorded) and found._node is not None:
            raise RuntimeError(f"cannot write a tensor that requires a gradient into one of {x._array.dtype}")
        return wrap(found._array.astype(x._array.dtype))
    return cast(found, x._array.dtype)
