"""Run: compiled rows over a whole sequence on the CPU, forward and backward.

Each thread takes a slice of the batch through all steps, with no barrier between them: per step the products and rows
of the cell's phases. Where the batch has fewer rows than there are threads, they share the hidden units instead, and
meet after every phase. What does not recur is one large product over all N rows: the input projection before, and the
gradients of weights and input after.

Letters
-------
N rows, one per batch row and step it has; B batch, I inputs, H hidden units, P = H or the projection;
S slots of all gates, R recurrent slots of split gates, V operands that the step computes.

Storage
-------
``gates`` (N, S, H) and ``recurrent`` (N, R, H): slots, then what backward needs, then adjoints, in place.
``values`` (N, V, H): operands. ``states`` (states, B + N, H), and ``hidden`` (B + N, P) where the first state is
projected: `Layout.steps` says where a step's rows begin before and after it; the initial states lie among them.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numba import from_dtype, prange, types
from numpy.typing import NDArray

from rondeau.kernels import buffers, philox, threads
from rondeau.kernels.cache import cached_njit, kernel_njit
from rondeau.kernels.product import matmul, num_panels, pack_panels, packed_size, product_rows
from rondeau.kernels.product.microkernel import pointer_at
from rondeau.kernels.scatter import add_rows
from rondeau.kernels.targets.blocks import COLUMNS, backward_blocks, forward_blocks, unit_cuts
from rondeau.kernels.targets.cpu_emit import call_row

if TYPE_CHECKING:
    from rondeau.kernels.cell.schedule import Schedule
    from rondeau.kernels.cell.timeline import Program
    from rondeau.kernels.sequence import Layout, Settings, Weights

__all__ = ["Adjoints", "Saved", "WeightGradients", "backward_through_time", "forward", "input_gradient"]

Array = NDArray[Any]

_PER_ELEMENT = 8
"""Multiply-adds that take as long as passing one element through memory."""
UNITS_FROM = 2**17
"""Multiply-adds of a step from which threads that share its hidden units gain more than they lose by meeting."""
MASK_STREAM = 32
"""Of the 64 streams of a layer and direction: that of recurrent dropout. State k's zoneout has stream k."""
_OPERAND, _OPERAND_COLUMN, _SLOTS, _SLOT_COLUMN, _DEPTH, _WIDTH, _ACCUMULATE, _PACKED_AT, _WEIGHT_AT = range(
    len(COLUMNS)
)


# ---------------------------------------------------------------- kernels, compiled once per dtype


@kernel_njit
def _pack_share(w, w_at, k_stride, n_stride, K, N, packed, packed_at, share, shares):  # type: ignore[no-untyped-def]
    """Pack one thread's share of an operand's panels."""
    panels = num_panels(packed, N)
    low, high = share * panels // shares, (share + 1) * panels // shares
    pack_panels(w, w_at, k_stride, n_stride, K, N, packed, packed_at, low, high)


@kernel_njit
def _pack_blocks(table, flat, k_stride, n_stride, packed, share, shares):  # type: ignore[no-untyped-def]
    """Pack one thread's share of the weights of all blocks."""
    for k in range(table.shape[0]):
        block = table[k]
        _pack_share(
            flat, block[_WEIGHT_AT], k_stride, n_stride, block[_DEPTH], block[_WIDTH],
            packed, block[_PACKED_AT], share, shares,
        )  # fmt: skip


@kernel_njit
def _multiply_forward(  # type: ignore[no-untyped-def]
    table, first_block, last_block, gates, recurrent, values, hidden, packed, from_zero, at, old, count
):  # fmt: skip
    """Bring operands' products to the slots of ``count`` rows; the first state's are skipped where it is zero."""
    flat_gates, flat_recurrent, flat_values = gates.reshape(-1), recurrent.reshape(-1), values.reshape(-1)
    flat_hidden = hidden.reshape(-1)
    S, R = gates.shape[1] * gates.shape[2], recurrent.shape[1] * recurrent.shape[2]
    V, H, P = values.shape[1] * values.shape[2], values.shape[2], hidden.shape[1]
    for k in range(first_block, last_block):
        block = table[k]
        depth, width, column, packed_at = block[_DEPTH], block[_WIDTH], block[_SLOT_COLUMN], block[_PACKED_AT]
        operand, operand_at, stride = flat_hidden, old * P + block[_OPERAND_COLUMN], P
        if block[_OPERAND] >= 0:
            operand, stride = flat_values, V
            operand_at = at * V + block[_OPERAND] * H + block[_OPERAND_COLUMN]
        elif from_zero:
            if block[_SLOTS] == 1:
                for row in range(at, at + count):
                    for j in range(row * R + column, row * R + column + width):
                        flat_recurrent[j] = 0
            continue
        if block[_SLOTS] == 0:
            product_rows(
                operand, operand_at, stride, count, depth, packed, packed_at, width,
                flat_gates, at * S + column, S, True,
            )  # fmt: skip
        else:
            product_rows(
                operand, operand_at, stride, count, depth, packed, packed_at, width,
                flat_recurrent, at * R + column, R, False,
            )  # fmt: skip


