"""What does not recur: the input projection before a run, and after it the gradients of input and weights.

Each is one large product over all N rows of the batch; letters are those of `Tape`.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from numba import prange, types
from numpy.typing import NDArray

from rondeau.kernels.cpu.filling import in_order
from rondeau.kernels.ops.scatter import add_rows
from rondeau.kernels.product import matmul
from rondeau.kernels.recurrent.records import Adjoints, Run, Tape, Weights
from rondeau.kernels.runtime import buffers, threads
from rondeau.kernels.runtime.compiling import cached_njit
from rondeau.kernels.runtime.signatures import INDICES, array_type

__all__ = ["WeightSums", "input_gradient", "project_input"]

Array = NDArray[Any]

_PER_ELEMENT = 8
"""Multiply-adds that take as long as passing one element through memory."""


@cached_njit(parallel=True)
def _gather(table, index, out, shares):  # type: ignore[no-untyped-def]
    """Copy ``table[index[n]]`` to ``out[n]``."""
    for share in prange(shares):
        for n in range(share * index.size // shares, (share + 1) * index.size // shares):
            out[n, :] = table[index[n], :]


@cached_njit(parallel=True)
def _sum_rows(rows, descending, total, shares):  # type: ignore[no-untyped-def]
    """Add the rows to ``total``, float64, one after the other; threads share columns."""
    N, columns = rows.shape
    first, step = (N - 1, -1) if descending else (0, 1)
    for share in prange(shares):
        low, high = share * columns // shares, (share + 1) * columns // shares
        of_share, whole = total[low:high], N // 4 * 4
        for n in range(0, whole, 4):  # four at a time: a total is read and written once for them
            at = first + n * step
            a, b = rows[at, low:high], rows[at + step, low:high]
            c, d = rows[at + 2 * step, low:high], rows[at + 3 * step, low:high]
            for k in range(high - low):
                of_share[k] = (((of_share[k] + a[k]) + b[k]) + c[k]) + d[k]
        for n in range(whole, N):
            row = rows[first + n * step, low:high]
            for k in range(high - low):
                of_share[k] += row[k]


@functools.cache
def _compiled_gather(dtype: np.dtype[Any]) -> Any:
    rows = array_type(dtype, 2)
    return _gather.compile(types.void(rows, INDICES, rows, types.intp))


@functools.cache
def _compiled_sum_rows(dtype: np.dtype[Any]) -> Any:
    rows = array_type(dtype, 2)
    return _sum_rows.compile(types.void(rows, types.boolean, array_type(np.dtype(np.float64), 1), types.intp))


def project_input(x: Array, weight_ih: Array, gates: Array) -> None:
    """Fill ``gates`` (N, G H) with the input part of every gate, without its bias."""
    if x.ndim == 2:
        matmul(x, weight_ih.T, out=gates)
        return
    used, index = _used_ids(x, weight_ih.shape[1])
    table = np.ascontiguousarray(weight_ih.T if used is None else weight_ih[:, used].T)
    shares = threads.shares_of(_PER_ELEMENT * gates.size)
    threads.launch(_compiled_gather(gates.dtype), table, index, gates, shares, shares=shares)


def input_gradient(tape: Tape, adjoints: Adjoints) -> Array:
    """Return the gradient of x, (N, I)."""
    schedule = tape.run.cell.schedule
    return matmul(adjoints.gates, in_order(tape.weights.weight_ih, schedule.graph.gates, schedule.order))


class WeightSums:
    """The gradients of a layer's weights, summed over rows in the order in which backward runs.

    That order lets a sequence be differentiated piece by piece, the last piece first, with the bits of the whole.
    """

    def __init__(self, run: Run, x: Array, weights: Weights) -> None:
        """Begin with zero; ``x`` are all rows of the run."""
        schedule, ids = run.cell.schedule, x if x.ndim == 1 else None
        self._schedule, self._weights, self._ids = schedule, weights, ids
        dtype = weights.weight_ih.dtype
        columns, inputs = weights.weight_ih.shape
        self._H = columns // len(schedule.order)
        self._started = False
        self._d_bias = np.zeros(columns)
        self._d_second_bias = np.zeros(len(schedule.split) * self._H)
        self._d_hh = None if weights.weight_hh is None else buffers.empty(weights.weight_hh.shape, dtype)
        self._d_hr = None if weights.weight_hr is None else np.empty_like(weights.weight_hr)
        self._used: Array | None = None
        if ids is None:
            self._d_ih = buffers.empty((columns, inputs), dtype)
        else:
            self._used, _ = _used_ids(ids, inputs)
            self._d_ih = np.zeros((inputs if self._used is None else self._used.size, columns), dtype)
        self.d_params = np.zeros((run.layout.batch_size, len(run.cell.params), self._H), dtype)

    def add(self, tape: Tape, adjoints: Adjoints) -> None:
        """Add what the rows of a piece contribute."""
        more, descending = self._started, not tape.run.reverse
        self._started = True
        order = slice(None, None, -1 if descending else 1)
        d_gates, d_recurrent, d_projected = adjoints.gates, adjoints.recurrent, adjoints.projected
        if self._ids is None:
            matmul(d_gates[order].T, tape.x[order], out=self._d_ih, accumulate=more)
        else:
            index = tape.x if self._used is None else np.searchsorted(self._used, tape.x)
            add_rows(d_gates, index, self._d_ih, descending=descending)
        if self._weights.bias_ih is not None or self._weights.bias_hh is not None:
            _sum(d_gates, descending, self._d_bias)
            _sum(d_recurrent, descending, self._d_second_bias)
        if self._d_hh is not None:
            self._add_recurrent(tape, adjoints, order, more)
        if self._d_hr is not None:
            after = tape.states[0][tape.run.layout.after_rows(tape.run.reverse)]
            matmul(d_projected[order].T, after[order], out=self._d_hr, accumulate=more)

    def _add_recurrent(self, tape: Tape, adjoints: Adjoints, order: slice, more: bool) -> None:
        """Add the products of slots' adjoints and operands to the gradient of the recurrent matrices."""
        schedule, H, heads = self._schedule, self._H, tape.run.settings.num_heads
        assert self._d_hh is not None
        # Where the initial state is zero, the first step that ran adds nothing.
        live = tape.run.layout.rows_after_first_step(tape.run.reverse) if tape.from_zero else slice(None)
        for operand in schedule.operands:
            if operand.node is None:
                value, rows = tape.first[tape.run.layout.before_rows(tape.run.reverse)][live], live
                if tape.keep.size:
                    value = value * tape.keep[tape.run.layout.batch_rows[live]]
                value = value[order]
            else:
                value, rows = tape.values[:, schedule.values.index(operand.node)][order], slice(None)
            parts = (
                (adjoints.gates, operand.joint, schedule.joint, 0),
                (adjoints.recurrent, operand.split, schedule.split, len(schedule.joint)),
            )
            for slots, gates, kind, offset in parts:
                if not gates:
                    continue
                first = kind.index(gates[0])
                d_slots = slots[rows, first * H : (first + len(gates)) * H][order]
                d_rows = self._d_hh[(offset + first) * H : (offset + first + len(gates)) * H]
                size = H // heads if heads > 1 else d_slots.shape[1]
                for k in range(d_slots.shape[1] // size):
                    head = k % heads
                    seen = value[:, head * size : (head + 1) * size] if heads > 1 else value
                    matmul(
                        d_slots[:, k * size : (k + 1) * size].T, seen,
                        out=d_rows[k * size : (k + 1) * size], accumulate=more,
                    )  # fmt: skip

    def finish(self) -> Weights:
        """Return the gradients, in the shapes and the order of the weights."""
        schedule, weights, H = self._schedule, self._weights, self._H
        gates, order, recurrent = schedule.graph.gates, schedule.order, schedule.joint + schedule.split
        d_ih = self._d_ih
        if self._ids is not None:
            d_ih = np.zeros(weights.weight_ih.shape, d_ih.dtype)
            d_ih[:, slice(None) if self._used is None else self._used] = self._d_ih.T
        found: dict[str, Any] = dict.fromkeys(weights._fields)
        found["weight_ih"] = in_order(d_ih, order, gates)
        if self._d_hh is not None:
            found["weight_hh"] = in_order(self._d_hh, recurrent, schedule.recurrent)
        if weights.bias_ih is not None:
            found["bias_ih"] = in_order(self._d_bias.astype(d_ih.dtype), order, gates)
        if weights.bias_hh is not None:
            joint = self._d_bias[: len(schedule.joint) * H]
            d_bias_hh = np.concatenate((joint, self._d_second_bias))
            found["bias_hh"] = in_order(d_bias_hh.astype(d_ih.dtype), recurrent, schedule.recurrent)
        found["weight_hr"] = self._d_hr
        found["params"] = ()
        if self.d_params.shape[1]:
            d_params = np.zeros(self.d_params.shape[1] * H)
            _sum(self.d_params.reshape(len(self.d_params), d_params.size), False, d_params)
            found["params"] = tuple(d_params.astype(d_ih.dtype).reshape(-1, H))
        return Weights(**found)


def _used_ids(ids: Array, inputs: int) -> tuple[Array | None, Array]:
    """Return the ids that occur and the index of each row among them; None and the ids where most may occur."""
    if inputs <= ids.size:
        return None, ids
    used, index = np.unique(ids, return_inverse=True)
    return used, index.astype(np.int64, copy=False)


def _sum(rows: Array, descending: bool, total: Array) -> None:
    """Add the rows to ``total``, float64, one after the other, whatever the number of threads."""
    if total.size:
        shares = threads.shares_of(_PER_ELEMENT * rows.size)
        threads.launch(_compiled_sum_rows(rows.dtype), rows, descending, total, shares, shares=shares)
