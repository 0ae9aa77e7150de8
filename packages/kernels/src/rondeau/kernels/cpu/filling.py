"""The arguments of drivers besides buffers: weights, biases, scalars and masks, in the order of a cell's buffers."""

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
from rondeau.kernels.runtime.quiet import quiet

__all__ = [
    "addresses_of_inputs",
    "bias_of_slots",
    "cuts_of_phases",
    "leaves_out_zeros",
    "parameters_of",
    "projected_mask",
    "recurrent_mask",
    "scalars_of_run",
]

Array = NDArray[Any]


def bias_of_slots(schedule: Schedule, weights: Weights, H: int) -> Array:
    """Return the bias of each slot, (1, slots, H): joint gates get both biases, split gates one in each slot.

    The weights are in the order of the buffers.
    """
    bias = np.zeros((1, len(schedule.slots), H), weights.weight_ih.dtype)
    flat = bias.reshape(-1)
    columns, both = len(schedule.order) * H, len(schedule.joint) * H
    if weights.bias_ih is not None:
        flat[:columns] = weights.bias_ih
    if weights.bias_hh is not None:
        joint = flat[:both]
        # Kernels do not warn about diverged weights either.
        quiet.run(np.add, joint, weights.bias_hh[:both], joint)
        flat[columns:] = weights.bias_hh[both:]
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


def addresses_of_inputs(*inputs: Array | None) -> NDArray[np.int64]:
    """Return the addresses of named inputs and of their adjoints; 0 for None and for an array without elements.

    No kernel reads at an address of 0.
    """
    return np.array(
        [0 if array is None or not array.size else array.ctypes.data for array in inputs], np.int64
    )


def recurrent_mask(layout: Layout, settings: Settings, H: int, dtype: np.dtype[Any]) -> Array:
    """Return the mask of recurrent dropout of a cell that has one, (B, 1, H)."""
    return _mask(layout, settings, settings.dropout, H, dtype).reshape(-1, 1, H)


def leaves_out_zeros(weights: Weights) -> bool:
    """Return whether the recurrent product with zeros may be skipped: it is zero if all weights are finite."""
    return weights.weight_hh is None or bool(np.isfinite(weights.weight_hh).all())


def projected_mask(layout: Layout, settings: Settings, P: int, dtype: np.dtype[Any]) -> Array:
    """Return the mask of recurrent dropout over the features of a projected first state, (B, P)."""
    return _mask(layout, settings, settings.feature_dropout, P, dtype)


def _mask(layout: Layout, settings: Settings, rate: float, width: int, dtype: np.dtype[Any]) -> Array:
    mask = buffers.empty((layout.batch_size, width), dtype)
    times = np.full(layout.batch_size, philox.CONSTANT_OVER_TIME)
    philox.keep_mask(mask, times, layout.origins, settings.key, settings.substream + RECURRENT_DROPOUT, rate)
    return mask


def cuts_of_phases(program: Program, cuts: tuple[int, ...]) -> NDArray[np.int64]:
    """Return where the units of all phases are divided among shares: nowhere if any phase sums over them."""
    sums = any(loop.sums for phase in program.phases for loop in phase.loops)
    return np.array([cuts[0], cuts[-1]] if sums else cuts)
