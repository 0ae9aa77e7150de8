"""Rows added up by id: the gradient of a table that was read by id."""

from typing import Any

import numpy as np
from numba import prange
from numpy.typing import NDArray

from rondeau.kernels.errors import ArgumentTypeError, ArgumentValueError
from rondeau.kernels.numerics.elements import ELEMENTS
from rondeau.kernels.runtime import threads
from rondeau.kernels.runtime.compiling import cached_njit

__all__ = ["add_rows"]

# Columns that a thread takes: a cut that does not depend on the number of threads. Every element of the table is one
# thread's, which adds to it in one order of rows, so the bits are the same for any number of threads.
_COLUMNS = 64

_PER_ELEMENT = 8
"""Multiply-adds that take as long as adding one element to memory."""


@cached_njit(parallel=True)
def _add_rows(rows, ids, table, descending):  # type: ignore[no-untyped-def]
    E = table.shape[1]
    for share in prange((E + _COLUMNS - 1) // _COLUMNS):
        first, last = share * _COLUMNS, min((share + 1) * _COLUMNS, E)
        for k in range(ids.size):
            n = ids.size - 1 - k if descending else k
            row, target = rows[n, first:last], table[ids[n], first:last]
            for e in range(last - first):
                target[e] += row[e]


def add_rows(
    rows: NDArray[Any], ids: NDArray[np.int64], table: NDArray[Any], *, descending: bool = False
) -> None:
    """Do ``table[ids[n]] += rows[n]`` for every n in ascending order, so that repeated ids add up.

    Parameters
    ----------
    rows : ndarray of float32 or float64, shape (N, E)
        Any strides.
    ids : ndarray of int64, shape (N,)
        In [0, V). Checked here as well: a caller may have checked them long before a backward pass gets here.
    table : ndarray of shape (V, E)
        C-contiguous, of the dtype of `rows`; changed in place.
    descending : bool, default False
        Add the last row first.

    Raises
    ------
    TypeError
        If an argument is no array, or dtypes do not fit.
    ValueError
        If shapes do not fit, or the table is not writable and C-contiguous.
    IndexError
        If an id is outside the table; the table is as it was.

    Examples
    --------
    >>> table = np.zeros((3, 1))
    >>> add_rows(np.array([[1.0], [2.0], [4.0]]), np.array([2, 0, 2]), table)
    >>> table.tolist()
    [[2.0], [0.0], [5.0]]
    """
    for name, array in (("rows", rows), ("ids", ids), ("table", table)):
        if not isinstance(array, np.ndarray):
            raise ArgumentTypeError(
                f"add_rows expected {name} to be a numpy array, got {type(array).__name__}"
            )
    ids = np.ascontiguousarray(ids) if ids.ndim else ids
    if table.dtype not in ELEMENTS or rows.dtype != table.dtype or ids.dtype != np.int64:
        raise ArgumentTypeError(
            "add_rows expected rows and table both float32 or both float64, and ids of int64, got "
            f"{rows.dtype}, {table.dtype} and {ids.dtype}; convert with astype"
        )
    if ids.ndim != 1 or table.ndim != 2 or rows.shape != (ids.size, table.shape[1]):
        raise ArgumentValueError(
            "add_rows expected rows (N, E), ids (N,) and a table (V, E), got "
            f"{rows.shape}, {ids.shape} and {table.shape}"
        )
    if not (table.flags.c_contiguous and table.flags.writeable):
        raise ArgumentValueError(
            "add_rows expected a writable table in row order, got one that is not; pass a copy"
        )
    if ids.size and not (ids.min() >= 0 and ids.max() < len(table)):
        wrong = ids[(ids < 0) | (ids >= len(table))][0]
        raise IndexError(
            f"add_rows: id {wrong} is out of range for a table of {len(table)} rows; if the ids were good when "
            "they were given, they have been changed since"
        )
    shares = threads.shares_of(_PER_ELEMENT * rows.size)
    threads.launch(_add_rows, np.ascontiguousarray(rows), ids, table, bool(descending), shares=shares)
