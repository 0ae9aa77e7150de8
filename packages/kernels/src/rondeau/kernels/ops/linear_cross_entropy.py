"""Cross-entropy of the logits of a linear layer, and its gradients, without the whole matrix of logits in memory.

Notation: N rows, P features, V classes; x (N, P) input, W (V, P) and b (V,) weight and bias, z = x W^T + b the logits,
t (N,) classes, w (V,) weights of the classes, s the label smoothing; `rondeau.kernels.ops.cross_entropy` states the
loss.

Blocks of rows go through the whole loss one after the other: R rows of logits, their exponentials in the place of the
logits, the gradient dz in the place of the exponentials, and then dx = dz W, dW += dz^T x and db += the sum of dz.
These are the three products that any head takes. Blocks of classes, as in "Cut your losses in large-vocabulary language
models" (Wijmans et al., 2024), touch the weight less often but compute the logits twice: on one core of Zen 5, with N
400, P 200 and V 10,000, the products of rows took 20 ms in blocks of 32 and those of classes 28.

A pass over the weight finishes a block and begins the next: the dz of some classes makes room for the logits of the
following rows, and W is read once for both. Every second pass goes through the classes from the last to the first: it
begins with what the pass before has left in the cache. What needs all classes of a row, the sum of its exponentials,
lies between two passes. Within a pass the largest logit and the sum are those of a chunk of classes (Milakov,
Gimelshein, "Online normalizer calculation for softmax", 2018).

A block is stored transposed, (V, R): it is then the right operand of dx^T = W^T dz^T as it is, nothing as large as the
weight is packed, and the softmax runs down columns, a vector of rows at a time. Threads divide the classes. Chunks,
tasks and groups do not depend on the number of threads, so neither do the bits.
"""

import math
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numba import types
from numpy.typing import NDArray

from rondeau.kernels.checks import are_of_device, check_number, checked_array, checked_floats, in_row_order
from rondeau.kernels.errors import ArgumentValueError
from rondeau.kernels.numerics import scalar
from rondeau.kernels.numerics.elements import Element
from rondeau.kernels.ops.arrays import linear_cross_entropy as arrays
from rondeau.kernels.ops.cross_entropy import checked_classes
from rondeau.kernels.ops.row_sums import sum_of
from rondeau.kernels.product.pairs import packed_dtype
from rondeau.kernels.product.product import multiply_serially
from rondeau.kernels.runtime import buffers, threads
from rondeau.kernels.runtime.compiling import linked_njit
from rondeau.kernels.runtime.shares import run_shares
from rondeau.kernels.runtime.signatures import INDICES, array_type, compiled_per_dtype, record_type

__all__ = ["Gradients", "Needs", "Targets", "checked_targets", "is_blocked", "losses_and_gradients"]

_CHUNK = 128
"""Classes that a thread takes at a time: with 32 rows of float32 they fill a third of a first-level cache."""
_TASK = 10 * _CHUNK
"""Classes that a thread takes through all products. With four chunks a training step of the example took 6 % longer."""
_LEAST_GROUPS, _MOST_GROUPS = 4, 16
"""Into how many summands dx is divided. A group of tasks is one thread's."""
_RUN = 512
"""Numbers that one loop over memory takes at a time, at least."""
_LEAST_ROWS, _PANEL, _MOST_ROWS = 32, 64, 256
"""The smallest block of rows, rows that fill a panel of 16 lanes, and the largest block. With 16 rows the products have
too few chains of multiply-adds; and between 32 and 64, or above in other steps than 64, the last panel has."""
_LARGE, _LEAST_ROWS_OF_LARGE = 2**24, 128
"""Bytes of a weight that leaves a third-level cache between two passes, with its gradient, and the smallest block then:
each pass fetches them from memory. With blocks of 32 rows a training step took 1.5 times as long as with the whole
logits, with 64 rows 1.2 times, with 128 rows from 1.1 times down (one core of Zen 5 with a cache of 32 MB; N 400, and
P 512 and 1024 with V 10,000, P 200 with V 50,000)."""
_BLOCKED_FROM = 2**20
"""Logits from which blocks are used."""


class Targets(NamedTuple):
    """What rows are compared with; only `checked_targets` makes it."""

    classes: NDArray[np.int64]
    """t, a copy, shape (N,)."""
    weights: NDArray[Any]
    """w, a copy, shape (V,)."""
    smoothing: Any
    """s, a scalar of the dtype of the input."""
    ignored: int
    """The class whose rows do not count."""


