"""The folder of a sweep, which any number of processes share.

journal.log         optuna's journal: what each trial is, how it did at its evaluations, and what came out
sweep.lock          held for moments by who draws a trial, takes one over, or writes in the journal
trials/0007/        the run of trial 7; its rondeau.lock is held by the process that trains it

A trial of which the journal says that it goes on is trained by some process if the lock of its run is held, and by none
if it is free: that process was killed or interrupted. A process that looks for a trial holds sweep.lock, and takes the
lock of the run before it lets go of that; what came out is in the journal before the lock of the run is given back. So
no trial is lost, and none is trained twice, whatever is killed and whenever.
"""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, NamedTuple

import optuna
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState

from rondeau.tensor.files import durable
from rondeau.train._checks import check_is, shown
from rondeau.train._errors import RunError
from rondeau.train._run import RunFolder
from rondeau.train._sweep.journal import Journal
from rondeau.train._sweep.sampling import draw
from rondeau.train._sweep.shared_lock import SharedLock
from rondeau.train._sweep.space import Choice, Range, parse_space

Outcome = Literal["finished", "stopped", "diverged", "failed", "unfinished"]

_NAME = "sweep"
_STATES: Mapping[TrialState, Outcome] = {
    TrialState.COMPLETE: "finished",
    TrialState.PRUNED: "stopped",
    TrialState.FAIL: "failed",
    TrialState.RUNNING: "unfinished",
    TrialState.WAITING: "unfinished",
}
_DAMAGE = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    RecursionError,
    TypeError,
    ValueError,
)


class SweepTrial(NamedTuple):
    """A trial of a sweep.

    Attributes
    ----------
    number : int
    values : dict
        What was drawn for it, by name.
    outcome : {"finished", "stopped", "diverged", "failed", "unfinished"}
        "stopped": it was unpromising; "failed": its values do not go together; "unfinished": it goes on, or was
        interrupted.
    loss : float or None
        The lowest held-out loss of its evaluations so far.
    reason : str or None
        What a trial that diverged or failed said.
    run : RunFolder

    Examples
    --------
    >>> import tempfile
    >>> from rondeau.train import RunFolder
    >>> SweepTrial(0, {"lr": 0.01}, "finished", 1.5, None, RunFolder("runs/lr/trials/0000")).loss
    1.5
    """

    number: int
    values: dict[str, Any]
    outcome: Outcome
    loss: float | None
    reason: str | None
    run: RunFolder