@kernel_njit
def _multiply_backward(  # type: ignore[no-untyped-def]
    table, first_block, last_block, gates, recurrent, d_hidden, d_values, packed, wants_hidden, at, first, count
):  # fmt: skip
    """Send the adjoints of the slots of ``count`` rows back to operands, to the first state where that is wanted."""
    flat_gates, flat_recurrent, flat_values = gates.reshape(-1), recurrent.reshape(-1), d_values.reshape(-1)
    flat_hidden = d_hidden.reshape(-1)
    S, R = gates.shape[1] * gates.shape[2], recurrent.shape[1] * recurrent.shape[2]
    B, H, P = d_values.shape[1], d_values.shape[2], d_hidden.shape[1]
    for k in range(first_block, last_block):
        block = table[k]
        depth, width, column, packed_at = block[_DEPTH], block[_WIDTH], block[_SLOT_COLUMN], block[_PACKED_AT]
        slots, slots_at, stride = flat_gates, at * S + column, S
        if block[_SLOTS] == 1:
            slots, slots_at, stride = flat_recurrent, at * R + column, R
        accumulate = block[_ACCUMULATE] != 0
        if block[_OPERAND] >= 0:
            target = (block[_OPERAND] * B + first) * H + block[_OPERAND_COLUMN]
            product_rows(
                slots, slots_at, stride, count, depth, packed, packed_at, width,
                flat_values, target, H, accumulate,
            )  # fmt: skip
        elif wants_hidden:
            product_rows(
                slots, slots_at, stride, count, depth, packed, packed_at, width,
                flat_hidden, first * P + block[_OPERAND_COLUMN], P, accumulate,
            )  # fmt: skip


@kernel_njit
def _add_steps(d_steps, d_hidden, d_states, at, first, count, low, high):  # type: ignore[no-untyped-def]
    """Add what the loss says of every step's states to their adjoints; a state without has address 0."""
    flat_hidden, flat_states = d_hidden.reshape(-1), d_states.reshape(-1)
    B, H, P = d_states.shape[1], d_states.shape[2], d_hidden.shape[1]
    if d_steps[0] != 0:
        source = pointer_at(d_hidden, d_steps[0])
        for row in range(count):
            for k in range(low, min(high, P)):
                flat_hidden[(first + row) * P + k] += source[(at + row) * P + k]
    for state in range(1, d_steps.size):
        if d_steps[state] != 0:
            source = pointer_at(d_states, d_steps[state])
            for row in range(count):
                for k in range(low, min(high, H)):
                    flat_states[(state * B + first + row) * H + k] += source[(at + row) * H + k]


@cached_njit(parallel=True)
def _forward_by_batch(  # type: ignore[no-untyped-def]
    rows, table, ends, gates, recurrent, bias, values, row_values, states, hidden, params, scalars, carry, mask, places,
    key, stream, weight_hh, weight_hr, packed, packed_hr, from_zero, starts, befores, afters, sizes, cuts,
):  # fmt: skip
    """Run all steps, each thread its slice of the batch; ``starts`` to ``sizes`` name each step's rows as they run."""
    H, P, projected = states.shape[2], hidden.shape[1], weight_hr.shape[0] > 0
    flat_states, flat_hidden, nothing = states.reshape(-1), hidden.reshape(-1), bias[:0]
    flat_hh, flat_hr, shares = weight_hh.reshape(-1), weight_hr.reshape(-1), cuts.size - 1
    for share in prange(shares):
        _pack_blocks(table, flat_hh, 1, weight_hh.shape[1], packed, np.intp(share), shares)
        if projected:
            _pack_share(flat_hr, 0, 1, H, H, P, packed_hr, 0, np.intp(share), shares)
    for share in prange(shares):
        first = cuts[share]
        for step in range(starts.size):
            count = min(cuts[share + 1], sizes[step]) - first
            if count <= 0:
                continue
            at, old, new = starts[step] + first, befores[step] + first, afters[step] + first
            for phase in range(rows.size):
                _multiply_forward(
                    table, ends[phase, 0], ends[phase, 1], gates, recurrent, values, hidden, packed,
                    step == 0 and from_zero, at, old, count,
                )  # fmt: skip
                call_row(rows[phase], (
                    gates, recurrent, bias, values, row_values, states, params, scalars, carry, mask,
                    nothing, nothing, nothing, places, key, stream, at, old, new, first, count, 0, H,
                ))  # fmt: skip
            if projected:
                product_rows(
                    flat_states, new * H, H, count, H, packed_hr, 0, P, flat_hidden, new * P, P, False
                )


