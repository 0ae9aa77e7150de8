"""The part of a run's own text that was held out in training."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rondeau.train._usage_error import UsageError

if TYPE_CHECKING:
    from rondeau.data import TokenStream
    from rondeau.train._trained import Trained


def held_out_part(trained: Trained, path: str | None) -> tuple[str, TokenStream]:
    """Return what is held out of the run's own text, in words and as tokens.

    Raises
    ------
    UsageError
        If nothing was held out, or the text at `path`, or where the run found it, is not the one it was trained on.
    """
    from rondeau.train._corpora import load_corpus

    options = trained.config.text
    if not options.held_out:
        raise UsageError("this run held nothing out (--held_out 0); give a CORPUS to measure it on")
    corpus = load_corpus(trained.config.corpus if path is None else path)
    if corpus.identity != trained.corpus:
        before, now = trained.corpus.get("characters", 0), corpus.identity["characters"]
        how = f"of {before:,} characters, and has {now:,}" if before != now else "of other characters"
        raise UsageError(
            f"{corpus.name} is not the text{' any more' if path is None else ''} that this run was trained on, which "
            f"was {how}: its held-out part cannot be told from the rest; give the text as it was with --held_out_part, "
            "or another one as CORPUS"
        )
    held_out = corpus.split(trained.codec, options)[1]
    return f"the last {100 * options.held_out:g} % of {corpus.name}, held out in training", held_out
