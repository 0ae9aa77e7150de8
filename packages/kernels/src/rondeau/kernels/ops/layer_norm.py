"""Layer normalisation of rows, and its gradients.

Legend: N rows, C columns; x (N, C) input, w and b (C,) weight and bias, y (N, C) output, mean and rstd (N,) per row.
A row, and in `backward_parameters` a column, is the work of one thread from end to end: the bits are the same for any
number of threads.
"""

import math
from typing import Any

import numpy as np
from numba import prange

from rondeau.kernels.ops.row_sums import BLOCK, LONG, SHORT, Sums
from rondeau.kernels.runtime.compiling import cached_njit, kernel_njit

__all__ = ["backward_input", "backward_parameters", "forward"]

# Rows and columns that a thread takes at a time: cuts that do not depend on the number of threads.
_ROWS = 32
_COLUMNS = 64


@kernel_njit
def _scale_beyond_range(row, centre, eps):  # type: ignore[no-untyped-def]
    """Return 1 / sqrt(mean of (row - centre)^2 + eps) where squares leave float32; NaN where they leave float64."""
    total = np.float64(0)
    for c in range(row.size):
        distance = np.float64(row[c]) - np.float64(centre)
        total += distance * distance
    return row.dtype.type(np.nan if math.isinf(total) else 1 / math.sqrt(total / row.size + eps))


def _forward_of_rows(sums: Sums) -> Any:
    """Compile `forward` for some of the rows; the letters are those of the module."""
    sum_of, sum_of_squares = sums.of, sums.of_squares

    @kernel_njit
    def forward_of_rows(x, w, b, eps, y, mean, rstd):  # type: ignore[no-untyped-def]
        C = x.shape[1]
        one, width = mean.dtype.type(1), mean.dtype.type(C)
        for n in range(x.shape[0]):
            row, out = x[n], y[n]
            centre = sum_of(row) / width
            scale = one / math.sqrt(sum_of_squares(row, centre) / width + eps)
            if scale == 0:  # which would make zeros of the row
                scale = _scale_beyond_range(row, centre, eps)
            mean[n], rstd[n] = centre, scale
            for c in range(C):
                out[c] = (row[c] - centre) * scale * w[c] + b[c]

    return forward_of_rows


def _backward_of_rows(sums: Sums) -> Any:
    """Compile `backward_input` for some of the rows."""
    sum_of, sum_of_products = sums.of, sums.of_products

    @kernel_njit
    def backward_of_rows(dy, x, w, mean, rstd, dx):  # type: ignore[no-untyped-def]
        C = x.shape[1]
        width = mean.dtype.type(C)
        h, z = np.empty(C, x.dtype), np.empty(C, x.dtype)
        for n in range(x.shape[0]):
            row, g, out, centre, scale = x[n], dy[n], dx[n], mean[n], rstd[n]
            for c in range(C):
                h[c] = g[c] * w[c]
                z[c] = (row[c] - centre) * scale
            mean_h, mean_hz = sum_of(h) / width, sum_of_products(h, z) / width
            for c in range(C):
                out[c] = scale * (h[c] - mean_h - z[c] * mean_hz)

    return backward_of_rows


_forward_of_short, _forward_of_long = _forward_of_rows(SHORT), _forward_of_rows(LONG)
_backward_of_short, _backward_of_long = _backward_of_rows(SHORT), _backward_of_rows(LONG)


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
    for share in prange((N + _ROWS - 1) // _ROWS):
        n, end = share * _ROWS, min((share + 1) * _ROWS, N)
        if C <= BLOCK:
            _forward_of_short(x[n:end], w, b, eps, y[n:end], mean[n:end], rstd[n:end])
        else:
            _forward_of_long(x[n:end], w, b, eps, y[n:end], mean[n:end], rstd[n:end])


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
    for share in prange((N + _ROWS - 1) // _ROWS):
        n, end = share * _ROWS, min((share + 1) * _ROWS, N)
        if C <= BLOCK:
            _backward_of_short(dy[n:end], x[n:end], w, mean[n:end], rstd[n:end], dx[n:end])
        else:
            _backward_of_long(dy[n:end], x[n:end], w, mean[n:end], rstd[n:end], dx[n:end])


@cached_njit(parallel=True)
def backward_parameters(dy, x, mean, rstd, dw, db):  # type: ignore[no-untyped-def]
    """Compute dw = sum over rows of dy (x - mean) rstd, and db = sum over rows of dy, in float64 and rows ascending.

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
        of_w, of_b = np.zeros(last - first), np.zeros(last - first)
        for n in range(N):
            row, g, centre, scale = x[n, first:last], dy[n, first:last], mean[n], rstd[n]
            for c in range(last - first):
                of_w[c] += g[c] * ((row[c] - centre) * scale)
                of_b[c] += g[c]
        for c in range(last - first):
            dw[first + c], db[first + c] = of_w[c], of_b[c]
