"""The non-recurrent work: the input projection before a run, and the gradients of input and weights after it.

Each is one large product over all N rows of the batch; the notation is that of `Tape`.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from numba import types
from numpy.typing import NDArray

from rondeau.kernels.cpu.plan import plan_of
from rondeau.kernels.ops.scatter import add_rows
from rondeau.kernels.product import multiply_into
from rondeau.kernels.recurrent.ordering import in_weight_order
from rondeau.kernels.recurrent.records import Adjoints, Run, Tape, Weights
from rondeau.kernels.runtime import buffers, threads
from rondeau.kernels.runtime.compiling import cached_njit, linked_njit
from rondeau.kernels.runtime.shares import indices_of_share, run_shares
from rondeau.kernels.runtime.signatures import INDICES, array_type

__all__ = ["WeightSums", "input_gradient", "project_input"]

Array = NDArray[Any]

_PER_ELEMENT = 8
"""The cost of passing one element through memory, in multiply-adds."""


@linked_njit
def _gather_share(table, index, out, share, shares):  # type: ignore[no-untyped-def]
    for n in indices_of_share(index.size, share, shares):
        row = index[n]
        for k in range(out.shape[1]):  # slices would take four times as long to compile
            out[n, k] = table[row, k]


@cached_njit
def _gather(table, index, out, shares):  # type: ignore[no-untyped-def]
    """Copy ``table[index[n]]`` to ``out[n]``."""
    run_shares(_gather_share, (table, index, out), shares)


@linked_njit
def sum_columns(rows, descending, total, share, shares):  # type: ignore[no-untyped-def]
    """Add the rows to ``total``, float64, one after the other, in one thread's share of the columns."""
    N, columns = rows.shape
    first, step = (N - 1, -1) if descending else (0, 1)
    whole = N // 4 * 4
    for n in range(0, whole, 4):  # four at a time, for which a total is read and written once
        a = first + n * step
        b, c, d = a + step, a + 2 * step, a + 3 * step
        for k in indices_of_share(columns, share, shares):
            total[k] = (((total[k] + rows[a, k]) + rows[b, k]) + rows[c, k]) + rows[d, k]
    for n in range(whole, N):
        row = first + n * step
        for k in indices_of_share(columns, share, shares):
            total[k] += rows[row, k]


@linked_njit
def _sum_share(rows, others, descending, total, total_of_others, share, shares):  # type: ignore[no-untyped-def]
    sum_columns(rows, descending, total, share, shares)
    sum_columns(others, descending, total_of_others, share, shares)


@cached_njit
def _sum_rows(rows, others, descending, total, total_of_others, shares):  # type: ignore[no-untyped-def]
    """Add the rows of two matrices to their totals."""
    run_shares(_sum_share, (rows, others, descending, total, total_of_others), shares)


@functools.cache
def _compiled_gather(dtype: np.dtype[Any]) -> Any:
    rows = array_type(dtype, 2)
    return _gather.compile(types.void(rows, INDICES, rows, types.intp))


@functools.cache
def _compiled_sum_rows(dtype: np.dtype[Any]) -> Any:
    rows, total = array_type(dtype, 2), array_type(np.dtype(np.float64), 1)
    return _sum_rows.compile(types.void(rows, rows, types.boolean, total, total, types.intp))


def project_input(x: Array, weight_ih: Array, gates: Array) -> None:
    """Fill ``gates`` (N, G H) with the input part of every gate, without its bias."""
    if x.ndim == 2:
        multiply_into(gates, x, weight_ih.T)
        return
    used, index = _used_ids(x, weight_ih.shape[1])
    table = np.ascontiguousarray(weight_ih.T if used is None else weight_ih[:, used].T)
    shares = threads.shares_of(_PER_ELEMENT * gates.size)
    threads.launch(_compiled_gather(gates.dtype), table, index, gates, shares, shares=shares)


def input_gradient(tape: Tape, adjoints: Adjoints) -> Array:
    """Return the gradient of x, (N, I)."""
    d_x: Array = buffers.empty(tape.x.shape, tape.x.dtype)
    multiply_into(d_x, adjoints.gates, tape.weights.weight_ih)
    return d_x


