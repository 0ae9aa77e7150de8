"""The trained model that a command line names."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rondeau.train._usage_error import UsageError

if TYPE_CHECKING:
    from rondeau.train._trained import Trained


def load_named_run(path: str | Path, checkpoint: str) -> Trained:
    """Load a run's folder as `load_trained` does.

    Raises
    ------
    UsageError
        If something is missing or damaged.
    """
    from rondeau.train._errors import RunError
    from rondeau.train._trained import load_trained

    try:
        return load_trained(path, checkpoint)
    except RunError as error:
        raise UsageError(str(error)) from error
