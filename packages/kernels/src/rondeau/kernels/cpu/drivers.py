"""Drivers: the loops over time and batch that run a cell's phases and products, compiled once per dtype.

Each thread takes a slice of the batch through all steps, without a barrier between them: in each step the products and
phases of the cell. If the batch has fewer rows than there are threads, the threads share the hidden units instead, and
synchronise after every phase.

The arguments of a driver are records: `Storage`, which the phases read and write; `Products`, the phases and the
recurrent products between them; `Projection`; and the `Steps` of a `Layout`.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from numba import types

from rondeau.kernels.cpu.block_products import (
    Shares,
    deepest,
    multiply_backward,
    multiply_forward,
    pack_blocks,
    pack_share,
)
from rondeau.kernels.cpu.phase_call import call_phase
from rondeau.kernels.cpu.storage import (
    products_type,
    projection_type,
    steps_type,
    storage_type,
)
from rondeau.kernels.numerics.elements import ELEMENTS, PAIRS
from rondeau.kernels.product import Rows, product_rows
from rondeau.kernels.product.microkernel import pointer_at
from rondeau.kernels.product.operands import depth_of, left_operand, room_for_operand
from rondeau.kernels.runtime.compiling import cached_njit, linked_njit
from rondeau.kernels.runtime.shares import run_shares
from rondeau.kernels.runtime.signatures import INDICES, array_type

__all__ = ["DRIVERS", "Drivers"]


@linked_njit
def _add_steps(d_steps, d_hidden, d_states, at, first, count):  # type: ignore[no-untyped-def]
    """Add the incoming gradients of each step's states to their adjoints; address 0 means none."""
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


@linked_njit
def _pack_for_forward(products, projection, share, shares):  # type: ignore[no-untyped-def]
    """Pack one thread's share of all weights."""
    weight_hh, weight_hr = products.weight_hh, projection.weight_hr
    columns, (P, H) = weight_hh.shape[1], weight_hr.shape
    pack_blocks(products.table, weight_hh.reshape(-1), 1, columns, products.packed, share, shares)
    if P > 0:
        pack_share(weight_hr.reshape(-1), 0, 1, H, H, P, projection.packed, 0, share, shares)


@linked_njit
def _run_forward(storage, products, projection, from_zero, steps, cuts, share, shares):  # type: ignore[no-untyped-def]
    """Run all steps of one thread's share of the batch rows."""
    first, last = cuts[share], cuts[share + 1]
    hidden, keep, seen = projection.hidden, projection.keep, projection.seen
    masked = keep.shape[0] > 0
    operand = seen if masked else hidden
    H, P, projected = storage.states.shape[2], hidden.shape[1], projection.weight_hr.shape[0] > 0
    flat_states, flat_hidden = storage.states.reshape(-1), hidden.reshape(-1)
    room = room_for_operand(products.packed, last - first, max(H, deepest(products.table)))
    for step in range(steps.starts.size):
        count = min(last, steps.sizes[step]) - first
        if count <= 0:
            continue
        at, old, new = steps.starts[step] + first, steps.befores[step] + first, steps.afters[step] + first
        if masked:
            for row in range(count):
                for k in range(P):
                    seen[first + row, k] = hidden[old + row, k] * keep[first + row, k]
        for phase in range(products.phases.size):
            multiply_forward(
                products, Shares(phase, 0, 1, False), storage, operand, step == 0 and from_zero,
                at, first if masked else old, count, room,
            )  # fmt: skip
            call_phase(products.phases[phase], (storage, at, old, new, first, count, 0, H))
        if projected:
            state = left_operand(Rows(flat_states, new * H, H), count, H, room, True)
            product_rows(
                state, count, depth_of(projection.packed, H), projection.packed, 0, P,
                Rows(flat_hidden, new * P, P), False,
            )  # fmt: skip


@cached_njit
def _forward_by_batch(storage, products, projection, from_zero, steps, cuts):  # type: ignore[no-untyped-def]
    """Run all steps, each thread on its slice of the batch."""
    shares = cuts.size - 1
    run_shares(_pack_for_forward, (products, projection), shares)
    run_shares(_run_forward, (storage, products, projection, from_zero, steps, cuts), shares)


