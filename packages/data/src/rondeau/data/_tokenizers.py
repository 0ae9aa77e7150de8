"""Text to tokens and back: characters, words, and the matches of a regular expression."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from inspect import signature
from operator import itemgetter
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from ._checks import check_is, check_iterable
from ._cuts import CutRule
from ._text import check_text
from ._vocab import Vocab

_PIECE = 1 << 20  # characters whose tokens are held as a list at a time
_CODE_POINTS = 1 << 16  # code points looked up at a time: with their indices they stay in a core's cache

_ANYWHERE = CutRule(re.compile(rb"[^\r](?=[^\x80-\xbf])", re.DOTALL))  # after a whole character in UTF-8
# Between letters alone, for white space at the ends of a line is dropped.
_BETWEEN_LETTERS = CutRule(re.compile(rb"[A-Za-z](?=[A-Za-z])"))
_WORDS_AND_SIGNS = r" ?\w+| ?[^\w\s]+|\s"

_SPACE = ord(" ")  # above the line end and below the letters
_LINE_END = np.array([ord("\n")], np.uint8)
_D2L_SIGNS = bytes(
    ord(c) if "a" <= c <= "z" or c == "\n" else _SPACE for c in map(str.lower, map(chr, range(256)))
)


def d2l_lines(text: str) -> list[str]:
    r"""Return the lines of `text` reduced to lower-case letters, as the text "Dive into Deep Learning" does it.

    In each line, every run of other characters than ``A-Z`` and ``a-z`` becomes one space; spaces at its ends go; and
    the rest becomes lower-case.

    Examples
    --------
    >>> d2l_lines("The Time Machine,\nby H. G. Wells [1898]\n")
    ['the time machine', 'by h g wells']
    """
    check_text(text)
    # One byte for each character: a lower-case letter, a space or a line end. (Regular expressions are 7 times slower.)
    signs = np.frombuffer(text.encode("ascii", "replace").translate(_D2L_SIGNS), np.uint8)
    for neighbour in (slice(None, -2), slice(2, None)):
        # A space stays if a letter is before it, which leaves the first of a run; then, if one is after it.
        around = np.concatenate([_LINE_END, signs, _LINE_END])[neighbour]
        signs = signs[(signs != _SPACE) | (around > _SPACE)]
    lines = signs.tobytes().decode("ascii").split("\n")
    return lines if text and text[-1] != "\n" else lines[:-1]  # a line end at the end begins no line


# What a tokenizer may do to the text first: a name, and a function from text to its lines without line ends.
NORMALISATIONS: dict[str, Callable[[str], list[str]]] = {"d2l": d2l_lines}


class Tokenizer(ABC):
    r"""Cuts text into tokens, and joins tokens to text.

    A tokenizer is written by subclassing: `name`, :meth:`split`, :meth:`stream` and :meth:`fields` say all
    there is to it; a faster :meth:`count` or :meth:`encode` may replace the one here.

    Examples
    --------
    >>> class Lines(Tokenizer):
    ...     name = "lines of the example"
    ...
    ...     def split(self, text):
    ...         return text.splitlines(keepends=True)
    ...
    ...     def stream(self, tokens):
    ...         yield from tokens
    ...
    ...     def fields(self):
    ...         return {}
    >>> Lines().split("one\ntwo\n"), Lines().join(["one\n", "two\n"])
    (['one\n', 'two\n'], 'one\ntwo\n')
    """

    name: ClassVar[str]
    cut_rule: CutRule = CutRule()
    _kinds: ClassVar[dict[str, type[Tokenizer]]] = {}

    def __init_subclass__(cls) -> None:
        cls._kinds[cls.name] = cls

    @abstractmethod
    def split(self, text: str) -> list[str]:
        """Return the tokens of `text`."""

    @abstractmethod
    def stream(self, tokens: Iterable[str]) -> Iterator[str]:
        """Yield the text of the tokens, each as soon as it is known: what a generating model prints."""

    @abstractmethod
    def fields(self) -> dict[str, Any]:
        """Return the arguments, JSON-able, of the constructor that makes an equal tokenizer."""

    def join(self, tokens: Iterable[str]) -> str:
        """Return the text of the tokens."""
        return "".join(self.stream(tokens))

    def count(self, text: str) -> Counter[str]:
        """Return how often each token occurs in `text`."""
        counts: Counter[str] = Counter()
        for piece in self._pieces(text):
            counts.update(self.split(piece))
        return counts

    def encode(self, text: str, vocab: Vocab) -> npt.NDArray[np.unsignedinteger[Any]]:
        """Return the index in `vocab` of each token of `text`.

        Returns
        -------
        ndarray of shape (number of tokens,) and type `vocab.dtype`
        """
        check_is("vocab", vocab, Vocab)
        pieces = [vocab.indices(self.split(piece)) for piece in self._pieces(text)]
        return np.concatenate(pieces) if pieces else np.empty(0, vocab.dtype)

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-able dict, from which :meth:`from_dict` makes an equal tokenizer."""
        return {"tokenizer": self.name, **self.fields()}

    @staticmethod
    def from_dict(fields: Mapping[str, Any]) -> Tokenizer:
        """Return the tokenizer that :meth:`to_dict` described.

        Raises
        ------
        ValueError
            If its name is that of no tokenizer, or its fields are not those of that tokenizer.
        """
        check_is("fields of a Tokenizer", fields, Mapping)
        rest = dict(fields)
        name = rest.pop("tokenizer", None)
        if not isinstance(name, str) or name not in Tokenizer._kinds:
            raise ValueError(f"expected 'tokenizer' to be one of {sorted(Tokenizer._kinds)}, got {name!r}")
        kind = Tokenizer._kinds[name]
        if rest.keys() != signature(kind).parameters.keys():
            raise ValueError(
                f"expected the fields {[*signature(kind).parameters]} of {kind.__name__}, got {[*rest]}"
            )
        return kind(**rest)

    def _pieces(self, text: str) -> Iterator[str]:
        """Cut `text` so that the tokens of a whole corpus are never held as one list."""
        check_text(text)
        return cut_after_lines(text, _PIECE)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Tokenizer) and self.to_dict() == other.to_dict()

    __hash__ = None  # type: ignore[assignment]  # equal by value, so not usable as a key

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in self.fields().items())})"


