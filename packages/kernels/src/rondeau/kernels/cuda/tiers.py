"""Tiers: which kernels run the steps of a run."""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rondeau.kernels.cuda import stepwise
from rondeau.kernels.cuda.persistent import run as persistent
from rondeau.kernels.errors import PerformanceWarning
from rondeau.kernels.recurrent.records import Tape
from rondeau.kernels.runtime.caller import warn_caller

__all__ = ["run_together", "tier_of"]

Array = NDArray[Any]

ALLOWED = "persistent"
"""``"stepwise"`` to run every cell step by step, as tests do that are not about the tiers."""

_MOST_ELEMENTS = 2**32
"""Of an array whose indices are 32-bit numbers without a sign."""

_warned: set[tuple[str, str]] = set()
"""The cells that this process has been warned of, and why."""


def tier_of(tape: Tape, direction: str, arrays: dict[str, Array]) -> ModuleType:
    """Return the tier that runs a direction: `persistent` where it can, otherwise `stepwise`.

    That a cell runs step by step is said once for each reason, except of runs without a second step or without rows.

    Parameters
    ----------
    tape : Tape
    direction : {"forward", "backward"}
    arrays : dict of str to ndarray
        What the tier will be given.
    """
    layout = tape.run.layout
    if not _pays(tape):
        return stepwise
    obstacle = _obstacle(tape, direction, arrays)
    if obstacle is None:
        return persistent
    cell = tape.run.cell.name
    if (cell, obstacle) not in _warned:
        _warned.add((cell, obstacle))
        warn_caller(
            f"cell {cell}, with {tape.gates.shape[2]} hidden units and a batch of {layout.batch_size}, runs step by "
            f"step on the GPU, since {obstacle}; all steps in one kernel would probably be faster. To hide this: "
            "warnings.filterwarnings('ignore', category=rondeau.tensor.PerformanceWarning)",
            PerformanceWarning,
        )
    return stepwise


def run_together(direction: str, layers: Sequence[tuple[Tape, dict[str, Array]]]) -> bool:
    """Return whether two layers run in one launch: both find room in it, and it takes less time than two.

    Their cells, layouts and inputs are the same. So must be their sizes, what the kernel takes once for both, and in
    backward the states that have incoming gradients.
    """
    (first, arrays), (second, others) = layers
    one, other = first.run.settings, second.run.settings
    return (
        _pays(first)
        and persistent.sizes_of(first) == persistent.sizes_of(second)
        and one._replace(substream=0) == other._replace(substream=0)
        and persistent.incoming_states(arrays) == persistent.incoming_states(others)
        and _obstacle(first, direction, arrays, len(layers)) is None
    )


def _pays(tape: Tape) -> bool:
    """Return whether one kernel for all steps may be used, and there is more than one step to run."""
    layout = tape.run.layout
    return ALLOWED == "persistent" and layout.num_steps > 1 and layout.batch_size > 0


def _obstacle(tape: Tape, direction: str, arrays: dict[str, Array], layers: int = 1) -> str | None:
    """Return why the steps of a direction cannot be one kernel, whatever their number; None if they can."""
    if tape.gates.dtype != np.float32:
        return f"it computes in {tape.gates.dtype}, and not in float32"
    if max(tape.gates.size, tape.states.size, tape.values.size, tape.row_values.size) >= _MOST_ELEMENTS:
        return f"one of its arrays has {_MOST_ELEMENTS:,} elements or more"
    return persistent.obstacle(tape, direction, arrays, layers)
