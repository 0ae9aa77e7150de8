"""Sums over one row of a matrix, which several kernels share.

Reassociation lets LLVM sum in the lanes of a vector. The order differs from that in the source, but it is always the
same for rows of the same length, whichever thread takes them.

In a single chain the rounding error of a lane grows with the row: to 6e-7 of the sum of a million elements, and 1e-5 of
ten million. So a long row is summed in blocks, and the sums of the blocks are added in float64. The functions for a
short row are those for a block: a kernel chooses once per matrix, because a choice in every row would cost more than
the sum of a short one.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from rondeau.kernels.runtime.compiling import linked_njit

__all__ = ["BLOCK", "LONG", "SHORT", "Sums", "sum_of"]

BLOCK = 1024
"""Elements of a block, and of the longest short row: a vector lane adds at most 64 of them."""

_summing = linked_njit(fastmath={"contract", "reassoc"})


@_summing
def _sum_of_block(row):  # type: ignore[no-untyped-def]
    total = row.dtype.type(0)
    for c in range(row.size):
        total += row[c]
    return total


@_summing
def _sum_of_squares_of_block(row, centre):  # type: ignore[no-untyped-def]
    total = row.dtype.type(0)
    for c in range(row.size):
        total += (row[c] - centre) * (row[c] - centre)
    return total


@_summing
def _sum_of_products_of_block(a, b):  # type: ignore[no-untyped-def]
    total = a.dtype.type(0)
    for c in range(a.size):
        total += a[c] * b[c]
    return total


@linked_njit
def sum_of(row):  # type: ignore[no-untyped-def]
    """Return the sum of a row of any length, shape (C,)."""
    total = np.float64(0)
    for first in range(0, row.size, BLOCK):
        total += _sum_of_block(row[first : first + BLOCK])
    return row.dtype.type(total)


@linked_njit
def _sum_of_squares(row, centre):  # type: ignore[no-untyped-def]
    total = np.float64(0)
    for first in range(0, row.size, BLOCK):
        total += _sum_of_squares_of_block(row[first : first + BLOCK], centre)
    return row.dtype.type(total)


@linked_njit
def _sum_of_products(a, b):  # type: ignore[no-untyped-def]
    total = np.float64(0)
    for first in range(0, a.size, BLOCK):
        total += _sum_of_products_of_block(a[first : first + BLOCK], b[first : first + BLOCK])
    return a.dtype.type(total)


class Sums(NamedTuple):
    """Compiled functions for rows of one kind: `SHORT`, of at most `BLOCK` elements, or `LONG`."""

    of: Callable[..., Any]
    """The sum of a row, shape (C,)."""
    of_squares: Callable[..., Any]
    """The sum of (row - centre)^2, of a row and its centre."""
    of_products: Callable[..., Any]
    """The sum of a b, of two rows."""


SHORT = Sums(_sum_of_block, _sum_of_squares_of_block, _sum_of_products_of_block)
LONG = Sums(sum_of, _sum_of_squares, _sum_of_products)
