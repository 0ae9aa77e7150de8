"""Summing rows by id: the gradient of a table that was read by id."""

from typing import Any

import numpy as np
from numba import types
from numpy.typing import NDArray

from rondeau.kernels.checks import are_of_device, check_array, checked_indices, in_row_order
from rondeau.kernels.errors import ArgumentTypeError, ArgumentValueError
from rondeau.kernels.numerics.elements import ELEMENTS, Element
from rondeau.kernels.ops.arrays import scatter as arrays
from rondeau.kernels.runtime import threads
from rondeau.kernels.runtime.compiling import linked_njit
from rondeau.kernels.runtime.devices import is_writeable
from rondeau.kernels.runtime.shares import run_shares
from rondeau.kernels.runtime.signatures import INDICES, array_type, compiled_per_dtype

__all__ = ["add_rows"]

# Columns that a thread takes at a time, independent of the number of threads. Every element of the table belongs to one
# thread, which adds to it in a fixed order of rows, so the bits are the same for any number of threads.
_COLUMNS = 64

_PER_ELEMENT = 8
"""The cost of adding one element to memory, in multiply-adds."""


def _signature_of_adding(element: Element) -> Any:
    rows = array_type(element.dtype, 2)
    return types.void(rows, INDICES, rows, types.boolean)


@linked_njit
def _add_columns(rows, ids, table, descending, share, shares):  # type: ignore[no-untyped-def]
    first, last = np.uintp(share * _COLUMNS), np.uintp(min((share + 1) * _COLUMNS, table.shape[1]))
    for k in range(ids.size):
        n = ids.size - 1 - k if descending else k
        target = ids[n]
        for e in range(first, last):
            table[target, e] += rows[n, e]


@compiled_per_dtype(_signature_of_adding)
def _add_rows(rows, ids, table, descending):  # type: ignore[no-untyped-def]
    run_shares(_add_columns, (rows, ids, table, descending), (table.shape[1] + _COLUMNS - 1) // _COLUMNS)


def add_rows(
    rows: NDArray[Any], ids: NDArray[np.int64], table: NDArray[Any], *, descending: bool = False
) -> None:
    """Do ``table[ids[n]] += rows[n]`` for every n in ascending order, so that repeated ids add up.

    On a GPU they are added in another order, which depends on the ids alone: also there the bits are always the same.

    Parameters
    ----------
    rows : ndarray of float32 or float64, shape (N, E)
        Any strides.
    ids : ndarray of int64, shape (N,)
        In [0, V). They are checked here again: the caller may have checked them long before a backward pass.
    table : ndarray of shape (V, E)
        C-contiguous, of the dtype of `rows`; changed in place.
    descending : bool, default False
        Whether to add the last row first.

    Raises
    ------
    TypeError
        If an argument is not an array, or dtypes do not match.
    ValueError
        If shapes do not match, or the table is not writable and C-contiguous.
    IndexError
        If an id is outside the table, which is then unchanged.

    Examples
    --------
    >>> table = np.zeros((3, 1))
    >>> add_rows(np.array([[1.0], [2.0], [4.0]]), np.array([2, 0, 2]), table)
    >>> table.tolist()
    [[2.0], [0.0], [5.0]]
    """
    for name, array in (("rows", rows), ("ids", ids), ("table", table)):
        check_array(f"add_rows: {name}", array)
    if table.dtype not in ELEMENTS or rows.dtype != table.dtype or ids.dtype != np.int64:
        raise ArgumentTypeError(
            "add_rows: rows and table must both be float32 or both float64, and ids int64, got "
            f"{rows.dtype}, {table.dtype} and {ids.dtype}; convert with astype"
        )
    if ids.ndim != 1 or table.ndim != 2 or rows.shape != (ids.size, table.shape[1]):
        raise ArgumentValueError(
            "add_rows: rows, ids and table must have shapes (N, E), (N,) and (V, E), got "
            f"{rows.shape}, {ids.shape} and {table.shape}"
        )
    if not (is_writeable(table) and table.flags.c_contiguous):
        raise ArgumentValueError(
            "add_rows: table must be writable and C-contiguous, got one that is not; pass a copy"
        )
    ids = checked_indices(ids, len(table), lambda wrong: _out_of_range(wrong, len(table)))
    if are_of_device("add_rows", rows=rows, ids=ids, table=table):
        arrays.add_rows(rows, ids, table)
        return
    shares = threads.shares_of(_PER_ELEMENT * rows.size)
    aligned = table if table.flags.aligned else table.copy()  # a kernel takes aligned memory alone
    arguments = in_row_order(rows), in_row_order(ids), aligned, bool(descending)
    threads.launch(_add_rows[table.dtype], *arguments, shares=shares)
    if aligned is not table:
        table[...] = aligned


def _out_of_range(wrong: Any, number: int) -> IndexError:
    return IndexError(
        f"add_rows: id {wrong} is out of range for a table of {number} rows; if the ids were valid when they were "
        "passed, they have been changed since"
    )
