"""The trained model that a command line names."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rondeau.train._usage_error import UsageError

if TYPE_CHECKING:
    from rondeau.train._trained import Trained


DEVICE_HELP = "cuda: an NVIDIA GPU, with the extra cuda or cuda12; wherever the model was trained"


def load_named_run(path: str | Path, checkpoint: str, device: str = "cpu") -> Trained:
    """Load a run's folder as `load_trained` does.

    Raises
    ------
    UsageError
        If something is missing or damaged, or the device is not usable.
    """
    from rondeau.train._commands._device import check_device
    from rondeau.train._errors import RunError
    from rondeau.train._trained import load_trained

    check_device(device)
    try:
        return load_trained(path, checkpoint, device=device)
    except RunError as error:
        raise UsageError(str(error)) from error
