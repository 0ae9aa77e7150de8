"""Reading and writing parts of an array."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from . import interface
from .array import UndefinedResultError, lower, ndarray, undefined, wrap_array, writeable
from .transfers import note_wait


class _Index(NamedTuple):
    parts: tuple[Any, ...]  # as NumPy takes them
    arrays: bool  # whether one is an array, so that a read copies
    mask: bool


def get(array: ndarray, index: Any) -> ndarray:
    """Return ``array[index]``: a view, or a copy where an index is an array."""
    prepared = _prepare(index)
    if prepared.mask:
        note_wait("the number of True in a mask")
    storage = lower(array)
    try:
        # With an ellipsis, NumPy gives an array of zero dimensions where it else gives a number.
        found = storage[prepared.parts if Ellipsis in _plain(prepared.parts) else (*prepared.parts, Ellipsis)]
    except IndexError as error:
        raise _undefined(error, prepared) from error
    return wrap_array(found.copy()) if prepared.arrays else wrap_array(found, array)


def update(array: ndarray, index: Any, value: Any) -> None:
    """Set ``array[index]``."""
    prepared = _prepare(index)
    if prepared.mask:
        note_wait("the number of True in a mask")
    if not prepared.arrays:
        if isinstance(value, ndarray):
            _check_overlap(get(array, index), value)
            _assign(writeable(array), prepared, lower(value))
        else:
            get(array, index).fill(value)  # which refuses what has dimensions
        return
    if not isinstance(value, ndarray):
        from .functions import array as to_device

        value = to_device(value, dtype=array.dtype)
    storage = writeable(array)
    _assign(storage, prepared, lower(value))
    with np.errstate(all="ignore"):
        kept = storage[prepared.parts]
        of_value = lower(value).astype(storage.dtype)
        given = np.broadcast_to(
            of_value.reshape(of_value.shape[max(of_value.ndim - kept.ndim, 0) :]), kept.shape
        )
    if kept.tobytes() != given.tobytes():
        raise UndefinedResultError(
            "repeated indices are assigned different values; CuPy keeps any of them without an error "
            "(to add them up: cupyx.scatter_add)"
        )


def scatter(array: ndarray, index: Any, value: Any, ufunc: np.ufunc) -> None:
    """Apply an operation to elements, once for each time that an index names one; in any order, as atomics do."""
    prepared = _prepare(index)
    if prepared.mask:
        note_wait("the number of True in a mask")
    if not prepared.arrays:
        ufunc(get(array, index), value, out=get(array, index))
        return
    if array.dtype.char not in interface.ATOMICS[ufunc.__name__]:
        raise TypeError(f"cupy.{ufunc.__name__}.at does not support {array.dtype}")
    if not isinstance(value, ndarray):
        from .functions import array as to_device

        value = to_device(value, dtype=array.dtype)
    with np.errstate(all="ignore"):
        try:
            places = np.arange(array.size).reshape(array.shape)[prepared.parts]
        except IndexError as error:
            raise _undefined(error, prepared) from error
        given = np.broadcast_to(lower(value).astype(array.dtype), places.shape)
        order = _ORDERS.permutation(places.size)
        elements = np.unravel_index(places.reshape(-1)[order], array.shape)
        ufunc.at(writeable(array), elements, given.reshape(-1)[order])


_ORDERS = np.random.default_rng(0)


def _check_overlap(target: ndarray, value: ndarray) -> None:
    """Refuse what CuPy copies as memory that must not overlap; it takes care of all other overlaps."""
    as_memory = (target.shape, target.strides, target.dtype) == (value.shape, value.strides, value.dtype)
    shifted = target.data.ptr != value.data.ptr and np.may_share_memory(target._storage, value._storage)
    if as_memory and shifted and target.flags.c_contiguous:
        raise UndefinedResultError(
            "an array is assigned to another that overlaps it in the same memory; CuPy copies it without an error, in "
            "any order (assign a copy)"
        )


def _assign(storage: NDArray[Any], index: _Index, value: NDArray[Any]) -> None:
    try:
        with np.errstate(all="ignore"):
            storage[index.parts] = value
    except IndexError as error:
        raise _undefined(error, index) from error


def _prepare(index: Any) -> _Index:
    """Return an index for NumPy; lists and arrays of the host are sent to the device."""
    from .functions import array

    parts: list[Any] = []
    arrays = mask = False
    for part in index if isinstance(index, tuple) else (index,):
        if part is None or part is Ellipsis or isinstance(part, slice):
            parts.append(part)
            continue
        if isinstance(part, int | np.integer) and not isinstance(part, bool):
            parts.append(part)
            continue
        if not isinstance(part, ndarray):
            if isinstance(part, float | str | np.floating):
                raise IndexError(
                    "only integers, slices (`:`), ellipsis (`...`), numpy.newaxis (`None`) and integer or boolean "
                    "arrays are valid indices"
                )
            empty = isinstance(part, list | tuple) and np.size(part) == 0
            part = array(part, np.int32 if empty else None)
        if part.dtype.kind not in "biu":
            raise IndexError(
                f"arrays used as indices must be of integer or boolean type. (actual: {part.dtype.type})"
            )
        arrays = True
        mask |= part.dtype.kind == "b"
        parts.append(lower(part))
    return _Index(tuple(parts), arrays, mask)


def _plain(parts: tuple[Any, ...]) -> list[Any]:
    return [part for part in parts if not isinstance(part, np.ndarray)]


def _undefined(error: IndexError, index: _Index) -> Exception:
    return undefined(error) if index.arrays else error
