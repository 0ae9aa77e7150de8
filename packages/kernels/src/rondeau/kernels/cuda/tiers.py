"""Tiers: which kernels run the steps of a run."""

from __future__ import annotations

from types import ModuleType

import numpy as np

from rondeau.kernels.cuda import stepwise
from rondeau.kernels.cuda.persistent import run as persistent
from rondeau.kernels.recurrent.records import Tape

__all__ = ["tier_of"]

ALLOWED = "persistent"
"""``"stepwise"`` to run every cell step by step, as tests do that are not about the tiers."""


_MOST_ELEMENTS = 2**32
"""Of an array whose indices are 32-bit numbers without a sign."""


def tier_of(tape: Tape, direction: str) -> ModuleType:
    """Return the tier that runs a direction: `persistent` where it can, otherwise `stepwise`.

    A persistent kernel takes float32 and cells that do not sum over the units of a row, without projection, whose
    weights find room in the registers of the GPU. With several heads each is a layer of its own there, which a sum over
    the units of all heads would not be.
    """
    run, weights = tape.run, tape.weights
    fits = (
        ALLOWED == "persistent"
        and tape.gates.dtype == np.float32
        and max(tape.gates.size, tape.states.size, tape.values.size) < _MOST_ELEMENTS
        and weights.weight_hr is None
        and run.layout.num_steps > 1
        and run.layout.batch_size > 0
        and persistent.tile_of(tape, direction) is not None
    )
    return persistent if fits else stepwise