class SweepFolder:
    """What a sweep keeps: trials, their runs, and what came out of them.

    Parameters
    ----------
    path : path-like
        The folder of a sweep that was begun.

    Raises
    ------
    RunError
        If there is no sweep, or its journal is damaged.

    Examples
    --------
    >>> SweepFolder("no_such_sweep")
    Traceback (most recent call last):
    ...
    rondeau.train._errors.RunError: no_such_sweep is not a sweep: it has no journal.log
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        check_is("path", path, str, os.PathLike)
        self.path = Path(path)
        self.journal = self.path / "journal.log"
        self._lock = SharedLock(self.path / "sweep.lock")
        if not self.journal.is_file():
            raise RunError(f"{self.path} is not a sweep: it has no {self.journal.name}")
        with _readable(self.journal), _quietly():
            self._storage = optuna.storages.JournalStorage(Journal(self.journal, self._lock))
            studies = {study.study_name: study.user_attrs for study in self._storage.get_all_studies()}
            definition = studies.get(_NAME, {}).get("definition")
            if definition is None:
                raise RunError(f"{self.path} is not a sweep: its {self.journal.name} describes none")
            self.space = parse_space(definition["space"])
            self.fixed: dict[str, Any] = dict(definition["fixed"])

    @classmethod
    def begin(
        cls,
        path: str | os.PathLike[str],
        space: Mapping[str, Range | Choice],
        fixed: Mapping[str, Any],
    ) -> "SweepFolder":
        """Begin a sweep, or join the one that is there.

        Parameters
        ----------
        path : path-like
        space : mapping
            As `parse_space` returns it.
        fixed : mapping
            What else the runs are made of, as JSON has it.

        Raises
        ------
        RunError
            If the folder holds something else, or a sweep of another space; the message names the first difference.
        """
        path = Path(path)
        lock, journal = SharedLock(path / "sweep.lock"), path / "journal.log"
        definition = {"space": {name: entry.plain() for name, entry in space.items()}, "fixed": dict(fixed)}
        if path.exists() and not path.is_dir():
            raise RunError(f"{path} is a file; choose another folder for the sweep")
        if path.is_dir() and any(path.iterdir()) and not lock.path.is_file():
            raise RunError(f"{path} holds files that are not of a sweep; choose another folder")
        durable.make_folder(path)
        with lock.held():
            _write_definition(journal, lock, definition)
        sweep = cls(path)
        there = {"space": {name: entry.plain() for name, entry in sweep.space.items()}, "fixed": sweep.fixed}
        _check_same(path, there, json.loads(json.dumps(definition)))
        return sweep

    def run(self, number: int) -> RunFolder:
        """Return the folder of a trial's run."""
        return RunFolder(self.path / "trials" / f"{number:04}")

    @property
    def trials(self) -> list[SweepTrial]:
        """All trials so far, in the order of their numbers."""
        with _readable(self.journal):
            return [self._told(trial) for trial in self._trials()]

    @property
    def best(self) -> SweepTrial | None:
        """The trial with the lowest held-out loss of those that were trained to their end."""
        finished = [t for t in self.trials if t.outcome == "finished" and t.loss is not None]
        return min(finished, key=lambda trial: (trial.loss, trial.number), default=None)

    def importances(self) -> dict[str, float]:
        """Return how much each name matters for a trial to be among the best tenth, the largest first.

        Measured by optuna's PED-ANOVA, of the trials that were trained to their end; empty where these are fewer than
        two.
        """
        ended = [t for t in self.trials if t.outcome == "finished"]
        if len(ended) < 2 or len({t.loss for t in ended}) < 2:
            return {}
        with _quietly():
            return optuna.importance.get_param_importances(self._study())

    def claim(
        self, most: int, sampler: BaseSampler, pruner: optuna.pruners.BasePruner
    ) -> "ClaimedTrial | None":
        """Return a trial to train, whose run is locked by then: one that was left, or a new one.

        Parameters
        ----------
        most : int
            Trials of the sweep, of all processes together.
        sampler : BaseSampler
            Draws the values of a new one.
        pruner : BasePruner
            Says which are unpromising.

        Returns
        -------
        ClaimedTrial or None
            None if nothing is left but what other processes train.
        """
        with _quietly(), self._lock.held():
            with _readable(self.journal):
                study, trials = self._study(sampler, pruner), self._trials()
            for trial in trials:
                run = self.run(trial.number)
                if not trial.state.is_finished() and run.lock.try_acquire():
                    return self._claimed(optuna.Trial(study, trial._trial_id), run)
            if len(trials) >= most:
                return None
            new = study.ask()
            run = self.run(new.number)
            run.lock.acquire()
            return self._claimed(new, run)

    def _claimed(self, trial: optuna.Trial, run: RunFolder) -> "ClaimedTrial":
        try:
            return ClaimedTrial(trial, draw(trial, self.space), run)
        except BaseException:
            run.lock.release()
            raise

    def _study(
        self, sampler: BaseSampler | None = None, pruner: optuna.pruners.BasePruner | None = None
    ) -> optuna.Study:
        # A new one each time: a study remembers trials, and would draw from what was true before.
        return optuna.Study(_NAME, self._storage, sampler, pruner)

    def _trials(self) -> list[FrozenTrial]:
        return self._study().get_trials(deepcopy=False)

    def _told(self, trial: FrozenTrial) -> SweepTrial:
        outcome = _STATES[trial.state]
        if outcome == "stopped" and trial.user_attrs.get("outcome") == "diverged":
            outcome = "diverged"
        evaluations = trial.intermediate_values.values()
        loss = trial.value if outcome == "finished" else min(evaluations, default=None)
        values = {name: trial.params[name] for name in self.space if name in trial.params}
        reason = trial.user_attrs.get("reason")
        return SweepTrial(trial.number, values, outcome, loss, reason, self.run(trial.number))