class WeightSums:
    """The gradients of a layer's weights, summed over rows in the order in which backward runs.

    With this order a sequence can be differentiated piece by piece, the last piece first, with the same bits.
    """

    def __init__(self, run: Run, x: Array, weights: Weights) -> None:
        """Start from zero; ``x`` has all rows of the run."""
        plan = plan_of(run, weights)
        columns, inputs = weights.weight_ih.shape
        self._plan, self._weights = plan, weights
        self._ids = x if x.ndim == 1 else None
        self._started = False
        self._d_bias, self._d_second_bias = np.zeros(columns), np.zeros(plan.R * plan.H)
        self._d_hh = None if weights.weight_hh is None else buffers.empty(weights.weight_hh.shape, plan.dtype)
        self._d_hr = None if weights.weight_hr is None else np.empty_like(weights.weight_hr)
        self._used: Array | None = None
        if self._ids is None:
            self._d_ih = buffers.empty((columns, inputs), plan.dtype)
        else:
            self._used, _ = _used_ids(x, inputs)
            self._d_ih = np.zeros((inputs if self._used is None else self._used.size, columns), plan.dtype)
        self.d_params = np.zeros((run.layout.batch_size, len(weights.params), plan.H), plan.dtype)

    def add(self, tape: Tape, adjoints: Adjoints) -> None:
        """Add the contribution of the rows of a piece."""
        more, descending = self._started, not tape.run.reverse
        self._started = True
        order = slice(None, None, -1 if descending else 1)
        d_gates = adjoints.gates
        if self._ids is None:
            multiply_into(self._d_ih, d_gates[order].T, tape.x[order], more)
        else:
            index = tape.x if self._used is None else np.searchsorted(self._used, tape.x)
            add_rows(d_gates, index, self._d_ih, descending=descending)
        if self._weights.bias_ih is not None or self._weights.bias_hh is not None:
            _sum(d_gates, adjoints.recurrent, descending, self._d_bias, self._d_second_bias)
        if self._d_hh is not None:
            self._add_recurrent(self._d_hh, tape, adjoints, order, more)
        if self._d_hr is not None:
            after = tape.states[0][tape.run.layout.after_rows(tape.run.reverse)]
            multiply_into(self._d_hr, adjoints.projected[order].T, after[order], more)

    def _add_recurrent(self, d_hh: Array, tape: Tape, adjoints: Adjoints, order: slice, more: bool) -> None:
        """Add the products of slots' adjoints and operands to the gradient of the recurrent matrices."""
        layout, reverse = tape.run.layout, tape.run.reverse
        # If the initial state is zero, the first step that ran adds nothing.
        live = layout.rows_after_first_step(reverse) if tape.from_zero else slice(None)
        before = tape.first[layout.before_rows(reverse)][live]
        if tape.keep.size:
            before = before * tape.keep[layout.batch_rows[live]]
        for part in self._plan.contributions:
            slots = adjoints.gates if part.is_joint else adjoints.recurrent
            if part.value is None:
                d_slots, operand = slots[live, part.slots], before
            else:
                d_slots, operand = slots[:, part.slots], tape.values[:, part.value]
            self._multiply_heads(d_hh[part.rows], d_slots[order], operand[order], more)

    def _multiply_heads(self, d_rows: Array, d_slots: Array, operand: Array, more: bool) -> None:
        """Add ``d_slots.T @ operand`` to some rows of the gradient, head by head if there are several."""
        heads = self._plan.num_heads
        if heads == 1:
            multiply_into(d_rows, d_slots.T, operand, more)
            return
        size = self._plan.H // heads
        for k in range(d_rows.shape[0] // size):
            of_head, units = k % heads * size, slice(k * size, (k + 1) * size)
            multiply_into(d_rows[units], d_slots[:, units].T, operand[:, of_head : of_head + size], more)

    def finish(self) -> Weights:
        """Return the gradients, in the shapes and the order of the weights."""
        plan, weights = self._plan, self._weights
        dtype, H = plan.dtype, plan.H
        d_ih = self._d_ih
        if self._ids is not None:
            d_ih = np.zeros(weights.weight_ih.shape, dtype)
            d_ih[:, slice(None) if self._used is None else self._used] = self._d_ih.T
        d_bias_ih = d_bias_hh = None
        if weights.bias_ih is not None:
            d_bias_ih = self._d_bias.astype(dtype)
        if weights.bias_hh is not None:
            joint = self._d_bias[: len(plan.schedule.joint) * H]
            both = np.concatenate((joint, self._d_second_bias)) if plan.R else joint
            d_bias_hh = both.astype(dtype)
        d_params: tuple[Array, ...] = ()
        if weights.params:
            total = np.zeros(len(weights.params) * H)
            rows = self.d_params.reshape(len(self.d_params), total.size)
            _sum(rows, rows[:, :0], False, total, total[:0])
            d_params = tuple(total.astype(dtype).reshape(-1, H))
        found = Weights(d_ih, self._d_hh, d_bias_ih, d_bias_hh, self._d_hr, d_params)
        return in_weight_order(plan.schedule, found)


def _used_ids(ids: Array, inputs: int) -> tuple[Array | None, Array]:
    """Return the ids that occur and the index of each row among them; None and the ids if most of them may occur."""
    if inputs <= ids.size:
        return None, ids
    used, index = np.unique(ids, return_inverse=True)
    return used, index.astype(np.int64, copy=False)


def _sum(rows: Array, others: Array, descending: bool, total: Array, total_of_others: Array) -> None:
    """Add the rows of two matrices to totals, float64, one after the other, whatever the number of threads."""
    shares = threads.shares_of(_PER_ELEMENT * (rows.size + others.size))
    entry = _compiled_sum_rows(rows.dtype)
    threads.launch(entry, rows, others, descending, total, total_of_others, shares, shares=shares)
