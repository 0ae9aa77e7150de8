"""``--parallel mpi``: the command in every rank of an MPI job, told of as one."""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Callable, Sequence
from contextlib import ExitStack, redirect_stdout

from rondeau import tensor as rt
from rondeau.train._errors import RunWarning
from rondeau.train._interruption import Signals
from rondeau.train._usage_error import RunFailedError, UsageError
from rondeau.train.cli import FORESEEN, tell
from rondeau.train.parallel import MPI, RankLostError, Ranks


def run_on_ranks(train: Callable[[Ranks], int], signals: Signals, argv: Sequence[str]) -> int:
    """Train with the ranks of an MPI job; return the exit status. What fails on one rank ends all, and is told once.

    Parameters
    ----------
    train : callable
        Called again with the ranks that are left, where others have died.
    signals : Signals
    argv : sequence of str
        Of the command.

    Raises
    ------
    UsageError
        If mpi4py is not installed.
    """
    try:
        ranks = MPI()
    except RankLostError:
        raise
    except (ImportError, RuntimeError) as error:  # mpi4py finds no MPI library
        raise UsageError(f"--parallel mpi: {error}") from error
    signals.follow_launcher()
    rt.set_num_threads(max(1, (os.cpu_count() or 1) // ranks.ranks_of_host))
    with signals.handled():  # while ranks that are left leave the others, too
        try:
            return ranks.run(lambda: _one_voice(ranks, train))
        except RankLostError as error:
            lost = RunFailedError(f"{error}; {signals.remedy or 'begin again'}")
            return _end(ranks, lost, argv)
        except FORESEEN as error:
            return _end(ranks, error, argv)


def _one_voice(ranks: Ranks, train: Callable[[Ranks], int]) -> int:
    """Train, where ranks but the first print nothing and do not warn."""
    with ExitStack() as stack:
        if not ranks.is_main:
            stack.enter_context(redirect_stdout(io.StringIO()))
            stack.enter_context(warnings.catch_warnings())
            warnings.simplefilter("ignore", RunWarning)
        return train(ranks)


def _end(ranks: MPI, error: BaseException, argv: Sequence[str]) -> int:
    status: int = getattr(error, "status", 1)
    ranks.ending.end(error, status, lambda: tell(error, "train", argv))
    return status
