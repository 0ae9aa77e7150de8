"""A trained model, read from a run's folder."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from rondeau import nn
from rondeau.data import Codec
from rondeau.train._checks import check_is
from rondeau.train._errors import CheckpointError, RunError
from rondeau.train._recipe import make_model
from rondeau.train._request import Config, read_config
from rondeau.train._run import RunFolder
from rondeau.train._usage_error import UsageError


class Trained(NamedTuple):
    """What a run's folder holds, ready to use.

    Attributes
    ----------
    model : LanguageModel
        In evaluation mode.
    codec : Codec
        Its tokenizer and vocabulary.
    config : object
        What ``config.yaml`` holds, as attributes: ``config.model.cell``, ``config.training.lr``.
    step : int
        That of the checkpoint.
    corpus : mapping
        What identifies the text that it was trained on.

    Examples
    --------
    See `load_trained`.

    >>> Trained._fields
    ('model', 'codec', 'config', 'step', 'corpus')
    """

    model: nn.LanguageModel
    codec: Codec
    config: Config
    step: int
    corpus: Mapping[str, Any]


def load_trained(path: str | Path, checkpoint: str = "best", *, device: str = "cpu") -> Trained:
    """Read configuration, vocabulary and weights of a run of ``rondeau train``; of one that averages, averaged ones.

    Parameters
    ----------
    path : path-like
        The run's folder.
    checkpoint : str
        "best", "latest", or a name such as "step-200".
    device : {"cpu", "cuda"}
        Where the model is to be, wherever it was trained.

    Returns
    -------
    Trained

    Raises
    ------
    TypeError
        If an argument is of another type.
    RunError
        If something is missing or damaged; the message names it.
    RuntimeError
        If the device is a GPU and none is usable.

    Examples
    --------
    >>> import contextlib, io, tempfile
    >>> from rondeau import train
    >>> from rondeau.train import cli
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     flags = ["--output", folder, "--max_steps", "2", "--hidden_size", "16"]
    ...     with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
    ...         _ = cli.main(["train", *flags])
    ...     trained = load_trained(folder)
    >>> trained.step
    2
    >>> len("".join(train.generate(trained.model, trained.codec, "The ", length=5)))
    5
    """
    check_is("checkpoint", checkpoint, str)
    run = RunFolder(path)
    try:
        run.check_begun()
        snapshot = run.load_checkpoint(checkpoint)
        run.check_unchanged("config.yaml", snapshot)
        config = read_config(run.config)
        codec = run.load_codec(snapshot)
        model = make_model(config.model, len(codec))
    except (UsageError, CheckpointError) as error:
        raise RunError(str(error)) from error
    try:
        model.load_state_dict(snapshot.evaluated_weights)
    except (ValueError, TypeError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise RunError(f"the weights in {snapshot.path} are of another model: {reason}") from error
    model.to(device=device).eval()
    return Trained(model, codec, config, snapshot.state["step"], snapshot.state["corpus"])
