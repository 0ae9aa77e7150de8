"""The largest element and the average of windows on planes, and their adjoints.

Legend: M planes (samples times channels); H, W rows and columns of the input, P, Q of the output.
A plane is the work of one thread from its first element to its last: the bits are the same for any number of threads.
"""

import numpy as np
from numba import prange

from rondeau.kernels.runtime.compiling import cached_njit, kernel_njit

__all__ = ["average", "largest", "put", "spread", "take"]


@kernel_njit
def _inside(start, dilation, count, size):  # type: ignore[no-untyped-def]
    """Give the first i, and the one after the last below `count`, for which start + i * dilation is in [0, size)."""
    low, high = 0, count
    if start < 0:  # a division only at the edges, where it is needed
        low = min(count, (dilation - 1 - start) // dilation)
    if start + (count - 1) * dilation >= size:
        high = max(low, (size - 1 - start) // dilation + 1)
    return low, high


@cached_njit(parallel=True)
def largest(x, window, y, indices):  # type: ignore[no-untyped-def]
    """Find the largest element of every window, the first of equal ones; a NaN counts as the largest.

    Parameters
    ----------
    x : ndarray of shape (M, H, W)
        Planes, in row order.
    window : Window
        See `convolution`. Every window has an element on the plane; what lies beside it does not count.
    y : ndarray of shape (M, P, Q)
        Written: the elements.
    indices : ndarray of int64, shape (M, P, Q)
        Written: where they are, row * W + column.
    """
    M, H, W = x.shape
    P, Q = y.shape[1:]
    for m in prange(M):
        plane = x[m].reshape(H * W)
        for p in range(P):
            row = p * window.row_stride - window.top
            first_i, last_i = _inside(row, window.row_dilation, window.rows, H)
            for q in range(Q):
                column = q * window.column_stride - window.left
                first_j, last_j = _inside(column, window.column_dilation, window.columns, W)
                index = (row + first_i * window.row_dilation) * W + column + first_j * window.column_dilation
                found = plane[index]
                for i in range(first_i, last_i):
                    start = (row + i * window.row_dilation) * W + column
                    for j in range(first_j, last_j):
                        at = start + j * window.column_dilation
                        value = plane[at]
                        # Chosen, not branched to: which element is larger is no guess for a processor.
                        larger = (value > found) | (value != value)
                        found = value if larger else found
                        index = at if larger else index
                y[m, p, q], indices[m, p, q] = found, index


@cached_njit(parallel=True)
def take(planes, indices, values):  # type: ignore[no-untyped-def]
    """Read what lies at the indices of every plane.

    Parameters
    ----------
    planes : ndarray of shape (M, H * W)
        In row order.
    indices : ndarray of int64, shape (M, P * Q)
        In [0, H * W).
    values : ndarray of shape (M, P * Q)
        Written.
    """
    M, L = values.shape
    for m in prange(M):
        for at in range(L):
            values[m, at] = planes[m, indices[m, at]]


@cached_njit(parallel=True)
def put(values, indices, planes):  # type: ignore[no-untyped-def]
    """Add up values at the indices of every plane, and 0 elsewhere: the adjoint of `take`, with its arguments.

    Parameters
    ----------
    values, indices
        As in `take`; read.
    planes
        As in `take`; written.
    """
    M, L = values.shape
    for m in prange(M):
        planes[m] = 0
        for at in range(L):
            planes[m, indices[m, at]] += values[m, at]


@cached_njit(parallel=True)
def average(x, first_row, last_row, first_column, last_column, divisor, y):  # type: ignore[no-untyped-def]
    """Compute the sum of every window, divided by its divisor.

    Parameters
    ----------
    x : ndarray of shape (M, H, W)
        Planes, in row order.
    first_row, last_row : ndarray of int64, shape (P,)
        Rows of the windows: the first, and the one after the last.
    first_column, last_column : ndarray of int64, shape (Q,)
        Columns of the windows.
    divisor : ndarray of shape (P, Q)
        Of the dtype of `x`.
    y : ndarray of shape (M, P, Q)
        Written.
    """
    M = x.shape[0]
    P, Q = divisor.shape
    for m in prange(M):
        for p in range(P):
            for q in range(Q):
                total = np.float64(0)  # a window may be a whole picture
                for row in range(first_row[p], last_row[p]):
                    for column in range(first_column[q], last_column[q]):
                        total += x[m, row, column]
                y[m, p, q] = total / np.float64(divisor[p, q])


@cached_njit(parallel=True)
def spread(y, first_row, last_row, first_column, last_column, divisor, x):  # type: ignore[no-untyped-def]
    """Add y / divisor to all elements of each window: the adjoint of `average`, with its arguments.

    Parameters
    ----------
    y, first_row, last_row, first_column, last_column, divisor
        As in `average`; read.
    x
        As in `average`; written.
    """
    M = x.shape[0]
    P, Q = divisor.shape
    for m in prange(M):
        x[m] = 0
        for p in range(P):
            for q in range(Q):
                share = y[m, p, q] / divisor[p, q]
                for row in range(first_row[p], last_row[p]):
                    for column in range(first_column[q], last_column[q]):
                        x[m, row, column] += share