@linked_njit
def _share_of_forward(  # type: ignore[no-untyped-def]
    storage, products, hidden, from_zero, cuts_of_phases, rooms, rows, share, shares
):
    """Run one thread's share of the products before a phase, and of the phase if threads share it."""
    phase, at, old, new, count = rows
    multiply_forward(
        products,
        Shares(phase, share, share + 1, False),
        storage,
        hidden,
        from_zero,
        at,
        old,
        count,
        rooms[share],
    )
    if cuts_of_phases.size > 2:
        low, high = cuts_of_phases[share], cuts_of_phases[share + 1]
        call_phase(products.phases[phase], (storage, at, old, new, 0, count, low, high))


@cached_njit
def _forward_by_units(storage, products, hidden, from_zero, steps, cuts, cuts_of_phases):  # type: ignore[no-untyped-def]
    """Run all steps, each thread on its share of the units; in the phases, on that of ``cuts_of_phases``."""
    weight_hh, phases = products.weight_hh, products.phases
    flat_hh, shares = weight_hh.reshape(-1), cuts.size - 1
    run_shares(pack_blocks, (products.table, flat_hh, 1, weight_hh.shape[1], products.packed), shares)
    depth = deepest(products.table)
    rooms = room_for_operand(products.packed, shares * steps.sizes.max(), depth).reshape(shares, -1)
    for step in range(steps.starts.size):
        count, at, old, new = steps.sizes[step], steps.starts[step], steps.befores[step], steps.afters[step]
        for phase in range(phases.size):
            skips, rows = step == 0 and from_zero, (phase, at, old, new, count)
            run_shares(
                _share_of_forward, (storage, products, hidden, skips, cuts_of_phases, rooms, rows), shares
            )
            if cuts_of_phases.size == 2:
                low, high = cuts_of_phases[0], cuts_of_phases[1]
                call_phase(phases[phase], (storage, at, old, new, 0, count, low, high))


@linked_njit
def _pack_for_backward(products, projection, share, shares):  # type: ignore[no-untyped-def]
    """Pack one thread's share of all weights."""
    weight_hh, weight_hr = products.weight_hh, projection.weight_hr
    columns, (P, H) = weight_hh.shape[1], weight_hr.shape
    pack_blocks(products.table, weight_hh.reshape(-1), columns, 1, products.packed, share, shares)
    if P > 0:
        pack_share(weight_hr.reshape(-1), 0, H, 1, P, H, projection.packed, 0, share, shares)


@linked_njit
def _run_backward(  # type: ignore[no-untyped-def]
    storage, products, projection, d_steps, needs_initial, steps, cuts, share, shares
):
    """Run all steps of one thread's share of the batch rows in the reverse order of forward."""
    first, last = cuts[share], cuts[share + 1]
    d_hidden, keep, d_states = projection.hidden, projection.keep, storage.d_states
    H, P, projected = d_states.shape[2], d_hidden.shape[1], projection.weight_hr.shape[0] > 0
    flat_states, flat_hidden = d_states.reshape(-1), d_hidden.reshape(-1)
    flat_projected, phases, ends = projection.d_projected.reshape(-1), products.phases, products.ends
    room = room_for_operand(products.packed, last - first, max(P, deepest(products.table)))
    for step in range(steps.starts.size - 1, -1, -1):
        count = min(last, steps.sizes[step]) - first
        if count <= 0:
            continue
        at, old, new = steps.starts[step] + first, steps.befores[step] + first, steps.afters[step] + first
        _add_steps(d_steps, d_hidden, d_states, at, first, count)
        if projected:
            for k in range(count * P):
                flat_projected[at * P + k] = flat_hidden[first * P + k]
            adjoint = left_operand(Rows(flat_hidden, first * P, P), count, P, room, True)
            product_rows(
                adjoint, count, depth_of(projection.packed, P), projection.packed, 0, H,
                Rows(flat_states, first * H, H), False,
            )  # fmt: skip
            for k in range(count * P):  # which no product writes if the cell has no recurrent matrix
                flat_hidden[first * P + k] = 0
        for phase in range(phases.size):
            call_phase(phases[phase], (storage, at, old, new, first, count, 0, H))
            multiply_backward(
                products, ends[phase, 0], ends[phase, 1], storage, d_hidden,
                step > 0 or needs_initial, at, first, count, room,
            )  # fmt: skip
        if keep.shape[0] > 0:
            for row in range(first, first + count):
                for k in range(P):
                    d_hidden[row, k] *= keep[row, k]


@cached_njit
def _backward_by_batch(storage, products, projection, d_steps, needs_initial, steps, cuts):  # type: ignore[no-untyped-def]
    """Run all steps in the reverse order of forward, carrying the adjoints of the states; threads as in forward."""
    shares = cuts.size - 1
    run_shares(_pack_for_backward, (products, projection), shares)
    run_shares(_run_backward, (storage, products, projection, d_steps, needs_initial, steps, cuts), shares)


