"""From the options of a text to its tokens: codec and streams. Nothing of the models is imported here."""

import re
from dataclasses import replace
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
    back_to_white_space,
)
from rondeau.train._extras import how_to_install
from rondeau.train._options import TextOptions
from rondeau.train._ranges import check_ranges
from rondeau.train._usage_error import UsageError

TOKEN_NAMES = {"characters": "character", "words": "word", "regex": "token", "bpe": "token"}

# Scripts written without spaces between words, and the characters of a word: a text whose words something has separated
# stays below that on average.
_UNSPACED = (
    (re.compile("[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"), 4),  # kana and Han
    (re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff]"), 10),  # Thai and Lao, Burmese, Khmer
)


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
        cut -= back_to_white_space(text[max(0, cut - 100) : cut + 1])
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
    check_options(options)
    if options.tokens == "words" and options.normalise is None:
        check_spaces(text)
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


def check_options(options: TextOptions) -> None:
    """Raise UsageError where an option does not go with the kind of token."""
    for name, value, home in (
        ("normalise", options.normalise, ("characters", "words")),
        ("pattern", options.pattern, ("regex",)),
    ):
        if value is not None and options.tokens not in home:
            raise UsageError(
                f"--{name}: goes with --tokens {' or '.join(home)}, got --tokens {options.tokens}"
            )


def check_spaces(text: str) -> None:
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
    return tokenizer_of(options)


def tokenizer_of(options: TextOptions) -> Tokenizer:
    """Return the tokenizer of all kinds of tokens but byte pairs, which are learned."""
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


def encode_whole(text: str, codec: Codec) -> TokenStream:
    """Encode a text that was not cut."""
    return TokenStream(codec.encode(text), len(codec))


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
