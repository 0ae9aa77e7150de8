"""Sections: what is checked and measured, in the order of importance."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from rondeau.kernels.cuda import tiers
from rondeau.kernels.errors import PerformanceWarning

__all__ = ["SECTIONS", "Section"]


class Section(NamedTuple):
    """A section.

    Attributes
    ----------
    module, name : str
        Where it is: a list of cases, or a function that yields rows. A module of the latter has a function ``prepared``
        too, which yields what must be called for its kernels to be compiled.
    tier : {"stepwise", "persistent"}
        In which tier recurrent layers may run.
    """

    module: str
    name: str
    tier: str = "stepwise"

    def load(self) -> Any:
        """Return the cases, or the function.

        Raises
        ------
        ImportError
            If a package is not installed.
        """
        return getattr(self.imported(), self.name)

    def imported(self) -> Any:
        """Return its module."""
        return importlib.import_module(f".{self.module}", __package__)

    @contextmanager
    def allowed_tier(self) -> Iterator[None]:
        """Let recurrent layers run in the section's tier, and those that cannot in the other, without a warning."""
        before, tiers.ALLOWED = tiers.ALLOWED, self.tier
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", PerformanceWarning)
                yield
        finally:
            tiers.ALLOWED = before


SECTIONS = {
    "random numbers": Section("numbers", "CASES"),
    "cells": Section("cells", "CELLS"),
    "persistent": Section("cells", "PERSISTENT", "persistent"),
    "options": Section("cells", "OPTIONS", "persistent"),
    "gradient error": Section("gradient_error", "measured", "persistent"),
    "exchange": Section("exchange", "measured", "persistent"),
    "speed": Section("speed", "measured", "persistent"),
    "training": Section("training", "CASES", "persistent"),
    "operators": Section("operators", "CASES"),
    "layers": Section("layers", "CASES", "persistent"),
    "float64": Section("cells", "CELLS_IN_FLOAT64"),
}
