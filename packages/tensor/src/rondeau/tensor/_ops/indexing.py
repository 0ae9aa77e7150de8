"""Reading and writing parts of a tensor by slices, integers and masks, and the sums that are their derivatives."""

from __future__ import annotations

import operator
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from rondeau.kernels.checks import checked_indices
from rondeau.kernels.errors import ArgumentTypeError
from rondeau.kernels.ops import scatter as compiled_scatter
from rondeau.kernels.ops.arrays import scatter as arrays_scatter
from rondeau.kernels.ops.sums import total
from rondeau.kernels.runtime.caller import warn_caller
from rondeau.kernels.runtime.devices import is_array, is_of_device, library_of, zeros
from rondeau.kernels.runtime.transfers import on_host
from rondeau.tensor._arguments import array_of, described, plain_array
from rondeau.tensor._backward import sum_to
from rondeau.tensor._graph import Op, Recorded, record, unwrap, wrap
from rondeau.tensor._ops._operands import as_tensor, different_devices, where_kept
from rondeau.tensor._views import record_view

if TYPE_CHECKING:
    from rondeau.tensor._tensor import Tensor

# -------------------------------------------------------------------------------------------------- an index

_BASIC = frozenset((int, slice, type(None), type(Ellipsis)))
_BESIDE_ARRAYS = frozenset((int, bool, type(Ellipsis)))  # NumPy reads these in its own way next to arrays
_ALL = slice(None)

Index = tuple[Any, ...]


def steps_of(index: Any, ndim: int) -> tuple[Any, Any]:
    """Split an index into `ndim` dimensions into a basic index, and then one with arrays; either may be None.

    The basic index, of integers, slices and None, shows the same memory. Next to an array, NumPy also takes an integer
    or a boolean as an array, and it moves the axes of arrays to the front if anything separates them, even an Ellipsis
    that stands for no dimension. PyTorch applies the integers first, and they play no part in that; so here they go
    into a separate first step.

    Examples
    --------
    >>> steps_of((0, slice(1)), 2)
    ((0, slice(None, 1, None)), None)
    >>> steps_of((0, slice(1), [1, 0]), 3)
    ((0, slice(None, 1, None), slice(None, None, None)), (slice(None, None, None), array([1, 0])))
    """
    if type(index) in _BASIC:
        return index, None
    parts = index if isinstance(index, tuple) else (index,)
    for part in parts:
        if type(part) not in _BASIC:
            break
    else:
        return index, None
    parts = tuple([_part(part) for part in parts])
    if isinstance(index, list) and _is_nested(index):
        warn_caller(
            "a list of lists or tensors as index is read as one array, as in NumPy, where PyTorch still reads a tuple: "
            "write x[tuple(index)] or x[tensor(index)] to say which is meant"
        )
    kinds = {type(part) for part in parts}
    if kinds <= _BASIC:
        return parts, None
    if kinds.isdisjoint(_BESIDE_ARRAYS):
        return None, parts if isinstance(index, tuple) else parts[0]
    return _integers_first(parts, ndim)


def _integers_first(parts: Index, ndim: int) -> tuple[Index, Index]:
    """Split an index with arrays into one with everything else, and then one with only the arrays."""
    first: list[Any] = []
    then: list[Any] = []
    for part in parts:
        if part is Ellipsis:
            rest = [_ALL] * (ndim - sum(_dimensions_read(p) for p in parts))
            first += rest
            then += rest
        elif is_array(part):
            first += [_ALL] * _dimensions_read(part)
            then.append(part)
        elif isinstance(part, bool):  # a 0-d mask: all of a new dimension of size 1, or nothing
            first.append(None)
            then.append(np.zeros(int(part), np.int64))
        else:
            first.append(part)
            if type(part) is not int:
                then.append(_ALL)
    return tuple(first), tuple(then)


def _dimensions_read(part: Any) -> int:
    """Return the number of dimensions of the tensor that a part of an index covers."""
    if is_array(part):
        return part.ndim if part.dtype.kind == "b" else 1
    return 0 if part is None or part is Ellipsis or isinstance(part, bool) else 1


def _part(part: Any) -> Any:
    """Return one part of an index as an integer, boolean, slice, None, Ellipsis or array of integers or booleans.

    A tensor of zero dimensions becomes a number, for which the program waits if it is on a GPU.

    Raises
    ------
    IndexError
        If it is none of these.
    """
    if type(part) in _BASIC or isinstance(part, bool):
        return part
    if isinstance(part, Recorded):
        array = part._array
    elif is_array(part) or isinstance(part, np.generic):
        array = part
    elif isinstance(part, (list, tuple, range)):
        array = _listed(part)
    else:
        try:
            return operator.index(part)
        except TypeError:
            raise IndexError(f"{_INDEXED_BY}, got {described(part)}") from None
    kind = array.dtype.kind
    if kind not in "biu":
        raise IndexError(f"{_INDEXED_BY}, got values of {array.dtype}")
    if array.dtype == np.uint8 and is_array(array):
        warn_caller(
            "an index of uint8 is read as a mask, as in PyTorch, where NumPy reads integers: convert it with .bool() "
            "or .long() to say which is meant"
        )
        array = array != 0
        kind = "b"
    if array.ndim == 0:
        number = on_host(array)
        return bool(number) if kind == "b" else int(number)
    return array.copy()  # backward reads it, and the caller may change it first


