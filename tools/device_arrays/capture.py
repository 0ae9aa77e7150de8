"""Work that a stream captures: not done, but noted, and done when the graph is launched.

To note it, it is done; at the end of the capture memory that was there before holds again what it held, and new memory
holds what nobody wrote. A launch does the same calls again, and their results take the places of the first ones.
"""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from .interface import not_modelled
from .memory import CUDARuntimeError, MemoryPool, allocate_from, allocating_pool, poison

F = TypeVar("F", bound=Callable[..., Any])

_open: list[Recording] = []
"""The recordings that have begun and not ended, of all threads."""


class _Call(NamedTuple):
    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    result: Any


class Recording:
    """What a stream captures.

    Attributes
    ----------
    calls : list
    is_invalid : bool
        Whether something was asked for that cannot be captured.
    """

    def __init__(self) -> None:
        self.calls: list[_Call] = []
        self.is_invalid = self._inside = False
        self._before: dict[
            int, tuple[NDArray[Any], NDArray[Any]]
        ] = {}  # memory, and what it held; by the memory's id
        self._made: list[NDArray[Any]] = []
        self._pools: list[weakref.ref[MemoryPool]] = []

    def call(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call a function, and note it unless another noted function calls it."""
        if self._inside:
            return function(*args, **kwargs)
        given = list(_storages((args, kwargs)))
        for storage in given:
            memory = _memory_of(storage)
            self._before.setdefault(id(memory), (memory, memory.copy()))
        self._inside = True
        try:
            result = function(*args, **kwargs)
        finally:
            self._inside = False
        fresh = [new for new in _storages(result) if not any(np.may_share_memory(new, old) for old in given)]
        if fresh:
            self._take(fresh)
        self.calls.append(_Call(function, args, kwargs, result))
        return result

    def _take(self, fresh: list[NDArray[Any]]) -> None:
        from .array import UndefinedResultError

        pool = allocating_pool()
        if pool is None:
            raise UndefinedResultError(
                "a stream captures, and memory comes from the default pool, which gives it to others while the graph "
                "still uses it: use an allocator of its own, cupy.cuda.using_allocator(cupy.cuda.MemoryPool().malloc)"
            )
        self._made += fresh
        self._pools.append(weakref.ref(pool))

    def end(self) -> None:
        """Undo what was done to note it."""
        for memory, held in self._before.values():
            np.copyto(memory, held)
        for made in self._made:
            poison(made)

    def replay(self) -> None:
        """Do it."""
        from .array import UndefinedResultError

        if any(pool() is None for pool in self._pools):
            raise UndefinedResultError("the pool that a graph's memory is from is gone")
        for call in self.calls:
            again = call.function(*call.args, **call.kwargs)
            for place, new in zip(_storages(call.result), _storages(again), strict=True):
                if not np.may_share_memory(place, new):
                    np.copyto(place, new)


class Graph:
    """A CUDA graph; streams make them, programs cannot."""

    def __init__(self) -> None:
        raise NotImplementedError(
            "currently this class cannot be initiated by the user and must be created via stream capture"
        )

    @classmethod
    def of(cls, recording: Recording) -> Graph:
        """Return the graph of a recording that has ended."""
        graph = cls.__new__(cls)
        graph._recording = recording
        return graph

    _recording: Recording

    def launch(self, stream: Any = None) -> None:
        """Do what was captured, on a stream or the current one."""
        if current() is not None:
            raise NotImplementedError("tools.device_arrays does not model graphs in graphs")
        self._recording.replay()

    def upload(self, stream: Any = None) -> None:
        """Prepare a launch."""


def begin() -> Recording:
    """Return a recording that has begun."""
    recording = Recording()
    _open.append(recording)
    return recording


def end(recording: Recording) -> Graph:
    """End a recording and return its graph."""
    _open.remove(recording)
    recording.end()
    if recording.is_invalid:
        raise CUDARuntimeError(
            "cudaErrorStreamCaptureInvalidated", "operation failed due to a previous error during capture"
        )
    return Graph.of(recording)


def reset() -> None:
    """Forget recordings that have not ended."""
    _open.clear()


def current() -> Recording | None:
    """Return the recording of this thread's current stream, or None if that does not capture."""
    if not _open:
        return None
    from .cuda import get_current_stream

    return get_current_stream().recording


def refuse(what: str) -> None:
    """Raise CUDA's error for what needs the host if the current stream captures."""
    recording = current()
    if recording is not None:
        recording.is_invalid = True
        raise CUDARuntimeError(
            "cudaErrorStreamCaptureUnsupported", f"operation not permitted when stream is capturing ({what})"
        )


def recorded(function: F) -> F:
    """Return a function that is noted where a stream captures."""

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        recording = current()
        return function(*args, **kwargs) if recording is None else recording.call(function, args, kwargs)

    return cast("F", call)


@contextmanager
def using_allocator(allocator: Any = None) -> Iterator[None]:
    """Take memory from a pool in this thread: ``cupy.cuda.using_allocator(pool.malloc)``."""
    if allocator is None:
        raise not_modelled("using_allocator(None)")
    before = allocating_pool()
    allocate_from(allocator.__self__)
    try:
        yield
    finally:
        allocate_from(before)


def _storages(value: Any) -> Iterator[NDArray[Any]]:
    """Yield the memory of the arrays in a value and its parts; a kernel is given NumPy's."""
    from .array import ndarray

    if isinstance(value, ndarray):
        yield value._storage
    elif isinstance(value, np.ndarray):
        yield value
    elif isinstance(value, dict):
        yield from _storages(list(value.values()))
    elif isinstance(value, tuple | list):
        for part in value:
            yield from _storages(part)


def _memory_of(storage: NDArray[Any]) -> NDArray[Any]:
    while isinstance(storage.base, np.ndarray):
        storage = storage.base
    return storage
