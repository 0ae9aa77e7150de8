"""``cupy.cuda``: devices, streams and events, of which the work is done at once, but for copies of pinned memory."""

from __future__ import annotations

import itertools
import math
import threading
import time
from typing import Any, Self

from . import capture, memory, pinned
from .transfers import note_wait


class Device:
    """A device."""

    def __init__(self, device: Any = None) -> None:
        self.id: int = memory.current_device() if device is None else int(device)
        self._before: list[int] = []

    compute_capability = "90"

    @property
    def mem_info(self) -> tuple[int, int]:
        """Free and total bytes."""
        with self:
            return memory.TOTAL - memory.MemoryPool().total_bytes(), memory.TOTAL

    def use(self) -> None:
        """Make it current."""
        memory.set_current_device(self.id)

    def synchronize(self) -> None:
        """Wait for all its work."""
        note_wait("Device.synchronize")
        pinned.complete()

    def __enter__(self) -> Self:
        self._before.append(memory.current_device())
        self.use()
        return self

    def __exit__(self, *_: object) -> None:
        memory.set_current_device(self._before.pop())

    def __int__(self) -> int:
        return self.id

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Device) and self.id == other.id

    def __hash__(self) -> int:
        return hash(self.id)

    def __repr__(self) -> str:
        return f"<CUDA Device {self.id}>"


class Event:
    """A place in the order of copies, and a time on the clock of the host."""

    def __init__(self, block: bool = False, disable_timing: bool = False, interprocess: bool = False) -> None:
        self._after = 0
        self._has_time, self._seconds = not disable_timing, float("nan")

    @property
    def done(self) -> bool:
        """Whether the work has been done: here it always has, when somebody asks."""
        pinned.complete(self._after)
        return True

    def record(self, stream: Any = None) -> None:
        """Record what has begun."""
        self._after, self._seconds = pinned.started(), time.perf_counter()

    def synchronize(self) -> None:
        """Wait for what had begun when it was recorded."""
        note_wait("Event.synchronize")
        pinned.complete(self._after)


def get_elapsed_time(start_event: Event, end_event: Event) -> float:
    """Return the milliseconds between two events that have been recorded."""
    seconds = end_event._seconds - start_event._seconds
    if not (start_event._has_time and end_event._has_time) or math.isnan(seconds):
        raise memory.CUDARuntimeError("cudaErrorInvalidResourceHandle", "invalid resource handle")
    return 1e3 * seconds


_addresses = itertools.count(4096, 16)


class Stream:
    """A stream; the order of work is that of the calls, whatever their streams.

    Attributes
    ----------
    recording : Recording or None
        What it captures.
    """

    null: Stream
    ptr = 0

    def __init__(
        self, null: bool = False, non_blocking: bool = False, ptds: bool = False, priority: Any = None
    ) -> None:
        self.is_non_blocking = non_blocking
        self.recording: capture.Recording | None = None
        self._before: list[Stream] = []
        if not null:
            self.ptr = next(_addresses)

    @property
    def done(self) -> bool:
        """Whether the work has been done: here it always has, when somebody asks."""
        pinned.complete()
        return True

    def synchronize(self) -> None:
        """Wait for all its work."""
        note_wait("Stream.synchronize")
        pinned.complete()

    def record(self, event: Event | None = None) -> Event:
        """Return an event for what has begun."""
        event = event or Event()
        event.record(self)
        return event

    def wait_event(self, event: Event) -> None:
        """Let later work of this stream wait, which the host does not."""

    def begin_capture(self, mode: Any = None) -> None:
        """Note work of this stream from here on, and do not do it."""
        if self.ptr == 0:
            raise RuntimeError("cannot capture on the default (legacy) stream")
        self.recording = capture.begin()

    def is_capturing(self) -> bool:
        """Return whether work is noted."""
        return self.recording is not None

    def end_capture(self) -> capture.Graph:
        """Return the work that was noted."""
        if self.recording is None:
            raise memory.CUDARuntimeError("cudaErrorIllegalState", "the stream does not capture")
        recording, self.recording = self.recording, None
        return capture.end(recording)

    def use(self) -> Stream:
        """Make it current."""
        _current.stream = self
        return self

    def __enter__(self) -> Self:
        self._before.append(_current.stream)
        self.use()
        return self

    def __exit__(self, *_: object) -> None:
        _current.stream = self._before.pop()


Stream.null = Stream(null=True)


class _Current(threading.local):
    stream = Stream.null


_current = _Current()


def get_current_stream(device_id: int = -1) -> Stream:
    """Return the stream in use."""
    return _current.stream


def is_available() -> bool:
    """Return whether there is a device."""
    return memory.device_count() > 0


def get_device_id() -> int:
    """Return the current device."""
    return memory.current_device()


def get_device_count() -> int:
    """Return the number of devices, as ``runtime.getDeviceCount``, to which none is an error."""
    if not memory.device_count():
        raise memory.CUDARuntimeError("cudaErrorNoDevice", "no CUDA-capable device is detected")
    return memory.device_count()


def get_device_properties(device: int) -> dict[str, Any]:
    """Return what a device is, as ``runtime.getDeviceProperties``: those entries that do not depend on a machine."""
    if not 0 <= device < memory.device_count():
        raise memory.CUDARuntimeError("cudaErrorInvalidDevice", "invalid device ordinal")
    return {
        "name": b"Stand-in for a GPU",
        "major": 9,
        "minor": 0,
        "totalGlobalMem": memory.TOTAL,
        "multiProcessorCount": 132,
        "warpSize": 32,
        "maxThreadsPerBlock": 1024,
        "regsPerBlock": 65536,
        "sharedMemPerBlock": 49152,
        "sharedMemPerBlockOptin": 232448,
        "cooperativeLaunch": 1,
    }


def device_synchronize() -> None:
    """Wait for all work of the current device, as ``runtime.deviceSynchronize``."""
    note_wait("deviceSynchronize")
    pinned.complete()


def memory_info() -> tuple[int, int]:
    """Return free and total bytes, as ``runtime.memGetInfo``."""
    return Device().mem_info
