"""The course of a fit: its curves, when it has converged, and what ``verbose`` prints."""

from __future__ import annotations

import math

from rondeau import tensor as rt
from rondeau.train._callback import Callback, Row
from rondeau.train._tasks.task import Mean
from rondeau.train._trainer import Trainer


class Watch(Callback):
    """Ends a training that improves no more, as scikit-learn's MLPClassifier does.

    Where there is validation, the score decides, and the weights of the best epoch are put back at the end; elsewhere,
    the training loss does.

    Parameters
    ----------
    patience : float
        The training ends after more than this many epochs in a row that were not better by `tol`.
    tol : float
    verbose : bool
        Whether a line is printed for every epoch.

    Attributes
    ----------
    losses : list of float
        The mean training loss of each epoch.
    scores : list of float
        The validation score of each epoch, where there is validation.
    """

    def __init__(self, patience: float, tol: float, verbose: bool) -> None:
        self.losses: list[float] = []
        self.scores: list[float] = []
        self.best_score = -math.inf
        self._patience, self._tol, self._verbose = patience, tol, verbose
        self._best, self._bad_epochs = -math.inf, 0
        self._best_weights: dict[str, rt.Tensor] | None = None
        self._seen = 0

    def on_begin_epoch(self, trainer: Trainer) -> None:
        """Start a mean."""
        self._mean = Mean()

    def on_row(self, trainer: Trainer, row: Row) -> None:
        """Add the loss of a step: there is a row for each."""
        self._mean.add(row["train_loss"], trainer.num_seen - self._seen)
        self._seen = trainer.num_seen

    def on_end_epoch(self, trainer: Trainer) -> None:
        """Note the loss and the score, and stop where they have not improved for long."""
        self.losses.append(self._mean.value)
        if trainer.evaluation is not None:
            evaluation = trainer.evaluation
            self.scores.append(evaluation.metrics.get("score", -evaluation.loss))
            self._keep_best(trainer)
        # As scikit-learn counts: against the best value so far, and not against the last that was better by `tol`.
        value = self.scores[-1] if self.scores else -self.losses[-1]
        self._bad_epochs = self._bad_epochs + 1 if value < self._best + self._tol else 0
        self._best = max(self._best, value)
        if self._verbose:
            score = f"  validation score {self.scores[-1]:.4f}" if self.scores else ""
            print(f"epoch {trainer.epoch}/{trainer.max_epochs}  loss {self.losses[-1]:.4f}{score}")
        if self._bad_epochs > self._patience:
            what = "validation score" if self.scores else "training loss"
            trainer.stop(f"the {what} has not improved by {self._tol:g} for {self._bad_epochs} epochs")
            if self._verbose:
                print(f"stopped: {trainer.stopped_by}")

    def on_end(self, trainer: Trainer) -> None:
        """Put the weights of the best epoch back, where there is validation."""
        if self._best_weights is not None:
            trainer.model.load_state_dict(self._best_weights)

    def _keep_best(self, trainer: Trainer) -> None:
        if self.scores[-1] > self.best_score:
            self.best_score = self.scores[-1]
            state = trainer.model.state_dict()
            self._best_weights = {name: weight.clone() for name, weight in state.items()}
