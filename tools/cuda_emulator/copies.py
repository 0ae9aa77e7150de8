"""Asynchronous copies from global to shared memory (``cp.async``)."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from .clocks import Flight
from .memory import Array, examine_read, examine_write, note_read

if TYPE_CHECKING:
    from .threads import Thread


class Copy(NamedTuple):
    """A copy under way: what was read, and where it goes."""

    flight: Flight
    target: Array
    source: Array
    written: range
    read: range
    begin: int
    data: np.ndarray


def begin(thread: Thread, target: Array, at: int, source: Array, origin: int, size: int) -> None:
    """Begin to copy ``size`` bytes; neither end may be written, nor the target read, before the copy is waited for."""
    count = size // target.dtype.itemsize
    written = target.words(at, count)
    read = source.words(origin, size // source.dtype.itemsize)
    flight = Flight(thread)
    for word in read:
        examine_read(source, word, thread)
        note_read(source.region, word, flight, thread)
    for word in written:
        examine_write(target, word, thread, flight)
    first = source.offset + origin * source.dtype.itemsize
    data = source.region.data[first : first + size].copy()
    place = target.offset + at * target.dtype.itemsize
    thread.copies[-1].append(Copy(flight, target, source, written, read, place, data))


def commit(thread: Thread) -> None:
    """Close the open group of copies."""
    thread.copies.append([])


def wait(thread: Thread, pending: int) -> None:
    """Complete all groups but the last ``pending``: their data is the thread's own writing, of this moment."""
    *groups, opened = thread.copies
    done = max(len(groups) - pending, 0)
    for group in groups[:done]:
        for copy in group:
            _complete(thread, copy)
    thread.copies = [*groups[done:], opened]


def _complete(thread: Thread, copy: Copy) -> None:
    copy.target.region.data[copy.begin : copy.begin + copy.data.size] = copy.data
    writes = copy.target.region.writes
    for word in copy.written:
        writes[word] = thread.segment
    reads = copy.source.region.reads
    for word in copy.read:
        read = reads[word]
        if isinstance(read, dict):
            read[thread.number] = thread.segment
        else:
            reads[word] = thread.segment
