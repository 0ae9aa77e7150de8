"""From the options of a text to its tokens: corpus, codec, streams. Nothing of the models is imported here."""

import hashlib
import os
import re
from dataclasses import dataclass, replace
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
from rondeau.train._ranges import check_ranges
from rondeau.train._usage_error import UsageError, in_words

TOKEN_NAMES = {"characters": "character", "words": "word", "regex": "token", "bpe": "token"}

_MOST_ZEROS = (
    0.1  # of a text; a language in UTF-16 has them in every second byte, where its letters are Latin
)
_LONGEST_WORD = 100  # characters; a longer run without white space may be cut anywhere
# Scripts written without spaces between words, and the characters of a word: a text whose words something has separated
# stays below that on average.
_UNSPACED = (
    (re.compile("[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"), 4),  # kana and Han
    (re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff]"), 10),  # Thai and Lao, Burmese, Khmer
)


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
        text = read_text(path)
    except FileNotFoundError as error:
        names = ", ".join(datasets.TEXTS)
        raise UsageError(f"cannot read the corpus: {error}, nor a data set of that name: {names}") from error
    except OSError as error:
        raise UsageError(f"cannot read the corpus: {in_words(error)}") from error
    except (ValueError, ModuleNotFoundError, datasets.DataError) as error:
        raise UsageError(f"cannot read the corpus: {error}") from error
    if (zeros := text.count("\0")) > _MOST_ZEROS * len(text):
        raise UsageError(
            f"cannot read the corpus: {path} is no UTF-8 text: {share(zeros, len(text))} of it are null characters, as "
            "in UTF-16 without its mark, or in a file of another kind; convert it to UTF-8 first"
        )
    return Corpus(str(path), text)


def split_text(text: str, options: TextOptions) -> tuple[str, str]:
    """Cut a text into the part to train on and the part to hold out.

    `held_out` is the fraction of the characters behind the cut. Where tokens are longer than characters, the cut moves
    back to the nearest white space: no word is cut in two.

    Raises
    ------
    UsageError
        If the fraction is not in [0, 1), or leaves nothing to train on.
    """
    held_out = options.held_out
    check_ranges({"held_out": held_out})
    cut = int((1 - held_out) * len(text))
    if held_out and options.tokens != "characters":
        before = text[max(0, cut - _LONGEST_WORD) : cut + 1]
        space = max(before.rfind(" "), before.rfind("\n"))
        cut -= len(before) - 1 - space if space >= 0 else 0
    if not cut:
        raise UsageError(
            f"--held_out: {held_out} of {len(text):,} characters leaves none to train on; "
            "give a longer text, or a smaller fraction"
        )
    return text[:cut], text[cut:]


def make_codec(text: str, options: TextOptions) -> Codec:
    """Make the tokenizer and the vocabulary of a text; give it the part to train on alone.

    What only the held-out part holds is then unknown, as it is in a text that is yet to be written.

    Raises
    ------
    UsageError
        If the options do not fit each other or the text, or a package is missing.
    """
    for name, value, home in (
        ("normalise", options.normalise, ("characters", "words")),
        ("pattern", options.pattern, ("regex",)),
    ):
        if value is not None and options.tokens not in home:
            raise UsageError(
                f"--{name}: goes with --tokens {' or '.join(home)}, got --tokens {options.tokens}"
            )
    if options.tokens == "words" and options.normalise is None:
        _check_spaces(text)
    try:
        codec = Codec.fit(text, _make_tokenizer(text, options), min_freq=options.min_freq)
    except ModuleNotFoundError as error:
        raise UsageError(f"--tokens: bpe needs the package tokenizers; {how_to_install('bpe')}") from error
    except ValueError as error:
        raise UsageError(f"--tokens: {options.tokens}: {error}") from error
    if not any(codec.vocab.counts.values()):
        what = ", ".join(
            f"--{name} {value}"
            for name in ("tokens", "normalise", "pattern", "min_freq")
            if (value := getattr(options, name))
        )
        raise UsageError(f"--tokens: no token is left of the text, with {what}")
    return codec


def _check_spaces(text: str) -> None:
    """Raise UsageError where words should be cut at white space, but the text's script does without."""
    words = text.split()
    length = sum(map(len, words))
    mean = length / max(len(words), 1)
    for script, longest in _UNSPACED:
        if mean > longest and 2 * len(script.findall(text)) > length:
            raise UsageError(
                "--tokens: words are cut at white space, and this text is of a script that has none between words: it "
                f"would give {len(words):,} words of {mean:.0f} characters on average; give --tokens characters or "
                "bpe, or a text whose words were separated by spaces"
            )


def _make_tokenizer(text: str, options: TextOptions) -> Tokenizer:
    if options.tokens == "bpe":
        return BPETokenizer.train(text, options.bpe_size)
    if options.tokens == "regex":
        return RegexTokenizer() if options.pattern is None else RegexTokenizer(options.pattern)
    return (CharTokenizer if options.tokens == "characters" else WordTokenizer)(options.normalise)


def split_stream(text: str, codec: Codec, options: TextOptions) -> tuple[TokenStream, TokenStream]:
    """Encode both parts of a text (see `split_text`).

    Returns
    -------
    train, held_out : TokenStream

    Raises
    ------
    UsageError
        As `split_text`, or if the part held out is too short to be predicted.
    """
    train, held_out = (TokenStream(codec.encode(part), len(codec)) for part in split_text(text, options))
    if options.held_out > 0 and len(held_out) < 2:
        raise UsageError(
            f"--held_out: {options.held_out} of {len(train) + len(held_out):,} tokens leaves {len(held_out)} to "
            f"predict; give --held_out {_large_enough(text, codec, options)}, or a longer text"
        )
    return train, held_out


def _large_enough(text: str, codec: Codec, options: TextOptions) -> str:
    """Return the fractions that leave two tokens on either side, as a text is cut, or "0" where none does."""
    for fraction in (0.1, 0.2, 0.3, 0.4, 0.5):
        parts = split_text(text, replace(options, held_out=fraction))
        if min(len(codec.encode(part)) for part in parts) >= 2:
            return f"{fraction} or 0"
    return "0"


def count_unknown(stream: TokenStream, codec: Codec) -> int:
    """Return how many tokens of a stream are the unknown token."""
    unk = codec.vocab.unk
    return 0 if unk is None else sum(int((chunk == unk).sum()) for chunk in stream.chunks())


def share(part: int, whole: int) -> str:
    """Return a part of a whole in per cent, such as ``"8.25 %"``."""
    return f"{100 * part / whole:.3g} %"


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