_INDEXED_BY = "a tensor is indexed by integers, slices, None, ..., masks and arrays of integers"


def _listed(values: Any) -> Any:
    """Return a sequence in an index, possibly nested, as an array."""
    array = plain_array(_unwrapped(values))
    return array if array.size else array.astype(np.int64)


def _unwrapped(value: Any) -> Any:
    """Return nested sequences with their tensors replaced by arrays of the host."""
    return [_unwrapped(v) for v in value] if isinstance(value, (list, tuple)) else on_host(unwrap(value))


def _is_nested(values: list[Any]) -> bool:
    return any(isinstance(v, (list, tuple, Recorded)) or is_array(v) for v in values)


def index_for(array: Any, arrays: Any) -> Any:
    """Return an index with arrays as one for `array`: on its device, where no index can be out of range.

    NumPy checks integers and the shapes of masks when it reads; CuPy would wrap integers around. Those that come from
    the host are checked there, and masks of the host become integers, whose number is known without a wait.

    Raises
    ------
    IndexError
        If an integer is out of range or a mask has another shape; for integers on the device when a value is next read.
    ValueError
        If the index is on a device and `array` is not.
    """
    parts = arrays if isinstance(arrays, tuple) else (arrays,)
    if type(array) is np.ndarray:
        if of_device := [part for part in parts if is_of_device(part)]:
            raise different_devices(array, *of_device)
        return arrays
    read = sum(map(_dimensions_read, parts))
    if read > array.ndim:
        raise IndexError(f"an index of {read} dimensions is too long for a tensor of {array.ndim} dimensions")
    found = []
    dim = 0
    for part in parts:
        if is_array(part):
            sizes = array.shape[dim : dim + _dimensions_read(part)]
            found += _mask(part, sizes) if part.dtype.kind == "b" else [_in_range(part, sizes[0])]
        else:
            found.append(part)
        dim += _dimensions_read(part)
    library = library_of(array)
    found = [library.asarray(part) if type(part) is np.ndarray else part for part in found]
    return tuple(found) if isinstance(arrays, tuple) or len(found) > 1 else found[0]


def _mask(mask: Any, sizes: tuple[int, ...]) -> list[Any]:
    if mask.shape != sizes:
        raise IndexError(f"a mask of shape {mask.shape} does not fit dimensions of shape {sizes}")
    return [mask] if is_of_device(mask) else list(mask.nonzero())


def _in_range(index: Any, size: int) -> Any:
    """Return integers that index a dimension, without negative ones; see `checked_indices`."""
    index = index.astype(np.int64, copy=False)  # a short type may not hold the size
    return checked_indices(np.where(index < 0, index + size, index), size, partial(_out_of_range, size))


def _out_of_range(size: int, wrong: Any) -> IndexError:
    index = int(on_host(wrong))
    given = index - size if index < 0 else index
    return IndexError(f"index {given} is out of range for a dimension of size {size}")


# --------------------------------------------------------------------------------------------------- reading


def _put_slice(g: Any, index: Any, shape: tuple[int, ...]) -> Any:
    """Return zeros of `shape` with `g` at a basic index."""
    if isinstance(g, Recorded):
        return record(_PUT_SLICE, _put_slice(g._array, index, shape), (g,), index)  # type: ignore[arg-type]
    total = zeros(shape, g.dtype, g)
    total[index] = g
    return total


def _add_slice(total: Any, g: Any, _out: Any, _x: Any, _show: Any, index: Any, _shape: Any) -> None:
    part = total[index]
    part += g


_PUT_SLICE = Op("put_slice", lambda g, _out, _x, index: g[index])
_SLICE = Op(
    "getitem",
    lambda g, _out, _x, _show, index, shape: _put_slice(g, index, shape),
    view=True,
    add_into=_add_slice,
)


def _repeats(index: Any) -> bool:
    """Return whether an index may read an element twice; masks do not."""
    parts = index if isinstance(index, tuple) else (index,)
    return any(is_array(p) and p.dtype.kind != "b" for p in parts)


def scatter(g: Any, index: Any, shape: tuple[int, ...]) -> Any:
    """Return zeros of `shape` with `g` added at an index with integer arrays or masks."""
    if isinstance(g, Recorded):
        return record(_SCATTER, scatter(g._array, index, shape), (g,), index)  # type: ignore[arg-type]
    total = zeros(shape, g.dtype, g)
    _add_scattered(total, g, None, None, index, shape)
    return total