class Needs(NamedTuple):
    """Which gradients are wanted."""

    x: bool
    weight: bool
    bias: bool


class Gradients(NamedTuple):
    """The gradients of the sum of all losses, each times its factor; None for one that is not wanted."""

    x: NDArray[Any] | None
    """dx, shape (N, P)."""
    weight: NDArray[Any] | None
    """dW, shape (V, P)."""
    bias: NDArray[Any] | None
    """db, shape (V,)."""


class _Head(NamedTuple):
    """What is the same for all blocks."""

    weight: NDArray[Any]
    """W, shape (V, P)."""
    bias: NDArray[Any]
    """b, shape (V,)."""
    weights: NDArray[Any]
    """w, shape (V,)."""
    of_class: Any
    """1 - s."""
    of_all: Any
    """s / V."""
    room: NDArray[Any]
    """The block: from class v of a task on, a dense matrix with its classes and R columns begins at ``v * stride``."""
    stride: int
    """R of the largest block."""


class _Block(NamedTuple):
    """R rows, and what kernels write about them; K is the number of chunks of classes."""

    x: NDArray[Any]
    """Shape (R, P)."""
    transposed: NDArray[Any]
    """x^T, shape (P, R)."""
    classes: NDArray[np.int64]
    """t, shape (R,)."""
    factors: NDArray[Any]
    """What the gradient of each loss is multiplied by, shape (R,)."""
    logits: NDArray[Any]
    """z[n, t[n]], shape (R,)."""
    losses: NDArray[Any]
    """Shape (R,)."""
    peaks: NDArray[Any]
    """The largest logit of each row in each chunk, shape (K, R)."""
    sums: NDArray[Any]
    """The sum of exp(z - peak), shape (K, R); later, what the exponentials are multiplied by."""
    weighted: NDArray[Any]
    """The sum of w (z - peak), shape (K, R); without smoothing (0, R)."""


class _Sums(NamedTuple):
    """Where kernels add up gradients."""

    parts: NDArray[Any]
    """dx^T of a block, a summand for each group of tasks, shape (groups, P, R); (groups, 0, R) if it is not wanted."""
    weight: NDArray[Any]
    """dW, shape (V, P); (0, P) if it is not wanted."""
    bias: NDArray[Any]
    """db, shape (V,)."""
    backwards: bool
    """Whether the pass begins with the last classes."""
    begun: bool
    """Whether dW has summands already, and so is added to."""


def _record_types(element: Element) -> tuple[Any, Any, Any]:
    number = element.sums
    vector, matrix = array_type(number.dtype, 1), array_type(number.dtype, 2)
    head = record_type(
        _Head, weight=matrix, bias=vector, weights=vector, of_class=number.compute, of_all=number.compute,
        room=vector, stride=types.intp,
    )  # fmt: skip
    block = record_type(
        _Block, x=matrix, transposed=matrix, classes=INDICES, factors=vector, logits=vector, losses=vector,
        peaks=matrix, sums=matrix, weighted=matrix,
    )  # fmt: skip
    parts = array_type(number.dtype, 3)
    sums = record_type(
        _Sums, parts=parts, weight=matrix, bias=vector, backwards=types.boolean, begun=types.boolean
    )
    return head, block, sums


@linked_njit
def _add_bias(z, bias, peak):  # type: ignore[no-untyped-def]
    """Do ``z += bias`` and ``peak = max(peak, z)``; a NaN is no peak."""
    for i in range(z.size):
        z[i] += bias[i]
        peak[i] = z[i] if z[i] > peak[i] else peak[i]


@linked_njit
def _add_weighted(z, weight, shift, weighted):  # type: ignore[no-untyped-def]
    for i in range(z.size):
        weighted[i] += weight[i] * (z[i] - shift[i])


@linked_njit
def _exponentiate(z, shift, total):  # type: ignore[no-untyped-def]
    for i in range(z.size):
        e = scalar.exp(z[i] - shift[i])
        z[i] = e
        total[i] += e


@linked_njit
def _fill_groups(numbers, R, target):  # type: ignore[no-untyped-def]
    """Write each number R times."""
    for i in range(numbers.size):
        target[i * R : (i + 1) * R] = numbers[i]


