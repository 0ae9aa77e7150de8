"""Where pieces of text are worked on: in this process, in others, or on the machines of a dask cluster."""

from __future__ import annotations

import multiprocessing
import os
import signal
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import wait
from threading import Thread
from types import TracebackType
from typing import Any

from .._extras import missing_package

Work = Callable[[bytes, bytes], bytes]
"""A function of `work`: of what all pieces share, and a piece."""

_AHEAD = 2  # pieces in flight for each process


class Pool(ABC):
    """Processes that work on pieces side by side; answers come in the order of the pieces.

    Examples
    --------
    >>> with InProcess() as pool:
    ...     list(pool.map(lambda shared, piece: shared + piece, b"a", [b"b", b"c"]))
    [b'ab', b'ac']
    """

    def __enter__(self) -> Pool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    @abstractmethod
    def map(self, work: Work, shared: bytes, pieces: Iterable[bytes]) -> Iterator[bytes]:
        """Yield what `work` makes of each piece.

        Raises
        ------
        RuntimeError
            If a process died.
        """


class InProcess(Pool):
    """No other process: one worker."""

    def map(self, work: Work, shared: bytes, pieces: Iterable[bytes]) -> Iterator[bytes]:
        """Yield what `work` makes of each piece."""
        return (work(shared, piece) for piece in pieces)


class Processes(Pool):
    """Processes of this machine, which end with this one.

    Parameters
    ----------
    workers : int
    """

    def __init__(self, workers: int) -> None:
        self.workers = workers

    def map(self, work: Work, shared: bytes, pieces: Iterable[bytes]) -> Iterator[bytes]:
        """Yield what `work` makes of each piece, `shared` being sent to each process once."""
        executor = ProcessPoolExecutor(
            self.workers, multiprocessing.get_context("spawn"), initializer=_begin, initargs=(shared,)
        )
        try:
            yield from _in_order(
                lambda piece: executor.submit(_with_shared, work, piece), pieces, _AHEAD * self.workers
            )
        except BrokenProcessPool:
            raise RuntimeError(
                "a process that worked on the text died, mostly for want of memory; the same command goes on where it "
                "was, with fewer --workers perhaps"
            ) from None
        finally:
            executor.shutdown(cancel_futures=True)


class Cluster(Pool):
    """The workers of a dask cluster, on which this library is installed; a piece whose worker died is worked on again.

    Parameters
    ----------
    scheduler : str
        The address of its scheduler, such as ``"tcp://10.0.0.1:8786"``.

    Raises
    ------
    ModuleNotFoundError
        If the package `distributed` is not installed.
    OSError
        If there is no scheduler at the address, or it has no workers.
    """

    def __init__(self, scheduler: str) -> None:
        try:
            from distributed import Client
        except ModuleNotFoundError:
            raise missing_package("a scheduler", "distributed", "dask") from None
        try:
            make: Any = Client
            self._client: Any = make(scheduler, set_as_default=False)
        except ValueError as error:  # no address
            raise OSError(f"{scheduler!r} is not the address of a scheduler: {error}") from None
        if not sum(self._client.nthreads().values()):
            self._client.close()
            raise OSError(f"the scheduler at {scheduler} has no workers")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the cluster."""
        self._client.close()

    def map(self, work: Work, shared: bytes, pieces: Iterable[bytes]) -> Iterator[bytes]:
        """Yield what `work` makes of each piece, `shared` being sent to each worker once."""
        everywhere = self._client.scatter(shared, broadcast=True)
        threads = sum(self._client.nthreads().values())
        with self._client.get_executor(pure=False, retries=3) as executor:
            yield from _in_order(
                lambda piece: executor.submit(work, everywhere, piece), pieces, _AHEAD * max(1, threads)
            )


def make_pool(workers: int, scheduler: str | None) -> Pool:
    """Make the pool that was asked for."""
    if scheduler is not None:
        return Cluster(scheduler)
    return InProcess() if workers == 1 else Processes(workers)


def _in_order(
    submit: Callable[[bytes], Future[bytes]], pieces: Iterable[bytes], ahead: int
) -> Iterator[bytes]:
    """Yield results in the order of the pieces, of which only some are read before they are needed."""
    waiting: deque[Future[bytes]] = deque()
    try:
        for piece in pieces:
            waiting.append(submit(piece))
            if len(waiting) > ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()


_shared = b""


def _begin(shared: bytes) -> None:
    """Prepare a process: Ctrl-C is for the parent, and a parent that was killed leaves none behind."""
    global _shared
    _shared = shared
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # the processes are the parallelism
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()


def _end_with(sentinel: int) -> None:
    wait([sentinel])
    os._exit(1)


def _with_shared(work: Work, piece: bytes) -> bytes:
    return work(_shared, piece)
