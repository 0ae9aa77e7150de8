"""Strong operations: atomics, acquires and releases, relaxed loads and stores, with a memory as weak as PTX's.

An element that strong operations reach has a record of the values it has had. A load may return an old one, as far as
coherence allows: none that is older than one the thread has seen, itself or through what happens before. Every atomic
operation reads the newest. An acquire that reads what a release wrote (or what atomic operations made of it since: the
release sequence) orders the two threads; a relaxed pair orders nothing, unless fences stand around it. Operations of
two blocks that nothing else orders must have the scope of the GPU, and so must the fences around them. See "Memory
Consistency Model" of the PTX ISA.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .clocks import STRONG, UNWRITTEN, Segment, join, publish, union
from .faults import DataRaceError, UninitialisedError
from .memory import Array, Region, check_readers, race
from .scalars import rounding

if TYPE_CHECKING:
    from .threads import Thread

_KEPT = 8  # values of an element's past that a load may still return


class Published(NamedTuple):
    """What an acquire of the value learns.

    Attributes
    ----------
    everywhere : numpy.ndarray or None
        The clock, for threads of any block.
    inside : dict of int to numpy.ndarray
        By block, the clock for threads of that block.
    """

    everywhere: np.ndarray | None = None
    inside: dict[int, np.ndarray] = {}  # noqa: RUF012 (never changed in place)


class Value(NamedTuple):
    """One value that an element has had."""

    value: Any
    order: int
    segment: Segment
    published: Published


class Access(NamedTuple):
    """A thread's last strong access of a kind."""

    segment: Segment
    block: int
    narrow: bool  # of the scope of a block


class Cell:
    """What strong operations did to one element."""

    def __init__(self, value: Any, segment: Segment) -> None:
        self.values = [Value(value, 0, segment, Published())]
        self.writers: dict[int, Access] = {}
        self.readers: dict[int, Access] = {}
        self.seen: dict[int, int] = {}  # by thread: the newest value that it read or wrote
        self.released: dict[
            int, Published
        ] = {}  # by thread: its releases here, which its later stores here publish too
        self.narrow = False

    def check_plain(self, thread: Thread, region: Region, array: Array, word: int, writes: bool) -> None:
        """Raise DataRaceError if a strong access is not ordered before a plain one of ``thread``."""
        for did, others in (
            ("atomically wrote", self.writers),
            ("atomically read", self.readers if writes else {}),
        ):
            for other in others.values():
                if (
                    other.segment is not thread.segment
                    and other.segment.clock > thread.seen[other.segment.number]
                ):
                    raise race("writes" if writes else "reads", region, array, word, did, other.segment)

    def check_scopes(self, thread: Thread, narrow: bool, writes: bool, where: str) -> None:
        """Raise DataRaceError if operations of two blocks reach the element, one of them with the scope of a block."""
        self.narrow = self.narrow or narrow
        if not self.narrow:
            return
        for others in (self.writers, self.readers if writes else {}):
            for number, other in others.items():
                if other.block == thread.block.number or not (narrow or other.narrow):
                    continue
                if other.segment.clock > thread.seen[number]:
                    raise DataRaceError(
                        f"reaches {where} with an atomic operation, as does {other.segment} of another block, and one "
                        "of the two has no wider scope than its block"
                    )

    def newest(self) -> Value:
        """Return the value that is in memory."""
        return self.values[-1]

    def readable(self, thread: Thread) -> list[Value]:
        """Return the values that a load may return, the newest last."""
        floor = self.seen.get(thread.number, 0)
        for number, reader in self.readers.items():  # what another has read before is not unread
            if reader.segment.clock <= thread.seen[number]:
                floor = max(floor, self.seen[number])
        for place in range(len(self.values) - 1, -1, -1):
            value = self.values[place]
            ordered = (
                value.segment is thread.segment or value.segment.clock <= thread.seen[value.segment.number]
            )
            if ordered or value.order <= floor:
                return self.values[place:]
        return self.values


def cell_of(
    array: Array, index: Any, thread: Thread, reads: bool, writes: bool, narrow: bool
) -> tuple[Cell, int, int]:
    """Return the element's cell, number and word, after the checks that every strong operation makes."""
    element, word = array.word_of(index)
    region = array.region
    where = f"{region.name}[{element}]"
    written = region.writes[word]
    if written is not STRONG:
        if written is UNWRITTEN:
            if reads:
                raise UninitialisedError(f"reads {where} with an atomic operation, and nobody has written it")
        elif written is not thread.segment and written.clock > thread.seen[written.number]:
            raise race("atomically reaches", region, array, word, "wrote", written)
        for other in range(word, word + array.span):
            region.writes[other] = STRONG
        cell = Cell(array.values[element], written)
        for other in range(word, word + array.span):
            region.cells[other] = cell
    else:
        cell = region.cells[word]
    if writes:
        check_readers(array, word, thread)
    cell.check_scopes(thread, narrow, writes, where)
    return cell, element, word