@linked_njit
def _sum_groups(values, out):  # type: ignore[no-untyped-def]
    """Add up groups of as many values as `out` has."""
    R = out.size
    out[:] = values[:R]
    for first in range(R, values.size, R):
        for n in range(R):
            out[n] += values[first + n]


@linked_njit
def _exponentials(z, first, head, block, k):  # type: ignore[no-untyped-def]
    """Replace z (C, R), the logits of chunk k without the bias, by exp(z + b - peak); it begins with class ``first``.

    Several classes are one run of memory: in loops over R alone, LLVM's vector code would hardly begin.
    """
    C, R = z.shape
    G = max(_RUN // R, 1)
    dtype, flat = z.dtype, z.reshape(C * R)
    lowest = dtype.type(-np.inf)
    of_classes, peaks, sums = np.empty(G * R, dtype), np.full(G * R, lowest), np.zeros(G * R, dtype)
    for c in range(0, C, G):
        _fill_groups(head.bias[first + c : min(first + c + G, first + C)], R, of_classes)
        _add_bias(flat[c * R : min(c + G, C) * R], of_classes, peaks)
    peak = block.peaks[k]
    peak[:] = peaks[:R]
    for g in range(1, G):
        for n in range(R):
            peak[n] = peaks[g * R + n] if peaks[g * R + n] > peak[n] else peak[n]
    for n in range(R):
        # Where all logits of a chunk are -inf, their exponentials are 0 and not NaN: other chunks may have some.
        peaks[n] = dtype.type(0) if peak[n] == lowest else peak[n]
        if first <= block.classes[n] < first + C:
            block.logits[n] = z[block.classes[n] - first, n]
    for g in range(1, G):
        peaks[g * R : (g + 1) * R] = peaks[:R]
    if head.of_all > 0:
        for c in range(0, C, G):
            _fill_groups(head.weights[first + c : min(first + c + G, first + C)], R, of_classes)
            _add_weighted(flat[c * R : min(c + G, C) * R], of_classes, peaks, sums)
        _sum_groups(sums, block.weighted[k])
        sums[:] = dtype.type(0)
    for c in range(0, C, G):
        _exponentiate(flat[c * R : min(c + G, C) * R], peaks, sums)
    _sum_groups(sums, block.sums[k])


@linked_njit
def _gradients(e, first, head, block, k, db):  # type: ignore[no-untyped-def]
    """Replace e (C, R), the exponentials of chunk k, by dz, and add its sums over rows to db."""
    C, R = e.shape
    scale, factors, of_all = block.sums[k], block.factors, head.of_all
    for c in range(C):
        row, smooth = e[c], of_all * head.weights[first + c]
        if of_all > 0:
            for n in range(R):
                row[n] = scale[n] * row[n] - factors[n] * smooth
        else:
            for n in range(R):
                row[n] *= scale[n]
    for n in range(R):
        t = block.classes[n]
        if first <= t < first + C:
            e[t - first, n] -= factors[n] * (head.of_class * head.weights[t])
    for c in range(C):
        db[first + c] += sum_of(e[c])


@linked_njit
def _first_task(V, g, groups):  # type: ignore[no-untyped-def]
    """Return the number of the first task of a group."""
    return (V + _TASK - 1) // _TASK * g // groups


@linked_njit
def _chunk(head, R, task, first, last):  # type: ignore[no-untyped-def]
    """Return the matrix (last - first, R) of some classes of the task that begins with class ``task``."""
    start = task * head.stride + (first - task) * R
    return head.room[start : start + (last - first) * R].reshape(last - first, R)


@linked_njit
def _finish(head, block, sums, g, task, end, is_first, operand):  # type: ignore[no-untyped-def]
    """Turn the exponentials of a task into gradients, and add them up; the first task of a pass begins group g."""
    R = len(block.x)
    for first in range(task, end, _CHUNK):
        last = min(first + _CHUNK, end)
        dz = _chunk(head, R, task, first, last)
        _gradients(dz, first, head, block, first // _CHUNK, sums.bias)
        if sums.parts.shape[1]:
            multiply_serially(
                head.weight[first:last].T, dz, sums.parts[g], not is_first or first > task, operand
            )
    if len(sums.weight):
        dz = _chunk(head, R, task, task, end)
        multiply_serially(dz, block.x, sums.weight[task:end], sums.begun, operand)


@linked_njit
def _begin(head, block, task, end, operand):  # type: ignore[no-untyped-def]
    """Compute the logits of a task, and their exponentials."""
    R = len(block.x)
    multiply_serially(
        head.weight[task:end], block.transposed, _chunk(head, R, task, task, end), False, operand
    )
    for first in range(task, end, _CHUNK):
        last = min(first + _CHUNK, end)
        _exponentials(_chunk(head, R, task, first, last), first, head, block, first // _CHUNK)


def _signature_of_pass(element: Element) -> Any:
    head, block, sums = _record_types(element)
    return types.void(head, block, block, sums, array_type(element.dtype, 1))


@linked_njit
def _pass_of_group(head, block, following, sums, operand, place, groups):  # type: ignore[no-untyped-def]
    V, g = len(head.bias), groups - 1 - place if sums.backwards else place
    begin, past = _first_task(V, g, groups), _first_task(V, g + 1, groups)
    for turn in range(past - begin):
        task = _TASK * (past - 1 - turn if sums.backwards else begin + turn)
        end = min(task + _TASK, V)
        if len(block.x):
            _finish(head, block, sums, g, task, end, turn == 0, operand)
        if len(following.x):
            _begin(head, following, task, end, operand)


@compiled_per_dtype(_signature_of_pass)
def _pass(head, block, following, sums, operand):  # type: ignore[no-untyped-def]
    """Finish a block, whose exponentials are there, and begin the one that follows; either may have no rows.

    Both read the same part of the weight, one after the other. ``operand`` is empty, of the dtype of packed operands.
    """
    run_shares(_pass_of_group, (head, block, following, sums, operand), len(sums.parts))


def _signature_of_losses(element: Element) -> Any:
    head, block, _ = _record_types(element)
    return types.void(head, block)


@compiled_per_dtype(_signature_of_losses)
def _losses(head, block):  # type: ignore[no-untyped-def]
    """Compute the losses, and replace the sums by the factors that turn exponentials into gradients."""
    peaks, sums = block.peaks, block.sums
    K, R = sums.shape
    zero = peaks.dtype.type(0)
    of_every = np.float64(0)
    if head.of_all > zero:
        of_every = head.of_all * np.float64(sum_of(head.weights))
    peak, total = peaks[0].copy(), np.zeros(R)
    for k in range(1, K):
        for n in range(R):
            peak[n] = peaks[k, n] if peaks[k, n] > peak[n] else peak[n]
    for k in range(K):
        for n in range(R):
            share = scalar.exp(peaks[k, n] - peak[n])
            total[n] += sums[k, n] * share
            sums[k, n] = share
    for n in range(R):
        log_total = np.float64(peak[n]) + math.log(total[n])
        of_class = np.float64(head.of_class * head.weights[block.classes[n]])
        value = of_class * (log_total - block.logits[n])
        if head.of_all > zero:
            smooth = np.float64(0)
            for k in range(K):
                first, last = k * _CHUNK, min((k + 1) * _CHUNK, head.weights.size)
                shift = zero if peaks[k, n] == -np.inf else peaks[k, n]
                smooth += sum_of(head.weights[first:last]) * (log_total - shift) - block.weighted[k, n]
            value += head.of_all * smooth
        block.losses[n] = value
        total[n] = block.factors[n] * (of_class + of_every) / total[n]
    for k in range(K):
        for n in range(R):
            sums[k, n] *= peaks.dtype.type(total[n])


def is_blocked(N: int, P: int, V: int) -> bool:
    """Return whether N rows of V logits, each of P features, are worth blocks.

    Fewer logits are faster, and small, as a whole; and where there are not many for each feature, they take little more
    memory than the rows themselves.

    Examples
    --------
    >>> is_blocked(400, 200, 10_000), is_blocked(2048, 128, 65), is_blocked(2048, 1024, 1000)
    (True, False, False)
    """
    return N >= 8 * _LEAST_ROWS and N * V >= _BLOCKED_FROM and V >= 2 * P


def _rows_of_block(N: int, weight_bytes: int) -> int:
    """Return R: a twelfth of N, rounded down to whole panels, or to whole vectors where it fills no panel.

    What else is needed then finds room in a tenth of the memory of the logits. A large weight has larger blocks.
    """
    step = _PANEL if N // 12 >= _PANEL else 16
    least = _LEAST_ROWS_OF_LARGE if weight_bytes > _LARGE else _LEAST_ROWS
    return min(max(N // 12 // step * step, least), _MOST_ROWS)


def _num_groups(P: int, V: int) -> int:
    """Return the number of groups: with the least, or while their summands of dx take a sixteenth of a block."""
    return min(-(-V // _TASK), max(V // (16 * max(P, 1)), _LEAST_GROUPS), _MOST_GROUPS)


def checked_targets(
    x: Any, V: int, classes: Any, weights: Any = None, smoothing: float = 0.0, ignored: int = -100
) -> Targets:
    """Return the targets of rows, after checking them.

    Parameters
    ----------
    x : ndarray of float32 or float64, shape (N, P)
        The input.
    V : int
        The number of classes.
    classes : ndarray of integers, shape (N,)
        t, in [0, V) or `ignored`.
    weights : ndarray of shape (V,), optional
        w, of the dtype of `x`; by default ones.
    smoothing : float
        s, from 0 to 1.
    ignored : int
        The class whose rows have no loss and no gradient.

    Raises
    ------
    TypeError
        If an argument has the wrong type or dtype.
    ValueError
        If shapes do not match, or a number is out of range.
    IndexError
        If a class is outside [0, V) and is not `ignored`.

    Examples
    --------
    >>> checked_targets(np.zeros((2, 3)), 4, np.array([3, 4]))
    Traceback (most recent call last):
        ...
    IndexError: linear_cross_entropy: Target 4 is out of bounds: there are 4 classes, 0 to 3, and -100 is ignored
    """
    name = "linear_cross_entropy"
    x = checked_floats(f"{name}: x", x, "(N, P)")
    if V == 0:
        raise ArgumentValueError(f"{name}: the weight must have at least one row, a class, got none")
    are_of_device(name, x=x, classes=classes, weights=weights)
    t = checked_classes(name, classes, V, ignored)
    if t.shape != x.shape[:1]:
        raise ArgumentValueError(f"{name}: classes must have shape ({len(x)},), one per row, got {t.shape}")
    if weights is None:
        w = np.ones_like(x, shape=(V,))
    else:
        w = checked_array(f"{name}: weights", weights, (V,), x.dtype).copy()
    check_number(f"{name}: smoothing", smoothing, 0, 1)
    return Targets(t, w, x.dtype.type(smoothing), ignored)


def losses_and_gradients(
    x: Any, weight: Any, bias: Any, targets: Targets, factors: Any = None, needs: Needs | None = None
) -> tuple[NDArray[Any], Gradients]:
    """Compute the loss of every row, and gradients of the sum of all losses times their factors.

    Beyond what it returns it takes little more than V R numbers. R is a twelfth of N, but at least 32 and at most 256.

    Parameters
    ----------
    x : ndarray of float32 or float64, shape (N, P)
        The input, with any strides, like all arrays here.
    weight : ndarray of shape (V, P)
        W, of the dtype of `x`.
    bias : ndarray of shape (V,), or None
        b.
    targets : Targets
        From `checked_targets`.
    factors : ndarray of shape (N,), optional
        What the gradient of each loss is multiplied by: in the chain rule, the gradient of what follows.
    needs : Needs, optional
        The gradients that are wanted, for which `factors` must be given; by default none.

    Returns
    -------
    losses : ndarray of shape (N,)
        0 for a row that does not count.
    gradients : Gradients

    Raises
    ------
    TypeError, ValueError
        If an array has the wrong type, dtype or shape.

    Examples
    --------
    >>> x, weight = np.array([[2.0], [0.0]]), np.array([[1.0], [0.0]])
    >>> targets = checked_targets(x, 2, np.array([0, 1]))
    >>> losses, gradients = losses_and_gradients(x, weight, None, targets, np.ones(2), Needs(True, False, False))
    >>> losses.round(6).tolist(), gradients.x.round(6).tolist()
    ([0.126928, 0.693147], [[-0.119203], [0.5]])
    """
    name = "linear_cross_entropy"
    x = checked_floats(f"{name}: x", x, "(N, P)")
    (N, P), V = x.shape, targets.weights.size
    weight = checked_array(f"{name}: weight", weight, (V, P), x.dtype)
    bias = (
        np.zeros_like(x, shape=(V,)) if bias is None else checked_array(f"{name}: bias", bias, (V,), x.dtype)
    )
    needs = Needs(False, False, False) if needs is None else needs
    if factors is not None:
        factors = checked_array(f"{name}: factors", factors, (N,), x.dtype)
    elif any(needs):
        raise ArgumentValueError(f"{name}: factors, one per row, must be given where gradients are wanted")
    if targets.classes.shape != (N,) or targets.weights.dtype != x.dtype:
        raise ArgumentValueError(
            f"{name}: targets must be what checked_targets returned for this x, {x.dtype} with {N} rows, got those of "
            f"{targets.weights.dtype} with {len(targets.classes)} rows"
        )
    if are_of_device(name, x=x, weight=weight, bias=bias, factors=factors, classes=targets.classes):
        losses, *gradients = arrays.losses_and_gradients(x, weight, bias, targets, factors, needs)
        return losses, Gradients(*gradients)
    return _by_blocks(x, weight, bias, targets, factors, needs)


def _by_blocks(
    x: Any, weight: Any, bias: Any, targets: Targets, factors: Any, needs: Needs
) -> tuple[NDArray[Any], Gradients]:
    """Do as `losses_and_gradients` does, for checked arrays on the host."""
    (N, P), V, dtype, x = x.shape, targets.weights.size, x.dtype, in_row_order(x)
    counted = np.flatnonzero(targets.classes != targets.ignored)
    every = len(counted) == N
    losses = np.zeros(N, dtype)
    dx = buffers.empty((N, P), dtype) if needs.x else None
    if dx is not None and not every:
        dx.fill(0)
    dw, db = buffers.empty((V if needs.weight else 0, P), dtype), np.zeros(V, dtype)
    R, groups = min(_rows_of_block(N, weight.nbytes), len(counted)), _num_groups(P, V)
    smoothing = targets.smoothing
    head = _Head(
        in_row_order(weight), in_row_order(bias), targets.weights, 1 - smoothing, smoothing / dtype.type(V),
        buffers.empty(V * R, dtype), R,
    )  # fmt: skip

    operand = np.empty(0, packed_dtype(dtype))
    step, shares = _pass[operand.dtype], threads.shares_of(V * R * P)
    room_of_parts = np.empty(groups * P * R if needs.x else 0, dtype)
    begins = [*range(0, len(counted), max(R, 1)), len(counted)]
    rows = [slice(i, j) if every else counted[i:j] for i, j in pairwise(begins)]
    nothing = block = _block_of(x, targets, factors, slice(0, 0))
    for i, at in enumerate([*rows, slice(0, 0)] if any(needs) else rows):
        following = _block_of(x, targets, factors, at)
        features, summed = P if needs.x else 0, len(block.x)
        parts = room_of_parts[: groups * features * summed].reshape(groups, features, summed)
        sums = _Sums(parts, dw, db, backwards=i % 2 == 1, begun=i > 1)
        threads.launch(step, head, block, following, sums, operand, shares=shares)
        if dx is not None and i > 0:
            for part in parts[1:]:
                parts[0] += part
            dx[rows[i - 1]] = parts[0].T
        if i < len(rows):
            _losses[dtype](head, following)
            losses[at] = following.losses
        if any(needs):  # to finish it takes no more than this
            block = following._replace(transposed=nothing.transposed, peaks=nothing.peaks)
    if len(counted) == 0:
        dw.fill(0)
    return losses, Gradients(dx, dw if needs.weight else None, db if needs.bias else None)


def _block_of(x: Any, targets: Targets, factors: Any, rows: Any) -> _Block:
    """Return a block of some rows: a slice, or indices."""
    xs, dtype = x[rows], x.dtype
    R, chunks = len(xs), -(-targets.weights.size // _CHUNK)
    logits, losses = np.empty((2, R), dtype)
    peaks, sums = np.empty((2, chunks, R), dtype)
    weighted = np.empty((chunks if targets.smoothing > 0 else 0, R), dtype)
    given = np.zeros(R, dtype) if factors is None else factors[rows]
    transposed = np.array(xs.T, order="C")
    return _Block(xs, transposed, targets.classes[rows], given, logits, losses, peaks, sums, weighted)
