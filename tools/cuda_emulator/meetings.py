"""Where threads meet: the barriers of a block and of the grid, and the collectives of a warp.

Each function is a request of a thread, which waits until the others have come.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .clocks import meet, publish, union
from .faults import DivergenceError, KernelError, WarpError

if TYPE_CHECKING:
    from .machine import Machine
    from .threads import Thread

LANES = 32
FULL = 0xFFFFFFFF


class Barrier:
    """The state of one barrier of a block."""

    def __init__(self) -> None:
        self.arrived: list[Thread] = []
        self.waiting: list[Thread] = []  # those of them that did not go on
        self.published: np.ndarray | None = None  # what those had done that went on
        self.count: int | None = None  # None: all threads of the block that have not ended
        self.values: list[int] = []
        self.combine: Callable[[list[int]], Any] | None = None  # of what the threads give


class Collective(NamedTuple):
    """An operation of the lanes of a mask together.

    Attributes
    ----------
    name : str
    compute : callable
        From what each lane gave, by lane, to what each receives.
    orders : bool
        Whether it orders the lanes' accesses to memory, as ``syncwarp`` does and shuffles do not.
    aligned : bool
        Whether the lanes must be at the same place of the source (PTX's ``.aligned``).
    """

    name: str
    compute: Callable[[dict[int, Any]], dict[int, Any]]
    orders: bool = False
    aligned: bool = False


class Gathering:
    """The lanes that have come to a collective, and how many are missing."""

    __slots__ = ("collective", "given", "line", "missing", "threads")

    def __init__(self, collective: Collective, line: int, missing: int) -> None:
        self.collective = collective
        self.line = line
        self.missing = missing
        self.threads: list[Thread] = []
        self.given: dict[int, Any] = {}  # by lane

    def __str__(self) -> str:
        return f"{self.threads[0]} waits at line {self.line} for {self.collective.name}"


def sync_threads(
    machine: Machine, thread: Thread, combine: Callable[[list[int]], Any] | None = None, value: int = 0
) -> None:
    """``syncthreads``, and its forms that combine a value of each thread."""
    barrier = thread.block.barriers[0]
    if barrier.waiting and barrier.waiting[0].line() != thread.line():
        other = barrier.waiting[0]
        raise DivergenceError(f"syncthreads, and {other} waits at another, at line {other.line()}")
    _arrive(machine, barrier, thread, None, "syncthreads", waits=True)
    barrier.combine = combine
    barrier.values.append(value)
    complete(machine, barrier, thread.block.live)


def named_barrier(machine: Machine, thread: Thread, number: int, count: int, waits: bool) -> None:
    """``barrier.sync`` or, where the thread does not wait, ``barrier.arrive``."""
    if not 0 <= number < 16 or count <= 0 or count % LANES:
        raise KernelError(
            f"barrier {number} of {count} threads: numbers are 0 to 15, and counts multiples of {LANES}"
        )
    barrier = thread.block.barriers[number]
    _arrive(machine, barrier, thread, count, f"barrier {number}", waits)
    complete(machine, barrier, count)


def sync_grid(machine: Machine, thread: Thread) -> None:
    """Wait for every thread of the grid, as a cooperative launch can."""
    _arrive(machine, machine.grid_barrier, thread, None, "the grid's barrier", waits=True)
    complete(machine, machine.grid_barrier, machine.live)


def _arrive(
    machine: Machine, barrier: Barrier, thread: Thread, count: int | None, name: str, waits: bool
) -> None:
    if barrier.arrived and barrier.count != count:
        raise KernelError(
            f"{name} for {count} threads, and {barrier.arrived[0]} came to it for {barrier.count}"
        )
    if thread in barrier.arrived and count is not None:
        raise KernelError(f"arrives twice at {name}, before it is complete")
    barrier.count = count
    barrier.arrived.append(thread)
    if waits:
        barrier.waiting.append(thread)
        thread.waits = name
    else:
        barrier.published = union(barrier.published, publish(thread))
        machine.wake(thread)


def complete(machine: Machine, barrier: Barrier, count: int) -> None:
    """Let those that wait at a barrier go on, if ``count`` threads have arrived."""
    if len(barrier.arrived) < count:
        return
    if barrier.waiting:
        meet(barrier.waiting, barrier.published)
    value = barrier.combine(barrier.values) if barrier.combine is not None else None
    for thread in barrier.waiting:
        machine.wake(thread, value)
    barrier.arrived, barrier.waiting, barrier.published, barrier.values = [], [], None, []
    machine.note_progress()


def collective(machine: Machine, thread: Thread, mask: int, collective: Collective, given: Any) -> None:
    """Let the lanes of ``mask`` of a warp meet in an operation, to which all of them have to come."""
    mask = int(mask) & FULL
    gathering = thread.warp.gatherings.get(mask) or _gather(thread, mask, collective)
    if not mask >> thread.lane & 1:
        raise WarpError(
            f"{collective.name} with the mask {mask:#x}, which leaves out the caller, lane {thread.lane}"
        )
    if gathering.collective is not collective or (collective.aligned and gathering.line != thread.line()):
        raise DivergenceError(f"{collective.name}, and {gathering}")
    gathering.threads.append(thread)
    gathering.given[thread.lane] = given
    thread.waits = collective.name
    gathering.missing -= 1
    if gathering.missing:
        return
    del thread.warp.gatherings[mask]
    received = collective.compute(gathering.given)
    if collective.orders:
        meet(gathering.threads)
    for one in gathering.threads:
        machine.wake(one, received.get(one.lane))
    machine.note_progress()


def _gather(thread: Thread, mask: int, collective: Collective) -> Gathering:
    """Begin a collective, if no lane of it waits in another and none has ended."""
    warp = thread.warp
    for other, waiting in warp.gatherings.items():
        if other & mask:
            raise WarpError(
                f"{collective.name} with the mask {mask:#x}, and {waiting} with the mask {other:#x}"
            )
    lanes = [one for lane, one in warp.lanes.items() if mask >> lane & 1]
    for one in lanes:
        if one.generator.gi_frame is None:
            raise WarpError(f"{collective.name} with the mask {mask:#x}, and its lane {one.lane} has ended")
    warp.gatherings[mask] = gathering = Gathering(collective, thread.line(), len(lanes))
    return gathering
