"""Shared and global memory that knows who last wrote and read each element.

Nothing is stored twice: an array of the host is read and written in place, so that a launch leaves its results there
as a GPU would. Beside each region of memory stand two lists, a place for each *word* of it: the segment that last
wrote the word, and the segment or segments that have read it since. A word is as wide as the narrowest element
through which the region is seen, so that two views of other widths (bf16 pairs read as 32 bits) are one memory to the
check.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .clocks import BEFORE, STRONG, UNWRITTEN, Segment
from .faults import DataRaceError, OutOfBoundsError, UninitialisedError
from .scalars import rounding, to_float16

if TYPE_CHECKING:
    from .machine import Machine
    from .strong import Cell
    from .threads import Thread


class Region:
    """A stretch of shared or global memory.

    Parameters
    ----------
    machine : Machine
    name : str
        For messages: a parameter's name, or where a shared array is declared.
    data : numpy.ndarray of uint8
    width : int
        Bytes of a word.
    written : bool
        Whether its contents count as written by the host.
    """

    def __init__(self, machine: Machine, name: str, data: np.ndarray, width: int, written: bool) -> None:
        self.machine = machine
        self.name = name
        self.data = data
        self.width = width
        words = data.size // width
        self.writes: list[Segment] = [BEFORE if written else UNWRITTEN] * words
        self.reads: list[Segment | dict[int, Segment]] = [BEFORE] * words
        self.cells: dict[int, Cell] = {}  # of words that strong operations have reached
        self.arrays: list[Array] = []

    def view(self, dtype: Any, first: int = 0, shape: Sequence[int] | None = None) -> Array:
        """Return an array on the bytes from ``first`` on; all of the region if ``shape`` is None."""
        kind = np.dtype(dtype)
        if kind.itemsize < self.width:
            self._divide(self.width // kind.itemsize)
        if shape is None:
            shape = ((self.data.size - first) // kind.itemsize,)
        array = Array(self, kind, first, tuple(shape))
        self.arrays.append(array)
        return array

    def _divide(self, parts: int) -> None:
        """Make words narrower, for a view of narrower elements."""
        self.width //= parts
        self.writes[:] = [segment for segment in self.writes for _ in range(parts)]
        self.reads[:] = [dict(r) if isinstance(r, dict) else r for r in self.reads for _ in range(parts)]
        if self.cells:
            raise NotImplementedError("a view of narrower elements, after atomic operations on wider ones")
        for array in self.arrays:
            array.place()


class Array:
    """A view of a region with a dtype and a shape, as a kernel sees it.

    Indices are one integer for each dimension; fewer give a view of what remains. An integer of a flat array is the
    case that is fast.
    """

    __slots__ = (
        "dtype", "first", "is_simple", "machine", "offset", "reads", "region", "shape", "size", "span", "values",
        "writes",
    )  # fmt: skip

    def __init__(self, region: Region, dtype: np.dtype[Any], offset: int, shape: tuple[int, ...]) -> None:
        self.region = region
        self.machine = region.machine
        self.dtype = dtype
        self.offset = offset
        self.shape = shape
        self.size = math.prod(shape)
        self.values = values_of(region.data[offset : offset + self.size * dtype.itemsize].view(dtype))
        self.reads = region.reads
        self.writes = region.writes
        self.place()

    def place(self) -> None:
        """Find the words of the elements: ``span`` each, from word ``first``."""
        self.span = self.dtype.itemsize // self.region.width
        self.first = self.offset // self.region.width
        self.is_simple = self.span == 1 and len(self.shape) == 1

    @property
    def ndim(self) -> int:
        """The number of dimensions."""
        return len(self.shape)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Any) -> Any:
        if index.__class__ is not int or not self.is_simple:
            index = self._element(index)
            if index.__class__ is not int:
                return index
            if self.span != 1:
                return self._get_wide(index)
        elif not 0 <= index < self.size:
            self._refuse(index)
        thread = self.machine.current
        segment = thread.segment
        word = self.first + index
        written = self.writes[word]
        if written is not segment and written.clock > thread.seen[written.number]:
            examine_read(self, word, thread)
        read = self.reads[word]
        if read is not segment:
            if read.__class__ is dict:
                read[thread.number] = segment
            elif read.clock <= thread.seen[read.number]:  # type: ignore[union-attr]
                self.reads[word] = segment
            else:
                self.reads[word] = {read.number: read, thread.number: segment}  # type: ignore[union-attr, dict-item]
        return self.values[index]

    def __setitem__(self, index: Any, value: Any) -> None:
        if index.__class__ is not int or not self.is_simple:
            index = self._stored_element(index)
            if self.span != 1:
                return self._set_wide(index, value)
        elif not 0 <= index < self.size:
            self._refuse(index)
        thread = self.machine.current
        segment = thread.segment
        word = self.first + index
        read = self.reads[word]
        if self.writes[word] is not segment or (read is not BEFORE and read is not segment):
            examine_write(self, word, thread)
        self._store(index, value)
        return None

    def _get_wide(self, element: int) -> Any:
        begin = self.first + element * self.span
        for word in range(begin, begin + self.span):
            examine_read(self, word, self.machine.current)
        return self.values[element]

    def _set_wide(self, element: int, value: Any) -> None:
        begin = self.first + element * self.span
        for word in range(begin, begin + self.span):
            examine_write(self, word, self.machine.current)
        self._store(element, value)

    def _store(self, element: int, value: Any) -> None:
        try:
            self.values[element] = value
        except (TypeError, ValueError):
            # An integer out of range, or a float for an integer: cut, as Numba's conversion cuts it.
            self.values[element] = rounding(self.dtype)(value)

    def word_of(self, index: Any) -> tuple[int, int]:
        """Return the element's number and its first word; for operations of more than a load or a store."""
        element = self._stored_element(index)
        return element, self.first + element * self.span

    def words(self, index: int, count: int) -> range:
        """Return the words of ``count`` elements from ``index``, one access, aligned to its size.

        Raises
        ------
        OutOfBoundsError
            If its address is no multiple of its size, or if the last element is past the end.
        """
        if index < 0 or index + count > self.size:
            self._refuse(index + count - 1 if index >= 0 else index)
        if (self.offset + index * self.dtype.itemsize) % (count * self.dtype.itemsize):
            raise OutOfBoundsError(
                f"{self.region.name}: {count} elements in one access from element {index}, whose address is no "
                f"multiple of {count * self.dtype.itemsize} bytes"
            )
        return range(self.first + index * self.span, self.first + (index + count) * self.span)

    def _element(self, index: Any) -> Any:
        """Return the number of an element, or a view if there are fewer indices than dimensions."""
        indices = index if isinstance(index, tuple) else (index,)
        shape = self.shape
        if len(indices) > len(shape):
            raise TypeError(
                f"{self.region.name} has {len(shape)} dimensions, and {len(indices)} indices came"
            )
        number = 0
        for place, size in zip(indices, shape, strict=False):
            if place.__class__ is not int:
                place = _integer(self.region.name, place)
            if not 0 <= place < size:
                raise OutOfBoundsError(f"{self.region.name}[{index}], and its shape is {shape}")
            number = number * size + place
        if len(indices) == len(shape):
            return number
        rest = shape[len(indices) :]
        return Array(
            self.region, self.dtype, self.offset + number * math.prod(rest) * self.dtype.itemsize, rest
        )

    def _stored_element(self, index: Any) -> int:
        element = self._element(index)
        if isinstance(element, int):
            return element
        raise TypeError(f"{self.region.name} needs {self.ndim} indices here, got {index!r}")

    def _refuse(self, index: int) -> None:
        raise OutOfBoundsError(f"{self.region.name}[{index}], and it has {self.size} elements")


