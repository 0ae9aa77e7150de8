"""Layer normalisation of rows, and its gradients.

Notation: N rows, C columns; x (N, C) input, w and b (C,) weight and bias, y (N, C) output, mean and rstd (N,) per row.
One thread computes a row, or in `backward_parameters` a column, from end to end, so the bits are the same for any
number of threads.
"""

import math
import sys
from typing import Any, NamedTuple

import numpy as np
from numba import types
from numpy.typing import NDArray

from rondeau.kernels.checks import are_of_device, check_number, checked_array, checked_floats
from rondeau.kernels.numerics.elements import Element
from rondeau.kernels.ops.arrays import layer_norm as arrays
from rondeau.kernels.ops.row_sums import BLOCK, LONG, SHORT, Sums
from rondeau.kernels.runtime import buffers, threads
from rondeau.kernels.runtime.compiling import linked_njit
from rondeau.kernels.runtime.shares import run_shares
from rondeau.kernels.runtime.signatures import array_type, compiled_per_dtype

__all__ = ["Saved", "backward_input", "backward_parameters", "forward"]

# Rows and columns that a thread takes at a time, independent of the number of threads.
_ROWS = 32
_COLUMNS = 64


@linked_njit
def _scale_beyond_range(row, centre, eps):  # type: ignore[no-untyped-def]
    """Return 1 / sqrt(mean of (row - centre)^2 + eps) if squares overflow float32; NaN if they overflow float64."""
    total = np.float64(0)
    for c in range(row.size):
        distance = np.float64(row[c]) - np.float64(centre)
        total += distance * distance
    return row.dtype.type(np.nan if math.isinf(total) else 1 / math.sqrt(total / row.size + eps))


def _forward_of_rows(sums: Sums) -> Any:
    """Compile `forward` for some of the rows, in the notation of the module."""
    sum_of, sum_of_squares = sums.of, sums.of_squares

    @linked_njit
    def forward_of_rows(x, w, b, eps, y, mean, rstd):  # type: ignore[no-untyped-def]
        C = x.shape[1]
        one, width = mean.dtype.type(1), mean.dtype.type(C)
        for n in range(x.shape[0]):
            row, out = x[n], y[n]
            centre = sum_of(row) / width
            scale = one / math.sqrt(sum_of_squares(row, centre) / width + eps)
            if scale == 0:  # it would turn the row into zeros
                scale = _scale_beyond_range(row, centre, eps)
            mean[n], rstd[n] = centre, scale
            for c in range(C):
                out[c] = (row[c] - centre) * scale * w[c] + b[c]

    return forward_of_rows


def _backward_of_rows(sums: Sums) -> Any:
    """Compile `backward_input` for some of the rows."""
    sum_of, sum_of_products = sums.of, sums.of_products

    @linked_njit
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


_PER_ELEMENT = 16
"""The cost of one element, in two passes through memory, in multiply-adds."""


class Saved(NamedTuple):
    """The values of a forward pass that backward needs; only `forward` makes it, after checking its arguments."""

    x: NDArray[Any]
    """The input itself if it is C-contiguous, not a copy: it must not be changed before backward."""
    weight: NDArray[Any]
    """w, likewise."""
    mean: NDArray[Any]
    """The mean of every row, (N,)."""
    rstd: NDArray[Any]
    """1 / sqrt(its variance + eps), (N,)."""


def _signature_of_forward(element: Element) -> Any:
    rows, vector = array_type(element.dtype, 2), array_type(element.dtype, 1)
    return types.void(rows, vector, vector, element.compute, rows, vector, vector)


@linked_njit
def _forward_block(x, w, b, eps, y, mean, rstd, block, blocks):  # type: ignore[no-untyped-def]
    N, C = x.shape
    n, end = block * _ROWS, min((block + 1) * _ROWS, N)
    if C <= BLOCK:
        _forward_of_short(x[n:end], w, b, eps, y[n:end], mean[n:end], rstd[n:end])
    else:
        _forward_of_long(x[n:end], w, b, eps, y[n:end], mean[n:end], rstd[n:end])


