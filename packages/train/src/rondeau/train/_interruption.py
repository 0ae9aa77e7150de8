"""How Ctrl-C and SIGTERM end ``rondeau train``: with one line and the status of a process that the signal ended.

In training, the present step is finished and a checkpoint of it written. Everywhere else, and at a second signal, the
command ends at once: before the first step is done, while its kernels are compiled, there is nothing to lose, and
checkpoints that were written are whole at any moment.
"""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from rondeau.train._progress import INTERRUPTED
from rondeau.train._trainer import Trainer

_BEFORE_KILL = 0.15
"""Seconds after SIGTERM at which a rank gives up its step: Open MPI kills it after 0.25."""


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
    """What SIGINT and SIGTERM do, while `handled`.

    Attributes
    ----------
    status : int
        The exit status of the signal that came, or of Ctrl-C before there was one.
    remedy : str
        Told where the command is ended at once.

    Examples
    --------
    >>> signals = Signals()
    >>> signals.status
    130
    """

    def __init__(self) -> None:
        self.status = 128 + signal.SIGINT
        self.remedy = ""
        self._trainer: Trainer | None = None
        self._began_at = 0
        self._numbers = [signal.SIGINT, signal.SIGTERM]

    def follow_launcher(self) -> None:
        """Heed that the launcher of ranks kills them soon after SIGTERM, and passes SIGUSR1 on to them.

        SIGUSR1 then finishes the step. So does SIGTERM, if there is time: what is not done in a moment is left.
        """
        for name in ("SIGUSR1", "SIGALRM"):
            if number := getattr(signal, name, None):
                self._numbers.append(number)
                signal.signal(number, self._handle)

    @contextmanager
    def handled(self) -> Iterator[None]:
        """Raise Interruption at a signal, for as long as the context lasts."""
        before = {number: signal.signal(number, self._handle) for number in self._numbers}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextmanager
    def finishing_steps(self, trainer: Trainer) -> Iterator[None]:
        """Stop `trainer` after the present step instead, once it has made one."""
        self._trainer, self._began_at = trainer, trainer.step
        try:
            yield
        finally:
            self._trainer = None

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if number != getattr(signal, "SIGALRM", None):
            self.status = 128 + number
        trainer = self._trainer
        if trainer is None or trainer.step == self._began_at or trainer.stopped_by == INTERRUPTED:
            raise Interruption(self.status, self.remedy)
        trainer.stop(INTERRUPTED)
        if number == signal.SIGTERM and len(self._numbers) > 2:
            signal.setitimer(signal.ITIMER_REAL, _BEFORE_KILL)
