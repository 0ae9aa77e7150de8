"""The order of gates: that of a cell's weights, and that of its buffers."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rondeau.kernels.cell.schedule import Schedule
from rondeau.kernels.recurrent.records import Weights

__all__ = ["in_buffer_order", "in_weight_order"]

Array = NDArray[Any]
_Gates = tuple[str, ...]


def in_buffer_order(schedule: Schedule, weights: Weights) -> Weights:
    """Return weights with their gates in the order of the buffers."""
    if schedule.is_in_order:
        return weights
    recurrent = schedule.recurrent, schedule.joint + schedule.split
    return _reordered(weights, (schedule.graph.gates, schedule.order), recurrent)


def in_weight_order(schedule: Schedule, gradients: Weights) -> Weights:
    """Return gradients that are in the order of the buffers with their gates in the order of the weights."""
    if schedule.is_in_order:
        return gradients
    recurrent = schedule.joint + schedule.split, schedule.recurrent
    return _reordered(gradients, (schedule.order, schedule.graph.gates), recurrent)


def _reordered(weights: Weights, inputs: tuple[_Gates, _Gates], recurrent: tuple[_Gates, _Gates]) -> Weights:
    """Return weights with the gates of their input and recurrent parts reordered, each from one order to another."""
    return weights._replace(
        weight_ih=_in_order(weights.weight_ih, *inputs),
        weight_hh=_in_order(weights.weight_hh, *recurrent),
        bias_ih=_in_order(weights.bias_ih, *inputs),
        bias_hh=_in_order(weights.bias_hh, *recurrent),
    )


def _in_order(rows: Array | None, given: _Gates, wanted: _Gates) -> Array | None:
    """Return the rows of a weight or bias with the gates in another order."""
    if rows is None or given == wanted:
        return rows
    of_gates = rows.reshape(len(given), -1)
    return np.concatenate([of_gates[given.index(gate)] for gate in wanted]).reshape(rows.shape)
