"""Replay: work on the same arrays, time and again, as one launch of a CUDA graph."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from types import ModuleType
from typing import Any

from rondeau.kernels.errors import PerformanceWarning
from rondeau.kernels.runtime.caller import warn_caller

__all__ = ["Replay"]


class Replay:
    """Work that is queued call by call the first time, captured the second, and launched as a graph from then on.

    The first time compiles what it needs and lets libraries set themselves up, which a capture may not allow; they do
    so for each thread of Python, so the first and the second time are of the same one. A graph remembers addresses: the
    work must read and write the same arrays each time, and take numbers that change from an array. It can be launched
    on any stream, behind what was queued there before.

    What the work allocates comes from a pool of the graph's own: CuPy's would give it to others, or back to the
    device, while the graph goes on writing there.

    Parameters
    ----------
    library : module
        CuPy.
    """

    def __init__(self, library: ModuleType) -> None:
        self._library = library
        self._graph: Any = None
        self._memory: Any = None
        self._thread: int | None = None
        self._is_refused = False

    def run(self, work: Callable[[], None]) -> None:
        """Do the work, which must be the same each time, on CuPy's current stream.

        If CUDA cannot capture it, that is said once, and it is queued call by call each time.
        """
        if self._graph is None and self._thread == threading.get_ident() and not self._is_refused:
            try:
                self._graph = self._captured(work)
            except Exception as error:  # if the work itself is at fault, it raises again below
                self._is_refused = True
                _warn_once(error)
        if self._graph is None:
            work()
            self._thread = threading.get_ident()
        else:
            self._graph.launch()

    def _captured(self, work: Callable[[], None]) -> Any:
        cuda = self._library.cuda
        # CUDA cannot capture its default stream, nor, while others use that one, a stream that waits for it.
        stream, self._memory = cuda.Stream(non_blocking=True), cuda.MemoryPool()
        with stream, cuda.using_allocator(self._memory.malloc):
            stream.begin_capture()
            try:
                work()
            except BaseException:
                with contextlib.suppress(RuntimeError):  # it says that the capture has failed
                    stream.end_capture()
                raise
            return stream.end_capture()


class _Warning:
    given = False


def _warn_once(error: Exception) -> None:
    """Warn, once per process, that steps are launched one by one."""
    if not _Warning.given:
        _Warning.given = True
        warn_caller(
            f"a step of a stepper cannot be captured in a CUDA graph ({type(error).__name__}: {error}): its kernels "
            "are launched one by one, which is slower. Please report this.",
            PerformanceWarning,
        )