class CharTokenizer(Tokenizer):
    """Every character is a token: a Unicode code point, so a letter with a combining accent is two.

    Parameters
    ----------
    normalise : {None, "d2l"}
        What is done to the text first. With "d2l" (see :func:`d2l_lines`) the lines are joined without a separator.

    Raises
    ------
    ValueError
        If there is no normalisation of that name.

    Examples
    --------
    >>> CharTokenizer().split("紅樓夢 👍")
    ['紅', '樓', '夢', ' ', '👍']
    """

    name = "characters"

    def __init__(self, normalise: str | None = None) -> None:
        self._lines = _normalisation(normalise)
        self.normalise = normalise
        self.cut_rule = _ANYWHERE if normalise is None else _BETWEEN_LETTERS

    def split(self, text: str) -> list[str]:
        """Return the characters of `text`."""
        check_text(text)
        return list(self._normalised(text))

    def stream(self, tokens: Iterable[str]) -> Iterator[str]:
        """Yield the tokens as they are."""
        yield from checked_tokens(tokens)

    def fields(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {"normalise": self.normalise}

    def count(self, text: str) -> Counter[str]:
        """Return how often each character occurs in `text`, counted by code point."""
        total = np.zeros(0, np.int64)
        for codes in self._code_points(text):
            found = np.bincount(codes)
            if len(found) > len(total):
                total, found = found, total
            total[: len(found)] += found
        return Counter({chr(code): int(total[code]) for code in np.flatnonzero(total)})

    def encode(self, text: str, vocab: Vocab) -> npt.NDArray[np.unsignedinteger[Any]]:
        """Return the index in `vocab` of each character of `text`, looked up in a table of code points."""
        check_is("vocab", vocab, Vocab)
        table = _index_of_code_point(vocab)
        pieces = []
        for codes in self._code_points(text):
            # A code point past the table's end reads its last entry, which stands for an unknown character.
            indices = table.take(codes, mode="clip")
            if vocab.unk is None and (unknown := np.flatnonzero(indices == table[-1])).size:
                vocab[chr(codes[unknown[0]])]  # raises, naming the character
            pieces.append(indices)
        return np.concatenate(pieces).astype(vocab.dtype, copy=False) if pieces else np.empty(0, vocab.dtype)

    def _normalised(self, text: str) -> str:
        return text if self._lines is None else "".join(self._lines(text))

    def _code_points(self, text: str) -> Iterator[npt.NDArray[np.uint32]]:
        """Yield the code points of `text` in arrays small enough for a core's cache."""
        for piece in self._pieces(text):
            characters = self._normalised(piece)
            for start in range(0, len(characters), _CODE_POINTS):
                block = characters[start : start + _CODE_POINTS].encode("utf-32-le")
                yield np.frombuffer(block, "<u4")


class WordTokenizer(Tokenizer):
    r"""Words between white space, and each line end, are tokens.

    The line end is a token, as in the usual word corpora (there ``<eos>``), so that a model of plays and poems can
    break its lines. Words are joined with one space, and none beside a line end: of the white space, the
    line ends come back and the rest becomes single spaces.

    Parameters
    ----------
    normalise : {None, "d2l"}
        What is done to the text first. With "d2l" (see :func:`d2l_lines`) line ends are not tokens.

    Raises
    ------
    ValueError
        If there is no normalisation of that name.

    Examples
    --------
    >>> tokenizer = WordTokenizer()
    >>> tokenizer.split("To be, or\n  not")
    ['To', 'be,', 'or', '\n', 'not']
    >>> tokenizer.join(_)
    'To be, or\nnot'
    >>> WordTokenizer(normalise="d2l").split("To be, or\n  not")
    ['to', 'be', 'or', 'not']
    """

    name = "words"
    cut_rule = CutRule(re.compile(b" "))

    def __init__(self, normalise: str | None = None) -> None:
        self._lines = _normalisation(normalise)
        self.normalise = normalise

    def split(self, text: str) -> list[str]:
        """Return the words of `text`, and its line ends where they are tokens."""
        check_text(text)
        if self._lines is not None:
            return " ".join(self._lines(text)).split()
        tokens: list[str] = []
        for line in text.split("\n"):
            tokens += line.split()
            tokens.append("\n")
        tokens.pop()  # the last line has no end
        return tokens

    def stream(self, tokens: Iterable[str]) -> Iterator[str]:
        """Yield each token, after a space where it follows a word on its line."""
        within_line = False
        for token in checked_tokens(tokens):
            ends_line = token == "\n"
            yield " " + token if within_line and not ends_line else token
            within_line = not ends_line

    def fields(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {"normalise": self.normalise}


class RegexTokenizer(Tokenizer):
    r"""The matches of a regular expression, from left to right, are tokens; what is between them is left out.

    Parameters
    ----------
    pattern : str
        A regular expression of :mod:`re`. The default takes words and runs of other signs, each with the space before
        it, and single other white space: it leaves nothing out, so that joining gives any text back.
    separator : str
        What :meth:`join` writes between two tokens.

    Raises
    ------
    ValueError
        If `pattern` is not a regular expression.

    Examples
    --------
    >>> RegexTokenizer().split("Let us go,\nyou and I")
    ['Let', ' us', ' go', ',', '\n', 'you', ' and', ' I']
    >>> RegexTokenizer("[A-Za-z]+", separator=" ").split("Let us go")
    ['Let', 'us', 'go']
    """

    name = "regex"

    def __init__(self, pattern: str = _WORDS_AND_SIGNS, separator: str = "") -> None:
        check_is("pattern", pattern, str)
        check_is("separator", separator, str)
        try:
            self._regex = re.compile(pattern)
        except (
            re.error,
            OverflowError,
            RecursionError,
        ) as error:  # the last two: repeats or nesting without measure
            raise ValueError(f"{pattern!r:.80} is not a regular expression: {error}") from None
        self.pattern = pattern
        self.separator = separator
        if pattern != _WORDS_AND_SIGNS:
            self.cut_rule = CutRule(tokens_with_line_ends=self._with_line_ends)

    def split(self, text: str) -> list[str]:
        """Return the matches of the pattern in `text` that are not empty."""
        return list(self._matches(text))

    def stream(self, tokens: Iterable[str]) -> Iterator[str]:
        """Yield each token, after the separator where it is not the first."""
        before = ""
        for token in checked_tokens(tokens):
            yield before + token
            before = self.separator

    def fields(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {"pattern": self.pattern, "separator": self.separator}

    # A match may reach over line ends, so the text is not cut into pieces; the matches are counted as they come.

    def count(self, text: str) -> Counter[str]:
        """Return how often each token occurs in `text`."""
        return Counter(self._matches(text))

    def encode(self, text: str, vocab: Vocab) -> npt.NDArray[np.unsignedinteger[Any]]:
        """Return the index in `vocab` of each token of `text`."""
        check_is("vocab", vocab, Vocab)
        return vocab.indices(self._matches(text))

    def _matches(self, text: str) -> Iterator[str]:
        check_text(text)
        return filter(None, map(itemgetter(0), self._regex.finditer(text)))

    def _with_line_ends(self, text: str) -> list[tuple[int, int]]:
        return [match.span() for match in self._regex.finditer(text) if "\n" in match[0]]


def checked_tokens(tokens: Iterable[str]) -> Iterator[str]:
    """Yield tokens one by one; TypeError where one is not a string."""
    check_iterable("tokens", tokens, "str")
    for token in tokens:
        if not isinstance(token, str):
            raise TypeError(f"tokens must be strings, got {type(token).__name__}: {token!r:.80}")
        yield token


def cut_after_lines(text: str, size: int) -> Iterator[str]:
    """Yield `text` in pieces of at least `size` characters, each but the last up to the end of a line."""
    start = 0
    while start < len(text):
        end = text.find("\n", start + size - 1) + 1 or len(text)
        yield text[start:end]
        start = end


def _normalisation(name: str | None) -> Callable[[str], list[str]] | None:
    if name is None:
        return None
    if not isinstance(name, str) or name not in NORMALISATIONS:
        raise ValueError(f"normalise must be None or one of {sorted(NORMALISATIONS)}, got {name!r}")
    return NORMALISATIONS[name]


def _index_of_code_point(vocab: Vocab) -> npt.NDArray[np.unsignedinteger[Any]]:
    """Return a table of the index of each code point up to one past the vocabulary's last; unknown ones hold one value.

    That value is the unknown token's index, or the vocabulary's length where there is none.
    """
    index = {ord(token): i for i, token in enumerate(vocab.tokens) if len(token) == 1}
    unknown = len(vocab) if vocab.unk is None else vocab.unk
    table = np.full(max(index, default=0) + 2, unknown, np.min_scalar_type(len(vocab)))
    table[list(index)] = list(index.values())
    return table