class ClaimedTrial:
    """A trial that this process trains: it holds the lock of its run, until `release`.

    Parameters
    ----------
    trial : optuna.Trial
    values : dict
    run : RunFolder
        Locked.
    """

    def __init__(self, trial: optuna.Trial, values: dict[str, Any], run: RunFolder) -> None:
        self.number, self.values, self.run = trial.number, values, run
        self._trial = trial

    def report(self, evaluation: int, loss: float) -> None:
        """Write the loss of an evaluation in the journal, unless it is there: before an interruption, say."""
        if evaluation not in self._seen().intermediate_values:
            self._trial.report(loss, evaluation)

    def is_unpromising(self, evaluation: int) -> bool:
        """Return whether the trial did worse up to its last evaluation, if that is this one, than the others."""
        return self._seen().last_step == evaluation and self._trial.should_prune()

    def finish(self, loss: float) -> None:
        """Write in the journal that the trial was trained to its end."""
        self._tell(TrialState.COMPLETE, loss)

    def stop(self) -> None:
        """Write in the journal that the trial was unpromising."""
        self._tell(TrialState.PRUNED)

    def diverge(self, reason: str) -> None:
        """Write in the journal that the trial diverged: as good as stopped where it was."""
        self._trial.set_user_attr("outcome", "diverged")
        self._trial.set_user_attr("reason", reason)
        self._tell(TrialState.PRUNED)

    def fail(self, reason: str) -> None:
        """Write in the journal that the trial's values do not go together."""
        self._trial.set_user_attr("reason", reason)
        self._tell(TrialState.FAIL)

    def release(self) -> None:
        """Give the trial back: it has ended, or waits for the process that takes it over."""
        self.run.lock.release()

    def __enter__(self) -> "ClaimedTrial":
        return self

    def __exit__(self, *error: object) -> None:
        self.release()

    def _seen(self) -> FrozenTrial:
        return self._trial.storage.get_trial(self._trial._trial_id)

    def _tell(self, state: TrialState, loss: float | None = None) -> None:
        with _quietly():
            self._trial.study.tell(self.number, loss, state)


def _write_definition(journal: Path, lock: SharedLock, definition: Mapping[str, Any]) -> None:
    """Write in the journal what a sweep is, unless that was done before."""
    with _readable(journal), _quietly():
        storage = optuna.storages.JournalStorage(Journal(journal, lock))
        if not storage.get_all_studies():
            optuna.create_study(storage=storage, study_name=_NAME)
        study = optuna.Study(_NAME, storage)
        if "definition" not in study.user_attrs:  # a process may have been killed between the two
            study.set_user_attr("definition", definition)
    durable.sync_folder(journal.parent)


def _check_same(path: Path, there: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    for part in ("space", "fixed"):
        for name in dict.fromkeys([*there[part], *given[part]]):
            was, now = (either[part].get(name, "absent") for either in (there, given))
            if was != now:
                raise RunError(
                    f"{path} holds a sweep with another {name}: was {shown(was)}, is {shown(now)}; give what it "
                    "began with, or choose another folder"
                )


@contextmanager
def _quietly() -> Iterator[None]:
    """Keep optuna from telling what is told here, and leave its level of logging as it was."""
    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(max(level, optuna.logging.WARNING))
    try:
        yield
    finally:
        optuna.logging.set_verbosity(level)


@contextmanager
def _readable(journal: Path) -> Iterator[None]:
    """Say that a journal is damaged where optuna cannot read it."""
    try:
        yield
    except (RunError, OSError):
        raise
    except _DAMAGE as error:
        raise RunError(
            f"{journal} is damaged: {type(error).__name__}: {error!s:.200}; restore it from a copy, or begin another "
            "sweep"
        ) from error
