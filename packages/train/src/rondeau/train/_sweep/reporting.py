"""The callback that tells a sweep how a trial does, and stops one that is unpromising."""

from rondeau.train._callback import Callback
from rondeau.train._sweep.folder import ClaimedTrial
from rondeau.train._tasks.task import Scored
from rondeau.train._trainer import Trainer

UNPROMISING = "it is unpromising beside the other trials"


class Reporting(Callback):
    """Reports the held-out loss of every evaluation, by its number: the steps of trials may be of different lengths.

    It comes after the recorder, which brings the run's metrics back to where the training continues.

    Parameters
    ----------
    trial : ClaimedTrial

    Attributes
    ----------
    best_loss : float or None
        The lowest held-out loss, at the end of the training.
    was_stopped : bool
        Whether the training ended because the trial was unpromising.
    """

    def __init__(self, trial: ClaimedTrial) -> None:
        self.trial = trial
        self.best_loss: float | None = None
        self.was_stopped = False
        self._evaluations = 0

    def on_begin(self, trainer: Trainer) -> None:
        """Count the evaluations before an interruption, of which the last may have been the one that stops."""
        self._evaluations = sum("held_out_loss" in row for row in self.trial.run.rows())
        self._stop_if_unpromising(trainer)

    def on_evaluate(self, trainer: Trainer, evaluation: Scored) -> None:
        """Report, before the recorder writes the checkpoint of this step: what that knows, the journal knows."""
        self._evaluations += 1
        self.trial.report(self._evaluations, float(evaluation.loss))
        self._stop_if_unpromising(trainer)

    def on_end(self, trainer: Trainer) -> None:
        """Keep what came out."""
        self.best_loss, self.was_stopped = trainer.best_loss, trainer.stopped_by == UNPROMISING

    def _stop_if_unpromising(self, trainer: Trainer) -> None:
        if (
            trainer.end_reached() is None
            and trainer.stopped_by is None
            and self.trial.is_unpromising(self._evaluations)
        ):
            trainer.stop(UNPROMISING)