@cached_njit(parallel=True)
def _forward_by_units(  # type: ignore[no-untyped-def]
    rows, table, ends, gates, recurrent, bias, values, row_values, states, hidden, params, scalars, carry, mask, places,
    key, stream, weight_hh, packed, from_zero, starts, befores, afters, sizes, cuts, cuts_of_rows,
):  # fmt: skip
    """Run all steps, each thread its share of the hidden units; it runs rows where ``cuts_of_rows`` lets it."""
    nothing, flat_hh, shares = bias[:0], weight_hh.reshape(-1), cuts.size - 1
    for share in prange(shares):
        _pack_blocks(table, flat_hh, 1, weight_hh.shape[1], packed, np.intp(share), shares)
    for step in range(starts.size):
        count, at, old, new = sizes[step], starts[step], befores[step], afters[step]
        for phase in range(rows.size):
            whole = cuts_of_rows.size == 2
            for share in prange(cuts.size - 1):
                _multiply_forward(
                    table, ends[phase, share], ends[phase, share + 1], gates, recurrent, values, hidden, packed,
                    step == 0 and from_zero, at, old, count,
                )  # fmt: skip
                if not whole:
                    call_row(rows[phase], (
                        gates, recurrent, bias, values, row_values, states, params, scalars, carry, mask,
                        nothing, nothing, nothing, places, key, stream, at, old, new, 0, count,
                        cuts_of_rows[share], cuts_of_rows[share + 1],
                    ))  # fmt: skip
            if whole:
                call_row(rows[phase], (
                    gates, recurrent, bias, values, row_values, states, params, scalars, carry, mask,
                    nothing, nothing, nothing, places, key, stream, at, old, new, 0, count,
                    cuts_of_rows[0], cuts_of_rows[1],
                ))  # fmt: skip


@cached_njit(parallel=True)
def _backward_by_batch(  # type: ignore[no-untyped-def]
    rows, table, ends, gates, recurrent, bias, values, row_values, states, d_states, d_hidden, d_steps, d_projected,
    params, d_params, d_values, scalars, carry, mask, places, key, stream, weight_hh, weight_hr, packed, packed_hr,
    needs_initial, starts, befores, afters, sizes, cuts,
):  # fmt: skip
    """Run all steps from the last to the first that forward ran, carrying ``d_hidden`` and ``d_states``."""
    H, P, projected = states.shape[2], d_hidden.shape[1], weight_hr.shape[0] > 0
    flat_states, flat_hidden, flat_projected = (
        d_states.reshape(-1),
        d_hidden.reshape(-1),
        d_projected.reshape(-1),
    )
    flat_hh, flat_hr, shares = weight_hh.reshape(-1), weight_hr.reshape(-1), cuts.size - 1
    for share in prange(shares):
        _pack_blocks(table, flat_hh, weight_hh.shape[1], 1, packed, np.intp(share), shares)
        if projected:
            _pack_share(flat_hr, 0, H, 1, P, H, packed_hr, 0, np.intp(share), shares)
    for share in prange(shares):
        first = cuts[share]
        for step in range(starts.size - 1, -1, -1):
            count = min(cuts[share + 1], sizes[step]) - first
            if count <= 0:
                continue
            at, old, new = starts[step] + first, befores[step] + first, afters[step] + first
            _add_steps(d_steps, d_hidden, d_states, at, first, count, 0, max(H, P))
            if projected:
                for k in range(count * P):
                    flat_projected[at * P + k] = flat_hidden[first * P + k]
                product_rows(
                    flat_hidden, first * P, P, count, P, packed_hr, 0, H, flat_states, first * H, H, False
                )
            for phase in range(rows.size):
                call_row(rows[phase], (
                    gates, recurrent, bias, values, row_values, states, params, scalars, carry, mask,
                    d_states, d_params, d_values, places, key, stream, at, old, new, first, count, 0, H,
                ))  # fmt: skip
                _multiply_backward(
                    table, ends[phase, 0], ends[phase, 1], gates, recurrent, d_hidden, d_values, packed,
                    step > 0 or needs_initial, at, first, count,
                )  # fmt: skip


