"""Launching: a cell's kernels with the arrays of a run, one launch a step and phase."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from rondeau.kernels.cell.schedule import Schedule
from rondeau.kernels.recurrent.records import Settings

__all__ = ["Phases"]

_WARP = 32
_MOST_THREADS = 256
"""Threads of a block: more would not hide more latency, and a block of 1,024 leaves no room for a second one."""


class Phases:
    """The kernels of a direction, each with the arrays that it needs.

    Parameters
    ----------
    kernels : list of Kernel
    arrays : mapping of str to array
        The arrays of the run by the kernels' names; those that no kernel names may be missing.
    schedule : Schedule
    settings : Settings
    hidden : int
    """

    def __init__(
        self,
        kernels: list[Any],
        arrays: Mapping[str, NDArray[Any]],
        schedule: Schedule,
        settings: Settings,
        hidden: int,
    ) -> None:
        self._threads = min(-(-hidden // _WARP) * _WARP, _MOST_THREADS)
        parts = -(-hidden // self._threads)
        self._of_run: dict[str, Any] = {"key": settings.key, "substream": settings.substream}
        for number, scalar in enumerate(schedule.scalars):
            self._of_run[f"scalar_{number}"] = settings.scalars[scalar]
        converted: dict[str, Any] = {}
        self._phases = []
        for kernel in kernels:
            phase = kernel.phase
            for name in phase.arrays:
                if name not in converted:
                    converted[name] = kernel.argument(arrays[name])
            given = [converted[name] for name in phase.arrays]
            self._phases.append((kernel, given, phase.numbers, 1 if phase.sums else parts))

    def __len__(self) -> int:
        return len(self._phases)

    def run(self, number: int, count: int, row: int, old: int, new: int) -> None:
        """Launch the kernel of a phase for the ``count`` rows of a step; see `rondeau.kernels.recurrent.steps`."""
        if count:
            kernel, arrays, numbers, parts = self._phases[number]
            values = self._of_run | {"row": row, "old": old, "new": new}
            kernel.launch((count, parts), self._threads, *arrays, *[values[name] for name in numbers])