def _integer(name: str, place: Any) -> int:
    """Return an index as Python's own integer."""
    try:
        return operator.index(place)
    except TypeError:
        raise TypeError(f"{name}: an index must be an integer, got {place!r}") from None


def examine_read(array: Array, word: int, thread: Thread) -> None:
    """Check a plain read of a word, in full, and note it."""
    region = array.region
    segment = region.writes[word]
    if segment is UNWRITTEN:
        raise UninitialisedError(f"reads {_element_at(region, array, word)}, which nobody has written")
    if segment is STRONG:
        region.cells[word].check_plain(thread, region, array, word, writes=False)
    elif segment is not thread.segment and segment.clock > thread.seen[segment.number]:
        raise race("reads", region, array, word, "wrote", segment)
    note_read(region, word, thread.segment, thread)


def note_read(region: Region, word: int, segment: Segment, thread: Thread) -> None:
    """Remember a read, for the writes to come."""
    read = region.reads[word]
    if isinstance(read, dict):
        read[thread.number] = segment
    elif read is segment or read.clock <= thread.seen[read.number]:
        region.reads[word] = segment
    else:
        region.reads[word] = {read.number: read, thread.number: segment}


def examine_write(array: Array, word: int, thread: Thread, segment: Segment | None = None) -> None:
    """Check a plain write of a word, in full, and note it, as of ``segment`` if that is not the thread's own."""
    region = array.region
    written = region.writes[word]
    if written is STRONG:
        region.cells.pop(word).check_plain(thread, region, array, word, writes=True)
    elif (
        written is not thread.segment
        and written is not UNWRITTEN
        and written.clock > thread.seen[written.number]
    ):
        raise race("writes", region, array, word, "wrote", written)
    check_readers(array, word, thread)
    region.writes[word] = segment or thread.segment
    region.reads[word] = BEFORE


def check_readers(array: Array, word: int, thread: Thread) -> None:
    """Raise DataRaceError if a plain read of the word is not ordered before this point of ``thread``."""
    read = array.region.reads[word]
    for reader in read.values() if isinstance(read, dict) else (read,):
        if reader is not thread.segment and reader.clock > thread.seen[reader.number]:
            raise race("writes", array.region, array, word, "reads", reader)


def race(does: str, region: Region, array: Array, word: int, did: str, other: Segment) -> DataRaceError:
    """Return the error of two accesses that nothing orders."""
    where = _element_at(region, array, word)
    return DataRaceError(f"{does} {where}, which {other} {did}, and nothing orders the two")


def _element_at(region: Region, array: Array, word: int) -> str:
    return f"{region.name}[{(word - array.first) // array.span}]"


class _Halves:
    """Elements of a float16 array as Python's floats; a memoryview has them from Python 3.12 on."""

    def __init__(self, data: np.ndarray) -> None:
        self._data = data

    def __getitem__(self, index: int) -> float:
        return float(self._data[index])

    def __setitem__(self, index: int, value: float) -> None:
        self._data[index] = to_float16(value)


def values_of(data: np.ndarray) -> Any:
    """Return what gives and takes the elements of a flat array as Python's own numbers, rounded when stored."""
    return _Halves(data) if data.dtype == np.float16 else data.data