@cached_njit(parallel=True)
def _backward_by_units(  # type: ignore[no-untyped-def]
    rows, table, ends, gates, recurrent, bias, values, row_values, states, d_states, d_hidden, d_steps,
    params, d_params, d_values, scalars, carry, mask, places, key, stream, weight_hh, packed,
    needs_initial, starts, befores, afters, sizes, cuts, cuts_of_rows,
):  # fmt: skip
    """Run all steps backwards, each thread its share of the hidden units."""
    flat_hh, shares = weight_hh.reshape(-1), cuts.size - 1
    for share in prange(shares):
        _pack_blocks(table, flat_hh, weight_hh.shape[1], 1, packed, np.intp(share), shares)
    for step in range(starts.size - 1, -1, -1):
        count, at, old, new = sizes[step], starts[step], befores[step], afters[step]
        _add_steps(d_steps, d_hidden, d_states, at, 0, count, 0, states.shape[2])
        for phase in range(rows.size):
            if cuts_of_rows.size == 2:
                call_row(rows[phase], (
                    gates, recurrent, bias, values, row_values, states, params, scalars, carry, mask,
                    d_states, d_params, d_values, places, key, stream, at, old, new, 0, count,
                    cuts_of_rows[0], cuts_of_rows[1],
                ))  # fmt: skip
            else:
                for share in prange(cuts_of_rows.size - 1):
                    call_row(rows[phase], (
                        gates, recurrent, bias, values, row_values, states, params, scalars, carry, mask,
                        d_states, d_params, d_values, places, key, stream, at, old, new, 0, count,
                        cuts_of_rows[share], cuts_of_rows[share + 1],
                    ))  # fmt: skip
            for share in prange(cuts.size - 1):
                _multiply_backward(
                    table, ends[phase, share], ends[phase, share + 1], gates, recurrent, d_hidden, d_values, packed,
                    step > 0 or needs_initial, at, 0, count,
                )  # fmt: skip


