"""From the options of a text to its tokens: corpus, codec, streams. Nothing of the models is imported here."""

import hashlib
import os
from dataclasses import dataclass
from itertools import chain

import numpy as np

from rondeau.data import (
    BPETokenizer,
    CharTokenizer,
    Codec,
    RegexTokenizer,
    Tokenizer,
    TokenStream,
    WordTokenizer,
    datasets,
    embedded_corpus,
    read_text,
)
from rondeau.train._extras import how_to_install
from rondeau.train._options import TextOptions
from rondeau.train._parser import UsageError

TOKEN_NAMES = {"characters": "character", "words": "word", "regex": "token", "bpe": "token"}


@dataclass(frozen=True)
class Corpus:
    """A text and what identifies it."""

    name: str
    text: str

    @property
    def identity(self) -> dict[str, str | int]:
        """Return what a checkpoint keeps to recognise the text."""
        return {"characters": len(self.text), "sha256": hashlib.sha256(self.text.encode()).hexdigest()}


def load_corpus(path: str | None) -> Corpus:
    """Read a text file, or the named data set where there is no such file, or (None) the embedded corpus.

    Raises
    ------
    UsageError
        If it cannot be read.
    """
    try:
        if path is None:
            return Corpus("CPython's language reference (embedded)", embedded_corpus())
        if path in datasets.TEXTS and not os.path.exists(path):
            return Corpus(path, datasets.load_text(path))
        return Corpus(str(path), read_text(path))
    except FileNotFoundError as error:
        names = ", ".join(datasets.TEXTS)
        raise UsageError(f"cannot read the corpus: {error}, nor a data set of that name: {names}") from error
    except (OSError, ValueError, ModuleNotFoundError, datasets.DataError) as error:
        raise UsageError(f"cannot read the corpus: {error}") from error


def make_codec(text: str, options: TextOptions) -> Codec:
    """Make tokenizer and vocabulary for a text; the vocabulary is that of the whole text, held-out part included.

    Raises
    ------
    UsageError
        If the options do not fit each other, or a package is missing.
    """
    for name, value, home in (
        ("normalise", options.normalise, ("characters", "words")),
        ("pattern", options.pattern, ("regex",)),
    ):
        if value is not None and options.tokens not in home:
            raise UsageError(
                f"--{name}: goes with --tokens {' or '.join(home)}, got --tokens {options.tokens}"
            )
    try:
        return Codec.fit(text, _make_tokenizer(text, options), min_freq=options.min_freq)
    except ModuleNotFoundError as error:
        raise UsageError(f"--tokens: bpe needs the package tokenizers; {how_to_install('bpe')}") from error
    except ValueError as error:
        raise UsageError(f"--tokens: {options.tokens}: {error}") from error


def _make_tokenizer(text: str, options: TextOptions) -> Tokenizer:
    if options.tokens == "bpe":
        return BPETokenizer.train(text, options.bpe_size)
    if options.tokens == "regex":
        return RegexTokenizer() if options.pattern is None else RegexTokenizer(options.pattern)
    return (CharTokenizer if options.tokens == "characters" else WordTokenizer)(options.normalise)


def split_stream(text: str, codec: Codec, held_out: float) -> tuple[TokenStream, TokenStream]:
    """Encode a text and cut its last part off.

    Returns
    -------
    train, held_out : TokenStream

    Raises
    ------
    UsageError
        If the fraction is not in [0, 1), or the part is too short to be predicted.
    """
    if not 0 <= held_out < 1:
        raise UsageError(f"--held_out: expected a fraction from 0 to below 1, got {held_out}")
    stream = TokenStream(codec.encode(text), len(codec))
    train, rest = stream.split(1 - held_out)
    if held_out > 0 and len(rest) < 2:
        raise UsageError(
            f"--held_out: {held_out} of {len(stream)} tokens leaves {len(rest)} to predict; "
            "give a longer text, a larger fraction, or 0"
        )
    return train, rest


def default_prompt(codec: Codec) -> str:
    """Return what a text may begin with: a line end where that is a token, else the most frequent token.

    Only what the tokenizer reads as itself will do: the "d2l" normalisation strips a line that is one space.
    """
    counts = np.array(list(codec.vocab.counts.values()))
    if codec.vocab.unk is not None:
        counts[codec.vocab.unk] = -1
    by_frequency = (codec.decode([int(index)]) for index in np.argsort(-counts, kind="stable"))
    for prompt in chain(["\n"], by_frequency):
        tokens = codec.tokenizer.split(prompt)
        if tokens and all(token in codec.vocab for token in tokens):
            return prompt
    raise UsageError("no token of the vocabulary can begin a text; give a --prompt")
