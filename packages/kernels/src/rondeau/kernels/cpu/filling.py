"""What drivers take besides buffers: weights, biases, scalars and masks in the order of a cell's buffers."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rondeau.kernels.cell.schedule import Schedule
from rondeau.kernels.cell.timeline import Program
from rondeau.kernels.numerics import philox
from rondeau.kernels.recurrent.layout import Layout
from rondeau.kernels.recurrent.records import Settings, Weights
from rondeau.kernels.recurrent.substreams import RECURRENT_DROPOUT
from rondeau.kernels.runtime import buffers

__all__ = [
    "bias_of_slots",
    "cuts_of_phases",
    "in_order",
    "leaves_out_zeros",
    "parameters_of",
    "positions_of",
    "projected_mask",
    "recurrent_mask",
    "recurrent_weight",
    "scalars_of_run",
]

Array = NDArray[Any]


def recurrent_weight(schedule: Schedule, weights: Weights, P: int, dtype: np.dtype[Any]) -> Array:
    """Return the recurrent matrices in the order of the buffers; none, of P columns, where there are none."""
    if weights.weight_hh is None:
        return np.empty((0, P), dtype)
    return in_order(weights.weight_hh, schedule.recurrent, schedule.joint + schedule.split)


def bias_of_slots(schedule: Schedule, weights: Weights, H: int) -> Array:
    """Return what is added to each slot, (1, slots, H): joint gates get both biases, split gates one in each slot."""
    bias = np.zeros((1, len(schedule.slots), H), weights.weight_ih.dtype)
    flat, columns = bias.reshape(-1), len(schedule.order) * H
    J = len(schedule.joint) * H
    if weights.bias_ih is not None:
        flat[:columns] = in_order(weights.bias_ih, schedule.graph.gates, schedule.order)
    if weights.bias_hh is not None:
        bias_hh = in_order(weights.bias_hh, schedule.recurrent, schedule.joint + schedule.split)
        with np.errstate(over="ignore", invalid="ignore"):  # kernels do not warn of diverged weights either
            flat[:J] += bias_hh[:J]
        flat[columns:] = bias_hh[J:]
    return bias


def parameters_of(weights: Weights, H: int, dtype: np.dtype[Any]) -> Array:
    """Return the learned vectors, (1, parameters, H)."""
    params = np.empty((1, len(weights.params), H), dtype)
    for k, vector in enumerate(weights.params):
        params[0, k] = vector
    return params


def scalars_of_run(schedule: Schedule, settings: Settings, dtype: np.dtype[Any]) -> Array:
    """Return the scalars of the run, (1, 1, scalars)."""
    values = [settings.scalars[scalar] for scalar in schedule.scalars]
    return np.array(values, dtype).reshape(1, 1, -1)


def positions_of(schedule: Schedule, layout: Layout) -> NDArray[np.int64]:
    """Return every row's time and row in the caller's batch, where the cell draws random numbers by them."""
    return layout.positions if schedule.has_input("uniform") else np.empty((0, 2), np.int64)


def recurrent_mask(
    schedule: Schedule, layout: Layout, settings: Settings, H: int, dtype: np.dtype[Any]
) -> Array:
    """Return the mask of recurrent dropout, (B, 1, H), where the cell has one."""
    if not schedule.has_input("mask"):
        return np.empty((0, 1, H), dtype)
    return _mask(layout, settings, settings.dropout, H, dtype).reshape(-1, 1, H)


def leaves_out_zeros(weights: Weights) -> bool:
    """Return whether the recurrent product of zeros may be left out: it is zero unless a weight is no finite number."""
    return weights.weight_hh is None or bool(np.isfinite(weights.weight_hh).all())


def projected_mask(
    weights: Weights, layout: Layout, settings: Settings, P: int, dtype: np.dtype[Any]
) -> Array:
    """Return the mask of recurrent dropout over the features of a projected first state, (B, P), or none."""
    if weights.weight_hr is None or settings.feature_dropout == 0:
        return np.empty((0, P), dtype)
    return _mask(layout, settings, settings.feature_dropout, P, dtype)


def _mask(layout: Layout, settings: Settings, rate: float, width: int, dtype: np.dtype[Any]) -> Array:
    mask = buffers.empty((layout.batch_size, width), dtype)
    times = np.full(layout.batch_size, philox.CONSTANT_OVER_TIME)
    philox.keep_mask(mask, times, layout.origins, settings.key, settings.substream + RECURRENT_DROPOUT, rate)
    return mask


def cuts_of_phases(program: Program, cuts: tuple[int, ...]) -> NDArray[np.int64]:
    """Return where the units that a phase computes are cut among shares: nowhere, if it sums over them."""
    sums = any(loop.sums for phase in program.phases for loop in phase.loops)
    return np.array([cuts[0], cuts[-1]] if sums else cuts)


def in_order(rows: Array, given: tuple[str, ...], wanted: tuple[str, ...]) -> Array:
    """Return the rows of a weight or bias with the gates in another order."""
    if given == wanted:
        return rows
    order = [given.index(gate) for gate in wanted]
    return rows.reshape(len(order), -1)[order].reshape(rows.shape)
