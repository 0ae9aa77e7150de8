"""Run: a whole sequence on a GPU, forward and backward.

The non-recurrent work is one large product each; see `gradients`. The steps run in one of the tiers, which `tiers`
chooses: `persistent`, all steps in one kernel, or `stepwise`. Nothing waits for the device. The notation is that of
`Tape`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rondeau.kernels.cuda.filling import bias_of_slots, mask_of_batch, parameters_of
from rondeau.kernels.cuda.gradients import project_input
from rondeau.kernels.cuda.persistent import run as persistent
from rondeau.kernels.cuda.tiers import run_together, tier_of
from rondeau.kernels.recurrent.ordering import in_buffer_order
from rondeau.kernels.recurrent.records import Adjoints, BackwardCall, ForwardCall, Run, Sums, Tape, Weights

__all__ = ["backward_both", "backward_through_time", "forward", "forward_both"]

Array = NDArray[Any]


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
    tape, arrays = _begin_forward(run, x, weights, inputs, initial, save)
    tier_of(tape, "forward", arrays).forward(tape, arrays)
    return tape


def forward_both(directions: Sequence[ForwardCall], save: bool) -> list[Tape]:
    """Run forward in both directions; see `Target`."""
    begun = [
        _begin_forward(run, x, weights, inputs, initial, save)
        for run, x, weights, inputs, initial in directions
    ]
    if run_together("forward", begun):
        persistent.forward_both(begun)
    else:
        for tape, arrays in begun:
            tier_of(tape, "forward", arrays).forward(tape, arrays)
    return [tape for tape, _ in begun]


def _begin_forward(
    run: Run,
    x: Array,
    weights: Weights,
    inputs: tuple[Array, ...],
    initial: tuple[Array, ...] | None,
    save: bool,
) -> tuple[Tape, dict[str, Array]]:
    """Return the tape before the first step, and the arrays of the kernels by name."""
    layout, reverse, settings = run.layout, run.reverse, run.settings
    schedule = run.cell.schedule
    weights = in_buffer_order(schedule, weights)
    like, projection = weights.weight_ih, weights.weight_hr
    N, B, S = layout.num_rows, layout.batch_size, len(schedule.order)
    H = like.shape[0] // S
    P = H if projection is None else projection.shape[0]
    num_row_values = len(schedule.forward.row_values)
    if save:
        num_row_values = max(num_row_values, len(schedule.backward.row_values))

    def empty(*shape: int) -> Array:
        return np.empty_like(like, shape=shape)

    states = empty(len(run.cell.states), B + N, H)
    has_keep = projection is not None and settings.feature_dropout > 0
    has_mask = schedule.has_input("mask")
    mask = mask_of_batch(layout, settings, settings.dropout, H, like) if has_mask else empty(0, H)
    tape = Tape(
        run, False, x, weights, inputs,
        gates=empty(N, S, H),
        recurrent=empty(N, len(schedule.split), H),
        values=empty(N, len(schedule.values), H),
        row_values=empty(N, 1, num_row_values),
        states=states,
        first=states[0] if projection is None else empty(B + N, P),
        mask=mask.reshape(-1, 1, H),
        keep=mask_of_batch(layout, settings, settings.feature_dropout, P, like) if has_keep else empty(0, P),
    )  # fmt: skip
    first_rows = layout.sent(layout.initial_rows(reverse), like)
    for k, stored in enumerate(tape.storages):
        stored[first_rows] = 0 if initial is None else initial[k]
    project_input(x, weights.weight_ih, tape.gates.reshape(N, S * H))
    arrays = {
        "gates": tape.gates, "recurrent": tape.recurrent, "values": tape.values, "row_values": tape.row_values,
        "states": states, "mask": tape.mask, "bias": bias_of_slots(schedule, weights, H),
        "params": parameters_of(weights, H), **_named(run, "input", inputs),
    }  # fmt: skip
    return tape, arrays


def backward_through_time(
    tape: Tape,
    d_steps: tuple[Array | None, ...],
    d_final: tuple[Array | None, ...],
    sums: Sums,
    needs_initial: bool,
    consume: bool,
) -> Adjoints:
    """Run backward over all steps; see `Target`."""
    arrays, adjoints = _begin_backward(tape, d_steps, d_final, sums, consume)
    tier_of(tape, "backward", arrays).backward(tape, arrays, needs_initial)
    return adjoints


def backward_both(directions: Sequence[BackwardCall], consume: bool) -> list[Adjoints]:
    """Run backward over both directions; see `Target`."""
    begun, found = [], []
    for tape, d_steps, d_final, sums, needs_initial in directions:
        arrays, adjoints = _begin_backward(tape, d_steps, d_final, sums, consume)
        begun.append((tape, arrays, needs_initial))
        found.append(adjoints)
    if run_together("backward", [(tape, arrays) for tape, arrays, _ in begun]):
        persistent.backward_both(begun)
    else:
        for tape, arrays, needs_initial in begun:
            tier_of(tape, "backward", arrays).backward(tape, arrays, needs_initial)
    return found


def _begin_backward(
    tape: Tape,
    d_steps: tuple[Array | None, ...],
    d_final: tuple[Array | None, ...],
    sums: Sums,
    consume: bool,
) -> tuple[dict[str, Array], Adjoints]:
    """Return the arrays of the kernels by name, and the adjoints that the kernels fill."""
    run, weights = tape.run, tape.weights
    schedule, states = run.cell.schedule, run.cell.states
    like, projection = weights.weight_ih, weights.weight_hr
    (N, S, H), B = tape.gates.shape, run.layout.batch_size
    gates, recurrent = (tape.gates, tape.recurrent) if consume else (tape.gates.copy(), tape.recurrent.copy())
    d_states = np.zeros_like(like, shape=(len(states), B, H))
    d_hidden = d_states[0] if projection is None else np.zeros_like(like, shape=(B, projection.shape[0]))
    d_initial = (d_hidden, *d_states[1:])
    for carried, gradient in zip(d_initial, d_final, strict=True):
        if gradient is not None:
            carried[...] = gradient
    d_projected = np.zeros_like(like, shape=(0 if projection is None else N, d_hidden.shape[1]))
    arrays = {
        "gates": gates, "recurrent": recurrent, "values": tape.values, "row_values": tape.row_values,
        "states": tape.states, "mask": tape.mask, "params": parameters_of(weights, H), "d_states": d_states,
        "d_params": sums.params, "d_hidden": d_hidden, "d_projected": d_projected,
        **{f"every_{state}": d for state, d in zip(states, d_steps, strict=True) if d is not None},
        **_named(run, "input", tape.inputs), **_named(run, "d_input", sums.inputs),
    }  # fmt: skip
    return arrays, Adjoints(
        gates.reshape(N, S * H), recurrent.reshape(N, len(schedule.split) * H), d_projected, d_initial
    )


def _named(run: Run, kind: str, arrays: tuple[Array | None, ...]) -> dict[str, Array]:
    """Return the arrays of named inputs, or of their adjoints, by the kernels' names."""
    pairs = zip(run.cell.inputs, arrays, strict=True)
    return {f"{kind}_{name}": array for name, array in pairs if array is not None}
