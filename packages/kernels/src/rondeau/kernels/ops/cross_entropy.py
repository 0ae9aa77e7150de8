"""Cross-entropy of rows of logits with one class each, and its gradient, in one pass over each row.

Notation: N rows, C classes; z (N, C) logits, t (N,) classes, w (C,) weights of the classes, s the label smoothing.
One thread computes a row from its first column to its last, so the bits are the same for any number of threads.
"""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numba import types
from numpy.typing import NDArray

from rondeau.kernels.checks import (
    are_of_device,
    check_array,
    check_integer,
    check_number,
    checked_array,
    checked_floats,
    checked_indices,
)
from rondeau.kernels.errors import ArgumentTypeError, ArgumentValueError
from rondeau.kernels.numerics import scalar
from rondeau.kernels.numerics.elements import Element
from rondeau.kernels.ops.arrays import cross_entropy as arrays
from rondeau.kernels.ops.row_sums import sum_of
from rondeau.kernels.runtime import buffers, threads
from rondeau.kernels.runtime.compiling import linked_njit
from rondeau.kernels.runtime.devices import is_of_device
from rondeau.kernels.runtime.shares import run_shares
from rondeau.kernels.runtime.signatures import INDICES, array_type, compiled_per_dtype

__all__ = ["Saved", "backward", "checked_classes", "forward", "reduce", "reduced", "share_of"]

# Rows that a thread takes at a time, independent of the number of threads.
_ROWS = 64


@linked_njit
def _largest(row):  # type: ignore[no-untyped-def]
    # Four chains of comparisons: a single chain would wait four cycles for each element.
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


_PER_LOGIT = 32
"""The cost of one logit with its exponential, in multiply-adds."""


class Saved(NamedTuple):
    """The values of a forward pass that `backward` needs; only `forward` makes it, after checking its arguments."""

    exponentials: NDArray[Any]
    """e = exp(z - the row's maximum), (N, C)."""
    scale: NDArray[Any]
    """1 / sum of the row of e, (N,): their product is the softmax."""
    classes: NDArray[np.int64]
    """t, a copy."""
    weights: NDArray[Any]
    """w, a copy."""
    smoothing: Any
    """s, a scalar of the dtype of the logits."""
    ignored: int
    """The class whose rows do not count."""
    counted: int | None
    """The number of rows that count, where that is the sum of their weights; otherwise None."""


def _signature_of_forward(element: Element) -> Any:
    logits, vector = array_type(element.dtype, 2), array_type(element.dtype, 1)
    return types.intp(
        logits, INDICES, vector, element.compute, types.int64, vector, logits, vector
    )  # fmt: skip


@linked_njit
def _forward_block(z, t, w, s, ignored, losses, e, scale, block, blocks):  # type: ignore[no-untyped-def]
    N, C = z.shape
    one = scale.dtype.type(1)
    zero = scale.dtype.type(0)
    for n in range(block * _ROWS, min((block + 1) * _ROWS, N)):
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


