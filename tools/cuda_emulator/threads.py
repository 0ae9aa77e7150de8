"""The threads of a launch, in their warps and blocks."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any, NamedTuple

from .clocks import Segment
from .meetings import LANES, Barrier, Gathering
from .strong import Published

if TYPE_CHECKING:
    from .machine import Machine
    from .memory import Array, Region


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
        before = self.polled.get(key)
        if before == value or (
            before != before and value != value
        ):  # NaN stands for "not yet" in some kernels
            self.polls += 1
        self.polled[key] = value


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
