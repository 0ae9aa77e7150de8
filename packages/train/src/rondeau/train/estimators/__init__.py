"""Recurrent networks as scikit-learn estimators (the extra ``sklearn``).

Each is imported on first use: scikit-learn takes a second.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rondeau.train.estimators._classifier import RecurrentClassifier
    from rondeau.train.estimators._forecaster import RecurrentForecaster
    from rondeau.train.estimators._regressor import RecurrentRegressor
    from rondeau.train.estimators._tagger import RecurrentTagger

__all__ = ["RecurrentClassifier", "RecurrentForecaster", "RecurrentRegressor", "RecurrentTagger"]

_HOMES = {
    "RecurrentClassifier": "_classifier",
    "RecurrentForecaster": "_forecaster",
    "RecurrentRegressor": "_regressor",
    "RecurrentTagger": "_tagger",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
