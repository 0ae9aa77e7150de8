"""Run: a whole sequence on the CPU, forward and backward.

What does not recur is one large product over all N rows: the input projection before the steps, and the gradients of
weights and input after them (`gradients`). The steps are run by `drivers`. Letters are those of `Tape`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rondeau.kernels.cpu.blocks import Blocks, backward_blocks, forward_blocks, unit_cuts
from rondeau.kernels.cpu.drivers import DRIVERS
from rondeau.kernels.cpu.filling import (
    bias_of_slots,
    cuts_of_phases,
    in_order,
    leaves_out_zeros,
    parameters_of,
    positions_of,
    projected_mask,
    recurrent_mask,
    recurrent_weight,
    scalars_of_run,
)
from rondeau.kernels.cpu.gradients import project_input
from rondeau.kernels.cpu.phases import compiled_phases
from rondeau.kernels.cpu.storage import Products, Projection, Steps, Storage
from rondeau.kernels.product import packed_size
from rondeau.kernels.recurrent.layout import Layout
from rondeau.kernels.recurrent.records import Adjoints, Run, Tape, Weights
from rondeau.kernels.runtime import buffers, threads

__all__ = ["backward_through_time", "forward"]

Array = NDArray[Any]

UNITS_FROM = 2**17
"""Multiply-adds of a step from which threads that share its hidden units gain more than they lose by meeting."""


def forward(
    run: Run,
    x: Array,
    weights: Weights,
    initial: tuple[Array, ...],
    is_first_piece: bool = True,
    save: bool = True,
) -> Tape:
    """Run forward; see `Target`."""
    cell, layout, reverse, settings = run.cell, run.layout, run.reverse, run.settings
    schedule, dtype = cell.schedule, weights.weight_ih.dtype
    N, B, S, R = layout.num_rows, layout.batch_size, len(schedule.order), len(schedule.split)
    Z = len(schedule.forward.row_values)
    if save:
        Z = max(Z, len(schedule.backward.row_values))
    H, P = weights.weight_ih.shape[0] // S, initial[0].shape[1]
    projected = weights.weight_hr is not None
    from_zero = is_first_piece and not initial[0].any() and leaves_out_zeros(weights)
    tape = Tape(
        run, from_zero, x, weights,
        gates=buffers.empty((N, S, H), dtype),
        recurrent=buffers.empty((N, R, H), dtype),
        values=buffers.empty((N, len(schedule.values), H), dtype),
        row_values=buffers.empty((N, 1, Z), dtype),
        states=buffers.empty((len(initial), B + N, H), dtype),
        hidden=buffers.empty((B + N, P) if projected else (0, P), dtype),
        mask=recurrent_mask(schedule, layout, settings, H, dtype),
        keep=projected_mask(weights, layout, settings, P, dtype),
    )  # fmt: skip
    for states, state in zip(tape.storages, initial, strict=True):
        states[layout.initial_rows(reverse)] = state
    project_input(
        x, in_order(weights.weight_ih, schedule.graph.gates, schedule.order), tape.gates.reshape(N, S * H)
    )
    division = _divide(layout, weights, H)
    blocks = forward_blocks(schedule, H, P, settings.num_heads, division.units)
    nothing = np.empty((1, 0, H), dtype)
    storage = Storage(
        tape.gates, tape.recurrent, bias_of_slots(schedule, weights, H), tape.values, tape.row_values, tape.states,
        parameters_of(weights, H, dtype), scalars_of_run(schedule, settings, dtype),
        buffers.empty((B, len(schedule.forward.carries), H), dtype), tape.mask, nothing, nothing, nothing,
        positions_of(schedule, layout), settings.key, settings.substream,
    )  # fmt: skip
    products = _products(run, "forward", weights, blocks, P)
    steps, drivers, shares = Steps(*layout.steps(reverse)), DRIVERS[dtype], division.shares
    if division.by_units:
        threads.launch(
            drivers.forward_by_units, storage, products, tape.first, from_zero, steps, np.array(division.units),
            cuts_of_phases(schedule.forward, division.units), shares=shares,
        )  # fmt: skip
    else:
        projection = Projection(
            tape.first, nothing[0], weights.weight_hr if projected else nothing[0],
            buffers.empty(packed_size(H, P) if projected else 0, dtype), tape.keep,
            buffers.empty(tape.keep.shape, dtype),
        )  # fmt: skip
        threads.launch(
            drivers.forward_by_batch, storage, products, projection, from_zero, steps, layout.cuts(shares),
            shares=shares,
        )  # fmt: skip
    return tape


def backward_through_time(
    tape: Tape,
    d_steps: tuple[Array | None, ...],
    d_final: tuple[Array | None, ...],
    d_params: Array,
    needs_initial: bool,
    consume: bool,
) -> Adjoints:
    """Run backward over all steps; see `Target`."""
    run, weights = tape.run, tape.weights
    schedule, layout, settings = run.cell.schedule, run.layout, run.settings
    dtype, N, B = weights.weight_ih.dtype, layout.num_rows, layout.batch_size
    S, R, H, P = len(schedule.order), len(schedule.split), tape.states.shape[2], tape.first.shape[1]
    projected = weights.weight_hr is not None
    gates, recurrent = (tape.gates, tape.recurrent) if consume else map(_copy, (tape.gates, tape.recurrent))
    d_states = buffers.empty((len(d_final), B, H), dtype)
    d_hidden = buffers.empty((B, P), dtype) if projected else d_states[0]
    d_initial = (d_hidden, *d_states[1:])
    for carried, gradient in zip(d_initial, d_final, strict=True):
        carried[...] = 0 if gradient is None else gradient
    d_projected = buffers.empty((N, P) if projected else (0, P), dtype)
    division = _divide(layout, weights, H)
    columns = (0, P) if projected else division.units
    blocks = backward_blocks(schedule, H, P, settings.num_heads, projected, columns)
    addresses = np.array([0 if d is None or not d.size else d.ctypes.data for d in d_steps], np.int64)
    nothing = np.empty((1, 0, H), dtype)
    storage = Storage(
        gates, recurrent, nothing, tape.values, tape.row_values, tape.states,
        parameters_of(weights, H, dtype), scalars_of_run(schedule, settings, dtype),
        buffers.empty((B, len(schedule.backward.carries), H), dtype), tape.mask, d_states, d_params,
        buffers.empty((len(schedule.values), B, H), dtype), positions_of(schedule, layout),
        settings.key, settings.substream,
    )  # fmt: skip
    products = _products(run, "backward", weights, blocks, P)
    steps, drivers, shares = Steps(*layout.steps(run.reverse)), DRIVERS[dtype], division.shares
    if division.by_units:
        threads.launch(
            drivers.backward_by_units, storage, products, d_hidden, addresses, needs_initial, steps,
            np.array(division.units), cuts_of_phases(schedule.backward, division.units), shares=shares,
        )  # fmt: skip
    else:
        projection = Projection(
            d_hidden, d_projected, weights.weight_hr if projected else nothing[0],
            buffers.empty(packed_size(P, H) if projected else 0, dtype), tape.keep, nothing[0],
        )  # fmt: skip
        threads.launch(
            drivers.backward_by_batch, storage, products, projection, addresses, needs_initial, steps,
            layout.cuts(shares), shares=shares,
        )  # fmt: skip
    return Adjoints(gates.reshape(N, S * H), recurrent.reshape(N, R * H), d_projected, d_initial)


def _products(run: Run, direction: str, weights: Weights, blocks: Blocks, P: int) -> Products:
    """Return what runs at every step of a direction."""
    schedule, dtype = run.cell.schedule, weights.weight_ih.dtype
    return Products(
        compiled_phases(run.cell, direction, dtype), blocks.table, blocks.ends,
        recurrent_weight(schedule, weights, P, dtype), buffers.empty(blocks.packed_size, dtype),
    )  # fmt: skip


class _Division(NamedTuple):
    """How the work of a run is divided among threads."""

    shares: int
    by_units: bool
    """Whether threads share the hidden units instead of the batch."""
    units: tuple[int, ...]
    """Where the hidden units are cut."""


def _divide(layout: Layout, weights: Weights, H: int) -> _Division:
    """Return how to divide a run: by the batch, or by the hidden units where it has too few rows."""
    work_of_row = 0 if weights.weight_hh is None else weights.weight_hh.size
    work = work_of_row * layout.num_rows
    shares = threads.shares_of(work)
    by_units = (
        layout.batch_size < shares
        and weights.weight_hr is None
        and work // max(layout.num_steps, 1) >= UNITS_FROM
    )
    return _Division(shares, by_units, unit_cuts(H, shares if by_units else 1))


def _copy(array: Array) -> Array:
    copy = buffers.empty(array.shape, array.dtype)
    copy[...] = array
    return copy
