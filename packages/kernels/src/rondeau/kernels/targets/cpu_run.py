"""Run: a compiled row over a whole sequence on the CPU, forward and backward.

Each thread takes a slice of the batch through all steps, with no barrier between them: per step a recurrent
product into the gates' buffers, then the row. What does not recur is one large product over all N rows: the
input projection before, and the gradients of weights and input after.

Letters
-------
N rows, one per batch row and step it has; B batch, I inputs, H hidden units, P = H or the projection;
S slots of all gates, R recurrent slots of split gates, J columns of the joint gates.

Storage
-------
``gates`` (N, S, H) and ``recurrent`` (N, R, H): slots, then what backward needs, then adjoints, in place.
``states`` (states, B + N, H), and ``hidden`` (B + N, P) where the first state is projected: `Layout.steps` says
where a step's rows begin before and after it; the initial states lie among them.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numba import from_dtype, prange, types
from numpy.typing import NDArray

from rondeau.kernels import buffers, threads
from rondeau.kernels.cache import cached_njit, kernel_njit
from rondeau.kernels.product import matmul, num_panels, pack_panels, packed_size, product_rows
from rondeau.kernels.scatter import add_rows
from rondeau.kernels.targets.cpu_emit import CompiledRow, call_row

if TYPE_CHECKING:
    from rondeau.kernels.cell.schedule import Schedule
    from rondeau.kernels.sequence import Layout, Needs, Weights

__all__ = ["Saved", "backward", "forward"]

Array = NDArray[Any]

_PER_ELEMENT = 8
"""Multiply-adds that take as long as passing one element through memory."""


# ---------------------------------------------------------------- kernels, compiled once per dtype


@kernel_njit
def _pack_share(w, w_at, k_stride, n_stride, K, N, packed, packed_at, share, shares):  # type: ignore[no-untyped-def]
    """Pack one thread's share of an operand's panels."""
    panels = num_panels(packed, N)
    low, high = share * panels // shares, (share + 1) * panels // shares
    pack_panels(w, w_at, k_stride, n_stride, K, N, packed, packed_at, low, high)


@cached_njit(parallel=True)
def _run_forward(  # type: ignore[no-untyped-def]
    row, gates, recurrent, bias, states, hidden, weight_hh, weight_hr, packed, packed_hr, joint, from_zero,
    starts, befores, afters, sizes, cuts,
):  # fmt: skip
    """Run all steps; ``starts, befores, afters, sizes`` name the rows of each, in the order of running."""
    H, P = states.shape[2], weight_hh.shape[1]
    shares, projected = cuts.size - 1, weight_hr.shape[0] > 0
    J, R, S = joint * H, recurrent.shape[1] * H, gates.shape[1] * H
    flat_gates, flat_recurrent, flat_states = gates.reshape(-1), recurrent.reshape(-1), states.reshape(-1)
    flat_hh, flat_hr = weight_hh.reshape(-1), weight_hr.reshape(-1)
    flat_hidden = hidden.reshape(-1) if projected else flat_states
    split_at = packed_size(P, J)
    for share in prange(shares):
        _pack_share(flat_hh, 0, 1, P, P, J, packed, 0, share, shares)
        _pack_share(flat_hh, J * P, 1, P, P, R, packed, split_at, share, shares)
        if projected:
            _pack_share(flat_hr, 0, 1, H, H, P, packed_hr, 0, share, shares)
    for share in prange(shares):
        first = cuts[share]
        for step in range(starts.size):
            count = min(cuts[share + 1], sizes[step]) - first
            if count <= 0:
                continue
            at, old, new = starts[step] + first, befores[step] + first, afters[step] + first
            if step == 0 and from_zero:
                for k in range(at * R, (at + count) * R):
                    flat_recurrent[k] = 0
            else:
                product_rows(flat_hidden, old * P, P, count, P, packed, 0, J, flat_gates, at * S, S, True)
                product_rows(
                    flat_hidden, old * P, P, count, P, packed, split_at, R, flat_recurrent, at * R, R, False
                )
            call_row(row, (gates, recurrent, bias, states, at, old, new, count))
            if projected:
                product_rows(
                    flat_states, new * H, H, count, H, packed_hr, 0, P, flat_hidden, new * P, P, False
                )


@cached_njit(parallel=True)
def _run_backward(  # type: ignore[no-untyped-def]
    row, gates, recurrent, states, d_states, d_hidden, d_output, d_projected, weight_hh, weight_hr,
    packed, packed_hr, joint, needs_initial, starts, befores, afters, sizes, cuts,
):  # fmt: skip
    """Run all steps from the last to the first that `_run_forward` ran, carrying ``d_hidden`` and ``d_states``."""
    H, P = states.shape[2], weight_hh.shape[1]
    shares, projected = cuts.size - 1, weight_hr.shape[0] > 0
    J, R, S = joint * H, recurrent.shape[1] * H, gates.shape[1] * H
    flat_gates, flat_recurrent, flat_states = gates.reshape(-1), recurrent.reshape(-1), d_states.reshape(-1)
    flat_hh, flat_hr, flat_projected = weight_hh.reshape(-1), weight_hr.reshape(-1), d_projected.reshape(-1)
    flat_hidden = d_hidden.reshape(-1) if projected else flat_states
    flat_output = d_output.reshape(-1)
    split_at = packed_size(J, P)
    for share in prange(shares):
        _pack_share(flat_hh, 0, P, 1, J, P, packed, 0, share, shares)
        _pack_share(flat_hh, J * P, P, 1, R, P, packed, split_at, share, shares)
        if projected:
            _pack_share(flat_hr, 0, H, 1, P, H, packed_hr, 0, share, shares)
    for share in prange(shares):
        first = cuts[share]
        for step in range(starts.size - 1, -1, -1):
            count = min(cuts[share + 1], sizes[step]) - first
            if count <= 0:
                continue
            at, old, new = starts[step] + first, befores[step] + first, afters[step] + first
            if flat_output.size > 0:
                for k in range(count * P):
                    flat_hidden[first * P + k] += flat_output[at * P + k]
            if projected:
                for k in range(count * P):
                    flat_projected[at * P + k] = flat_hidden[first * P + k]
                product_rows(
                    flat_hidden, first * P, P, count, P, packed_hr, 0, H, flat_states, first * H, H, False
                )
            call_row(row, (gates, recurrent, states, d_states, at, old, new, first, count))
            if step > 0 or needs_initial:
                product_rows(
                    flat_gates, at * S, S, count, J, packed, 0, P, flat_hidden, first * P, P, not projected
                )
                product_rows(
                    flat_recurrent, at * R, R, count, R, packed, split_at, P, flat_hidden, first * P, P, True
                )


@cached_njit(parallel=True)
def _gather(table, index, out, shares):  # type: ignore[no-untyped-def]
    """Copy ``table[index[n]]`` to ``out[n]``."""
    for share in prange(shares):
        for n in range(share * index.size // shares, (share + 1) * index.size // shares):
            out[n, :] = table[index[n], :]


@cached_njit(parallel=True)
def _sum_rows(rows, total, shares):  # type: ignore[no-untyped-def]
    """Set ``total`` to the sum of the rows in their order; threads share columns."""
    N, columns = rows.shape
    for share in prange(shares):
        low, high = share * columns // shares, (share + 1) * columns // shares
        for k in range(low, high):
            total[k] = 0
        whole = N // 4 * 4
        for n in range(0, whole, 4):
            for k in range(low, high):
                total[k] = (((total[k] + rows[n, k]) + rows[n + 1, k]) + rows[n + 2, k]) + rows[n + 3, k]
        for n in range(whole, N):
            for k in range(low, high):
                total[k] += rows[n, k]


class _Kernels:
    """The compiled kernels of one dtype: each compiled, or loaded, when first asked for."""

    def __init__(self, dtype: np.dtype[Any]) -> None:
        self._dtype, self._number = dtype, from_dtype(dtype)

    def _array(self, dimensions: int) -> Any:
        return types.Array(self._number, dimensions, "C")

    @functools.cached_property
    def run_forward(self) -> Any:
        one, two, three = map(self._array, (1, 2, 3))
        steps = (types.Array(types.int64, 1, "C"),) * 5
        arrays = (three, three, three, three, two, two, two, one, one)
        return _run_forward.compile(types.void(types.intp, *arrays, types.intp, types.boolean, *steps))

    @functools.cached_property
    def run_backward(self) -> Any:
        one, two, three = map(self._array, (1, 2, 3))
        steps = (types.Array(types.int64, 1, "C"),) * 5
        arrays = (three, three, three, three, two, two, two, two, two, one, one)
        return _run_backward.compile(types.void(types.intp, *arrays, types.intp, types.boolean, *steps))

    @functools.cached_property
    def gather(self) -> Any:
        two = self._array(2)
        return _gather.compile(types.void(two, types.Array(types.int64, 1, "C"), two, types.intp))

    @functools.cached_property
    def sum_rows(self) -> Any:
        return _sum_rows.compile(types.void(self._array(2), self._array(1), types.intp))


_KERNELS = {dtype: _Kernels(dtype) for dtype in (np.dtype(np.float32), np.dtype(np.float64))}


# ---------------------------------------------------------------- one layer, one direction


class Saved(NamedTuple):
    """What forward leaves for backward; the storage is described at the head of this file."""

    layout: Layout
    reverse: bool
    from_zero: bool
    x: Array
    weights: Weights
    gates: Array
    recurrent: Array
    states: Array
    hidden: Array

    @property
    def first(self) -> Array:
        """The storage of the first state as the recurrent matrices see it, (B + N, P)."""
        return self.states[0] if self.weights.weight_hr is None else self.hidden


def forward(
    plan: Schedule,
    row: CompiledRow,
    layout: Layout,
    x: Array,
    weights: Weights,
    initial: tuple[Array, ...],
    reverse: bool,
) -> tuple[Array, tuple[Array, ...], Saved]:
    """Run forward; all arguments are checked, contiguous, and of one dtype."""
    dtype, N, B = weights.weight_hh.dtype, layout.num_rows, layout.batch_size
    columns, P = weights.weight_hh.shape
    H = columns // len(plan.order)
    J, R = len(plan.joint) * H, len(plan.split) * H
    projected = weights.weight_hr is not None
    from_zero = not initial[0].any()
    saved = Saved(
        layout, reverse, from_zero, x, weights,
        gates=buffers.empty((N, len(plan.order), H), dtype),
        recurrent=buffers.empty((N, len(plan.split), H), dtype),
        states=buffers.empty((len(initial), B + N, H), dtype),
        hidden=buffers.empty((B + N, P) if projected else (0, P), dtype),
    )  # fmt: skip
    storages = (saved.first, *saved.states[1:])
    for storage, state in zip(storages, initial, strict=True):
        storage[layout.initial_rows(reverse)] = state
    _project_input(x, _in_order(plan, weights.weight_ih), saved.gates.reshape(N, columns))
    shares = threads.shares_of(N * P * (J + R))
    threads.launch(
        _KERNELS[dtype].run_forward, row.address,
        saved.gates, saved.recurrent, _bias_of_slots(plan, weights, H), saved.states, saved.hidden,
        _in_order(plan, weights.weight_hh), weights.weight_hr if projected else np.empty((0, H), dtype),
        buffers.empty(packed_size(P, J) + packed_size(P, R), dtype),
        buffers.empty(packed_size(H, P) if projected else 0, dtype),
        len(plan.joint), from_zero, *layout.steps(reverse), layout.cuts(shares), shares=shares,
    )  # fmt: skip
    output = saved.first[layout.output_rows(reverse)]
    final = tuple(np.array(storage[layout.final_rows(reverse)]) for storage in storages)
    return output, final, saved


def backward(
    plan: Schedule,
    row: CompiledRow,
    saved: Saved,
    d_output: Array | None,
    d_final: tuple[Array | None, ...],
    needs: Needs,
    consume: bool,
) -> tuple[Array | None, tuple[Array, ...] | None, dict[str, Array | None]]:
    """Run backward; return the gradients of x, of the initial states, and of the weights by name."""
    layout, weights = saved.layout, saved.weights
    dtype, N, B = weights.weight_hh.dtype, layout.num_rows, layout.batch_size
    columns, P = weights.weight_hh.shape
    H = columns // len(plan.order)
    J, R = len(plan.joint) * H, len(plan.split) * H
    projected = weights.weight_hr is not None
    gates, recurrent = (
        (saved.gates, saved.recurrent) if consume else map(_copy, (saved.gates, saved.recurrent))
    )

    d_states = buffers.empty((len(d_final), B, H), dtype)
    d_hidden = buffers.empty((B, P) if projected else (0, P), dtype)
    d_initial = (d_hidden if projected else d_states[0], *d_states[1:])
    for carried, gradient in zip(d_initial, d_final, strict=True):
        carried[...] = 0 if gradient is None else gradient
    d_projected = buffers.empty((N, P) if projected else (0, P), dtype)
    shares = threads.shares_of(N * P * (J + R))
    threads.launch(
        _KERNELS[dtype].run_backward, row.address,
        gates, recurrent, saved.states, d_states, d_hidden,
        np.empty((0, P), dtype) if d_output is None else d_output, d_projected,
        _in_order(plan, weights.weight_hh), weights.weight_hr if projected else np.empty((0, H), dtype),
        buffers.empty(packed_size(J, P) + packed_size(R, P), dtype),
        buffers.empty(packed_size(P, H) if projected else 0, dtype),
        len(plan.joint), needs.initial, *layout.steps(saved.reverse), layout.cuts(shares), shares=shares,
    )  # fmt: skip

    d_gates, d_recurrent = gates.reshape(N, columns), recurrent.reshape(N, R)
    d_x = matmul(d_gates, _in_order(plan, weights.weight_ih)) if needs.x and saved.x.ndim == 2 else None
    d_weights: dict[str, Array | None] = dict.fromkeys(weights._fields)
    if needs.weights:
        d_weights |= _weight_gradients(plan, saved, d_gates, d_recurrent, d_projected)
    return d_x, d_initial if needs.initial else None, d_weights


def _weight_gradients(
    plan: Schedule, saved: Saved, d_gates: Array, d_recurrent: Array, d_projected: Array
) -> dict[str, Array | None]:
    """Return the gradient of every weight the layer has, given those of all slots and of the projected state."""
    layout, weights, reverse = saved.layout, saved.weights, saved.reverse
    H = d_gates.shape[1] // len(plan.order)
    J, R = len(plan.joint) * H, d_recurrent.shape[1]
    # Where the initial state is zero, the first step that ran adds nothing to the recurrent gradient.
    rows = layout.rows_after_first_step(reverse) if saved.from_zero else slice(None)
    before = saved.first[layout.before_rows(reverse)][rows]
    d_hh = buffers.empty(weights.weight_hh.shape, d_gates.dtype)
    matmul(d_gates[rows, :J].T, before, out=d_hh[:J])
    if R:
        matmul(d_recurrent[rows].T, before, out=d_hh[J : J + R])
    d_hh[J + R :] = 0
    found: dict[str, Array | None] = {
        "weight_ih": _gradient_of_input_weight(saved.x, d_gates, weights.weight_ih.shape[1]),
        "weight_hh": d_hh,
    }
    if weights.bias_ih is not None or weights.bias_hh is not None:
        d_bias = _sum(d_gates)
        if weights.bias_hh is not None:
            nothing = np.zeros(len(plan.apart) * H, d_gates.dtype)
            found["bias_hh"] = np.concatenate((d_bias[:J], _sum(d_recurrent), nothing))
        if weights.bias_ih is not None:
            found["bias_ih"] = d_bias
    found = {
        name: _in_users_order(plan, gradient) for name, gradient in found.items() if gradient is not None
    }
    if weights.weight_hr is not None:
        found["weight_hr"] = matmul(d_projected.T, saved.states[0][layout.after_rows(reverse)])
    return found


def _project_input(x: Array, weight_ih: Array, gates: Array) -> None:
    """Fill ``gates`` (N, G H) with the input part of every gate, without its bias."""
    if x.ndim == 2:
        matmul(x, weight_ih.T, out=gates)
        return
    used, index = _used_ids(x, weight_ih.shape[1])
    table = np.ascontiguousarray(weight_ih.T if used is None else weight_ih[:, used].T)
    shares = threads.shares_of(_PER_ELEMENT * gates.size)
    threads.launch(_KERNELS[gates.dtype].gather, table, index, gates, shares, shares=shares)


def _gradient_of_input_weight(x: Array, d_gates: Array, inputs: int) -> Array:
    """Return the gradient of ``weight_ih`` (G H, I)."""
    if x.ndim == 2:
        return matmul(d_gates.T, x)
    used, index = _used_ids(x, inputs)
    table = np.zeros((inputs if used is None else used.size, d_gates.shape[1]), d_gates.dtype)
    add_rows(d_gates, index, table)
    if used is None:
        return np.ascontiguousarray(table.T)
    gradient = np.zeros((d_gates.shape[1], inputs), d_gates.dtype)
    gradient[:, used] = table.T
    return gradient


def _used_ids(ids: Array, inputs: int) -> tuple[Array | None, Array]:
    """Return the ids that occur and each row's place among them; None and the ids themselves where most may occur."""
    if inputs <= ids.size:
        return None, ids
    used, index = np.unique(ids, return_inverse=True)
    return used, index.astype(np.int64, copy=False)


