"""Layer normalisation of rows, and its gradients.

Legend: N rows, C columns; x (N, C) input, w and b (C,) weight and bias, y (N, C) output, mean and rstd (N,) per row.
A row, and in `backward_parameters` a column, is the work of one thread from end to end: the bits are the same for any
number of threads.
"""

import math

import numpy as np
from numba import prange

from rondeau.kernels.compiling import cached_njit
from rondeau.kernels.rows import sum_of, sum_of_products, sum_of_squares

__all__ = ["backward_input", "backward_parameters", "forward"]

# Rows and columns that a thread takes at a time: cuts that do not depend on the number of threads.
_ROWS = 32
_COLUMNS = 64


@cached_njit(parallel=True)
def forward(x, w, b, eps, y, mean, rstd):  # type: ignore[no-untyped-def]
    """Compute y = (x - mean) rstd w + b, with rstd = 1 / sqrt(mean of (x - mean)^2 + eps).

    Parameters
    ----------
    x : ndarray of shape (N, C)
        Input, C at least 1.
    w, b : ndarray of shape (C,)
        Weight and bias.
    eps : scalar
        Of the dtype of `x`.
    y : ndarray of shape (N, C)
        Written.
    mean, rstd : ndarray of shape (N,)
        Written.
    """
    N, C = x.shape
    one = mean.dtype.type(1)
    width = mean.dtype.type(C)
    for share in prange((N + _ROWS - 1) // _ROWS):
        for n in range(share * _ROWS, min((share + 1) * _ROWS, N)):
            row, out = x[n], y[n]
            centre = sum_of(row) / width
            scale = one / math.sqrt(sum_of_squares(row, centre) / width + eps)
            mean[n], rstd[n] = centre, scale
            for c in range(C):
                out[c] = (row[c] - centre) * scale * w[c] + b[c]


@cached_njit(parallel=True)
def backward_input(dy, x, w, mean, rstd, dx):  # type: ignore[no-untyped-def]
    """Compute dx = rstd (h - mean of h - z mean of h z), with h = dy w and z = (x - mean) rstd.

    Parameters
    ----------
    dy, x : ndarray of shape (N, C)
        Gradient of the output, and the input.
    w : ndarray of shape (C,)
        Weight.
    mean, rstd : ndarray of shape (N,)
        As `forward` wrote them.
    dx : ndarray of shape (N, C)
        Written.
    """
    N, C = x.shape
    width = mean.dtype.type(C)
    for share in prange((N + _ROWS - 1) // _ROWS):
        h, z = np.empty(C, x.dtype), np.empty(C, x.dtype)
        for n in range(share * _ROWS, min((share + 1) * _ROWS, N)):
            row, g, out, centre, scale = x[n], dy[n], dx[n], mean[n], rstd[n]
            for c in range(C):
                h[c] = g[c] * w[c]
                z[c] = (row[c] - centre) * scale
            mean_h, mean_hz = sum_of(h) / width, sum_of_products(h, z) / width
            for c in range(C):
                out[c] = scale * (h[c] - mean_h - z[c] * mean_hz)


@cached_njit(parallel=True)
def backward_parameters(dy, x, mean, rstd, dw, db):  # type: ignore[no-untyped-def]
    """Compute dw = sum over rows of dy (x - mean) rstd, and db = sum over rows of dy, rows ascending.

    Parameters
    ----------
    dy, x : ndarray of shape (N, C)
        Gradient of the output, and the input.
    mean, rstd : ndarray of shape (N,)
        As `forward` wrote them.
    dw, db : ndarray of shape (C,)
        Written.
    """
    N, C = x.shape
    for share in prange((C + _COLUMNS - 1) // _COLUMNS):
        first, last = share * _COLUMNS, min((share + 1) * _COLUMNS, C)
        of_w, of_b = dw[first:last], db[first:last]
        of_w[:] = 0
        of_b[:] = 0
        for n in range(N):
            row, g, centre, scale = x[n, first:last], dy[n, first:last], mean[n], rstd[n]
            for c in range(last - first):
                of_w[c] += g[c] * ((row[c] - centre) * scale)
                of_b[c] += g[c]
