"""Optimisers: torch's equations, defaults, argument names and state dictionaries, each update one fused pass."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from rondeau.train.optim._adagrad import Adagrad
from rondeau.train.optim._adam import Adam, AdamW
from rondeau.train.optim._optimizer import Optimizer
from rondeau.train.optim._rmsprop import RMSprop
from rondeau.train.optim._sgd import SGD

if TYPE_CHECKING:
    from rondeau.train.optim import swa_utils

__all__ = ["SGD", "Adagrad", "Adam", "AdamW", "Optimizer", "RMSprop", "swa_utils"]


def __getattr__(name: str) -> Any:
    if name == "swa_utils":  # on first use: its schedule is one of the schedules, which need the optimisers
        return import_module(f"{__name__}.swa_utils")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return list(__all__)
