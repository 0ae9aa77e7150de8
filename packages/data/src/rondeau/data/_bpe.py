"""Byte-level byte-pair encoding, trained on a corpus."""

from __future__ import annotations

import codecs
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from ._bpe_training import MOST_TOKENS, learn_merges
from ._bpe_words import WordCutter
from ._checks import check_is, check_iterable, checked_integer
from ._cuts import CutRule
from ._extras import missing_package
from ._text import check_text
from ._tokenizers import Tokenizer, checked_tokens, cut_after_lines
from ._vocab import Vocab

_MOST_KEPT = 1 << 17  # words whose tokens are remembered
_LONGEST_KEPT = 64  # characters of such a word
_PIECE = 1 << 20  # characters whose words are held as a list at a time


class BPETokenizer(Tokenizer):
    """Frequent sequences of bytes are tokens, found by byte-pair encoding; any text comes back exactly.

    The text's UTF-8 bytes start as 256 tokens, and the most frequent pair of neighbours is merged into a new
    token until `vocab_size` tokens exist (Sennrich, Haddow and Birch 2016, over bytes as in Radford et al. 2019).
    No token reaches over a line end, and a Han character is merged with no other: Chinese is written without
    spaces, so that whole clauses would count as words.

    Tokens are written in the alphabet of Radford et al., a printable character for each byte: ``"Ġthe"`` is " the".
    This tokenizer needs the package `tokenizers` (the extra ``bpe``). Make one with :meth:`train`.

    Parameters
    ----------
    model : dict
        A model that :meth:`train` made, as :meth:`fields` gives it: what the `tokenizers` package writes.

    Raises
    ------
    ModuleNotFoundError
        If the package `tokenizers` is not installed.
    ValueError
        If `model` is not such a model: it lacks a byte, say, or truncates, pads or changes what it is given.

    Examples
    --------
    >>> tokenizer = BPETokenizer.train("a rose is a rose is a rose, 玫瑰", vocab_size=261)
    >>> tokenizer.split("a rose, 玫")
    ['a', 'Ġrose', ',', 'Ġ', 'ç', 'İ', '«']
    >>> tokenizer.join(_)
    'a rose, 玫'
    """

    name = "bpe"
    cut_rule = CutRule(re.compile(rb"[A-Za-z0-9](?= [A-Za-z0-9])"))

    def __init__(self, model: dict[str, Any]) -> None:
        tokenizers = _tokenizers_package()
        check_is("model", model, dict)
        # The package panics, or encodes otherwise than was trained, for settings that training never gives.
        untrained = json.loads(_untrained(tokenizers).to_str())
        check_is("model in the model", model.get("model"), dict)
        _check_settings("", _without_learned(model), _without_learned(untrained))
        self.tokens: tuple[str, ...] = _tokens_of(model["model"].get("vocab"))
        try:
            self._model = tokenizers.Tokenizer.from_str(json.dumps(model))
        except Exception as error:  # the package raises no narrower class
            raise ValueError(f"expected a model of the tokenizers package: {error}") from None
        self._words = WordCutter(self._model.pre_tokenizer)
        self._kept: dict[str, bytes] = {}

    @classmethod
    def train(cls, text: str | Iterable[str], vocab_size: int, min_frequency: int = 2) -> BPETokenizer:
        """Find the merges on a corpus.

        Parameters
        ----------
        text : str or iterable of str
            The corpus, or its pieces (see :func:`read_text_chunks`).
        vocab_size : int
            How many tokens to make, at least the 256 bytes. A small corpus may give fewer.
        min_frequency : int
            A pair seen less often is not merged.

        Raises
        ------
        ModuleNotFoundError
            If the package `tokenizers` is not installed.
        ValueError
            If `vocab_size` is below 256, one token for each byte, or above 1,114,112.
        """
        _tokenizers_package()
        check_iterable("text", text, "str")
        vocab_size = checked_integer("vocab_size", vocab_size, most=MOST_TOKENS)
        if vocab_size < 256:
            raise ValueError(f"vocab_size must be at least 256, one for each byte; got {vocab_size}")
        min_frequency = checked_integer("min_frequency", min_frequency, 0)
        words: Counter[str] = Counter()
        for piece in [text] if isinstance(text, str) else text:
            words.update(count_words(piece))
        return train_on_words(words, vocab_size, min_frequency)

    def split(self, text: str) -> list[str]:
        """Return the tokens of `text`, in the alphabet of bytes."""
        return [self.tokens[i] for i in self._ids(text)]

    def stream(self, tokens: Iterable[str]) -> Iterator[str]:
        """Yield the characters that each token completes; bytes that are not UTF-8 become U+FFFD."""
        decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        for token in checked_tokens(tokens):
            yield decode(b"".join(_BYTE_OF.get(c) or c.encode() for c in token))
        yield decode(b"", True)

    def fields(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {"model": json.loads(self._model.to_str())}

    def count(self, text: str) -> Counter[str]:
        """Return how often each token occurs in `text`: every token of the model is there, with 0 if it does not.

        So a vocabulary made from the counts has them all, and text that the corpus did not foresee is never unknown.
        """
        total = np.zeros(len(self.tokens), np.int64)
        for piece in self._pieces(text):
            total += np.bincount(self._ids(piece), minlength=len(self.tokens))
        return Counter(dict(zip(self.tokens, total.tolist(), strict=True)))

    def count_in(self, words: Mapping[str, int]) -> Counter[str]:
        """Do as `count`, of words that were counted."""
        numbers = self._numbers_of(list(words))
        lengths = [len(numbers[word]) // 4 for word in words]
        ids = np.frombuffer(b"".join(map(numbers.__getitem__, words)), np.uint32)
        total = np.zeros(len(self.tokens), np.int64)
        np.add.at(total, ids, np.repeat(np.array(list(words.values()), np.int64), lengths))
        return Counter(dict(zip(self.tokens, total.tolist(), strict=True)))

    def encode(self, text: str, vocab: Vocab) -> npt.NDArray[np.unsignedinteger[Any]]:
        """Return the index in `vocab` of each token of `text`."""
        check_is("vocab", vocab, Vocab)
        index_of_id = vocab.indices(self.tokens)
        pieces = [index_of_id[self._ids(piece)] for piece in self._pieces(text)]
        return np.concatenate(pieces) if pieces else np.empty(0, vocab.dtype)

    def _ids(self, text: str) -> npt.NDArray[np.uint32]:
        """Return the model's own numbers of the tokens."""
        check_text(text)
        words = self._words.cut(text)
        return np.frombuffer(b"".join(map(self._numbers_of(words).__getitem__, words)), np.uint32)

    def _numbers_of(self, words: list[str]) -> dict[str, bytes]:
        """Return a table with the numbers of the tokens of each of these words, which the package finds once."""
        kept = self._kept
        new = list(set(words).difference(kept))
        if len(kept) + len(new) > _MOST_KEPT:
            kept = self._kept = {}  # another one: a thread may still read the old table
            new = list(set(words))
        encoded = (np.array(encoding.ids, np.uint32) for encoding in self._model.encode_batch_fast(new))
        found = {word: ids.tobytes() for word, ids in zip(new, encoded, strict=True)}
        long = {word: found.pop(word) for word in new if len(word) > _LONGEST_KEPT}
        kept.update(found)
        return kept | long if long else kept

    def __repr__(self) -> str:
        return f"BPETokenizer({len(self.tokens)} tokens)"


def count_words(text: str) -> Counter[str]:
    """Return how often each word of a text occurs within which byte pairs are merged."""
    check_text(text)
    counts: Counter[str] = Counter()
    for piece in cut_after_lines(text, _PIECE):
        counts.update(_word_cutter().cut(piece))
    return counts


@cache
def _word_cutter() -> WordCutter:
    return WordCutter(_untrained(_tokenizers_package()).pre_tokenizer)


def train_on_words(words: Mapping[str, int], vocab_size: int, min_frequency: int = 2) -> BPETokenizer:
    """Do as `BPETokenizer.train`, of words that were counted."""
    model = json.loads(_untrained(_tokenizers_package()).to_str())
    character_of = {byte[0]: character for character, byte in _BYTE_OF.items()}
    alphabet = [character_of[byte] for byte in range(256)]
    learned = learn_merges(words, alphabet, vocab_size, min_frequency)
    model["model"]["vocab"] = {token: number for number, token in enumerate(learned.tokens)}
    model["model"]["merges"] = learned.merges
    return BPETokenizer(model)


def _alphabet() -> dict[str, bytes]:
    """Return the byte that each character of the alphabet of Radford et al. (2019) stands for.

    Bytes that print in Latin-1 are written as themselves, the others as the characters from U+0100 on, in their order.
    """
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = [byte for byte in range(256) if byte not in printable]
    codes = {byte: byte for byte in printable} | {byte: 256 + i for i, byte in enumerate(others)}
    return {chr(code): bytes([byte]) for byte, code in codes.items()}


_BYTE_OF = _alphabet()


def _untrained(tokenizers: ModuleType) -> Any:
    """Return a model that knows no token yet: how text is cut before pairs are merged."""
    split = tokenizers.pre_tokenizers.Split
    model = tokenizers.Tokenizer(tokenizers.models.BPE())
    model.pre_tokenizer = tokenizers.pre_tokenizers.Sequence(
        [
            split("\n", "isolated"),
            split(tokenizers.Regex(r"\p{Han}"), "isolated"),
            tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    return model


def _without_learned(model: dict[str, Any]) -> dict[str, Any]:
    settings = {name: value for name, value in model["model"].items() if name not in ("vocab", "merges")}
    return {**model, "model": settings}


def _check_settings(where: str, given: Any, expected: Any) -> None:
    """Raise ValueError where a setting differs; one that an edition of the package lacks is absent, null or false."""
    if isinstance(given, dict) and isinstance(expected, dict):
        for name in {**expected, **given}:
            _check_settings(f"{where}.{name}".lstrip("."), given.get(name), expected.get(name))
    elif isinstance(given, list) and isinstance(expected, list) and len(given) == len(expected):
        for i, pair in enumerate(zip(given, expected, strict=True)):
            _check_settings(f"{where}[{i}]", *pair)
    elif (given or expected) and given != expected:
        raise ValueError(f"expected {where} {expected!r:.80}, as `train` leaves it, got {given!r:.80}")


def _tokens_of(vocab: Any) -> tuple[str, ...]:
    """Return the tokens in the order of their numbers."""
    check_is("vocab in the model", vocab, dict)
    numbers = [number for number in vocab.values() if type(number) is int]
    if len(numbers) < len(vocab) or set(numbers) != set(range(len(vocab))):
        raise ValueError(
            f"expected the {len(vocab):,} tokens of the model to be numbered from 0 on, each once"
        )
    for token in vocab:
        if not token or not _BYTE_OF.keys() >= set(token):
            raise ValueError(f"expected tokens in the alphabet of bytes, got {token!r:.80}")
    if missing := _BYTE_OF.keys() - vocab.keys():
        raise ValueError(f"expected a token for each byte, but {len(missing)} are missing in the model")
    return tuple(sorted(vocab, key=vocab.__getitem__))


def _tokenizers_package() -> ModuleType:
    try:
        import tokenizers
    except ModuleNotFoundError:
        raise missing_package("byte-pair encoding", "tokenizers", "bpe") from None
    return tokenizers
