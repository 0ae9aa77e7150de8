"""Cross-entropy of rows of logits with one class each, and its gradient, as one pass over each row.

Legend: N rows, C classes; z (N, C) logits, t (N,) classes, w (C,) weights of the classes, s the label smoothing.
A row is the work of one thread from its first column to its last, so the bits are the same for any number of threads.
"""

import math

import numpy as np
from numba import prange

from rondeau.kernels.numerics import scalar
from rondeau.kernels.ops.row_sums import sum_of
from rondeau.kernels.runtime.compiling import cached_njit, kernel_njit

__all__ = ["backward", "forward"]

# Rows that a thread takes at a time: a cut that does not depend on the number of threads.
_ROWS = 64


@kernel_njit
def _largest(row):  # type: ignore[no-untyped-def]
    # Four chains of comparisons: one alone waits four cycles for each of its elements.
    a = b = c = d = row[0]
    whole = row.size - row.size % 4
    for i in range(0, whole, 4):
        a = row[i] if row[i] > a else a
        b = row[i + 1] if row[i + 1] > b else b
        c = row[i + 2] if row[i + 2] > c else c
        d = row[i + 3] if row[i + 3] > d else d
    for i in range(whole, row.size):
        a = row[i] if row[i] > a else a
    a = a if a > b else b
    c = c if c > d else d
    return a if a > c else c


@cached_njit(parallel=True)
def forward(z, t, w, s, ignored, losses, e, scale):  # type: ignore[no-untyped-def]
    """Compute the loss of every row, and what `backward` needs.

    With l = log softmax(z): losses[n] = -(1 - s) w[t] l[t] - s / C sum_c w[c] l[c], or 0 where t[n] is `ignored`.

    Parameters
    ----------
    z : ndarray of shape (N, C)
        Logits.
    t : ndarray of int64, shape (N,)
        Classes in [0, C), or `ignored`.
    w : ndarray of shape (C,)
        Weights of the classes.
    s : scalar
        Label smoothing, 0 to 1, of the dtype of `z`.
    ignored : int
        The class whose rows do not count.
    losses : ndarray of shape (N,)
        Written.
    e : ndarray of shape (N, C)
        Written: exp(z - the row's maximum).
    scale : ndarray of shape (N,)
        Written: 1 / sum of the row of `e`, so that their product is the softmax.
    """
    N, C = z.shape
    one = scale.dtype.type(1)
    zero = scale.dtype.type(0)
    for share in prange((N + _ROWS - 1) // _ROWS):
        for n in range(share * _ROWS, min((share + 1) * _ROWS, N)):
            largest = _largest(z[n])
            for c in range(C):
                e[n, c] = scalar.exp(z[n, c] - largest)
            total = sum_of(e[n])
            scale[n] = one / total
            if t[n] == ignored:
                losses[n] = zero
                continue
            log_total = math.log(total)
            loss = (one - s) * w[t[n]] * (log_total - (z[n, t[n]] - largest))
            if s > zero:
                smooth = np.float64(0)
                for c in range(C):
                    smooth += w[c] * (log_total - (z[n, c] - largest))
                loss += s / C * scale.dtype.type(smooth)
            losses[n] = loss


@cached_njit(parallel=True)
def backward(e, scale, t, w, s, ignored, dlosses, dz):  # type: ignore[no-untyped-def]
    """Compute dz[n, c] = dlosses[n] (S softmax(z)[n, c] - A[n, c]), A the loss's factors of -log softmax, S their sum.

    Parameters
    ----------
    e, scale, t, w, s, ignored
        As `forward` took and wrote them.
    dlosses : ndarray of shape (N,)
        Gradient of every row's loss.
    dz : ndarray of shape (N, C)
        Written.
    """
    N, C = e.shape
    one = scale.dtype.type(1)
    zero = scale.dtype.type(0)
    smooth = s / C
    of_all = smooth * sum_of(w)
    for share in prange((N + _ROWS - 1) // _ROWS):
        for n in range(share * _ROWS, min((share + 1) * _ROWS, N)):
            if t[n] == ignored:
                for c in range(C):
                    dz[n, c] = zero
                continue
            of_class = (one - s) * w[t[n]]
            factor = dlosses[n] * (of_class + of_all) * scale[n]
            for c in range(C):
                dz[n, c] = factor * e[n, c]
            if s > zero:
                for c in range(C):
                    dz[n, c] -= dlosses[n] * smooth * w[c]
            dz[n, t[n]] -= dlosses[n] * of_class