@cached_njit(parallel=True)
def _gather(table, index, out, shares):  # type: ignore[no-untyped-def]
    """Copy ``table[index[n]]`` to ``out[n]``."""
    for share in prange(shares):
        for n in range(share * index.size // shares, (share + 1) * index.size // shares):
            out[n, :] = table[index[n], :]


@cached_njit(parallel=True)
def _sum_rows(rows, descending, total, shares):  # type: ignore[no-untyped-def]
    """Add the rows to ``total`` one after the other; threads share columns."""
    N, columns = rows.shape
    first, step = (N - 1, -1) if descending else (0, 1)
    for share in prange(shares):
        low, high = share * columns // shares, (share + 1) * columns // shares
        whole = N // 4 * 4
        for n in range(0, whole, 4):
            a, b, c, d = (
                first + n * step,
                first + (n + 1) * step,
                first + (n + 2) * step,
                first + (n + 3) * step,
            )
            for k in range(low, high):
                total[k] = (((total[k] + rows[a, k]) + rows[b, k]) + rows[c, k]) + rows[d, k]
        for n in range(whole, N):
            for k in range(low, high):
                total[k] += rows[first + n * step, k]


class _Kernels:
    """The compiled kernels of one dtype: each compiled, or loaded, when first asked for."""

    def __init__(self, dtype: np.dtype[Any]) -> None:
        self._dtype, self._number = dtype, from_dtype(dtype)

    def _array(self, dimensions: int) -> Any:
        return types.Array(self._number, dimensions, "C")

    def _compile(self, function: Any, arguments: str) -> Any:
        """Compile for arguments given by letters: 1 to 3 arrays of numbers, i and I of integers, n b u scalars."""
        integers = {"i": types.Array(types.int64, 1, "C"), "I": types.Array(types.int64, 2, "C")}
        scalars = {"n": types.intp, "b": types.boolean, "u": types.uint64}
        kinds = {str(k): self._array(k) for k in (1, 2, 3)} | integers | scalars
        return function.compile(types.void(*(kinds[letter] for letter in arguments.replace(" ", ""))))

    @functools.cached_property
    def forward_by_batch(self) -> Any:
        return self._compile(_forward_by_batch, "iII 333333 2 3333 I un 22 11 b iiiii")

    @functools.cached_property
    def forward_by_units(self) -> Any:
        return self._compile(_forward_by_units, "iII 333333 2 3333 I un 2 1 b iiiiii")

    @functools.cached_property
    def backward_by_batch(self) -> Any:
        return self._compile(_backward_by_batch, "iII 333333 3 2 i 2 333 333 I un 22 11 b iiiii")

    @functools.cached_property
    def backward_by_units(self) -> Any:
        return self._compile(_backward_by_units, "iII 333333 3 2 i 333 333 I un 2 1 b iiiiii")

    @functools.cached_property
    def gather(self) -> Any:
        two = self._array(2)
        return _gather.compile(types.void(two, types.Array(types.int64, 1, "C"), two, types.intp))

    @functools.cached_property
    def sum_rows(self) -> Any:
        return self._compile(_sum_rows, "2 b 1 n")


_KERNELS = {dtype: _Kernels(dtype) for dtype in (np.dtype(np.float32), np.dtype(np.float64))}


# ---------------------------------------------------------------- one layer, one direction


class Saved(NamedTuple):
    """What forward leaves for backward; the storage is described at the head of this file."""

    plan: Schedule
    layout: Layout
    reverse: bool
    from_zero: bool
    settings: Settings
    x: Array
    weights: Weights
    gates: Array
    recurrent: Array
    values: Array
    row_values: Array
    states: Array
    hidden: Array
    mask: Array

    @property
    def first(self) -> Array:
        """The storage of the first state as the recurrent matrices see it, (B + N, P)."""
        return self.states[0] if self.weights.weight_hr is None else self.hidden

    def every(self, state: int) -> Array:
        """Return a state after every step, (N, H), or (N, P) for the first."""
        storage = self.first if state == 0 else self.states[state]
        after: Array = storage[self.layout.after_rows(self.reverse)]
        return after

    def final(self) -> tuple[Array, ...]:
        """Return the states after each row's own last step."""
        rows = self.layout.final_rows(self.reverse)
        return tuple(np.array(storage[rows]) for storage in (self.first, *self.states[1:]))


def forward(
    plan: Schedule,
    rows: NDArray[np.int64],
    layout: Layout,
    x: Array,
    weights: Weights,
    initial: tuple[Array, ...],
    reverse: bool,
    settings: Settings,
    begins: bool = True,
) -> Saved:
    """Run forward; all arguments are checked, contiguous, and of one dtype. ``rows`` are addresses.

    Where the sequence `begins` here, the product with an initial state of zeros is left out.
    """
    dtype, N, B = weights.weight_ih.dtype, layout.num_rows, layout.batch_size
    S, R, V, Z = len(plan.order), len(plan.split), len(plan.values), len(plan.forward.row_values)
    H, P = weights.weight_ih.shape[0] // S, initial[0].shape[1]
    projected = weights.weight_hr is not None
    saved = Saved(
        plan, layout, reverse, begins and not initial[0].any(), settings, x, weights,
        gates=buffers.empty((N, S, H), dtype),
        recurrent=buffers.empty((N, R, H), dtype),
        values=buffers.empty((N, V, H), dtype),
        row_values=buffers.empty((N, 1, max(Z, len(plan.backward.row_values))), dtype),
        states=buffers.empty((len(initial), B + N, H), dtype),
        hidden=buffers.empty((B + N, P) if projected else (0, P), dtype),
        mask=_recurrent_mask(plan, layout, settings, H, dtype),
    )  # fmt: skip
    for storage, state in zip((saved.first, *saved.states[1:]), initial, strict=True):
        storage[layout.initial_rows(reverse)] = state
    _project_input(
        x, _in_order(weights.weight_ih, plan.graph.gates, plan.order), saved.gates.reshape(N, S * H)
    )
    shares, by_units = _divide(layout, _work_of_a_step(weights) * N, projected)
    units = unit_cuts(H, shares if by_units else 1)
    blocks = forward_blocks(plan, H, P, settings.num_heads, units)
    packed = buffers.empty(blocks.packed_size, dtype)
    weight_hh, weight_hr = _recurrent_weight(plan, weights, P, dtype), weights.weight_hr
    arrays = (
        rows, blocks.table, blocks.ends,
        saved.gates, saved.recurrent, _bias_of_slots(plan, weights, H), saved.values, saved.row_values, saved.states,
        saved.first, _parameters(weights, H, dtype), _scalars(plan, settings, dtype),
        buffers.empty((B, len(plan.forward.carries), H), dtype), saved.mask, _places(plan, layout),
        np.uint64(settings.key), settings.stream,
    )  # fmt: skip
    steps, kernels = layout.steps(reverse), _KERNELS[dtype]
    if by_units:
        threads.launch(
            kernels.forward_by_units, *arrays, weight_hh, packed, saved.from_zero, *steps, np.array(units),
            _cuts_of_rows(plan.forward, units), shares=shares,
        )  # fmt: skip
    else:
        threads.launch(
            kernels.forward_by_batch, *arrays, weight_hh,
            weight_hr if projected else np.empty((0, H), dtype), packed,
            buffers.empty(packed_size(H, P) if projected else 0, dtype), saved.from_zero, *steps,
            layout.cuts(shares), shares=shares,
        )  # fmt: skip
    return saved


class Adjoints(NamedTuple):
    """What backpropagation through time gives: adjoints of all slots, of the projected state, and of the start."""

    gates: Array
    recurrent: Array
    projected: Array
    initial: tuple[Array, ...]


def backward_through_time(
    rows: NDArray[np.int64],
    saved: Saved,
    d_steps: tuple[Array | None, ...],
    d_final: tuple[Array | None, ...],
    d_params: Array,
    needs_initial: bool,
    consume: bool,
) -> Adjoints:
    """Run backward over all steps; ``d_params`` (B, parameters, H) is added to."""
    plan, layout, weights, settings = saved.plan, saved.layout, saved.weights, saved.settings
    dtype, N, B = weights.weight_ih.dtype, layout.num_rows, layout.batch_size
    S, R, H, P = len(plan.order), len(plan.split), saved.states.shape[2], saved.first.shape[1]
    projected = weights.weight_hr is not None
    gates, recurrent = (
        (saved.gates, saved.recurrent) if consume else map(_copy, (saved.gates, saved.recurrent))
    )
    d_states = buffers.empty((len(d_final), B, H), dtype)
    d_hidden = buffers.empty((B, P), dtype) if projected else d_states[0]
    d_initial = (d_hidden, *d_states[1:])
    for carried, gradient in zip(d_initial, d_final, strict=True):
        carried[...] = 0 if gradient is None else gradient
    d_projected = buffers.empty((N, P) if projected else (0, P), dtype)
    shares, by_units = _divide(layout, _work_of_a_step(weights) * N, projected)
    units = unit_cuts(H, shares if by_units else 1)
    columns = (0, P) if projected else units
    blocks = backward_blocks(plan, H, P, settings.num_heads, projected, columns)
    packed = buffers.empty(blocks.packed_size, dtype)
    weight_hh, weight_hr = _recurrent_weight(plan, weights, P, dtype), weights.weight_hr
    addresses = np.array([0 if d is None or not d.size else d.ctypes.data for d in d_steps], np.int64)
    arrays = (
        rows, blocks.table, blocks.ends, gates, recurrent, np.empty((1, 0, H), dtype), saved.values,
        saved.row_values, saved.states, d_states, d_hidden, addresses,
    )  # fmt: skip
    more = (
        _parameters(weights, H, dtype), d_params, buffers.empty((len(plan.values), B, H), dtype),
        _scalars(plan, settings, dtype), buffers.empty((B, len(plan.backward.carries), H), dtype), saved.mask,
        _places(plan, layout), np.uint64(settings.key), settings.stream,
    )  # fmt: skip
    steps, kernels = layout.steps(saved.reverse), _KERNELS[dtype]
    if by_units:
        threads.launch(
            kernels.backward_by_units, *arrays, *more, weight_hh, packed, needs_initial, *steps, np.array(units),
            _cuts_of_rows(plan.backward, units), shares=shares,
        )  # fmt: skip
    else:
        threads.launch(
            kernels.backward_by_batch, *arrays, d_projected, *more, weight_hh,
            weight_hr if projected else np.empty((0, H), dtype), packed,
            buffers.empty(packed_size(P, H) if projected else 0, dtype), needs_initial, *steps,
            layout.cuts(shares), shares=shares,
        )  # fmt: skip
    return Adjoints(gates.reshape(N, S * H), recurrent.reshape(N, R * H), d_projected, d_initial)


def input_gradient(saved: Saved, adjoints: Adjoints) -> Array:
    """Return the gradient of x, (N, I)."""
    plan, weight = saved.plan, saved.weights.weight_ih
    return matmul(adjoints.gates, _in_order(weight, plan.graph.gates, plan.order))


class WeightGradients:
    """The gradients of a layer's weights, summed over rows in the order in which backward runs.

    That order lets a sequence be differentiated piece by piece, the last piece first, with the bits of the whole.
    """

    def __init__(
        self, plan: Schedule, weights: Weights, ids: Array | None, num_params: int, batch_size: int
    ) -> None:
        """Begin with zero; ``ids`` are all rows of a one-hot input."""
        self._plan, self._weights, self._ids = plan, weights, ids
        dtype = weights.weight_ih.dtype
        columns, inputs = weights.weight_ih.shape
        self._H = columns // len(plan.order)
        self._started = False
        self._d_bias = np.zeros(columns, dtype)
        self._d_second_bias = np.zeros(len(plan.split) * self._H, dtype)
        self._d_hh = None if weights.weight_hh is None else buffers.empty(weights.weight_hh.shape, dtype)
        self._d_hr = None if weights.weight_hr is None else np.empty_like(weights.weight_hr)
        self._used: Array | None = None
        if ids is None:
            self._d_ih = buffers.empty((columns, inputs), dtype)
        else:
            self._used, _ = _used_ids(ids, inputs)
            self._d_ih = np.zeros((inputs if self._used is None else self._used.size, columns), dtype)
        self.d_params = np.zeros((batch_size, num_params, self._H), dtype)

    def add(self, saved: Saved, adjoints: Adjoints) -> None:
        """Add what the rows of a piece contribute."""
        more, descending = self._started, not saved.reverse
        self._started = True
        order = slice(None, None, -1 if descending else 1)
        d_gates, d_recurrent, d_projected = adjoints.gates, adjoints.recurrent, adjoints.projected
        if self._ids is None:
            matmul(d_gates[order].T, saved.x[order], out=self._d_ih, accumulate=more)
        else:
            index = saved.x if self._used is None else np.searchsorted(self._used, saved.x)
            add_rows(d_gates, index, self._d_ih, descending=descending)
        if self._weights.bias_ih is not None or self._weights.bias_hh is not None:
            _sum(d_gates, descending, self._d_bias)
            _sum(d_recurrent, descending, self._d_second_bias)
        if self._d_hh is not None:
            self._add_recurrent(saved, adjoints, order, more)
        if self._d_hr is not None:
            after = saved.states[0][saved.layout.after_rows(saved.reverse)]
            matmul(d_projected[order].T, after[order], out=self._d_hr, accumulate=more)

    def _add_recurrent(self, saved: Saved, adjoints: Adjoints, order: slice, more: bool) -> None:
        """Add the products of slots' adjoints and operands to the gradient of the recurrent matrices."""
        plan, H, heads = self._plan, self._H, saved.settings.num_heads
        assert self._d_hh is not None
        # Where the initial state is zero, the first step that ran adds nothing.
        live = saved.layout.rows_after_first_step(saved.reverse) if saved.from_zero else slice(None)
        for operand in plan.operands:
            if operand.node is None:
                value, rows = saved.first[saved.layout.before_rows(saved.reverse)][live][order], live
            else:
                value, rows = saved.values[:, plan.values.index(operand.node)][order], slice(None)
            parts = (
                (adjoints.gates, operand.joint, plan.joint, 0),
                (adjoints.recurrent, operand.split, plan.split, len(plan.joint)),
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

    def finish(self) -> dict[str, Any]:
        """Return the gradients by the names of `Weights`, in the shapes and the order of the weights."""
        plan, weights, H = self._plan, self._weights, self._H
        gates, order, recurrent = plan.graph.gates, plan.order, plan.joint + plan.split
        d_ih = self._d_ih
        if self._ids is not None:
            d_ih = np.zeros(weights.weight_ih.shape, d_ih.dtype)
            d_ih[:, slice(None) if self._used is None else self._used] = self._d_ih.T
        found: dict[str, Any] = dict.fromkeys(weights._fields)
        found["weight_ih"] = _in_order(d_ih, order, gates)
        if self._d_hh is not None:
            found["weight_hh"] = _in_order(self._d_hh, recurrent, plan.recurrent)
        if weights.bias_ih is not None:
            found["bias_ih"] = _in_order(self._d_bias, order, gates)
        if weights.bias_hh is not None:
            joint = self._d_bias[: len(plan.joint) * H]
            d_bias_hh = np.concatenate((joint, self._d_second_bias))
            found["bias_hh"] = _in_order(d_bias_hh, recurrent, plan.recurrent)
        found["weight_hr"] = self._d_hr
        found["params"] = ()
        if self.d_params.shape[1]:
            d_params = np.zeros(self.d_params.shape[1] * H, d_ih.dtype)
            _sum(self.d_params.reshape(len(self.d_params), d_params.size), False, d_params)
            found["params"] = tuple(d_params.reshape(-1, H))
        return found


# ---------------------------------------------------------------- what drivers take


def _divide(layout: Layout, multiply_adds: int, projected: bool) -> tuple[int, bool]:
    """Return among how many threads to share the work, and whether they share hidden units instead of the batch."""
    shares = threads.shares_of(multiply_adds)
    a_step = multiply_adds // max(layout.num_steps, 1)
    return shares, layout.batch_size < shares and not projected and a_step >= UNITS_FROM


def _work_of_a_step(weights: Weights) -> int:
    return 0 if weights.weight_hh is None else int(weights.weight_hh.size)


def _cuts_of_rows(program: Program, cuts: tuple[int, ...]) -> NDArray[np.int64]:
    """Return where rows are cut: nowhere, if they sum over the hidden units."""
    sums = any(loop.sums for phase in program.phases for loop in phase.loops)
    return np.array([cuts[0], cuts[-1]] if sums else cuts)


def _recurrent_weight(plan: Schedule, weights: Weights, P: int, dtype: np.dtype[Any]) -> Array:
    if weights.weight_hh is None:
        return np.empty((0, P), dtype)
    return _in_order(weights.weight_hh, plan.recurrent, plan.joint + plan.split)


def _parameters(weights: Weights, H: int, dtype: np.dtype[Any]) -> Array:
    """Return the learned vectors, (1, parameters, H)."""
    params = np.empty((1, len(weights.params), H), dtype)
    for k, vector in enumerate(weights.params):
        params[0, k] = vector
    return params


def _scalars(plan: Schedule, settings: Settings, dtype: np.dtype[Any]) -> Array:
    """Return the scalars of the run, (1, 1, scalars)."""
    values = [settings.scalars[scalar] for scalar in plan.scalars]
    return np.array(values, dtype).reshape(1, 1, -1)


def _places(plan: Schedule, layout: Layout) -> NDArray[np.int64]:
    """Return every row's time and place in the caller's batch, where the cell draws numbers by them."""
    return layout.places if plan.has_input("uniform") else np.empty((0, 2), np.int64)


def _recurrent_mask(
    plan: Schedule, layout: Layout, settings: Settings, H: int, dtype: np.dtype[Any]
) -> Array:
    """Return the mask of recurrent dropout, (B, 1, H), where the cell has one."""
    if not plan.has_input("mask"):
        return np.empty((0, 1, H), dtype)
    mask = buffers.empty((layout.batch_size, H), dtype)
    times = np.full(layout.batch_size, philox.CONSTANT_OVER_TIME)
    philox.keep_mask(
        mask, times, layout.origins, settings.key, settings.stream + MASK_STREAM, settings.dropout
    )
    return mask.reshape(-1, 1, H)


def _project_input(x: Array, weight_ih: Array, gates: Array) -> None:
    """Fill ``gates`` (N, G H) with the input part of every gate, without its bias."""
    if x.ndim == 2:
        matmul(x, weight_ih.T, out=gates)
        return
    used, index = _used_ids(x, weight_ih.shape[1])
    table = np.ascontiguousarray(weight_ih.T if used is None else weight_ih[:, used].T)
    shares = threads.shares_of(_PER_ELEMENT * gates.size)
    threads.launch(_KERNELS[gates.dtype].gather, table, index, gates, shares, shares=shares)


def _used_ids(ids: Array, inputs: int) -> tuple[Array | None, Array]:
    """Return the ids that occur and each row's place among them; None and the ids themselves where most may occur."""
    if inputs <= ids.size:
        return None, ids
    used, index = np.unique(ids, return_inverse=True)
    return used, index.astype(np.int64, copy=False)


def _sum(rows: Array, descending: bool, total: Array) -> None:
    """Add the rows to ``total`` one after the other, whatever the number of threads."""
    if total.size:
        shares = threads.shares_of(_PER_ELEMENT * rows.size)
        threads.launch(_KERNELS[rows.dtype].sum_rows, rows, descending, total, shares, shares=shares)


def _bias_of_slots(plan: Schedule, weights: Weights, H: int) -> Array:
    """Return what is added to each slot, (1, slots, H): joint gates get both biases, split gates one in each slot."""
    bias = np.zeros((1, len(plan.slots), H), weights.weight_ih.dtype)
    flat, columns = bias.reshape(-1), len(plan.order) * H
    J = len(plan.joint) * H
    if weights.bias_ih is not None:
        flat[:columns] = _in_order(weights.bias_ih, plan.graph.gates, plan.order)
    if weights.bias_hh is not None:
        bias_hh = _in_order(weights.bias_hh, plan.recurrent, plan.joint + plan.split)
        flat[:J] += bias_hh[:J]
        flat[columns:] = bias_hh[J:]
    return bias


def _in_order(rows: Array, given: tuple[str, ...], wanted: tuple[str, ...]) -> Array:
    """Return the rows of a weight or bias with the gates in another order."""
    if given == wanted:
        return rows
    places = [given.index(gate) for gate in wanted]
    return np.ascontiguousarray(rows.reshape(len(places), -1)[places]).reshape(rows.shape)


def _copy(array: Array) -> Array:
    copy = buffers.empty(array.shape, array.dtype)
    copy[...] = array
    return copy
