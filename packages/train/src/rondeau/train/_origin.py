"""The run whose weights and vocabulary another run begins with: ``--init_from``."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from rondeau.kernels.runtime.caller import warn_caller
from rondeau.train._errors import CheckpointError, RunError, RunWarning
from rondeau.train._usage_error import UsageError

if TYPE_CHECKING:
    from rondeau.data import Codec
    from rondeau.train._corpora import Corpus
    from rondeau.train._trained import Trained

_SHOWN_TOKENS = 5

ADAPTABLE = {
    "held_out",
    "precision",
    "dropout",
    "zoneout",
    "recurrent_dropout",
    "weight_dropout",
    "init_from",
}
"""Options of text and model that are not taken over: a run may regularise more, on a text cut elsewhere."""


class Origin(NamedTuple):
    """A checkpoint of a run.

    Attributes
    ----------
    run : Path
        The run's folder.
    checkpoint : str
        "best", "latest", or a name such as "step-200".
    """

    run: Path
    checkpoint: str

    @classmethod
    def parse(cls, path: str) -> Origin:
        """Return what a path names: a run's folder (and its best checkpoint), or a checkpoint in one.

        >>> Origin.parse("runs/mine").checkpoint, Origin.parse("runs/mine/checkpoints/step-200").checkpoint
        ('best', 'step-200')
        """
        whole = Path(path)
        if whole.parent.name == "checkpoints":
            return cls(whole.parent.parent, whole.name)
        return cls(whole, "best")

    def path(self, checkpoint: str) -> str:
        """Return the path that names one of the run's checkpoints."""
        return str(self.run / "checkpoints" / checkpoint)


class Lesson(NamedTuple):
    """A text that a model has learned from.

    Attributes
    ----------
    run : Path
        The run that trained on it.
    corpus : mapping
        What identifies the text.
    held_out : float
        The last part of it, as a fraction, that the model has not seen.
    """

    run: Path
    corpus: Mapping[str, Any]
    held_out: float


def lessons_of(run: str | Path, trained: Trained) -> Iterator[Lesson]:
    """Yield what a run's model has learned from: the run's own text, that of the run it began with, and so on.

    Where one of those runs is not there any more, there is a warning instead of the texts before.
    """
    from rondeau.train._request import read_config
    from rondeau.train._run import RunFolder

    yield Lesson(Path(run), trained.corpus, trained.config.text.held_out)
    config, seen = trained.config, {os.path.realpath(run)}
    while config.model.init_from is not None:
        before = Origin.parse(config.model.init_from).run
        if os.path.realpath(before) in seen:  # a run that has replaced one of its own origins
            return
        seen.add(os.path.realpath(before))
        folder = RunFolder(before)
        try:
            folder.check_begun()
            config, snapshot = read_config(folder.config), folder.load_checkpoint()
        except (RunError, CheckpointError, UsageError) as error:
            warn_caller(
                f"whether {run} has learned from a text before it began with {before} cannot be told: {error}",
                RunWarning,
            )
            return
        yield Lesson(before, snapshot.state["corpus"], config.text.held_out)


def load_origin(path: str, corpus: Corpus, held_out: float, output: Path) -> Trained:
    """Load the model and the vocabulary that a run on `corpus` begins with.

    Raises
    ------
    UsageError
        If they cannot be read, or the new run would replace them, or would hold out what they were trained on.
    """
    from rondeau.train._commands._named_run import load_named_run

    origin = Origin.parse(path)
    if os.path.realpath(origin.run) == os.path.realpath(output):
        raise UsageError(f"--output: {output} is the run that --init_from names; choose another folder")
    try:
        trained = load_named_run(origin.run, origin.checkpoint)
    except UsageError as error:
        raise UsageError(f"--init_from: {error}") from error
    if held_out:
        for run, learned, before in lessons_of(origin.run, trained):
            if corpus.identity == learned and held_out > before:
                raise UsageError(
                    f"--held_out: {run} was trained on all but the last {before:g} of this very text, so that the "
                    f"last {held_out:g} would not be new to the model; give at most {before:g}"
                )
    return trained


def describe_unknown(text: str, codec: Codec, token: str) -> str | None:
    """Return what a vocabulary lacks of a text, with the most frequent tokens by name, or None if it lacks nothing.

    Raises
    ------
    UsageError
        If it has no unknown token to stand for them, or knows none of the text's tokens.
    """
    counts = codec.tokenizer.count(text)
    unknown = Counter({name: count for name, count in counts.items() if name not in codec.vocab})
    if not unknown:
        return None
    part, whole = unknown.total(), counts.total()
    by_frequency = sorted(unknown, key=lambda name: (-unknown[name], name))
    named = ", ".join(f"{name!r:.40}" for name in by_frequency[:_SHOWN_TOKENS])
    kinds = f"{named}{f' and {len(unknown) - _SHOWN_TOKENS:,} more' if len(unknown) > _SHOWN_TOKENS else ''}"
    lacks = f"{part:,} of the {whole:,} {token}s ({100 * part / whole:.3g} %): {kinds}"
    if codec.vocab.unk is None:
        raise UsageError(
            f"--init_from: its vocabulary, which has no unknown token, lacks {lacks}; give a text without them"
        )
    if part == whole:
        raise UsageError(
            f"--init_from: its vocabulary lacks every {token} of this text; begin a run without it"
        )
    return f"{lacks} become {codec.vocab.tokens[codec.vocab.unk]}"