@linked_njit
def _share_of_phase(storage, phases, cuts_of_phases, rows, share, shares):  # type: ignore[no-untyped-def]
    """Run one thread's share of the units of a phase."""
    phase, at, old, new, count = rows
    low, high = cuts_of_phases[share], cuts_of_phases[share + 1]
    call_phase(phases[phase], (storage, at, old, new, 0, count, low, high))


@linked_njit
def _share_of_backward(storage, products, d_hidden, wants_hidden, rooms, rows, share, shares):  # type: ignore[no-untyped-def]
    """Run one thread's share of the products after a phase."""
    phase, at, _, _, count = rows
    multiply_backward(
        products, products.ends[phase, share], products.ends[phase, share + 1], storage, d_hidden,
        wants_hidden, at, 0, count, rooms[share],
    )  # fmt: skip


@cached_njit
def _backward_by_units(  # type: ignore[no-untyped-def]
    storage, products, d_hidden, d_steps, needs_initial, steps, cuts, cuts_of_phases
):
    """Run all steps in the reverse order of forward, each thread on its share of the hidden units."""
    weight_hh, phases = products.weight_hh, products.phases
    flat_hh, shares = weight_hh.reshape(-1), cuts.size - 1
    run_shares(pack_blocks, (products.table, flat_hh, weight_hh.shape[1], 1, products.packed), shares)
    depth = deepest(products.table)
    rooms = room_for_operand(products.packed, shares * steps.sizes.max(), depth).reshape(shares, -1)
    for step in range(steps.starts.size - 1, -1, -1):
        count, at, old, new = steps.sizes[step], steps.starts[step], steps.befores[step], steps.afters[step]
        _add_steps(d_steps, d_hidden, storage.d_states, at, 0, count)
        for phase in range(phases.size):
            rows = phase, at, old, new, count
            if cuts_of_phases.size == 2:
                low, high = cuts_of_phases[0], cuts_of_phases[1]
                call_phase(phases[phase], (storage, at, old, new, 0, count, low, high))
            else:
                run_shares(_share_of_phase, (storage, phases, cuts_of_phases, rows), cuts_of_phases.size - 1)
            wants_hidden = step > 0 or needs_initial
            run_shares(_share_of_backward, (storage, products, d_hidden, wants_hidden, rooms, rows), shares)


class Drivers:
    """The drivers of one dtype and of one for packed operands, each compiled or loaded on first use."""

    def __init__(self, dtype: np.dtype[Any], packed: np.dtype[Any]) -> None:
        self._dtype, self._packed = dtype, packed

    def _compile(self, driver: Any, *arguments: Any) -> Any:
        products = products_type(self._dtype, self._packed)
        return driver.compile(types.void(storage_type(self._dtype), products, *arguments))

    @functools.cached_property
    def forward_by_batch(self) -> Any:
        """Arguments: storage, products, projection, whether to skip products of zero, steps, cuts of the batch."""
        return self._compile(
            _forward_by_batch,
            projection_type(self._dtype, self._packed),
            types.boolean,
            steps_type(),
            INDICES,
        )

    @functools.cached_property
    def forward_by_units(self) -> Any:
        """Arguments: storage, products, first state, whether to skip products of zero, steps, cuts of units."""
        hidden = array_type(self._dtype, 2)
        return self._compile(_forward_by_units, hidden, types.boolean, steps_type(), INDICES, INDICES)

    @functools.cached_property
    def backward_by_batch(self) -> Any:
        """Arguments: storage, products, projection, gradient addresses, needs of initial states, steps, cuts."""
        projection = projection_type(self._dtype, self._packed)
        return self._compile(_backward_by_batch, projection, INDICES, types.boolean, steps_type(), INDICES)

    @functools.cached_property
    def backward_by_units(self) -> Any:
        """Arguments: storage, products, adjoint of the first state, addresses, needs of initial states, steps, cuts."""
        hidden = array_type(self._dtype, 2)
        return self._compile(
            _backward_by_units, hidden, INDICES, types.boolean, steps_type(), INDICES, INDICES
        )


DRIVERS = {(dtype, dtype): Drivers(dtype, dtype) for dtype in ELEMENTS}
DRIVERS[PAIRS.sums.dtype, PAIRS.dtype] = Drivers(PAIRS.sums.dtype, PAIRS.dtype)
