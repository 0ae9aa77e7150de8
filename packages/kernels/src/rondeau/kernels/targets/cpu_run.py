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
``keep`` (B, P) is the mask of recurrent dropout where the first state is projected; a row of ``seen`` (B, P) is then
what the recurrent matrices multiply. Else the mask is part of the cell, and both are empty.
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

from rondeau.kernels import buffers, threads
from rondeau.kernels.compiling import cached_njit, kernel_njit
from rondeau.kernels.product import packed_size, product_rows
from rondeau.kernels.product.microkernel import pointer_at
from rondeau.kernels.targets.block_products import (
    multiply_backward,
    multiply_forward,
    pack_blocks,
    pack_share,
)
from rondeau.kernels.targets.blocks import backward_blocks, forward_blocks, unit_cuts
from rondeau.kernels.targets.cpu_emit import call_row
from rondeau.kernels.targets.driver_arguments import (
    bias_of_slots,
    cuts_of_rows,
    in_order,
    leaves_out_zeros,
    parameters_of,
    places_of,
    projected_mask,
    recurrent_mask,
    recurrent_weight,
    scalars_of_run,
)
from rondeau.kernels.targets.large_products import project_input

if TYPE_CHECKING:
    from rondeau.kernels.cell.schedule import Schedule
    from rondeau.kernels.sequence import Layout, Settings, Weights

__all__ = ["Adjoints", "Saved", "backward_through_time", "forward"]

Array = NDArray[Any]


UNITS_FROM = 2**17
"""Multiply-adds of a step from which threads that share its hidden units gain more than they lose by meeting."""


# ---------------------------------------------------------------- kernels, compiled once per dtype


@kernel_njit
def _add_steps(d_steps, d_hidden, d_states, at, first, count):  # type: ignore[no-untyped-def]
    """Add what the loss says of every step's states to their adjoints; a state without has address 0."""
    flat_hidden, flat_states = d_hidden.reshape(-1), d_states.reshape(-1)
    B, H, P = d_states.shape[1], d_states.shape[2], d_hidden.shape[1]
    if d_steps[0] != 0:
        source = pointer_at(d_hidden, d_steps[0])
        for row in range(count):
            for k in range(P):
                flat_hidden[(first + row) * P + k] += source[(at + row) * P + k]
    for state in range(1, d_steps.size):
        if d_steps[state] != 0:
            source = pointer_at(d_states, d_steps[state])
            for row in range(count):
                for k in range(H):
                    flat_states[(state * B + first + row) * H + k] += source[(at + row) * H + k]


@kernel_njit
def _run_row(row, arrays, at, old, new, first, count, low, high):  # type: ignore[no-untyped-def]
    """Run a compiled row over ``count`` rows of a step, from unit ``low`` to ``high - 1``."""
    call_row(row, arrays + (at, old, new, first, count, low, high))  # noqa: RUF005 - Numba adds tuples, and no more


