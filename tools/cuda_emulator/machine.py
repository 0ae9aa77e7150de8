"""The machine: threads as generators, a random schedule, and who waits for whom.

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
from typing import Any

import numpy as np

from .faults import DeadlockError, KernelError, OutOfBoundsError, WarpError
from .meetings import LANES, Barrier, complete
from .strong import fence
from .threads import Block, Dim3, Thread

# How often a thread reads the same again, before it waits for something to change.
_POLLS = 8
# How often all threads that wait so go on nevertheless: each may be in a loop that ends by itself.
_PATIENCE = 200


class Machine:
    """A launch of a kernel: its blocks, all of them at once, and the schedule.

    Parameters
    ----------
    grid, block : Dim3
    seed : int
        Of the schedule. A schedule holds back a block, a warp of each block, a thread of each, or none, drawn from
        the seed: a fair draw alone hardly ever lets one part of a grid run a step ahead of another.
    lockstep : bool
        Whether the lanes of a warp that can go on do so together, else each thread by itself. This is a schedule
        like others: lanes of two branches take turns, and none has to wait for the other branch.
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
            if not self._ready:
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
                complete(self, barrier, block.live)
        if self.grid_barrier.waiting:
            complete(self, self.grid_barrier, self.live)

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
