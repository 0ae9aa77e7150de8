"""Run: a whole sequence on the CPU, forward and backward.

The non-recurrent work is one large product over all N rows each: the input projection before the steps, and the
gradients of weights and input after them (`gradients`). `drivers` run the steps. The notation is that of `Tape`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rondeau.kernels.cpu.blocks import Blocks, backward_blocks, forward_blocks, unit_cuts
from rondeau.kernels.cpu.drivers import DRIVERS, Drivers
from rondeau.kernels.cpu.filling import (
    addresses_of_inputs,
    bias_of_slots,
    cuts_of_phases,
    leaves_out_zeros,
    parameters_of,
    projected_mask,
    recurrent_mask,
    scalars_of_run,
)
from rondeau.kernels.cpu.gradients import project_input
from rondeau.kernels.cpu.phases import compiled_phases
from rondeau.kernels.cpu.plan import Plan, plan_of
from rondeau.kernels.cpu.storage import Products, Projection, Storage
from rondeau.kernels.product import packed_size
from rondeau.kernels.product.pairs import packed_dtype
from rondeau.kernels.recurrent.ordering import in_buffer_order
from rondeau.kernels.recurrent.records import Adjoints, BackwardCall, ForwardCall, Run, Sums, Tape, Weights
from rondeau.kernels.recurrent.steps import Steps
from rondeau.kernels.runtime import buffers, threads

__all__ = ["backward_both", "backward_through_time", "forward", "forward_both"]

Array = NDArray[Any]

MOST_KEPT = 64
"""The number of launches that a layout keeps."""
_WITH_POINTWISE = 4
"""How many multiply-adds of a plain product take as long as one of a sequence, whose steps are small and pointwise."""
UNITS_FROM = 2**17
"""Multiply-adds of a step from which threads that share its hidden units gain more than they lose by synchronising."""


def forward(
    run: Run,
    x: Array,
    weights: Weights,
    inputs: tuple[Array, ...],
    initial: tuple[Array, ...] | None,
    is_first_piece: bool = True,
    save: bool = True,
) -> Tape:
    """Run forward; see `Target`."""
    layout, reverse, settings = run.layout, run.reverse, run.settings
    plan = plan_of(run, weights)
    schedule, dtype, H, P = plan.schedule, plan.dtype, plan.H, plan.P
    weights = in_buffer_order(schedule, weights)
    N, B = layout.num_rows, layout.batch_size
    starts_from_zero = is_first_piece and (
        initial is None or not np.logical_or.reduce(initial[0].reshape(-1))
    )
    states = buffers.empty((plan.num_states, B + N, H), dtype)
    lanes, row_values = plan.forward
    if save:
        row_values = max(row_values, plan.backward.row_values)
    has_keep = plan.is_projected and settings.feature_dropout > 0
    tape = Tape(
        run, starts_from_zero and leaves_out_zeros(weights), x, weights, inputs,
        gates=buffers.empty((N, plan.S, H), dtype),
        recurrent=buffers.empty((N, plan.R, H), dtype),
        values=buffers.empty((N, plan.V, H), dtype),
        row_values=buffers.empty((N, 1, row_values), dtype),
        states=states,
        first=buffers.empty((B + N, P), dtype) if plan.is_projected else states[0],
        mask=recurrent_mask(layout, settings, H, dtype) if plan.has_mask else plan.no_mask,
        keep=projected_mask(layout, settings, P, dtype) if has_keep else plan.no_features,
    )  # fmt: skip
    first_rows = layout.initial_rows(reverse)
    for k, stored in enumerate(tape.storages):
        stored[first_rows] = 0 if initial is None else initial[k]
    project_input(x, weights.weight_ih, tape.gates.reshape(N, plan.S * H))
    launch = _launch_of(run, plan, "forward")
    nothing, packed = plan.no_slots, launch.packed
    storage = Storage(
        tape.gates, tape.recurrent, bias_of_slots(schedule, weights, H), tape.values, tape.row_values, states,
        parameters_of(weights, H, dtype) if weights.params else plan.no_params,
        scalars_of_run(schedule, settings, dtype) if schedule.scalars else plan.no_scalars,
        buffers.empty((max(B, 1), lanes, H), dtype) if lanes else plan.no_slots, tape.mask, nothing, nothing, nothing,
        addresses_of_inputs(*inputs) if inputs else plan.no_inputs,
        layout.positions if plan.draws_numbers else plan.no_positions, settings.key, settings.substream,
    )  # fmt: skip
    products = launch.products(plan, weights)
    if launch.by_units:
        threads.launch(
            launch.drivers.forward_by_units, storage, products, tape.first, tape.from_zero, launch.steps, launch.cuts,
            launch.cuts_of_phases, shares=launch.shares,
        )  # fmt: skip
    else:
        projection = Projection(
            tape.first, plan.no_units, weights.weight_hr if plan.is_projected else plan.no_units,
            buffers.empty(packed_size(H, P), packed) if plan.is_projected else plan.no_packed[packed], tape.keep,
            buffers.empty(tape.keep.shape, dtype) if has_keep else tape.keep,
        )  # fmt: skip
        threads.launch(
            launch.drivers.forward_by_batch, storage, products, projection, tape.from_zero, launch.steps, launch.cuts,
            shares=launch.shares,
        )  # fmt: skip
    return tape


def backward_through_time(
    tape: Tape,
    d_steps: tuple[Array | None, ...],
    d_final: tuple[Array | None, ...],
    sums: Sums,
    needs_initial: bool,
    consume: bool,
) -> Adjoints:
    """Run backward over all steps; see `Target`."""
    run, weights, layout, settings = tape.run, tape.weights, tape.run.layout, tape.run.settings
    plan = plan_of(run, weights)
    schedule, dtype, H, P = plan.schedule, plan.dtype, plan.H, plan.P
    N, B, lanes = layout.num_rows, layout.batch_size, plan.backward.lanes
    gates, recurrent = (tape.gates, tape.recurrent) if consume else map(_copy, (tape.gates, tape.recurrent))
    d_states = buffers.empty((plan.num_states, B, H), dtype)
    d_first = buffers.empty((B, P), dtype) if plan.is_projected else d_states[0]
    d_initial = (d_first, *d_states[1:])
    for carried, gradient in zip(d_initial, d_final, strict=True):
        carried[...] = 0 if gradient is None else gradient
    d_projected = buffers.empty((N, P), dtype) if plan.is_projected else plan.no_features
    launch = _launch_of(run, plan, "backward")
    packed = launch.packed
    addresses = np.array([0 if d is None or not d.size else d.ctypes.data for d in d_steps], np.int64)
    storage = Storage(
        gates, recurrent, plan.no_slots, tape.values, tape.row_values, tape.states,
        parameters_of(weights, H, dtype) if weights.params else plan.no_params,
        scalars_of_run(schedule, settings, dtype) if schedule.scalars else plan.no_scalars,
        buffers.empty((max(B, 1), lanes, H), dtype) if lanes else plan.no_slots, tape.mask, d_states, sums.params,
        buffers.empty((plan.V, B, H), dtype) if plan.V else plan.no_slots,
        addresses_of_inputs(*tape.inputs, *sums.inputs) if tape.inputs else plan.no_inputs,
        layout.positions if plan.draws_numbers else plan.no_positions, settings.key, settings.substream,
    )  # fmt: skip
    products = launch.products(plan, weights)
    if launch.by_units:
        threads.launch(
            launch.drivers.backward_by_units, storage, products, d_first, addresses, needs_initial, launch.steps,
            launch.cuts, launch.cuts_of_phases, shares=launch.shares,
        )  # fmt: skip
    else:
        projection = Projection(
            d_first, d_projected, weights.weight_hr if plan.is_projected else plan.no_units,
            buffers.empty(packed_size(P, H), packed) if plan.is_projected else plan.no_packed[packed], tape.keep,
            plan.no_units,
        )  # fmt: skip
        threads.launch(
            launch.drivers.backward_by_batch, storage, products, projection, addresses, needs_initial, launch.steps,
            launch.cuts, shares=launch.shares,
        )  # fmt: skip
    return Adjoints(gates.reshape(N, plan.S * H), recurrent.reshape(N, plan.R * H), d_projected, d_initial)


def forward_both(directions: Sequence[ForwardCall], save: bool) -> list[Tape]:
    """Run forward in one direction after the other; see `Target`."""
    return [
        forward(run, x, weights, inputs, initial, save=save)
        for run, x, weights, inputs, initial in directions
    ]


def backward_both(directions: Sequence[BackwardCall], consume: bool) -> list[Adjoints]:
    """Run backward over one direction after the other; see `Target`."""
    return [
        backward_through_time(tape, d_steps, d_final, sums, needs_initial, consume)
        for tape, d_steps, d_final, sums, needs_initial in directions
    ]


class _Launch(NamedTuple):
    """What it takes to launch a direction besides arrays; see `_launch_of`."""

    drivers: Drivers
    packed: np.dtype[Any]
    """The dtype of packed weights."""
    phases: NDArray[np.int64]
    blocks: Blocks
    steps: Steps
    shares: int
    by_units: bool
    """Whether threads share the hidden units instead of the batch."""
    cuts: NDArray[np.int64]
    """Where the batch, or the hidden units, are divided."""
    cuts_of_phases: NDArray[np.int64]
    """Where the hidden units are divided in the phases."""

    def products(self, plan: Plan, weights: Weights) -> Products:
        """Return the phases and products of every step, with memory for packed weights."""
        blocks, weight_hh = self.blocks, weights.weight_hh
        return Products(
            self.phases, blocks.table, blocks.ends,
            plan.no_features if weight_hh is None else weight_hh,
            buffers.empty(blocks.packed_size, self.packed),
        )  # fmt: skip


def _launch_of(run: Run, plan: Plan, direction: str) -> _Launch:
    """Return how to launch a direction; its layout keeps it for each number of threads and precision of products."""
    layout, packed = run.layout, packed_dtype(plan.dtype)
    work = plan.num_weights * layout.num_rows
    shares = threads.shares_of(_WITH_POINTWISE * work)
    by_units = (  # if there are too few rows to divide
        layout.batch_size < shares
        and not plan.is_projected
        and work // max(layout.num_steps, 1) >= UNITS_FROM
    )
    key = plan, direction, run.reverse, packed, shares, by_units
    launch: _Launch | None = layout.kept.get(key)
    if launch is None:
        if len(layout.kept) >= MOST_KEPT:  # layouts outlive cells
            layout.kept.clear()
        launch = layout.kept[key] = _new_launch(run, *key)
    return launch


def _new_launch(
    run: Run, plan: Plan, direction: str, reverse: bool, packed: np.dtype[Any], shares: int, by_units: bool
) -> _Launch:
    layout, schedule, H, P = run.layout, plan.schedule, plan.H, plan.P
    units = unit_cuts(H, shares if by_units else 1)
    if direction == "forward":
        program, blocks = schedule.forward, forward_blocks(schedule, H, P, plan.num_heads, units)
    else:
        columns = (0, P) if plan.is_projected else units
        program = schedule.backward
        blocks = backward_blocks(schedule, H, P, plan.num_heads, plan.is_projected, columns)
    return _Launch(
        DRIVERS[plan.dtype, packed], packed, compiled_phases(run.cell, direction, plan.dtype), blocks,
        layout.steps(reverse), shares, by_units,
        np.array(units) if by_units else layout.cuts(shares), cuts_of_phases(program, units),
    )  # fmt: skip


def _copy(array: Array) -> Array:
    copy = buffers.empty(array.shape, array.dtype)
    copy[...] = array
    return copy