def _sum(rows: Array) -> Array:
    """Return the sum over rows, in their order, whatever the number of threads."""
    total = np.empty(rows.shape[1], rows.dtype)
    if total.size:
        shares = threads.shares_of(_PER_ELEMENT * rows.size)
        threads.launch(_KERNELS[rows.dtype].sum_rows, rows, total, shares, shares=shares)
    return total


def _bias_of_slots(plan: Schedule, weights: Weights, H: int) -> Array:
    """Return what is added to each slot, (1, slots, H): joint gates get both biases, split gates one in each slot."""
    bias = np.zeros((1, len(plan.slots), H), weights.weight_hh.dtype)
    flat, columns = bias.reshape(-1), len(plan.order) * H
    J, R = len(plan.joint) * H, len(plan.split) * H
    if weights.bias_ih is not None:
        flat[:columns] = _in_order(plan, weights.bias_ih)
    if weights.bias_hh is not None:
        bias_hh = _in_order(plan, weights.bias_hh)
        flat[:J] += bias_hh[:J]
        flat[columns:] = bias_hh[J : J + R]
    return bias


def _in_order(plan: Schedule, rows: Array) -> Array:
    """Return the rows of a weight or bias with the gates in the order of the buffers."""
    if plan.order == plan.graph.gates:
        return rows
    places = [plan.graph.gates.index(gate) for gate in plan.order]
    return np.ascontiguousarray(rows.reshape(len(places), -1)[places]).reshape(rows.shape)


def _in_users_order(plan: Schedule, rows: Array) -> Array:
    """Undo `_in_order`."""
    if plan.order == plan.graph.gates:
        return rows
    places = [plan.order.index(gate) for gate in plan.graph.gates]
    return np.ascontiguousarray(rows.reshape(len(places), -1)[places]).reshape(rows.shape)


def _copy(array: Array) -> Array:
    copy = buffers.empty(array.shape, array.dtype)
    copy[...] = array
    return copy