def load(
    thread: Thread, array: Array, index: Any, acquire: bool = False, narrow: bool = False, old: bool = True
) -> Any:
    """Perform a strong load.

    Parameters
    ----------
    acquire : bool
        Whether it orders the thread after the release whose value it reads.
    narrow : bool
        Whether its scope is the block, not the GPU.
    old : bool
        Whether it may return an old value.
    """
    cell, element, word = cell_of(array, index, thread, reads=True, writes=False, narrow=narrow)
    value = cell.newest()
    if old and len(cell.values) > 1 and thread.polls == 0 and thread.block.machine.random() < 0.25:
        readable = cell.readable(thread)
        value = readable[int(thread.block.machine.random() * len(readable))]
    if value.segment is UNWRITTEN:
        raise UninitialisedError(f"may read {array.region.name}[{element}] before any thread has written it")
    cell.seen[thread.number] = max(value.order, cell.seen.get(thread.number, 0))
    cell.readers[thread.number] = Access(thread.segment, thread.block.number, narrow)
    _learn(thread, value.published, acquire)
    thread.note_poll((id(array.region), word), value.value)
    return value.value


def change(
    thread: Thread,
    array: Array,
    index: Any,
    function: Callable[[Any], Any],
    acquire: bool = False,
    release: bool = False,
    narrow: bool = False,
    reads: bool = True,
) -> Any:
    """Perform a strong store (``reads`` is False) or an atomic change, and return the value before.

    Parameters
    ----------
    function : callable
        From the value before to the value after.
    acquire, release : bool
    narrow : bool
        Whether its scope is the block, not the GPU.
    """
    cell, element, word = cell_of(array, index, thread, reads=reads, writes=True, narrow=narrow)
    before = cell.newest()
    after = rounding(array.dtype)(function(before.value))
    array.values[element] = after
    if reads:
        _learn(thread, before.published, acquire)
    segment = thread.segment  # before a release begins the next one: the write is part of what it publishes
    published = _publish(thread, cell, before.published if reads else Published(), release)
    value = Value(after, before.order + 1, segment, published)
    cell.values = [*cell.values[1 - _KEPT :], value]
    cell.seen[thread.number] = value.order
    access = Access(segment, thread.block.number, narrow)
    cell.writers[thread.number] = access
    if reads:
        cell.readers[thread.number] = access
    if after != before.value:
        thread.block.machine.note_progress()
    else:
        thread.note_poll((id(array.region), word), after)
    return before.value


def compare_and_swap(
    thread: Thread,
    array: Array,
    index: Any,
    old: Any,
    value: Any,
    acquire: bool = False,
    release: bool = False,
) -> Any:
    """Store ``value`` if the element is ``old``, and return the value before; if it is not, this is a load."""
    cell, _, _ = cell_of(array, index, thread, reads=True, writes=False, narrow=False)
    if cell.newest().value == old:
        return change(thread, array, index, lambda _: value, acquire, release)
    return load(thread, array, index, acquire, old=False)


def _learn(thread: Thread, published: Published, acquire: bool) -> None:
    """Take what a value published: at once by an acquire, else at the next fence."""
    block = thread.block.number
    if acquire:
        join(thread, published.everywhere)
        join(thread, published.inside.get(block))
    else:
        inside = {block: published.inside[block]} if block in published.inside else {}
        thread.loose = _both(thread.loose, Published(published.everywhere, inside))


def _publish(thread: Thread, cell: Cell, before: Published, release: bool) -> Published:
    """Return what a write publishes: what a release covers, or the last fence, and what the value before it had."""
    number, block = thread.number, thread.block.number
    if release:
        clock = publish(thread)
        own = Published(clock, {block: clock})
        cell.released[number] = _both(cell.released.get(number, Published()), own)
    else:
        own = _both(thread.fenced, cell.released.get(number, Published()))
    return _both(before, own)


def fence(thread: Thread, narrow: bool) -> None:
    """Order what the thread did before against its relaxed writes from now on, and what its relaxed loads learnt."""
    if not narrow:
        join(thread, thread.loose.everywhere)
    join(thread, thread.loose.inside.get(thread.block.number))
    clock = publish(thread)
    thread.fenced = Published(thread.fenced.everywhere if narrow else clock, {thread.block.number: clock})


def _both(a: Published, b: Published) -> Published:
    inside = {**a.inside, **b.inside}
    for block in a.inside.keys() & b.inside.keys():
        inside[block] = np.maximum(a.inside[block], b.inside[block])
    return Published(union(a.everywhere, b.everywhere), inside)
