"""Pinned host memory: copies from and to it are not complete before they are waited for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray


class PinnedMemoryError(AssertionError):
    """Pinned memory was written before the copy from it was complete."""


class PinnedMemory(bytearray):
    """Memory of the host that a device reads and writes itself; give it to ``np.frombuffer``."""

    def size(self) -> int:
        """Return the number of bytes."""
        return len(self)

    @property
    def ptr(self) -> int:
        """The address."""
        return _address(np.frombuffer(self, np.uint8))


class _Copy(NamedTuple):
    number: int
    complete: Callable[[], None]


_spans: dict[int, int] = {}  # begin of pinned memory: its end
_copies: list[_Copy] = []
_started = 0


def allocate(nbytes: int) -> PinnedMemory:
    """Return fresh pinned memory; it counts as pinned until `reset`."""
    memory = PinnedMemory(max(nbytes, 1))
    _spans[memory.ptr] = memory.ptr + len(memory)
    _kept.append(memory)  # so that no other array gets its address
    return memory


_kept: list[PinnedMemory] = []


def is_pinned(array: NDArray[Any]) -> bool:
    """Return whether a host array lies in pinned memory."""
    return is_memory_pinned(_address(array))


def is_memory_pinned(address: int) -> bool:
    """Return whether an address lies in pinned memory, as ``cupy.cuda.pinned_memory.is_memory_pinned``."""
    return any(begin <= address < end for begin, end in _spans.items())


def started() -> int:
    """Return the number of copies begun: what is recorded by an event."""
    return _started


def copy_from(source: NDArray[Any]) -> None:
    """Begin a copy from pinned memory, which has to stay as it is until the copy is complete."""
    before = source.tobytes()

    def complete() -> None:
        if source.tobytes() != before:
            raise PinnedMemoryError(
                f"pinned memory of shape {source.shape}, {source.dtype}, was written before the copy from it to the "
                "device was complete; wait for an event recorded after the copy, or write to another buffer"
            )

    _begin(complete)


def copy_to(destination: NDArray[Any], source: NDArray[Any], poison: Callable[[NDArray[Any]], None]) -> None:
    """Begin a copy to pinned memory, which holds its values only when the copy is complete."""
    values = source.copy()
    poison(destination)
    _begin(lambda: np.copyto(destination, values))


def complete(until: int | None = None) -> None:
    """Complete the copies that had begun when `started` was ``until``, or all."""
    while _copies and (until is None or _copies[0].number <= until):
        _copies.pop(0).complete()


def reset() -> None:
    """Complete all copies, and forget which memory is pinned."""
    try:
        complete()
    finally:
        _copies.clear()
        _spans.clear()
        _kept.clear()


def _begin(complete: Callable[[], None]) -> None:
    global _started
    _started += 1
    _copies.append(_Copy(_started, complete))


def _address(array: NDArray[Any]) -> int:
    address: int = array.__array_interface__["data"][0]
    return address
