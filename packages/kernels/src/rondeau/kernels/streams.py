"""Streams of random numbers: which mask of a call is drawn from which of the streams that its key has.

A number depends on the key of the call, its stream, and its place: the row of the caller's batch, the unit, and the
time step where the mask varies over time. Every layer and direction has streams of its own, so no two masks share
numbers, and a mask stays the same whatever else of the call is switched on.

| stream of a layer and direction | mask |
|---|---|
| 0 to 31 | zoneout, by the place of the state; drawn by the kernels |
| 32 | recurrent dropout; drawn by the kernels |
| 33 | dropout of recurrent weights |
| 34 | dropout of the input of a layer above the first; of the forward direction's streams |
| 35 to 63 | none |
"""

from __future__ import annotations

__all__ = ["BETWEEN_LAYERS", "RECURRENT_DROPOUT", "RECURRENT_WEIGHTS", "first_stream"]

RECURRENT_DROPOUT = 32
RECURRENT_WEIGHTS = 33
BETWEEN_LAYERS = 34

_PER_DIRECTION = 64


def first_stream(place: int) -> int:
    """Return the first stream of a layer and direction, by its place among those of the call.

    Examples
    --------
    >>> first_stream(2) + BETWEEN_LAYERS
    162
    """
    return place * _PER_DIRECTION
