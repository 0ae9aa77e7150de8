"""What the kernels over rows of a matrix have in common: sums of one row.

Reassociation lets LLVM sum in the lanes of a vector. The order is another than the source's, but always the same for
rows of one length, whichever thread takes them.
"""

from rondeau.kernels.compiling import kernel_njit

__all__ = ["sum_of", "sum_of_products", "sum_of_squares"]

_summing = kernel_njit(fastmath={"contract", "reassoc"})


@_summing
def sum_of(row):  # type: ignore[no-untyped-def]
    """Return the sum of `row`, shape (C,)."""
    total = row.dtype.type(0)
    for c in range(row.size):
        total += row[c]
    return total


@_summing
def sum_of_squares(row, centre):  # type: ignore[no-untyped-def]
    """Return the sum of (row - centre)^2 for `row` of shape (C,)."""
    total = row.dtype.type(0)
    for c in range(row.size):
        total += (row[c] - centre) * (row[c] - centre)
    return total


@_summing
def sum_of_products(a, b):  # type: ignore[no-untyped-def]
    """Return the sum of a b for rows of shape (C,)."""
    total = a.dtype.type(0)
    for c in range(a.size):
        total += a[c] * b[c]
    return total