@cached_njit(parallel=True)
def _forward_by_batch(  # type: ignore[no-untyped-def]
    rows, table, ends, gates, recurrent, bias, values, row_values, states, hidden, params, scalars, carry, mask, places,
    key, stream, weight_hh, weight_hr, packed, packed_hr, keep, seen, from_zero, starts, befores, afters, sizes, cuts,
):  # fmt: skip
    """Run all steps, each thread its slice of the batch; ``starts`` to ``sizes`` name each step's rows as they run."""
    masked = keep.shape[0] > 0
    operand = seen if masked else hidden
    H, P, projected = states.shape[2], hidden.shape[1], weight_hr.shape[0] > 0
    flat_states, flat_hidden, nothing = states.reshape(-1), hidden.reshape(-1), bias[:0]
    flat_hh, flat_hr, shares = weight_hh.reshape(-1), weight_hr.reshape(-1), cuts.size - 1
    arrays = (
        gates, recurrent, bias, values, row_values, states, params, scalars, carry, mask,
        nothing, nothing, nothing, places, key, stream,
    )  # fmt: skip
    for share in prange(shares):
        pack_blocks(table, flat_hh, 1, weight_hh.shape[1], packed, np.intp(share), shares)
        if projected:
            pack_share(flat_hr, 0, 1, H, H, P, packed_hr, 0, np.intp(share), shares)
    for share in prange(shares):
        first = cuts[share]
        for step in range(starts.size):
            count = min(cuts[share + 1], sizes[step]) - first
            if count <= 0:
                continue
            at, old, new = starts[step] + first, befores[step] + first, afters[step] + first
            if masked:
                for row in range(count):
                    for k in range(P):
                        seen[first + row, k] = hidden[old + row, k] * keep[first + row, k]
            for phase in range(rows.size):
                multiply_forward(
                    table, ends[phase, 0], ends[phase, 1], gates, recurrent, values, operand, packed,
                    step == 0 and from_zero, at, first if masked else old, count,
                )  # fmt: skip
                _run_row(rows[phase], arrays, at, old, new, first, count, 0, H)
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
    arrays = (
        gates, recurrent, bias, values, row_values, states, params, scalars, carry, mask,
        nothing, nothing, nothing, places, key, stream,
    )  # fmt: skip
    for share in prange(shares):
        pack_blocks(table, flat_hh, 1, weight_hh.shape[1], packed, np.intp(share), shares)
    for step in range(starts.size):
        count, at, old, new = sizes[step], starts[step], befores[step], afters[step]
        for phase in range(rows.size):
            whole = cuts_of_rows.size == 2
            for share in prange(cuts.size - 1):
                multiply_forward(
                    table, ends[phase, share], ends[phase, share + 1], gates, recurrent, values, hidden, packed,
                    step == 0 and from_zero, at, old, count,
                )  # fmt: skip
                if not whole:
                    low, high = cuts_of_rows[share], cuts_of_rows[share + 1]
                    _run_row(rows[phase], arrays, at, old, new, 0, count, low, high)
            if whole:
                _run_row(rows[phase], arrays, at, old, new, 0, count, cuts_of_rows[0], cuts_of_rows[1])


@cached_njit(parallel=True)
def _backward_by_batch(  # type: ignore[no-untyped-def]
    rows, table, ends, gates, recurrent, bias, values, row_values, states, d_states, d_hidden, d_steps, d_projected,
    params, d_params, d_values, scalars, carry, mask, places, key, stream, weight_hh, weight_hr, packed, packed_hr,
    keep, needs_initial, starts, befores, afters, sizes, cuts,
):  # fmt: skip
    """Run all steps from the last to the first that forward ran, carrying ``d_hidden`` and ``d_states``."""
    H, P, projected = states.shape[2], d_hidden.shape[1], weight_hr.shape[0] > 0
    flat_states, flat_hidden, flat_projected = (
        d_states.reshape(-1),
        d_hidden.reshape(-1),
        d_projected.reshape(-1),
    )
    flat_hh, flat_hr, shares = weight_hh.reshape(-1), weight_hr.reshape(-1), cuts.size - 1
    arrays = (
        gates, recurrent, bias, values, row_values, states, params, scalars, carry, mask,
        d_states, d_params, d_values, places, key, stream,
    )  # fmt: skip
    for share in prange(shares):
        pack_blocks(table, flat_hh, weight_hh.shape[1], 1, packed, np.intp(share), shares)
        if projected:
            pack_share(flat_hr, 0, H, 1, P, H, packed_hr, 0, np.intp(share), shares)
    for share in prange(shares):
        first = cuts[share]
        for step in range(starts.size - 1, -1, -1):
            count = min(cuts[share + 1], sizes[step]) - first
            if count <= 0:
                continue
            at, old, new = starts[step] + first, befores[step] + first, afters[step] + first
            _add_steps(d_steps, d_hidden, d_states, at, first, count)
            if projected:
                for k in range(count * P):
                    flat_projected[at * P + k] = flat_hidden[first * P + k]
                product_rows(
                    flat_hidden, first * P, P, count, P, packed_hr, 0, H, flat_states, first * H, H, False
                )
            for phase in range(rows.size):
                _run_row(rows[phase], arrays, at, old, new, first, count, 0, H)
                multiply_backward(
                    table, ends[phase, 0], ends[phase, 1], gates, recurrent, d_hidden, d_values, packed,
                    step > 0 or needs_initial, at, first, count,
                )  # fmt: skip
            if keep.shape[0] > 0:
                for row in range(first, first + count):
                    for k in range(P):
                        d_hidden[row, k] *= keep[row, k]


