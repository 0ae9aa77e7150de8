"""A trained model, read from a run's folder."""

from pathlib import Path
from typing import NamedTuple

from rondeau import nn
from rondeau.data import Codec
from rondeau.train._checkpoint import CheckpointError
from rondeau.train._options import Config, read_config
from rondeau.train._parser import UsageError
from rondeau.train._recipe import make_model
from rondeau.train._run import RunError, RunFolder


class Trained(NamedTuple):
    """What a run's folder holds, ready to use."""

    model: nn.LanguageModel
    codec: Codec
    config: Config
    step: int


def load_trained(path: str | Path, checkpoint: str = "best") -> Trained:
    """Read configuration, vocabulary and weights of a run.

    Parameters
    ----------
    path : path-like
        The run's folder.
    checkpoint : str
        "best", "latest", or a name such as "step-200".

    Raises
    ------
    UsageError
        If something is missing or damaged; the message names it.
    """
    run = RunFolder(path)
    try:
        config = read_config(run.path)
        codec = run.load_codec()
        snapshot = run.load_checkpoint(checkpoint)
        model = make_model(config.model, len(codec))
        model.load_state_dict(snapshot.arrays["weights"])
    except (RunError, CheckpointError, RuntimeError) as error:
        raise UsageError(str(error)) from error
    model.eval()
    return Trained(model, codec, config, snapshot.state["step"])
