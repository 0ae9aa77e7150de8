"""How the values of a trial are drawn, by optuna's samplers."""

import zlib
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, RandomSampler, TPESampler

from rondeau.train._sweep.space import Choice, Range, Space

SamplerName = Literal["tpe", "random"]


class SeededSampler(BaseSampler):
    """A sampler of optuna: a new one, with a seed of its own, for each trial and name.

    What it draws depends on the seed, the trial's number, the name and the trials that have ended: not on the process
    that asks, on what that drew before, or on how often it was killed.

    Parameters
    ----------
    kind : {"tpe", "random"}
    seed : int
    """

    def __init__(self, kind: SamplerName, seed: int) -> None:
        self._make: Callable[..., BaseSampler] = {"tpe": TPESampler, "random": RandomSampler}[kind]
        self._seed = seed

    def infer_relative_search_space(self, study: Any, trial: Any) -> dict[str, BaseDistribution]:
        """Return the names that are drawn together: those of the trials that have ended, with "tpe"."""
        return self._of(trial).infer_relative_search_space(study, trial)

    def sample_relative(self, study: Any, trial: Any, search_space: Any) -> dict[str, Any]:
        """Draw the values of these names."""
        return self._of(trial).sample_relative(study, trial, search_space)

    def sample_independent(
        self, study: Any, trial: Any, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Draw the value of another name."""
        return self._of(trial, param_name).sample_independent(study, trial, param_name, param_distribution)

    def _of(self, trial: Any, name: str = "") -> BaseSampler:
        entropy = [self._seed, trial.number, zlib.crc32(name.encode())]
        return self._make(seed=int(np.random.SeedSequence(entropy).generate_state(1)[0]))


class InOrder(BaseSampler):
    """Gives the values of integer ranges in order, one a trial."""

    def infer_relative_search_space(self, study: Any, trial: Any) -> dict[str, BaseDistribution]:
        """Return none: nothing is drawn."""
        return {}

    def sample_relative(self, study: Any, trial: Any, search_space: Any) -> dict[str, Any]:
        """Return none: nothing is drawn."""
        return {}

    def sample_independent(self, study: Any, trial: Any, param_name: str, param_distribution: Any) -> int:
        """Return the number that the trial has in the range."""
        return int(param_distribution.low) + int(trial.number)


def draw(trial: optuna.Trial, space: Space) -> dict[str, Any]:
    """Return the values of a trial: those that it has, and the others, which are drawn and written in the journal."""
    return {name: _draw_one(trial, name, entry) for name, entry in space.items()}


def _draw_one(trial: optuna.Trial, name: str, entry: Range | Choice) -> Any:
    if isinstance(entry, Choice):
        return trial.suggest_categorical(name, entry.values)
    if entry.is_integer:
        return trial.suggest_int(name, int(entry.low), int(entry.high), log=entry.is_log)
    return trial.suggest_float(name, entry.low, entry.high, log=entry.is_log)