@cached_njit(parallel=True)
def _backward_by_units(  # type: ignore[no-untyped-def]
    rows, table, ends, gates, recurrent, bias, values, row_values, states, d_states, d_hidden, d_steps,
    params, d_params, d_values, scalars, carry, mask, places, key, stream, weight_hh, packed,
    needs_initial, starts, befores, afters, sizes, cuts, cuts_of_rows,
):  # fmt: skip
    """Run all steps backwards, each thread its share of the hidden units."""
    flat_hh, shares = weight_hh.reshape(-1), cuts.size - 1
    arrays = (
        gates, recurrent, bias, values, row_values, states, params, scalars, carry, mask,
        d_states, d_params, d_values, places, key, stream,
    )  # fmt: skip
    for share in prange(shares):
        pack_blocks(table, flat_hh, weight_hh.shape[1], 1, packed, np.intp(share), shares)
    for step in range(starts.size - 1, -1, -1):
        count, at, old, new = sizes[step], starts[step], befores[step], afters[step]
        _add_steps(d_steps, d_hidden, d_states, at, 0, count)
        for phase in range(rows.size):
            if cuts_of_rows.size == 2:
                _run_row(rows[phase], arrays, at, old, new, 0, count, cuts_of_rows[0], cuts_of_rows[1])
            else:
                for share in prange(cuts_of_rows.size - 1):
                    low, high = cuts_of_rows[share], cuts_of_rows[share + 1]
                    _run_row(rows[phase], arrays, at, old, new, 0, count, low, high)
            for share in prange(cuts.size - 1):
                multiply_backward(
                    table, ends[phase, share], ends[phase, share + 1], gates, recurrent, d_hidden, d_values, packed,
                    step > 0 or needs_initial, at, 0, count,
                )  # fmt: skip


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
        return self._compile(_forward_by_batch, "iII 333333 2 3333 I un 22 11 22 b iiiii")

    @functools.cached_property
    def forward_by_units(self) -> Any:
        return self._compile(_forward_by_units, "iII 333333 2 3333 I un 2 1 b iiiiii")

    @functools.cached_property
    def backward_by_batch(self) -> Any:
        return self._compile(_backward_by_batch, "iII 333333 3 2 i 2 333 333 I un 22 11 2 b iiiii")

    @functools.cached_property
    def backward_by_units(self) -> Any:
        return self._compile(_backward_by_units, "iII 333333 3 2 i 333 333 I un 2 1 b iiiiii")


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
    keep: Array

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
    save: bool = True,
) -> Saved:
    """Run forward; all arguments are checked, contiguous, and of one dtype. ``rows`` are addresses.

    Where the sequence `begins` here, the product with an initial state of zeros is left out. Without `save` there is no
    room for what backward adds, and nothing is derived for it.
    """
    dtype, N, B = weights.weight_ih.dtype, layout.num_rows, layout.batch_size
    S, R, V, Z = len(plan.order), len(plan.split), len(plan.values), len(plan.forward.row_values)
    if save:
        Z = max(Z, len(plan.backward.row_values))
    H, P = weights.weight_ih.shape[0] // S, initial[0].shape[1]
    projected = weights.weight_hr is not None
    from_zero = begins and not initial[0].any() and leaves_out_zeros(weights)
    saved = Saved(
        plan, layout, reverse, from_zero, settings, x, weights,
        gates=buffers.empty((N, S, H), dtype),
        recurrent=buffers.empty((N, R, H), dtype),
        values=buffers.empty((N, V, H), dtype),
        row_values=buffers.empty((N, 1, Z), dtype),
        states=buffers.empty((len(initial), B + N, H), dtype),
        hidden=buffers.empty((B + N, P) if projected else (0, P), dtype),
        mask=recurrent_mask(plan, layout, settings, H, dtype),
        keep=projected_mask(weights, layout, settings, P, dtype),
    )  # fmt: skip
    for storage, state in zip((saved.first, *saved.states[1:]), initial, strict=True):
        storage[layout.initial_rows(reverse)] = state
    project_input(x, in_order(weights.weight_ih, plan.graph.gates, plan.order), saved.gates.reshape(N, S * H))
    shares, by_units = _divide(layout, _work_of_a_step(weights) * N, projected)
    units = unit_cuts(H, shares if by_units else 1)
    blocks = forward_blocks(plan, H, P, settings.num_heads, units)
    packed = buffers.empty(blocks.packed_size, dtype)
    weight_hh, weight_hr = recurrent_weight(plan, weights, P, dtype), weights.weight_hr
    arrays = (
        rows, blocks.table, blocks.ends,
        saved.gates, saved.recurrent, bias_of_slots(plan, weights, H), saved.values, saved.row_values, saved.states,
        saved.first, parameters_of(weights, H, dtype), scalars_of_run(plan, settings, dtype),
        buffers.empty((B, len(plan.forward.carries), H), dtype), saved.mask, places_of(plan, layout),
        np.uint64(settings.key), settings.stream,
    )  # fmt: skip
    steps, kernels = layout.steps(reverse), _KERNELS[dtype]
    if by_units:
        threads.launch(
            kernels.forward_by_units, *arrays, weight_hh, packed, saved.from_zero, *steps, np.array(units),
            cuts_of_rows(plan.forward, units), shares=shares,
        )  # fmt: skip
    else:
        threads.launch(
            kernels.forward_by_batch, *arrays, weight_hh,
            weight_hr if projected else np.empty((0, H), dtype), packed,
            buffers.empty(packed_size(H, P) if projected else 0, dtype), saved.keep,
            buffers.empty(saved.keep.shape, dtype), saved.from_zero, *steps,
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
    weight_hh, weight_hr = recurrent_weight(plan, weights, P, dtype), weights.weight_hr
    addresses = np.array([0 if d is None or not d.size else d.ctypes.data for d in d_steps], np.int64)
    arrays = (
        rows, blocks.table, blocks.ends, gates, recurrent, np.empty((1, 0, H), dtype), saved.values,
        saved.row_values, saved.states, d_states, d_hidden, addresses,
    )  # fmt: skip
    more = (
        parameters_of(weights, H, dtype), d_params, buffers.empty((len(plan.values), B, H), dtype),
        scalars_of_run(plan, settings, dtype), buffers.empty((B, len(plan.backward.carries), H), dtype), saved.mask,
        places_of(plan, layout), np.uint64(settings.key), settings.stream,
    )  # fmt: skip
    steps, kernels = layout.steps(saved.reverse), _KERNELS[dtype]
    if by_units:
        threads.launch(
            kernels.backward_by_units, *arrays, *more, weight_hh, packed, needs_initial, *steps, np.array(units),
            cuts_of_rows(plan.backward, units), shares=shares,
        )  # fmt: skip
    else:
        threads.launch(
            kernels.backward_by_batch, *arrays, d_projected, *more, weight_hh,
            weight_hr if projected else np.empty((0, H), dtype), packed,
            buffers.empty(packed_size(P, H) if projected else 0, dtype), saved.keep, needs_initial, *steps,
            layout.cuts(shares), shares=shares,
        )  # fmt: skip
    return Adjoints(gates.reshape(N, S * H), recurrent.reshape(N, R * H), d_projected, d_initial)


# ---------------------------------------------------------------- how work is divided, and what backward spends


def _divide(layout: Layout, multiply_adds: int, projected: bool) -> tuple[int, bool]:
    """Return among how many threads to share the work, and whether they share hidden units instead of the batch."""
    shares = threads.shares_of(multiply_adds)
    a_step = multiply_adds // max(layout.num_steps, 1)
    return shares, layout.batch_size < shares and not projected and a_step >= UNITS_FROM


def _work_of_a_step(weights: Weights) -> int:
    return 0 if weights.weight_hh is None else int(weights.weight_hh.size)


def _copy(array: Array) -> Array:
    copy = buffers.empty(array.shape, array.dtype)
    copy[...] = array
    return copy
