"""Substreams of random numbers: the assignment of a call's masks to the substreams of its key.

A number depends on the key of the call, its substream, and its position: the row of the caller's batch, the unit and,
if the mask varies over time, the time step. Every layer and direction has its own substreams, so no two masks share
numbers, and a mask stays the same whatever other options of the call are used.

| substream of a layer and direction | mask |
|---|---|
| 0 to 31 | zoneout, by the index of the state; drawn by the kernels |
| 32 | recurrent dropout; drawn by the kernels |
| 33 | dropout of recurrent weights |
| 34 | dropout of the input of a layer above the first; from the substreams of the forward direction |
| 35 to 62 | the noise of a step, by the number of the call that draws it; drawn by the kernels |
| 63 | none |
"""

from __future__ import annotations

__all__ = [
    "BETWEEN_LAYERS",
    "NOISE",
    "PER_DIRECTION",
    "RECURRENT_DROPOUT",
    "RECURRENT_WEIGHTS",
    "first_substream",
]

RECURRENT_DROPOUT = 32
RECURRENT_WEIGHTS = 33
BETWEEN_LAYERS = 34
NOISE = 35

PER_DIRECTION = 64


def first_substream(layer_index: int) -> int:
    """Return the first substream of a layer and direction, given its index among those of the call.

    Examples
    --------
    >>> first_substream(2) + BETWEEN_LAYERS
    162
    """
    return layer_index * PER_DIRECTION