@compiled_per_dtype(_signature_of_forward)
def _forward(z, t, w, s, ignored, losses, e, scale):  # type: ignore[no-untyped-def]
    """Return the number of rows that count; or -1 - n, and write nothing, if row n is the first with no such class."""
    N, C = z.shape
    counted = 0
    for n in range(N):
        if t[n] != ignored:
            if t[n] < 0 or t[n] >= C:
                return -1 - n
            counted += 1
    run_shares(_forward_block, (z, t, w, s, ignored, losses, e, scale), (N + _ROWS - 1) // _ROWS)
    return counted


def forward(
    logits: Any, classes: Any, weights: Any = None, smoothing: float = 0.0, ignored: int = -100
) -> tuple[NDArray[Any], Saved]:
    """Compute the loss of every row: -(1 - s) w[t] l[t] - s / C sum_c w[c] l[c], with l = log softmax(z).

    Parameters
    ----------
    logits : ndarray of float32 or float64, shape (N, C)
        z; C at least 1, any strides.
    classes : ndarray of integers, shape (N,)
        t, in [0, C) or `ignored`.
    weights : ndarray of shape (C,), optional
        w, of the dtype of the logits; by default ones.
    smoothing : float
        s, from 0 to 1.
    ignored : int
        The class whose rows have no loss and no gradient.

    Returns
    -------
    losses : ndarray of shape (N,)
    saved : Saved
        The values that `backward` needs. They are copies: the caller may overwrite the classes and weights.

    Raises
    ------
    TypeError
        If an argument has the wrong type or dtype.
    ValueError
        If shapes do not match, or a number is out of range.
    IndexError
        If a class is outside [0, C) and is not `ignored`.

    Examples
    --------
    >>> losses, _ = forward(np.array([[2.0, 0.0], [0.0, 0.0]]), np.array([0, 1]))
    >>> losses.round(6).tolist()
    [0.126928, 0.693147]
    """
    z = checked_floats("cross_entropy: logits", logits, "(N, C)")
    N, C = z.shape
    if C == 0:
        raise ArgumentValueError(f"cross_entropy: logits must have at least one class, got shape {z.shape}")
    of_device = are_of_device("cross_entropy", logits=z, classes=classes, weights=weights)
    if of_device:
        t = checked_classes("cross_entropy", classes, C, ignored)
    else:
        t = _as_int64("cross_entropy", classes, ignored)
    if t.shape != (N,):
        raise ArgumentValueError(f"cross_entropy: classes must have shape ({N},), one per row, got {t.shape}")
    if weights is None:
        w = np.ones_like(z, shape=(C,)) if of_device else _ones(C, z.dtype)
    else:
        w = checked_array("cross_entropy: weights", weights, (C,), z.dtype).copy()
    check_number("cross_entropy: smoothing", smoothing, 0, 1)
    s = z.dtype.type(smoothing)
    if of_device:
        losses, e, scale = arrays.forward(z, t, w, s, ignored)
        return losses, Saved(e, scale, t, w, s, ignored, None)
    losses, scale = np.empty(N, z.dtype), np.empty(N, z.dtype)
    e = buffers.empty(z.shape, z.dtype)
    shares = threads.shares_of(_PER_LOGIT * z.size)
    counted = threads.launch(_forward[z.dtype], z, t, w, s, ignored, losses, e, scale, shares=shares)
    if counted < 0:
        raise _out_of_bounds("cross_entropy", C, ignored)(classes[-1 - counted])
    return losses, Saved(e, scale, t, w, s, ignored, counted if weights is None else None)


@functools.lru_cache(maxsize=64)
def _ones(C: int, dtype: np.dtype[Any]) -> NDArray[Any]:
    ones = np.ones(C, dtype)
    ones.flags.writeable = False  # all calls share it
    return ones


def _as_int64(name: str, classes: Any, ignored: Any) -> NDArray[np.int64]:
    """Return a copy of classes whose range a kernel will check, once they and the ignored one are integers."""
    _check_integers(name, classes, ignored)
    if classes.dtype == np.uint64:
        classes = np.minimum(classes, np.uint64(2**63 - 1))  # no class is as large, and none must wrap around
    copied: NDArray[np.int64] = classes.astype(np.int64, order="C")
    return copied


def _check_integers(name: str, classes: Any, ignored: Any) -> None:
    check_array(f"{name}: classes", classes)
    if classes.dtype.kind not in "iu":
        raise ArgumentTypeError(
            f"{name}: classes must be integers, got {classes.dtype}; convert them with astype"
        )
    check_integer(f"{name}: ignored", ignored)


def _out_of_bounds(name: str, number: int, ignored: int) -> Callable[[Any], Exception]:
    """Return what makes the error for a class out of range."""
    return lambda wrong: IndexError(
        f"{name}: Target {wrong} is out of bounds: there are {number} classes, 0 to {number - 1}, and {ignored} is "
        "ignored"
    )


def checked_classes(name: str, classes: Any, number: int, ignored: int) -> NDArray[np.int64]:
    """Return a copy of classes as int64, after checking them.

    Parameters
    ----------
    name : str
        The beginning of messages.
    classes : ndarray of integers
        Any shape.
    number : int
        C, the number of classes.
    ignored : int
        A class outside [0, C) that is allowed.

    Raises
    ------
    TypeError
        If the classes are not an array of integers, or `ignored` is not an integer.
    IndexError
        If a class is neither in [0, C) nor ignored.

    Examples
    --------
    >>> checked_classes("nll_loss", np.array([0, 3]), 3, -100)
    Traceback (most recent call last):
        ...
    IndexError: nll_loss: Target 3 is out of bounds: there are 3 classes, 0 to 2, and -100 is ignored
    """
    _check_integers(name, classes, ignored)
    error = _out_of_bounds(name, number, ignored)
    return checked_indices(classes, number, error, ignored).astype(np.int64, order="C")


def reduce(losses: Any, saved: Saved, reduction: str) -> tuple[NDArray[Any], Any]:
    """Return the sum or the mean of the losses, added in float64.

    Parameters
    ----------
    losses : ndarray of shape (N,)
    saved : Saved
        Both from `forward`.
    reduction : {"sum", "mean"}
        The mean is the sum divided by the sum of the weights of the rows that count; if there are none, NaN, as 0 / 0.

    Returns
    -------
    reduced : ndarray of shape ()
    share : float, or array of float64 and shape () on a GPU
        What the sum was multiplied by, which is also the gradient of each loss.

    Examples
    --------
    >>> losses, saved = forward(np.zeros((2, 4)), np.array([0, 1]))
    >>> reduced, share = reduce(losses, saved, "mean")
    >>> round(float(reduced), 6), share
    (1.386294, 0.5)
    """
    if reduction == "mean" and saved.counted is not None:
        share = _share(saved.counted)
    else:
        share = share_of(saved.classes, saved.weights, saved.ignored, reduction == "mean")
    return reduced(losses, share), share


def share_of(classes: Any, weights: Any, ignored: int, is_mean: bool) -> Any:
    """Return what the sum of losses is multiplied by: 1, or for the mean 1 / the sum of the weights of rows that count.

    Parameters
    ----------
    classes, weights, ignored
        As in `Saved`.
    is_mean : bool

    Returns
    -------
    float, or array of float64 and shape () on a GPU

    Examples
    --------
    >>> share_of(np.array([0, 1, -100]), np.ones(2), -100, True)
    0.5
    """
    if not is_mean:
        return 1.0
    if is_of_device(classes):
        return arrays.share_of_mean(classes, weights, ignored)
    return _share(float(weights[classes[classes != ignored]].sum(dtype=np.float64)))


def _share(counted: float) -> float:
    return 1.0 / counted if counted else math.inf  # inf times a loss of 0 is NaN, as 0 / 0


def reduced(losses: Any, share: Any) -> Any:
    """Return the sum of losses, added in float64, times a share."""
    if is_of_device(losses):
        return (np.sum(losses, dtype=np.float64) * share).astype(losses.dtype)
    return np.asarray(float(np.add.reduce(losses, dtype=np.float64)) * share, losses.dtype)


def _signature_of_backward(element: Element) -> Any:
    logits, vector = array_type(element.dtype, 2), array_type(element.dtype, 1)
    return types.void(
        logits, vector, INDICES, vector, element.compute, types.int64, vector, logits
    )  # fmt: skip


@linked_njit
def _backward_block(e, scale, t, w, s, ignored, dlosses, dz, block, blocks):  # type: ignore[no-untyped-def]
    N, C = e.shape
    one = scale.dtype.type(1)
    zero = scale.dtype.type(0)
    smooth = s / C
    of_all = smooth * sum_of(w)
    for n in range(block * _ROWS, min((block + 1) * _ROWS, N)):
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


@compiled_per_dtype(_signature_of_backward)
def _backward(e, scale, t, w, s, ignored, dlosses, dz):  # type: ignore[no-untyped-def]
    run_shares(_backward_block, (e, scale, t, w, s, ignored, dlosses, dz), (len(e) + _ROWS - 1) // _ROWS)


def backward(dlosses: Any, saved: Saved) -> NDArray[Any]:
    """Compute dz[n, c] = dlosses[n] (S softmax(z)[n, c] - A[n, c]); A are the factors of -log softmax, S their sum.

    Parameters
    ----------
    dlosses : ndarray of shape (N,)
        The gradient of the loss of every row, of the dtype of the logits.
    saved : Saved
        From `forward`.

    Returns
    -------
    ndarray of shape (N, C)

    Raises
    ------
    TypeError, ValueError
        If the gradient does not have the shape and dtype of the losses.

    Examples
    --------
    >>> losses, saved = forward(np.zeros((1, 2)), np.array([0]))
    >>> backward(np.ones(1), saved)
    array([[-0.5,  0.5]])
    """
    e, scale, t, w, s, ignored, _ = saved
    dlosses = checked_array("cross_entropy: dlosses", dlosses, scale.shape, e.dtype)
    if are_of_device("cross_entropy", dlosses=dlosses, logits=e):
        return arrays.backward(e, scale, t, w, s, ignored, dlosses)  # type: ignore[no-any-return]
    dz = buffers.empty(e.shape, e.dtype)
    shares = threads.shares_of(_PER_LOGIT * e.size)
    threads.launch(_backward[e.dtype], e, scale, t, w, s, ignored, dlosses, dz, shares=shares)
    return dz
