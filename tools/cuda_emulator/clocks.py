"""Which accesses are ordered: a vector clock for each thread, and the segments of its run.

The run of a thread is cut into segments, and a new one begins where the thread publishes what it has done: at a
barrier, at a release, at a fence. ``seen[u]`` of a thread is the last segment of thread u that happens before what
the thread does now. Two accesses are ordered if the segment of the earlier one has been seen by the thread of the
later one (the test of FastTrack: Flanagan and Freund, PLDI 2009).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from .threads import Thread

NEVER = 1 << 62  # later than any clock: no thread has ever seen it


class Segment:
    """A part of a thread's run between two places where it publishes what it did.

    Attributes
    ----------
    number : int
        The thread's number in the grid.
    clock : int
        Which of the thread's segments this is.
    thread : Thread or None
    line : int
        Where in the source the segment begins.
    """

    __slots__ = ("clock", "line", "number", "thread")

    def __init__(self, number: int, clock: int, thread: Thread | None = None, line: int = 0) -> None:
        self.number = number
        self.clock = clock
        self.thread = thread
        self.line = line

    def __str__(self) -> str:
        if self.thread is None:
            return "the host"
        return f"{self.thread}, in its run from {f'line {self.line}' if self.line else 'the beginning'} on,"


class Flight(Segment):
    """An asynchronous copy that has not been waited for, which is ordered before nothing."""

    __slots__ = ()

    def __init__(self, thread: Thread) -> None:
        super().__init__(thread.number, NEVER, thread)

    def __str__(self) -> str:
        return f"an asynchronous copy of {self.thread}, not waited for,"


BEFORE = Segment(0, 0)  # what was there before the launch, which every thread has seen
UNWRITTEN = Segment(0, NEVER)
STRONG = Segment(0, NEVER)  # their own record orders them, see `strong.py`


def clock_of(thread: Thread) -> np.ndarray:
    """Return all that happens before this point of ``thread``, its own run included."""
    clock: np.ndarray = np.array(thread.seen)
    clock[thread.number] = thread.clock
    return clock


def publish(thread: Thread) -> np.ndarray:
    """Return all that happens before this point of ``thread``, which begins a segment."""
    clock = clock_of(thread)
    thread.seen = clock.data
    thread.begin_segment()
    return clock


def join(thread: Thread, clock: np.ndarray | None) -> None:
    """Let all that ``clock`` covers happen before what ``thread`` does from now on."""
    if clock is not None:
        thread.seen = np.maximum(thread.seen, clock).data


def meet(threads: list[Thread], published: np.ndarray | None = None) -> None:
    """Let all that ``threads`` have done, and what ``published`` covers, happen before what they do from now on."""
    different = {id(thread.seen): thread.seen for thread in threads}  # few: threads that met before share one
    clocks = [np.asarray(seen) for seen in different.values()]
    if published is not None:
        clocks.append(published)
    clock = clocks[0].copy() if len(clocks) == 1 else np.maximum.reduce(clocks)
    clock[[thread.number for thread in threads]] = [thread.clock for thread in threads]
    shared = clock.data
    for thread in threads:
        thread.seen = shared
        thread.begin_segment()


def union(a: np.ndarray | None, b: np.ndarray | None) -> np.ndarray | None:
    """Return what covers both of two clocks, None being one that covers nothing."""
    if a is None or b is None:
        return b if a is None else a
    covering: np.ndarray = np.maximum(a, b)
    return covering
