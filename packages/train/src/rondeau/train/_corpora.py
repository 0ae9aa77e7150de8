"""Where the tokens of a run come from: a text that is encoded now, or a corpus of tokens that was built before."""

import hashlib
import os
from abc import ABC, abstractmethod
from dataclasses import replace
from typing import Any

from rondeau.data import Codec, TokenCorpus, TokenStream, datasets, embedded_corpus, read_text
from rondeau.train._corpus import encode_whole, make_codec, share, split_stream, split_text
from rondeau.train._options import TextOptions
from rondeau.train._usage_error import UsageError, in_words

_MOST_ZEROS = 0.1
"""The largest share of null bytes of a text: in UTF-16, Latin letters have one in every second byte."""


class Corpus(ABC):
    """What a run learns from.

    Parameters
    ----------
    name : str

    Attributes
    ----------
    name : str
    characters : int
    """

    characters: int

    def __init__(self, name: str) -> None:
        self.name = name

    @property
    @abstractmethod
    def identity(self) -> dict[str, str | int]:
        """Return what a checkpoint keeps to recognise the text."""

    @abstractmethod
    def make_codec(self, options: TextOptions) -> Codec:
        """Return the tokenizer and the vocabulary of the part to train on.

        Raises
        ------
        UsageError
            If the options do not fit each other or the text, or a package is missing.
        """

    @abstractmethod
    def split(self, codec: Codec, options: TextOptions) -> tuple[TokenStream, TokenStream]:
        """Return the tokens to train on, and those held out.

        Raises
        ------
        UsageError
            If a part is too short, or the tokens are of another vocabulary.
        """

    @abstractmethod
    def whole(self, codec: Codec) -> TokenStream:
        """Return all tokens.

        Raises
        ------
        UsageError
            If they are of another vocabulary.
        """


class TextCorpus(Corpus):
    """A text in memory.

    Parameters
    ----------
    name : str
    text : str
    """

    def __init__(self, name: str, text: str) -> None:
        super().__init__(name)
        self.text, self.characters = text, len(text)

    @property
    def identity(self) -> dict[str, str | int]:
        """Return what a checkpoint keeps to recognise the text."""
        return {"characters": self.characters, "sha256": hashlib.sha256(self.text.encode()).hexdigest()}

    def make_codec(self, options: TextOptions) -> Codec:
        """Return the tokenizer and the vocabulary of the part to train on."""
        return make_codec(split_text(self.text, options)[0], options)

    def split(self, codec: Codec, options: TextOptions) -> tuple[TokenStream, TokenStream]:
        """Return the tokens to train on, and those held out."""
        return split_stream(self.text, codec, options)

    def whole(self, codec: Codec) -> TokenStream:
        """Return all tokens."""
        return encode_whole(self.text, codec)


class BuiltCorpus(Corpus):
    """The folder of a corpus of tokens.

    Parameters
    ----------
    name : str
    tokens : TokenCorpus
    """

    def __init__(self, name: str, tokens: TokenCorpus) -> None:
        super().__init__(name)
        self.tokens, self.characters = tokens, tokens.manifest.characters

    @property
    def identity(self) -> dict[str, str | int]:
        """Return what a checkpoint keeps to recognise the text: the same as for the text itself."""
        return {"characters": self.characters, "sha256": self.tokens.manifest.sha256}

    def make_codec(self, options: TextOptions) -> Codec:
        """Return the tokenizer and the vocabulary that the corpus was built with."""
        built = options_of(self.tokens)
        if options != replace(options, **built):
            given = ", ".join(f"--{name} {value}" for name, value in built.items())
            raise UsageError(
                f"{self.name} was built with {given}; leave these options out, or build another corpus"
            )
        return self.tokens.codec

    def split(self, codec: Codec, options: TextOptions) -> tuple[TokenStream, TokenStream]:
        """Return the tokens to train on, and those held out."""
        self._check_codec(codec)
        built = self.tokens.manifest.held_out
        if options.held_out != built:
            raise UsageError(
                f"--held_out: {self.name} was built with {built:g}, got {options.held_out:g}; build another corpus"
            )
        if built and len(self.tokens.held_out) < 2:
            raise UsageError(
                f"--held_out: {built:g} of {len(self.tokens.stream):,} tokens leaves {len(self.tokens.held_out)} to "
                "predict; build a corpus with a larger --held_out, or of more text"
            )
        return self.tokens.train, self.tokens.held_out

    def whole(self, codec: Codec) -> TokenStream:
        """Return all tokens."""
        self._check_codec(codec)
        return self.tokens.stream

    def _check_codec(self, codec: Codec) -> None:
        if codec != self.tokens.codec:
            raise UsageError(
                f"{self.name} was built with another vocabulary than the run's: give a text file, which is encoded "
                "with the run's own, or begin a run of this corpus"
            )


def options_of(tokens: TokenCorpus) -> dict[str, Any]:
    """Return the options of `TextOptions` that a corpus was built with."""
    fields = tokens.codec.tokenizer.to_dict()
    manifest = tokens.manifest
    options = {"tokens": fields["tokenizer"], "min_freq": manifest.min_freq, "held_out": manifest.held_out}
    options |= {name: fields.get(name) for name in ("normalise", "pattern")}
    if options["tokens"] == "bpe":
        options["bpe_size"] = manifest.bpe_size
    return options


def open_built(path: str, *, verify: bool) -> TokenCorpus:
    """Open the folder of a corpus of tokens.

    Raises
    ------
    UsageError
        If it was not built to its end, or is damaged.
    """
    try:
        return TokenCorpus.open(path, verify=verify)
    except OSError as error:
        raise UsageError(f"cannot read the corpus: {in_words(error)}") from error
    except (ValueError, ModuleNotFoundError) as error:
        raise UsageError(f"cannot read the corpus: {error}") from error


def load_corpus(path: str | None) -> Corpus:
    """Read a text file, or the named data set where there is no such file, or (None) the embedded corpus.

    Of a folder of tokens, every byte is checked, by its SHA-256.

    Raises
    ------
    UsageError
        If it cannot be read.
    """
    if path is not None and TokenCorpus.is_at(path):
        return BuiltCorpus(str(path), open_built(path, verify=True))
    try:
        if path is None:
            return TextCorpus("CPython's language reference (embedded)", embedded_corpus())
        if path in datasets.TEXTS and not os.path.exists(path):
            return TextCorpus(path, datasets.load_text(path))
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
            f"cannot read the corpus: {path} is not UTF-8 text: {share(zeros, len(text))} of it are null characters, "
            "as in UTF-16 without its mark, or in a file of another kind; convert it to UTF-8 first"
        )
    return TextCorpus(str(path), text)