def _add_scattered(total: Any, g: Any, _out: Any, _x: Any, index: Any, _shape: Any) -> None:
    if type(total) is not np.ndarray:
        arrays_scatter.add_at(total, index, g)  # also for masks: to read and to write would wait twice
    elif not _repeats(index):
        total[index] += g
    elif isinstance(index, np.ndarray) and total.ndim > 1:
        add_rows(total, index, g)
    else:
        np.add.at(total, index, g)


#: The number of elements from which the compiled scatter is worth its call; both add in the same order.
_COMPILED_FROM = 4096


def add_rows(total: Any, index: Any, g: Any) -> None:
    """Add ``g[i]`` to ``total[index[i]]`` in place, in ascending order of i, so that repeated indices add up."""
    if g.size >= _COMPILED_FROM and total.dtype.name in ("float32", "float64") and total.flags.c_contiguous:
        rows = np.where(index < 0, index + total.shape[0], index).reshape(-1).astype(np.int64, copy=False)
        compiled_scatter.add_rows(g.reshape(rows.size, -1), rows, total.reshape(total.shape[0], -1))
    else:
        np.add.at(total, index, g)


_SCATTER = Op("scatter", lambda g, _out, _x, index: _taken(g, index))


def _taken(g: Any, index: Any) -> Any:
    return take(g, index) if isinstance(g, Recorded) else g[index]  # type: ignore[arg-type]


_TAKE = Op("getitem", lambda g, _out, _x, index, shape: scatter(g, index, shape), add_into=_add_scattered)


def _show_part(index: Any, x: Any) -> Any:
    return x[index]


def getitem(x: Tensor, index: Any) -> Tensor:
    """Return ``x[index]``.

    Parameters
    ----------
    x : Tensor
    index : int, slice, None, ..., integer array or Tensor, boolean mask, list, or a tuple of them
        A list, even a list of lists, is one array. An array of uint8 is a mask.

    Returns
    -------
    Tensor
        Integers and slices share memory with `x`; arrays, masks and lists copy. Where an index repeats, the
        gradients of its copies add up. The order of dimensions is PyTorch's: next to arrays, integers are applied
        first. On a GPU the program waits for the size of what a mask reads, and for a tensor of zero dimensions as
        index.

    Raises
    ------
    IndexError
        If an index is of a type that cannot be one, or out of range; where integers of a GPU are, when a value is next
        read from there.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> x = rt.tensor([1.0, 2.0, 3.0], requires_grad=True)
    >>> x[[0, 0, 2]].sum().backward()
    >>> x.grad.tolist()
    [2.0, 0.0, 1.0]
    """
    index, arrays = steps_of(index, x._array.ndim)
    if arrays is not None:
        x = x if index is None else getitem(x, index)
        array = x._array
        if type(array) is not np.ndarray:
            arrays = index_for(array, arrays)
        try:
            return record(_TAKE, array[arrays], (x,), arrays, array.shape)
        except TypeError:
            index_for(array, arrays)  # which refuses an index on a device
            raise
    array = x._array
    result = array[index]
    if isinstance(result, np.generic):
        whole = index if isinstance(index, tuple) else (index,)
        index = whole if ... in whole else (*whole, ...)
        result = array[index]
    return record_view(_SLICE, result, x, partial(_show_part, index), index, array.shape)


def take(x: Tensor, index: Any) -> Tensor:
    """Return ``x[index]`` for an index with arrays, on the device of `x` and in range, which nobody changes."""
    return record(_TAKE, x._array[index], (x,), index, x._array.shape)


def masked_select(x: Tensor, mask: Any) -> Tensor:
    """Return the elements where a mask is true, in one dimension.

    On a GPU the program waits for their number.

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

    On a GPU the program waits for their number.

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
    """Return `g` with zeros at an index."""
    if isinstance(g, Recorded):
        keep = np.ones_like(g._array, np.bool_)
        put(keep, index, False)
        return np.where(keep, g, 0.0)  # type: ignore[call-overload]
    kept = np.copy(g)
    put(kept, index, 0)
    return kept


def put(array: Any, index: Any, value: Any) -> None:
    """Do ``array[index] = value``; for one value and a mask of a GPU without a wait for the number of its elements."""
    if _is_mask_of_a_device(index) and np.ndim(value) == 0:
        np.copyto(array, value, where=_everywhere(index, array.shape))
    else:
        array[index] = value


def _is_mask_of_a_device(index: Any) -> bool:
    return is_of_device(index) and index.dtype.kind == "b"


def _everywhere(mask: Any, shape: tuple[int, ...]) -> Any:
    """Return a mask of the first dimensions of a shape as one of all."""
    return np.broadcast_to(mask.reshape(mask.shape + (1,) * (len(shape) - mask.ndim)), shape)


def _written(g: Any, index: Any, shape: tuple[int, ...]) -> Any:
    """Return the gradient of an assigned value: the part that was written, in the shape of the value."""
    if not shape and _is_mask_of_a_device(index):  # without a wait for the size of that part
        return total(where_kept(g, _everywhere(index, g.shape)))
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
