"""The arrays of a run besides its buffers: biases, learned vectors and masks, in the order of a cell's buffers."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rondeau.kernels.cell.schedule import Schedule
from rondeau.kernels.numerics import philox
from rondeau.kernels.recurrent.layout import Layout
from rondeau.kernels.recurrent.records import Settings, Weights
from rondeau.kernels.recurrent.substreams import RECURRENT_DROPOUT

__all__ = ["bias_of_slots", "mask_of_batch", "parameters_of"]

Array = NDArray[Any]


def bias_of_slots(schedule: Schedule, weights: Weights, hidden: int) -> Array:
    """Return the bias of each slot, (1, slots, H): joint gates get both biases, split gates one in each slot.

    The weights are in the order of the buffers.
    """
    columns, both = len(schedule.order) * hidden, len(schedule.joint) * hidden
    bias = np.zeros_like(weights.weight_ih, shape=(1, len(schedule.slots), hidden))
    flat = bias.reshape(-1)
    if weights.bias_ih is not None:
        flat[:columns] = weights.bias_ih
    if weights.bias_hh is not None:
        flat[:both] += weights.bias_hh[:both]
        flat[columns:] = weights.bias_hh[both:]
    return bias


def parameters_of(weights: Weights, hidden: int) -> Array:
    """Return the learned vectors, (1, parameters, H)."""
    if not weights.params:
        return np.empty_like(weights.weight_ih, shape=(1, 0, hidden))
    return np.stack(weights.params).reshape(1, len(weights.params), hidden)


def mask_of_batch(layout: Layout, settings: Settings, rate: float, width: int, like: Array) -> Array:
    """Return the mask of recurrent dropout, (B, width), as an array like another."""
    mask = np.empty_like(like, shape=(layout.batch_size, width))
    origins = layout.sent(layout.origins, like)
    times = np.full_like(origins, philox.CONSTANT_OVER_TIME)
    philox.keep_mask(mask, times, origins, settings.key, settings.substream + RECURRENT_DROPOUT, rate)
    return mask