@compiled_per_dtype(_signature_of_forward)
def _forward(x, w, b, eps, y, mean, rstd):  # type: ignore[no-untyped-def]
    run_shares(_forward_block, (x, w, b, eps, y, mean, rstd), (len(x) + _ROWS - 1) // _ROWS)


def forward(x: Any, weight: Any, bias: Any, eps: float) -> tuple[NDArray[Any], Saved]:
    """Compute y = (x - mean) rstd w + b, with rstd = 1 / sqrt(mean of (x - mean)^2 + eps).

    Parameters
    ----------
    x : ndarray of float32 or float64, shape (N, C)
        The input, with any strides, like all arrays here.
    weight, bias : ndarray of shape (C,), or None
        w and b, of the dtype of `x`; None for ones and zeros.
    eps : float
        At least 0.

    Returns
    -------
    y : ndarray of shape (N, C)
    saved : Saved
        The values that the backward functions need.

    Raises
    ------
    TypeError
        If an argument has the wrong type or dtype.
    ValueError
        If shapes do not match, or eps is negative or not finite.

    Examples
    --------
    >>> forward(np.array([[1.0, 3.0]]), None, None, 0.0)[0]
    array([[-1.,  1.]])
    """
    x = checked_floats("layer_norm: x", x, "(N, C)")
    N, C = x.shape
    dtype = x.dtype
    check_number("layer_norm: eps", eps, 0, sys.float_info.max)
    w = (
        np.ones_like(x, shape=(C,))
        if weight is None
        else checked_array("layer_norm: weight", weight, (C,), dtype)
    )
    b = np.zeros_like(x, shape=(C,)) if bias is None else checked_array("layer_norm: bias", bias, (C,), dtype)
    if are_of_device("layer_norm", x=x, weight=weight, bias=bias):
        y, mean, rstd = arrays.forward(x, w, b, eps)
        return y, Saved(x, w, mean, rstd)
    y = buffers.empty((N, C), dtype)
    mean, rstd = np.empty(N, dtype), np.empty(N, dtype)
    shares = threads.shares_of(_PER_ELEMENT * x.size)
    threads.launch(_forward[dtype], x, w, b, eps, y, mean, rstd, shares=shares)
    return y, Saved(x, w, mean, rstd)


def _signature_of_backward_input(element: Element) -> Any:
    rows, vector = array_type(element.dtype, 2), array_type(element.dtype, 1)
    return types.void(rows, rows, vector, vector, vector, rows)


@linked_njit
def _backward_block(dy, x, w, mean, rstd, dx, block, blocks):  # type: ignore[no-untyped-def]
    N, C = x.shape
    n, end = block * _ROWS, min((block + 1) * _ROWS, N)
    if C <= BLOCK:
        _backward_of_short(dy[n:end], x[n:end], w, mean[n:end], rstd[n:end], dx[n:end])
    else:
        _backward_of_long(dy[n:end], x[n:end], w, mean[n:end], rstd[n:end], dx[n:end])


@compiled_per_dtype(_signature_of_backward_input)
def _backward_input(dy, x, w, mean, rstd, dx):  # type: ignore[no-untyped-def]
    run_shares(_backward_block, (dy, x, w, mean, rstd, dx), (len(x) + _ROWS - 1) // _ROWS)


def backward_input(dy: Any, saved: Saved) -> NDArray[Any]:
    """Compute dx = rstd (h - mean of h - z mean of h z), with h = dy w and z = (x - mean) rstd.

    Parameters
    ----------
    dy : ndarray of shape (N, C)
        The gradient of the output, of the dtype of the input.
    saved : Saved
        From `forward`.

    Returns
    -------
    ndarray of shape (N, C)

    Raises
    ------
    TypeError, ValueError
        If the gradient does not have the shape and dtype of the input.

    Examples
    --------
    >>> _, saved = forward(np.array([[1.0, 2.0, 6.0]]), None, None, 1.0)
    >>> backward_input(np.ones((1, 3)), saved)  # adding a constant to a row changes nothing
    array([[0., 0., 0.]])
    """
    x, w, mean, rstd = saved
    dy = checked_array("layer_norm: dy", dy, x.shape, x.dtype)
    if are_of_device("layer_norm", dy=dy, x=x):
        return arrays.backward_input(dy, x, w, mean, rstd)  # type: ignore[no-any-return]
    dx = buffers.empty(x.shape, x.dtype)
    shares = threads.shares_of(_PER_ELEMENT * x.size)
    threads.launch(_backward_input[x.dtype], dy, x, w, mean, rstd, dx, shares=shares)
    return dx


def _signature_of_backward_parameters(element: Element) -> Any:
    rows, vector = array_type(element.dtype, 2), array_type(element.dtype, 1)
    return types.void(rows, rows, vector, vector, vector, vector)


@linked_njit
def _backward_columns(dy, x, mean, rstd, dw, db, share, shares):  # type: ignore[no-untyped-def]
    N, C = x.shape
    first, last = share * _COLUMNS, min((share + 1) * _COLUMNS, C)
    of_w, of_b = np.zeros(last - first), np.zeros(last - first)
    for n in range(N):
        row, g, centre, scale = x[n, first:last], dy[n, first:last], mean[n], rstd[n]
        for c in range(last - first):
            of_w[c] += g[c] * ((row[c] - centre) * scale)
            of_b[c] += g[c]
    for c in range(last - first):
        dw[first + c], db[first + c] = of_w[c], of_b[c]


@compiled_per_dtype(_signature_of_backward_parameters)
def _backward_parameters(dy, x, mean, rstd, dw, db):  # type: ignore[no-untyped-def]
    run_shares(_backward_columns, (dy, x, mean, rstd, dw, db), (x.shape[1] + _COLUMNS - 1) // _COLUMNS)


def backward_parameters(dy: Any, saved: Saved) -> tuple[NDArray[Any], NDArray[Any]]:
    """Compute dw = sum over rows of dy (x - mean) rstd, and db = sum over rows of dy, in float64 and ascending order.

    Parameters
    ----------
    dy : ndarray of shape (N, C)
        The gradient of the output, of the dtype of the input.
    saved : Saved
        From `forward`.

    Returns
    -------
    dw, db : ndarray of shape (C,)

    Raises
    ------
    TypeError, ValueError
        If the gradient does not have the shape and dtype of the input.

    Examples
    --------
    >>> _, saved = forward(np.array([[1.0, 3.0]]), None, None, 0.0)
    >>> backward_parameters(np.array([[4.0, 5.0]]), saved)
    (array([-4.,  5.]), array([4., 5.]))
    """
    x, w, mean, rstd = saved
    dy = checked_array("layer_norm: dy", dy, x.shape, x.dtype)
    if are_of_device("layer_norm", dy=dy, x=x):
        return arrays.backward_parameters(dy, x, mean, rstd)
    dw, db = np.empty_like(w), np.empty_like(w)
    shares = threads.shares_of(_PER_ELEMENT * x.size)
    threads.launch(_backward_parameters[x.dtype], dy, x, mean, rstd, dw, db, shares=shares)
    return dw, db
