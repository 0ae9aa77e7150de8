"""Rows added up by id: the gradient of a table that was read by id."""

from typing import Any

import numpy as np
from numba import prange
from numpy.typing import NDArray

from rondeau.kernels import threads
from rondeau.kernels.cache import cached_njit

__all__ = ["add_rows"]

# Columns that a thread takes: a cut that does not depend on the number of threads. Every element of the table is one
# thread's, which adds to it in ascending order of rows, so the bits are the same for any number of threads.
_COLUMNS = 64


@cached_njit(parallel=True)
def _add_rows(rows, ids, table):  # type: ignore[no-untyped-def]
    E = table.shape[1]
    for share in prange((E + _COLUMNS - 1) // _COLUMNS):
        first, last = share * _COLUMNS, min((share + 1) * _COLUMNS, E)
        for n in range(ids.size):
            row, target = rows[n, first:last], table[ids[n], first:last]
            for e in range(last - first):
                target[e] += row[e]


def add_rows(rows: NDArray[Any], ids: NDArray[np.int64], table: NDArray[Any]) -> None:
    """Do ``table[ids[n]] += rows[n]`` for every n in ascending order, so that repeated ids add up.

    Parameters
    ----------
    rows : ndarray of shape (N, E)
        Any strides.
    ids : ndarray of int64, shape (N,)
        In [0, V): the caller has checked them.
    table : ndarray of shape (V, E)
        C-contiguous, of the dtype of `rows`; changed in place.

    Examples
    --------
    >>> table = np.zeros((3, 1))
    >>> add_rows(np.array([[1.0], [2.0], [4.0]]), np.array([2, 0, 2]), table)
    >>> table.tolist()
    [[2.0], [0.0], [5.0]]
    """
    threads.launch(_add_rows, np.ascontiguousarray(rows), np.ascontiguousarray(ids), table)
