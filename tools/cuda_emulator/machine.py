"""The machine: threads as generators, a random schedule, barriers, and who waits for whom.

A thread runs until it comes to an operation that other threads can notice in order (a barrier, an atomic operation, a
fence, a collective of its warp); the generator yields it as a request, and the machine draws which thread goes on.
Plain loads and stores need no turn of their own: if they are ordered, no interleaving changes their result, and if
they are not, the clocks say so whichever came first.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Generator, Iterable
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np

from .clocks import Segment, meet
from .faults import DeadlockError, DivergenceError, KernelError, OutOfBoundsError, WarpError
from .memory import Array, Region
from .strong import Published, fence

LANES = 32
FULL = 0xFFFFFFFF
_POLLS = 8  # times that a thread reads the same again, before it waits for something to change
_PATIENCE = (
    200  # times that all threads that wait so read on, before none of them is held to be in a loop that ends
)


class Dim3(NamedTuple):
    """A size or place in a grid or block."""

    x: int
    y: int = 1
    z: int = 1


class Thread:
    """A thread of the grid."""

    __slots__ = (
        "block", "clock", "copies", "fenced", "generator", "index", "lane", "loose", "number", "pending", "polled",
        "polls", "seen", "segment", "slow", "stamp", "value", "waits", "warp",
    )  # fmt: skip

    def __init__(self, number: int, block: Block, place: int, index: Dim3, seen: memoryview) -> None:
        self.number = number
        self.block = block
        self.index = index
        self.warp = block.warps[place // LANES]
        self.lane = place % LANES
        self.generator: Any  # a Generator; mypy's has no gi_frame
        self.seen = seen
        self.clock = 1
        self.segment = Segment(number, 1, self)
        self.value: Any = None  # what the operation that it waits for returns
        self.pending: tuple[Any, ...] | None = None  # the operation to perform when it goes on
        self.waits = ""
        self.slow = False
        self.polls = 0
        self.polled: dict[Any, Any] = {}
        self.stamp = 0
        self.fenced = Published()  # what its last fence covers, which its relaxed writes publish
        self.loose = Published()  # what its relaxed reads have seen, which its next fence takes
        self.copies: list[list[Any]] = [[]]  # asynchronous copies by group, the open one last

    def __str__(self) -> str:
        index, dimensions = self.index, self.block.machine.block_dim
        place = str(index.x) if dimensions.y == dimensions.z == 1 else str(tuple(index))
        return f"thread {place} of block {self.block}"

    def begin_segment(self) -> None:
        """Begin a segment: what follows is not covered by what was published until here."""
        self.clock += 1
        self.segment = Segment(self.number, self.clock, self, self.line())

    def line(self) -> int:
        """Return the line of the source at which the thread stands; 0 if it has not begun or has ended."""
        generator = self.generator
        while generator.gi_yieldfrom is not None:
            generator = generator.gi_yieldfrom
        return 0 if generator.gi_frame is None else generator.gi_frame.f_lineno

    def note_poll(self, key: Any, value: Any) -> None:
        """Count how often the thread has read the same value again since anything else changed."""
        if self.stamp != self.block.machine.progress:
            self.stamp = self.block.machine.progress
            self.polls = 0
            self.polled.clear()
        if self.polled.get(key, self) == value:
            self.polls += 1
        self.polled[key] = value


class Barrier:
    """The state of one barrier of a block."""

    def __init__(self) -> None:
        self.waiting: list[Thread] = []
        self.arrived: list[Thread] = []  # those that wait and those that only arrived
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
    """

    name: str
    compute: Callable[[dict[int, Any]], dict[int, Any]]
    orders: bool = False


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


class Warp:
    """The lanes of a warp, and the collectives, by mask, that some of them wait in."""

    def __init__(self) -> None:
        self.lanes: dict[int, Thread] = {}
        self.gatherings: dict[int, Gathering] = {}
        self.asking: list[Thread] = []  # for the mask of active lanes


