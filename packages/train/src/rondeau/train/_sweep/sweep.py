"""A sweep in Python, of trainers of any task."""

import os
from collections.abc import Callable, Mapping
from typing import Any

import optuna

from rondeau import tensor as rt
from rondeau.train._checks import check_flag, check_integer, check_is
from rondeau.train._diverged import DivergedError
from rondeau.train._recorder import Recorder
from rondeau.train._run import RunFolder
from rondeau.train._sweep.folder import ClaimedTrial, SweepFolder
from rondeau.train._sweep.reporting import Reporting
from rondeau.train._sweep.sampling import SamplerName, SeededSampler
from rondeau.train._sweep.space import parse_space
from rondeau.train._trainer import Trainer

_STARTUP_TRIALS, _WARMUP_EVALUATIONS = 5, 2


def make_pruner(stop_early: bool) -> optuna.pruners.BasePruner:
    """Return what says whether a trial is unpromising.

    It is where its best held-out loss so far is above the median, at the same evaluation, of the trials that were
    trained to their end: from the second evaluation on, once there are five of these.
    """
    if not stop_early:
        return optuna.pruners.NopPruner()
    return optuna.pruners.MedianPruner(_STARTUP_TRIALS, _WARMUP_EVALUATIONS)


def sweep(
    make_trainer: Callable[[dict[str, Any]], Trainer],
    space: Mapping[str, Any],
    folder: str | os.PathLike[str],
    *,
    trials: int,
    seed: int = 0,
    sampler: SamplerName = "tpe",
    stop_early: bool = True,
    make_recorder: Callable[[RunFolder], Recorder] = Recorder,
) -> SweepFolder:
    """Train with many values, and find those with the lowest held-out loss.

    Any number of processes take part, on any machines that share the folder: each calls this with the same arguments.
    A trial is a run folder. One that was interrupted or killed is continued from its last checkpoint by the next
    process that looks for work, and ends with the bits that it would have had. Optuna draws the values, and says which
    trials are unpromising.

    What a trial comes to depends on its values and `seed` alone. Which values are drawn depends, with "tpe", on the
    trials that had ended by then, and so does which trials are stopped: on how many processes take part, and how fast
    they are. With "random", the values of a trial are the same whatever happens.

    Parameters
    ----------
    make_trainer : callable
        Takes the values of a trial as a dict, and returns its `Trainer`, with `held_out` and without a `Recorder`. The
        same call begins a trial and continues it; the default generator was seeded with `seed` before.
    space : mapping
        For each name one of ``{"log": [low, high]}``, ``{"linear": [low, high]}``, ``{"integer": [low, high]}``,
        ``{"log_integer": [low, high]}``, whose ends are included, or ``{"choice": [...]}``, of numbers, texts, True,
        False and None.
    folder : path-like
        Of the sweep; made where it is not there. A file system without locks is refused.
    trials : int
        How many in all; a later call with a larger number goes on.
    seed : int
        Of the draws, and of each training.
    sampler : {"tpe", "random"}
        "tpe" draws ten trials at random, and then near the best ones.
    stop_early : bool
        Whether trials are stopped of which the best held-out loss is above the median of the others at the same
        evaluation: from the second evaluation on, once five trials were trained to their end.
    make_recorder : callable
        Makes the recorder of a run folder, where a trial needs more of it, such as ``checkpoint_every``.

    Returns
    -------
    SweepFolder
        With its `trials` and the `best` one. Other processes may be training some yet.

    Raises
    ------
    TypeError, ValueError
        If an argument is wrong; of the space, the message names the key.
    RunError
        If the folder holds something else, or a sweep of another space.

    Examples
    --------
    >>> import tempfile
    >>> from rondeau import data, nn, train
    >>> tokens = data.TokenStream([0, 1, 2] * 40)
    >>> def make_trainer(values):
    ...     model = nn.LanguageModel(3, "gru", hidden_size=8)
    ...     optimizer = train.optim.Adam(model.parameters(), lr=values["lr"])
    ...     batches = data.SequentialBatches(tokens, 2, 5)
    ...     return train.Trainer(model, optimizer, batches, held_out=tokens, max_steps=20)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     found = train.sweep(make_trainer, {"lr": {"log": [1e-4, 1e-1]}}, folder, trials=3)
    ...     [trial.outcome for trial in found.trials], found.best.values["lr"] > 0.001
    (['finished', 'finished', 'finished'], True)
    """
    for name, function in (("make_trainer", make_trainer), ("make_recorder", make_recorder)):
        if not callable(function):
            raise TypeError(f"{name}: expected a function, got {type(function).__name__}")
    check_integer("trials", trials, 1)
    check_integer("seed", seed, 0, most=None)
    check_flag("stop_early", stop_early)
    if sampler not in ("tpe", "random"):
        raise ValueError(f"sampler: expected 'tpe' or 'random', got {sampler!r:.80}")
    found = SweepFolder.begin(folder, parse_space(space), {"seed": int(seed)})
    draws, pruner = SeededSampler(sampler, seed), make_pruner(stop_early)
    while (trial := found.claim(trials, draws, pruner)) is not None:
        with trial:
            rt.manual_seed(seed)
            trainer = make_trainer(dict(trial.values))
            check_is("what make_trainer returns", trainer, Trainer)
            _train(trial, trainer, make_recorder(trial.run))
    return found


def _train(trial: ClaimedTrial, trainer: Trainer, recorder: Recorder) -> None:
    if trainer.held_out is None:
        raise ValueError("make_trainer: a sweep compares held-out losses; give the trainer held_out")
    if any(isinstance(callback, Recorder) for callback in trainer.callbacks):
        raise ValueError("make_trainer: the sweep records its trials itself; leave the Recorder out")
    if trainer.parallel.size > 1:
        raise ValueError("make_trainer: a process of a sweep trains its trials alone; leave parallel out")
    reporting = Reporting(trial)
    trainer.callbacks[:0] = [recorder, reporting]
    try:
        recorder.resume(trainer)
        trainer.fit()
    except DivergedError as error:
        trial.diverge(str(error))
    except MemoryError as error:  # left unfinished, it would be the next process's first trial
        trial.fail(f"the memory does not suffice: {error}")
    else:
        settle(trial, reporting)


def settle(trial: ClaimedTrial, reporting: Reporting) -> None:
    """Write in the journal what came out of a trial whose training has ended."""
    if reporting.was_stopped:
        trial.stop()
    elif reporting.best_loss is not None:
        trial.finish(reporting.best_loss)
    else:
        trial.fail("it was never evaluated")
