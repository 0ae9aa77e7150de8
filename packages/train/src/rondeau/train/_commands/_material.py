"""What a run learns from: its text as tokens, and the run that it begins with, if there is one."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from rondeau.data import Codec, TokenStream
from rondeau.train import _corpora
from rondeau.train._corpus import TOKEN_NAMES
from rondeau.train._origin import Origin, load_origin
from rondeau.train._request import Config

if TYPE_CHECKING:
    from rondeau.train._checkpoint import Found
    from rondeau.train._run import RunFolder
    from rondeau.train._trained import Trained


class Material(NamedTuple):
    """Corpus, vocabulary, the two streams of tokens, what a token is called, and the run to begin with."""

    corpus: _corpora.Corpus
    codec: Codec
    train: TokenStream
    held_out: TokenStream
    token: str
    origin: Trained | None

    def settle(self, config: Config) -> Config:
        """Return a configuration that names the checkpoint to begin with, whatever becomes the best one later."""
        if self.origin is None or config.model.init_from is None:
            return config
        origin = Origin.parse(config.model.init_from)
        return config.with_values({"init_from": origin.path(f"step-{self.origin.step}")})


def gather_material(config: Config, run: RunFolder, found: Found | None) -> Material:
    """Read the text and make its tokens, with the vocabulary of the checkpoint that was found, if there is one.

    Raises
    ------
    UsageError
        If the text, or the run to begin with, cannot be used.
    """
    corpus = _corpora.load_corpus(config.corpus)
    origin = None
    if found is not None and run.vocab.exists():
        codec = run.load_codec(found.snapshot)
    elif config.model.init_from is not None:
        origin = load_origin(config.model.init_from, corpus, config.text.held_out, run.path)
        codec = origin.codec
    else:
        codec = corpus.make_codec(config.text)
    train, held_out = corpus.split(codec, config.text)
    return Material(corpus, codec, train, held_out, TOKEN_NAMES[config.text.tokens], origin)
