"""How one rank's failure ends all, with what went wrong told once.

A rank that fails tells it, and lets MPI abort the job when its process ends (mpi4py's hook, which
``python -m mpi4py`` uses too). Where ranks fail together, as at a text that none can read, the first of them tells it:
the others wait a moment for its notice.
"""

from __future__ import annotations

import atexit
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Any

import numpy as np

from rondeau.train.parallel._ranks import RankLostError

_PATIENCE, _PAUSE = 1.0, 0.01
"""Seconds that a rank waits for another to tell a failure, and between looks."""

_WHILE_BEING_ENDED = 0.05
"""The same, for each lower rank, where a launcher is about to kill all: Open MPI leaves them a quarter of a second."""

_UNTIL_RANK_0_TELLS = 30.0

_ASKING_TO_END = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1") if hasattr(signal, name)]

_NOTICE = 32_000
"""The tag of notices; MPI has at least 32,767."""


def import_mpi() -> Any:
    """Return ``mpi4py.MPI``, which leaves the end of MPI to `Ending` unless the program has imported it already."""
    import mpi4py

    if "mpi4py.MPI" not in sys.modules:
        mpi4py.rc.finalize = False
    from mpi4py import MPI

    return MPI


class ToldElsewhereError(RuntimeError):
    """What failed, failed on rank 0, which tells it."""


class Ending:
    """The end of ranks where one fails.

    Parameters
    ----------
    communicator : mpi4py.MPI.Comm
        Of all ranks, those that have died too.
    MPI : module
        ``mpi4py.MPI``.
    survives : bool
        Whether ranks may have died: MPI's own end, in which all ranks wait for each other, may then wait for ever
        (seen with Open MPI 5.0.11), and is left out. Open MPI takes that for no failure where ranks may die.
    """

    def __init__(self, communicator: Any, MPI: Any, survives: bool) -> None:
        self._has_failed = False
        if not survives:
            atexit.register(self._finalize)
        self._communicator, self._mpi = communicator, MPI
        self._sent: list[Any] = []
        self._show = sys.excepthook
        sys.excepthook = self._end_by_exception

    def end(self, error: BaseException, status: int, tell: Callable[[], object]) -> None:
        """Tell why this rank ends, if no other rank does, and have all end with it.

        Parameters
        ----------
        error : BaseException
            Why.
        status : int
            Of the process, and of the job.
        tell : callable
            Called on one rank.
        """
        from mpi4py.run import set_abort_status

        if self._communicator.size > 1:  # else there is nobody to end
            self._has_failed = True
            set_abort_status(status or 1)
        if not self._is_told(error):
            tell()
            for stream in filter(None, (sys.stdout, sys.stderr)):
                with suppress(OSError, ValueError):  # there may be no reader any more
                    stream.flush()
            self._give_notice()

    def _finalize(self) -> None:
        if self._has_failed or self._mpi.Is_finalized():
            return
        for number in _ASKING_TO_END:  # as it does, as soon as all ranks are here
            signal.signal(number, signal.SIG_IGN)
        self._mpi.Finalize()

    def _is_told(self, error: BaseException) -> bool:
        """Return whether another rank tells, after a moment in which its notice may come."""
        rank = self._communicator.rank
        if isinstance(error, ToldElsewhereError):
            patience = _UNTIL_RANK_0_TELLS
        elif isinstance(error, (RankLostError, KeyboardInterrupt)):
            patience = rank * _WHILE_BEING_ENDED
        else:
            patience = _PATIENCE if rank else 0.0
        until = time.monotonic() + patience
        while not any(map(self._has_notice_of, range(self._communicator.size))):
            if time.monotonic() >= until:
                return False
            time.sleep(_PAUSE)
        return True

    def _has_notice_of(self, rank: int) -> bool:
        try:
            return bool(self._communicator.Iprobe(rank, _NOTICE))
        except self._mpi.Exception:  # that rank is gone
            return False

    def _give_notice(self) -> None:
        notice = np.ones(1, np.uint8)
        for rank in range(self._communicator.size):
            if rank != self._communicator.rank:
                with suppress(self._mpi.Exception):  # of a rank that is gone
                    self._sent.append((notice, self._communicator.Isend(notice, rank, _NOTICE)))

    def _end_by_exception(
        self, kind: type[BaseException], error: BaseException, trace: TracebackType | None
    ) -> None:
        """Show an exception that nobody caught, if no other rank does, and end all ranks."""
        self.end(error, 1, lambda: self._show(kind, error, trace))