class Block:
    """A block of threads with its shared memory."""

    def __init__(self, machine: Machine, number: int, index: Dim3, warps: int) -> None:
        self.machine = machine
        self.number = number
        self.index = index
        self.warps = [Warp() for _ in range(warps)]
        self.threads: list[Thread] = []
        self.ready: list[Thread] = []
        self.barriers: defaultdict[int, Barrier] = defaultdict(Barrier)
        self.shared: dict[tuple[int, int], Array] = {}  # by where it is declared
        self.dynamic: Region | None = None
        self.live = 0

    def __str__(self) -> str:
        dimensions = self.machine.grid_dim
        return str(self.index.x) if dimensions.y == dimensions.z == 1 else str(tuple(self.index))


class Machine:
    """A launch of a kernel: its blocks, all of them at once, and the schedule.

    Parameters
    ----------
    grid, block : Dim3
    seed : int
        Of the schedule. A schedule holds back a block, a warp of each block, a thread of each, or none, drawn from
        the seed: a fair draw alone hardly ever lets one part of a grid run a step ahead of another.
    lockstep : bool
        Whether the lanes of a warp that can go on do so together, as before sm_70; else each thread by itself.
    """

    def __init__(self, grid: Dim3, block: Dim3, seed: int, lockstep: bool) -> None:
        self.grid_dim, self.block_dim = grid, block
        self.lockstep = lockstep
        self._draw = random.Random(seed)
        self.random = self._draw.random
        self.progress = 0
        self.turns = 0
        self.grid_barrier = Barrier()
        size = block.x * block.y * block.z
        count = grid.x * grid.y * grid.z
        seen = np.zeros(count * size, np.int64).data
        self.blocks: list[Block] = []
        for number in range(count):
            place = Dim3(number % grid.x, number // grid.x % grid.y, number // (grid.x * grid.y))
            one = Block(self, number, place, -(-size // LANES))
            for t in range(size):
                index = Dim3(t % block.x, t // block.x % block.y, t // (block.x * block.y))
                thread = Thread(number * size + t, one, t, index, seen)
                thread.warp.lanes[thread.lane] = thread
                one.threads.append(thread)
            one.live = size
            self.blocks.append(one)
        self.threads = [thread for one in self.blocks for thread in one.threads]
        self.live = len(self.threads)
        self.current = self.threads[0]
        self._ready: list[Block] = []
        self._parked: list[Thread] = []  # threads that read the same again and again
        self._slow_block: Block | None = None
        self._hold_back()

    def _hold_back(self) -> None:
        what = self._draw.choice(["nothing", "block", "warp", "thread"])
        if what == "block":
            self._slow_block = self._draw.choice(self.blocks)
        elif what != "nothing":
            for block in self.blocks:
                chosen = self._draw.choice(block.threads)
                for thread in chosen.warp.lanes.values() if what == "warp" else (chosen,):
                    thread.slow = True

    def run(self, start: Callable[[], Generator[Any, Any, None]]) -> None:
        """Run the kernel to its end.

        Raises
        ------
        KernelError
            Or one of its kinds, for the first thing that the kernel does wrong.
        """
        for thread in self.threads:
            thread.generator = start()
            self.wake(thread)
        rounds, since = 0, self.progress
        while self._ready or self._parked:
            if not self._ready:  # each thread may be in a loop that ends by itself
                rounds = 0 if since != self.progress else rounds + 1
                since = self.progress
                if rounds == _PATIENCE:
                    break
                self._unpark()
            for thread in self._next():
                self._take_turn(thread)
        if self.live:
            for thread in self._parked:
                thread.waits = "what they read again and again"
            raise DeadlockError(f"no thread can go on:\n{self._waiting()}")

    def wake(self, thread: Thread, value: Any = None) -> None:
        """Let a thread go on, with what its operation returns."""
        thread.value = value
        thread.waits = ""
        if thread.polls < _POLLS or thread.stamp != self.progress:
            self._make_ready(thread)
        else:
            self._parked.append(thread)

    def _make_ready(self, thread: Thread) -> None:
        block = thread.block
        if not block.ready:
            self._ready.append(block)
        block.ready.append(thread)

    def note_progress(self) -> None:
        """Remember that something changed that a thread may wait for, and let those go on that read again and again."""
        self.progress += 1
        if self._parked:
            self._unpark()

    def _unpark(self) -> None:
        parked, self._parked = self._parked, []
        for thread in parked:
            self._make_ready(thread)

    def _next(self) -> Iterable[Thread]:
        """Draw the thread, or the lanes of a warp, that go on."""
        draw, blocks = self.random, self._ready
        block = blocks[int(draw() * len(blocks))]
        if block is self._slow_block and draw() < 0.98:
            block = blocks[int(draw() * len(blocks))]
        ready = block.ready
        place = int(draw() * len(ready))
        if ready[place].slow and draw() < 0.98:
            place = int(draw() * len(ready))
        thread = ready[place]
        if self.lockstep:
            taken = sorted((t for t in ready if t.warp is thread.warp), key=lambda t: t.lane)
            ready[:] = [t for t in ready if t.warp is not thread.warp]
        else:
            taken = [thread]
            ready[place] = ready[-1]
            ready.pop()
        if not ready:
            blocks.remove(block)
        return taken

    def _take_turn(self, thread: Thread) -> None:
        self.current = thread
        self.turns += 1
        try:
            if thread.pending is not None:
                (function, *arguments), thread.pending = thread.pending, None
                thread.value = function(thread, *arguments)
            request = thread.generator.send(thread.value)
            request[0](self, thread, *request[1:])
        except StopIteration:
            self._end(thread)
        except KernelError as error:
            raise type(error)(f"{self._place(thread, error)}: {error}") from None
        except IndexError as error:  # of a local array, or a tuple
            raise OutOfBoundsError(f"{self._place(thread, error)}: {error}") from error
        except Exception as error:
            raise KernelError(f"{self._place(thread, error)}: {type(error).__name__}: {error}") from error

    @staticmethod
    def _place(thread: Thread, error: Exception) -> str:
        return f"{thread}, line {_line_of(error.__traceback__) or thread.line()}"

    def _end(self, thread: Thread) -> None:
        self.note_progress()
        self.live -= 1
        block = thread.block
        block.live -= 1
        for mask, gathering in thread.warp.gatherings.items():
            if mask >> thread.lane & 1:
                raise WarpError(
                    f"{thread} has ended, and {gathering} with the mask {mask:#x}, which has lane {thread.lane}"
                )
        if any(thread.copies):
            raise KernelError(f"{thread} has ended, and its asynchronous copies have not been waited for")
        for barrier in block.barriers.values():
            if barrier.waiting and barrier.count is None:
                self._try(barrier, block.live)
        if self.grid_barrier.waiting:
            self._try(self.grid_barrier, self.live)

    # ------------------------------------------------------------------ requests: what a kernel yields

    def perform(self, thread: Thread, function: Callable[..., Any], *arguments: Any) -> None:
        """Perform a strong operation when the thread's turn comes: what others do until then comes before it."""
        self.wake(thread)
        thread.pending = (function, *arguments)

    def fence(self, thread: Thread, narrow: bool) -> None:
        """Perform a fence with the scope of the block (``narrow``) or wider."""
        fence(thread, narrow)
        self.wake(thread)

    def pause(self, thread: Thread) -> None:
        """Nothing, but that others may go on: what a loop that waits does."""
        thread.note_poll("pause", 0)
        self.wake(thread)

    def sync_threads(
        self, thread: Thread, combine: Callable[[list[int]], Any] | None = None, value: int = 0
    ) -> None:
        """``syncthreads``, and its forms that combine a value of each thread."""
        barrier = thread.block.barriers[0]
        if barrier.waiting and barrier.waiting[0].line() != thread.line():
            other = barrier.waiting[0]
            raise DivergenceError(f"syncthreads, and {other} waits at another, at line {other.line()}")
        self._arrive(barrier, thread, None, "syncthreads", waits=True)
        barrier.combine = combine
        barrier.values.append(value)
        self._try(barrier, thread.block.live)

    def named_barrier(self, thread: Thread, number: int, count: int, waits: bool) -> None:
        """``barrier.sync`` or, where the thread does not wait, ``barrier.arrive``."""
        if not 0 <= number < 16 or count <= 0 or count % LANES:
            raise KernelError(
                f"barrier {number} of {count} threads: numbers are 0 to 15, and counts multiples of {LANES}"
            )
        barrier = thread.block.barriers[number]
        for other in barrier.waiting:
            if other.warp is thread.warp and other.line() != thread.line():
                raise DivergenceError(
                    f"barrier {number}, and {other}, of the same warp, waits for it at line {other.line()}"
                )
        self._arrive(barrier, thread, count, f"barrier {number}", waits)
        self._try(barrier, count)

    def sync_grid(self, thread: Thread) -> None:
        """Wait for every thread of the grid, as a cooperative launch can."""
        self._arrive(self.grid_barrier, thread, None, "the grid's barrier", waits=True)
        self._try(self.grid_barrier, self.live)

    def _arrive(self, barrier: Barrier, thread: Thread, count: int | None, name: str, waits: bool) -> None:
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
            self.wake(thread)

    def _try(self, barrier: Barrier, count: int) -> None:
        if len(barrier.arrived) < count:
            return
        meet(barrier.arrived, barrier.waiting)
        value = barrier.combine(barrier.values) if barrier.combine is not None else None
        for thread in barrier.waiting:
            self.wake(thread, value)
        barrier.waiting, barrier.arrived, barrier.values = [], [], []
        self.note_progress()

    def collective(self, thread: Thread, mask: int, collective: Collective, given: Any) -> None:
        """Let the lanes of ``mask`` of a warp meet in an operation, to which all of them have to come."""
        mask = int(mask) & FULL
        gathering = thread.warp.gatherings.get(mask) or self._gather(thread, mask, collective)
        if not mask >> thread.lane & 1:
            raise WarpError(
                f"{collective.name} with the mask {mask:#x}, which leaves out the caller, lane {thread.lane}"
            )
        if gathering.collective is not collective or gathering.line != thread.line():
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
            meet(gathering.threads, gathering.threads)
        for one in gathering.threads:
            self.wake(one, received.get(one.lane))
        self.note_progress()

    def _gather(self, thread: Thread, mask: int, collective: Collective) -> Gathering:
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
                raise WarpError(
                    f"{collective.name} with the mask {mask:#x}, and its lane {one.lane} has ended"
                )
        warp.gatherings[mask] = gathering = Gathering(collective, thread.line(), len(lanes))
        return gathering

    def active_mask(self, thread: Thread) -> None:
        """Find the lanes at the same place: all of them in lock step, else any that happen to be there."""
        thread.warp.asking.append(thread)
        self.wake(thread)
        thread.pending = (_answer_mask,)

    # ------------------------------------------------------------------ who waits where

    def _waiting(self) -> str:
        places: defaultdict[tuple[Block, str, int], list[Thread]] = defaultdict(list)
        for thread in self.threads:
            if thread.waits:
                places[thread.block, thread.waits, thread.line()].append(thread)
        lines = []
        for (block, waits, line), threads in places.items():
            missing = f" ({len(threads)} of {block.live} threads)" if waits == "syncthreads" else ""
            names = _ranges([thread.number % len(block.threads) for thread in threads])
            lines.append(f"  block {block}: threads {names} wait at line {line} for {waits}{missing}")
        return "\n".join(lines)


def _answer_mask(thread: Thread) -> int:
    line = thread.line()
    together = [one for one in thread.warp.asking if one.line() == line]
    thread.warp.asking = [one for one in thread.warp.asking if one.line() != line]
    mask = sum(1 << one.lane for one in together)
    for one in together:
        one.value, one.pending = mask, None
    return mask


def _line_of(traceback: TracebackType | None) -> int:
    """Return the innermost line of the kernel's own source in a traceback, 0 if there is none."""
    line = 0
    while traceback is not None:
        if "__emulated__" in traceback.tb_frame.f_globals:
            line = traceback.tb_lineno
        traceback = traceback.tb_next
    return line


def _ranges(numbers: list[int]) -> str:
    """Return "0-3, 7" for 0, 1, 2, 3 and 7."""
    parts: list[list[int]] = []
    for number in sorted(numbers):
        if parts and number == parts[-1][1] + 1:
            parts[-1][1] = number
        else:
            parts.append([number, number])
    return ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in parts)
