"""Clock: how long a device takes for something, by its own events."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any, NamedTuple

__all__ = ["Clock", "Time", "of_cupy", "of_host", "of_torch"]


class Time(NamedTuple):
    """What was measured, in milliseconds.

    Attributes
    ----------
    median, least : float
        From an event before to an event after, on the device.
    issued : float
        The median until Python has issued it. Where this is nearly all of the time, the device waits for Python.
    """

    median: float
    least: float
    issued: float


class Clock(NamedTuple):
    """What measures.

    Attributes
    ----------
    event : callable
        Makes an event, which can ``record()`` that everything before is done, and ``synchronize()``.
    elapsed : callable
        Returns the milliseconds between two events.
    warm_up, repeats : int
        The first runs, which do not count, and those that do.
    """

    event: Callable[[], Any]
    elapsed: Callable[[Any, Any], float]
    warm_up: int = 3
    repeats: int = 9

    def measure(self, run: Callable[[], object]) -> Time:
        """Return the time of a function that issues work."""
        times, issued = [], []
        for _ in range(self.warm_up + self.repeats):
            begin, end = self.event(), self.event()
            began = time.perf_counter()
            begin.record()
            run()
            end.record()
            issued.append(1e3 * (time.perf_counter() - began))
            end.synchronize()
            times.append(self.elapsed(begin, end))
        counted = times[self.warm_up :]
        return Time(statistics.median(counted), min(counted), statistics.median(issued[self.warm_up :]))


def of_cupy() -> Clock:
    """Return the clock of CuPy's current stream."""
    from rondeau.kernels.runtime.devices import load_cupy

    cuda = load_cupy().cuda
    return Clock(cuda.Event, cuda.get_elapsed_time)


def of_torch() -> Clock:
    """Return the clock of PyTorch's current stream."""
    import torch

    def event() -> Any:
        return torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]

    return Clock(event, lambda begin, end: float(begin.elapsed_time(end)))


class _Instant:
    """An event of a device that does everything at once: the host."""

    def record(self) -> None:
        self.seconds = time.perf_counter()

    def synchronize(self) -> None:
        """Wait for nothing."""


def of_host() -> Clock:
    """Return a clock of the host."""
    return Clock(_Instant, lambda begin, end: 1e3 * (end.seconds - begin.seconds))
