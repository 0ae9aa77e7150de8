"""The array program of `rondeau.kernels.ops.scatter`."""

from typing import Any

import numpy as np

from rondeau.kernels.runtime.devices import is_array, is_of_device, library_of

__all__ = ["add_at", "add_rows"]

_LEAST_ATOMIC = 4
"""The bytes of the smallest integer that a GPU adds in one piece."""


def add_at(target: Any, indices: Any, values: Any) -> None:
    """Do ``target[indices[n]] += values[n]`` for every n, so that repeated indices add up.

    On a GPU an array of integers is added as by `add_rows`, always with the same bits. With any other index the
    elements are added in no fixed order, so the last bits of their sums may differ from run to run.

    Parameters
    ----------
    target : array
        Changed in place.
    indices : array of integers, or any index with arrays
        In range of the target.
    values : array of the target's dtype, that broadcasts to the shape of ``target[indices]``

    Examples
    --------
    >>> target = np.zeros(3)
    >>> add_at(target, np.array([2, 0, 2]), np.array([1.0, 2.0, 4.0]))
    >>> target.tolist()
    [2.0, 0.0, 5.0]
    """
    if is_of_device(target) and target.dtype.kind in "biu" and target.dtype.itemsize < _LEAST_ATOMIC:
        sums = np.zeros_like(target, np.int64)
        add_at(sums, indices, values.astype(np.int64))
        target += sums.astype(target.dtype)
    elif is_of_device(target) and is_array(indices) and indices.dtype.kind in "iu":
        values = np.broadcast_to(values, (*indices.shape, *target.shape[1:]))
        if values.size:
            ids = np.where(indices < 0, indices + len(target), indices).reshape(-1)
            target += _sums(values.reshape(ids.size, -1), ids, len(target)).reshape(target.shape)
    else:
        library_of(target).add.at(target, indices, values)


def add_rows(rows: Any, ids: Any, table: Any) -> None:
    """Add the rows to the table, those of an id in an order that depends on the ids alone."""
    if rows.size:
        table += _sums(rows, ids, len(table))


def _sums(rows: Any, ids: Any, count: int) -> Any:
    """Return the sum of the rows of each id below ``count``; the arguments have a row at least.

    Atomic additions, which CuPy has, would come in any order. Here the rows are sorted by id, and a scan adds to each
    row the one before it, then what that has two rows before, four rows before, and so on, as long as the id is the
    same. So the last row of an id has the sum of all, added in pairs of pairs; nothing waits for the numbers of rows.

    Hillis, Steele, "Data parallel algorithms" (1986).
    """
    order = np.argsort(ids, kind="stable")
    ids, sums = ids[order], rows[order]
    distance = 1
    while distance < len(ids):
        same = ids[distance:] == ids[:-distance]
        earlier = np.where(same[:, None], sums[:-distance], 0)
        sums = np.concatenate((sums[:distance], sums[distance:] + earlier))
        distance *= 2
    every = library_of(ids).arange(count)
    last = np.maximum(np.searchsorted(ids, every, side="right") - 1, 0)
    return np.where((ids[last] == every)[:, None], sums[last], 0)
