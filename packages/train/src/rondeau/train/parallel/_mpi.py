"""Ranks of an MPI job."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any, TypeVar, final

from rondeau.kernels.runtime.caller import warn_caller
from rondeau.train._errors import RunWarning
from rondeau.train._extras import how_to_install
from rondeau.train.parallel._ending import Ending, ToldElsewhereError, import_mpi
from rondeau.train.parallel._messages import Messages
from rondeau.train.parallel._ranks import Arrays, RankLostError, Ranks

_Result = TypeVar("_Result")

_SURVIVES = "OMPI_MCA_mpi_ft_enable"
"""What Open MPI's launcher sets in the environment of ranks for ``--with-ft ulfm``."""


@final
class MPI(Ranks):
    """The ranks of the MPI job that this process belongs to; a process that ``mpirun`` has not started is rank 0 of 1.

    An exception that nobody catches ends all ranks, and is told once.

    Parameters
    ----------
    communicator : mpi4py.MPI.Comm, optional
        Default: all ranks of the job.

    Raises
    ------
    ModuleNotFoundError
        If mpi4py is not installed.

    Examples
    --------
    The same program in every rank, ``mpirun --bind-to none -n 2 python program.py``:

    >>> from rondeau import train
    >>> ranks = train.MPI()  # doctest: +SKIP
    >>> trainer = train.Trainer(model, optimizer, batches, max_epochs=5, parallel=ranks)  # doctest: +SKIP
    """

    def __init__(self, communicator: Any = None) -> None:
        try:
            MPI = import_mpi()
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(f"MPI needs the package mpi4py; {how_to_install('mpi')}") from error
        self._mpi = MPI
        first = MPI.COMM_WORLD if communicator is None else communicator
        first.Set_errhandler(MPI.ERRORS_RETURN)
        self.ending = Ending(first, MPI, self.survives)
        try:
            self._use(first.Shrink() if self.survives else first.Dup())
            self._warn_if_pinned()
        except RankLostError:
            if not self.survives:
                raise
            self._leave_the_dead()

    def _use(self, communicator: Any) -> None:
        communicator.Set_errhandler(self._mpi.ERRORS_RETURN)
        self._communicator = communicator
        self.rank, self.size = communicator.rank, communicator.size
        self._messages = Messages(communicator, self._mpi)

    @property
    def ranks_of_host(self) -> int:
        """How many of the ranks run on this host."""
        return self._messages.ranks_of_host

    @property
    def survives(self) -> bool:
        """Whether the other ranks can go on where one dies: ``mpirun --with-ft ulfm``."""
        return os.environ.get(_SURVIVES, "0").lower() in ("1", "true", "yes")

    def all_gather(self, value: _Result) -> list[_Result]:
        """Return the values of all ranks, in their order."""
        return [value] if self.size == 1 else self._messages.all_gather(value)

    def from_main(self, function: Callable[[], _Result]) -> _Result:
        """Call a function on rank 0, and return what it returned there."""
        if self.size == 1:
            return function()
        if not self.is_main:
            is_well, value = self._messages.broadcast(None)
            if not is_well:
                raise ToldElsewhereError(value)
            result: _Result = value
            return result
        try:
            result = function()
        except RankLostError:
            raise
        except Exception as error:
            self._messages.broadcast((False, f"{type(error).__name__}: {error}"))
            raise
        self._messages.broadcast((True, result))
        return result

    def exchange(self, outgoing: Arrays, incoming: Arrays) -> None:
        """Send arrays to other ranks, and fill arrays with what they send here."""
        if self.size > 1:
            self._messages.exchange(outgoing, incoming)

    def run(self, function: Callable[[], _Result]) -> _Result:
        """Call a function that trains; where ranks die in it and the others can go on, call it again with those."""
        while True:
            try:
                result = function()
                self._end_together()
                return result
            except RankLostError:
                if not self.survives:
                    raise
                self._leave_the_dead()

    def _end_together(self) -> None:
        """Return when all ranks have come here; where one has died, no rank returns."""
        if not self.survives or self.size == 1:
            return
        try:
            self._communicator.Agree(1)
        except self._mpi.Exception as error:
            raise RankLostError(f"a rank has ended: {error.Get_error_string()}") from error

    def _leave_the_dead(self) -> None:
        """Go on with the ranks that are left, in their order."""
        while True:
            before = self.size
            try:
                if not self._communicator.Is_revoked():
                    self._communicator.Revoke()
                self._use(self._communicator.Shrink())
            except (RankLostError, self._mpi.Exception):
                continue
            break
        if self.is_main:
            lost = before - self.size
            warn_caller(
                f"{lost} of {before} ranks {'has' if lost == 1 else 'have'} ended; the others go on from the last "
                "checkpoint",
                RunWarning,
            )

    def _warn_if_pinned(self) -> None:
        if sys.platform != "linux":
            return
        mine, all_cores = len(os.sched_getaffinity(0)), os.cpu_count() or 1
        if any(self.all_gather(mine < all_cores // self.ranks_of_host)) and self.is_main:
            warn_caller(
                f"ranks are pinned to {mine} of {all_cores} cores each: give mpirun --bind-to none, so that each may "
                "use its share of them",
                RunWarning,
            )
