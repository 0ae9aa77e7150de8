"""How Ctrl-C, SIGTERM and SIGUSR1 end ``rondeau train``: with a line and the status of a process that they ended.

In training, the present step is finished and a checkpoint of it written. Everywhere else, and at a second signal, the
command ends at once: before the first step is done, while its kernels are compiled, there is nothing to lose, and
checkpoints that were written are whole at any moment. SIGUSR1, which a scheduler sends a while before it ends a job,
may come from several senders: a second one asks for no more than the first.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rondeau.train._trainer import Trainer

INTERRUPTED = "interrupted"
"""Why a training ended that a signal has stopped."""

_BEFORE_KILL = 0.15
"""Seconds after SIGTERM at which a rank gives up its step: the launcher of Open MPI kills it after 0.25."""

_LAUNCHED_BY_OPEN_MPI = "PRTE_LAUNCHED"
"""What that launcher sets in the environment of ranks."""

_ASKS_TO_END = getattr(signal, "SIGUSR1", None)
_GIVES_UP = getattr(signal, "SIGALRM", None)


class Interruption(KeyboardInterrupt):
    """A signal that ends the command at once.

    Parameters
    ----------
    status : int
        The exit status, 128 and the signal's number.
    remedy : str
        What to do to go on; "" where there is nothing to continue yet.

    Examples
    --------
    >>> Interruption(143).status
    143
    """

    def __init__(self, status: int, remedy: str = "") -> None:
        super().__init__(f"interrupted; {remedy}" if remedy else "interrupted")
        self.status = status


class Signals:
    """What SIGINT, SIGTERM and SIGUSR1 do, while `handled`.

    Attributes
    ----------
    came : int or None
        The last signal that had an effect.
    remedy : str
        Told where the command is ended at once.

    Examples
    --------
    >>> signals = Signals()
    >>> signals.status
    130
    """

    def __init__(self) -> None:
        self.came: int | None = None
        self.remedy = ""
        self._trainer: Trainer | None = None
        self._began_at = 0
        self._has_asked = self._is_over = self._is_killed_after_term = False
        self._numbers = [n for n in (signal.SIGINT, signal.SIGTERM, _ASKS_TO_END) if n is not None]

    @property
    def status(self) -> int:
        """The exit status of the signal that came, or of Ctrl-C before there was one."""
        return 128 + (self.came or signal.SIGINT)

    def follow_launcher(self) -> None:
        """Heed that the launcher of ranks may kill them soon after SIGTERM: what is not done in a moment is left."""
        if _LAUNCHED_BY_OPEN_MPI in os.environ and _GIVES_UP is not None:
            self._is_killed_after_term = True
            self._numbers.append(_GIVES_UP)

    @contextmanager
    def handled(self) -> Iterator[None]:
        """Raise Interruption at a signal, for as long as the context lasts."""
        before = {number: signal.signal(number, self._handle) for number in self._numbers}
        try:
            yield
        finally:
            if self._is_killed_after_term:
                signal.setitimer(signal.ITIMER_REAL, 0)
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextmanager
    def finishing_steps(self, trainer: Trainer) -> Iterator[None]:
        """Stop `trainer` after the present step instead, once it has made one; signals are ignored when it has stopped.

        Of ranks, one may hear of a signal when another has stopped all of them already.

        Raises
        ------
        Interruption
            At once, if the step of another trainer was to be finished, and was not: ranks died meanwhile.
        """
        if self._has_asked:
            raise Interruption(self.status, self.remedy)
        self._trainer, self._began_at = trainer, trainer.step
        try:
            yield
            self._is_over = trainer.stopped_by == INTERRUPTED
            self._has_asked = False
        finally:
            self._trainer = None

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._is_over or (self._has_asked and number == _ASKS_TO_END):
            return
        if number != _GIVES_UP:
            self.came = number
        trainer = self._trainer
        if trainer is None or trainer.step == self._began_at or self._has_asked:
            raise Interruption(self.status, self.remedy)
        self._has_asked = True
        trainer.stop(INTERRUPTED)
        if number == signal.SIGTERM and self._is_killed_after_term:
            signal.setitimer(signal.ITIMER_REAL, _BEFORE_KILL)
