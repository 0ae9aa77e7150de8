"""A vocabulary: which tokens there are, and the index of each."""

from __future__ import annotations

import itertools
import operator
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, overload

import numpy as np
import numpy.typing as npt

from ._checks import check_is, check_iterable, checked_integer, shown
from ._json import load_json, write_json

UNKNOWN = "<unk>"
_FIELDS = {"unk_token", "tokens", "counts"}
_SURROGATE = re.compile("[\ud800-\udfff]")  # stands for no character, and no file can hold it


class _Index(dict[str, int]):
    """Token to index; a lookup of any other token gives the unknown token's index, at the speed of a dict."""

    unk: int | None = None

    def __missing__(self, token: str) -> int:
        if self.unk is None:
            raise KeyError(f"the token {token!r} is not in the vocabulary, which has no unknown token")
        return self.unk


class Vocab:
    """The distinct tokens of a corpus, each with an index.

    The order is: the unknown token, the reserved tokens as given, then the corpus's tokens by falling frequency, ties
    by code point. It depends on the counts alone, so that every process gives a token the same index.

    Parameters
    ----------
    tokens : iterable of str, iterable of sequences of str, or mapping of str to int
        The corpus: its tokens, its lines of tokens, or the count of each token.
    min_freq : int
        Tokens seen less often are left out, so that they become unknown.
    reserved_tokens : sequence of str
        Tokens with a place of their own whether or not the corpus holds them, such as ``"<pad>"``.
    unk_token : str or None
        The token that stands for every token left out. With None there is none, and looking up a token
        that is not in the vocabulary is an error.
    order : {"frequency", "token"}
        The order of the corpus's tokens: by falling frequency (the default), or sorted by code point, which the
        character models of several texts use.

    Attributes
    ----------
    tokens : tuple of str
        Every token; ``tokens[i]`` has index `i`.
    counts : dict of str to int
        How often the corpus holds each token, in the order of `tokens`.
    unk : int or None
        The unknown token's index: 0, or None where there is none.
    dtype : numpy.dtype
        The smallest unsigned integer type that holds every index.

    Raises
    ------
    TypeError
        If a token is not a string, a count or `min_freq` not an integer, or `tokens` none of the above.
    ValueError
        If a reserved token is given twice, or `min_freq` or `order` is not one of the above.

    Examples
    --------
    >>> vocab = Vocab("a rose is a rose is a rose".split(), min_freq=3, reserved_tokens=["<pad>"])
    >>> vocab.tokens
    ('<unk>', '<pad>', 'a', 'rose')
    >>> vocab[["a", "rose", "is"]]
    [2, 3, 0]
    >>> vocab.to_tokens([2, 3])
    ['a', 'rose']
    """

    tokens: tuple[str, ...]
    counts: dict[str, int]
    unk: int | None
    dtype: np.dtype[np.unsignedinteger[Any]]

    def __init__(
        self,
        tokens: Iterable[str] | Iterable[Sequence[str]] | Mapping[str, int],
        min_freq: int = 0,
        reserved_tokens: Sequence[str] = (),
        *,
        unk_token: str | None = UNKNOWN,
        order: Literal["frequency", "token"] = "frequency",
    ) -> None:
        min_freq = checked_integer("min_freq", min_freq, 0)
        if order not in ("frequency", "token"):
            raise ValueError(f"order must be 'frequency' or 'token', got {order!r}")
        if isinstance(reserved_tokens, str):
            raise TypeError(
                f"reserved_tokens must be a sequence of tokens, got the string {reserved_tokens!r}"
            )
        check_iterable("reserved_tokens", reserved_tokens, "tokens")
        counts = _count(tokens)
        special = [*([] if unk_token is None else [unk_token]), *reserved_tokens]
        for token in special:
            _check_token(token)
        kept = (token for token in counts.keys() - set(special) if counts[token] >= min_freq)
        ordinary = sorted(kept)
        if order == "frequency":
            ordinary.sort(key=counts.__getitem__, reverse=True)  # stable: ties stay sorted
        self._fill([*special, *ordinary], counts, unk_token)

    def _fill(self, tokens: Sequence[str], counts: Mapping[str, int], unk_token: str | None) -> None:
        for token in tokens:
            _check_token(token)
        self._index = _Index(zip(tokens, itertools.count()))
        if len(self._index) < len(tokens):
            twice = next(token for token, times in Counter(tokens).items() if times > 1)
            raise ValueError(f"the token {twice!r} is reserved twice; each token has one index")
        self._index.unk = self.unk = None if unk_token is None else self._index[unk_token]
        self.tokens = tuple(tokens)
        self.counts = {token: int(counts.get(token, 0)) for token in tokens}
        self.dtype = np.min_scalar_type(max(len(tokens) - 1, 0))

    def __len__(self) -> int:
        return len(self.tokens)

    def __contains__(self, token: object) -> bool:
        return isinstance(token, str) and token in self._index

    def __iter__(self) -> Iterator[str]:
        return iter(self.tokens)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Vocab) and self.to_dict() == other.to_dict()

    __hash__ = None  # type: ignore[assignment]  # equal by value, so not usable as a key

    def __repr__(self) -> str:
        return (
            f"Vocab({len(self)} tokens: {', '.join(map(repr, self.tokens[:6]))}{', ...' * (len(self) > 6)})"
        )

    @overload
    def __getitem__(self, tokens: str) -> int: ...

    @overload
    def __getitem__(self, tokens: Sequence[Any]) -> list[Any]: ...

    def __getitem__(self, tokens: str | Sequence[Any]) -> int | list[Any]:
        """Return the index of a token, or the (nested) list of the indices of a (nested) list of tokens."""
        if isinstance(tokens, str):
            return self._index[tokens]
        if isinstance(tokens, np.ndarray) and tokens.ndim:
            tokens = tokens.tolist()
        if isinstance(tokens, list | tuple):
            return [self[token] for token in tokens]
        raise TypeError(
            f"expected a token or a list of tokens, got {type(tokens).__name__}: {tokens!r:.80}; "
            "to_tokens gives the tokens of indices"
        )

    def indices(self, tokens: Iterable[str]) -> npt.NDArray[np.unsignedinteger[Any]]:
        """Return the indices of many tokens as an array of shape (number of tokens,) and type `dtype`.

        Raises
        ------
        KeyError
            If a token is not in the vocabulary and there is no unknown token.
        """
        check_iterable("tokens", tokens, "tokens")
        try:
            return np.fromiter(map(self._index.__getitem__, tokens), self.dtype)
        except TypeError as error:  # a list, say, which no dict looks up
            raise TypeError(f"tokens must be strings, got one that is not: {error}") from None

    @overload
    def to_tokens(self, indices: int | np.integer[Any]) -> str: ...

    @overload
    def to_tokens(self, indices: Sequence[int] | npt.NDArray[np.integer[Any]]) -> list[str]: ...

    def to_tokens(self, indices: Any) -> str | list[str]:
        """Return the token of an index, or the (nested) list of the tokens of a (nested) sequence of indices.

        An array or a Tensor is such a sequence, or an index where it has no dimensions.

        Raises
        ------
        TypeError
            If an index is not an integer.
        IndexError
            If an index is negative, or not below the vocabulary's length.
        """
        if hasattr(indices, "__array__"):
            indices = np.asarray(indices).tolist()
        if isinstance(indices, Iterable) and not isinstance(indices, str | bytes):
            return [self.to_tokens(index) for index in indices]
        return self.token(indices)

    def token(self, index: int | np.integer[Any]) -> str:
        """Return the token of an index.

        Raises
        ------
        TypeError, IndexError
            As `to_tokens`.
        """
        try:
            number = operator.index(index) if type(index) is not bool else None
        except TypeError:
            number = None
        if number is None:
            raise TypeError(
                f"expected an index or a sequence of indices, got {type(index).__name__}: {index!r:.80}"
            )
        if not 0 <= number < len(self.tokens):
            raise IndexError(
                f"expected an index from 0 to {len(self) - 1} (the vocabulary's last), got {shown(number)}"
            )
        return self.tokens[number]

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-able dict, from which :meth:`from_dict` makes an equal vocabulary."""
        unk_token = None if self.unk is None else self.tokens[self.unk]
        return {"unk_token": unk_token, "tokens": list(self.tokens), "counts": list(self.counts.values())}

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Vocab:
        """Return the vocabulary that :meth:`to_dict` described.

        Raises
        ------
        TypeError, ValueError
            If the dict is not one of those.
        """
        check_is("fields of a Vocab", fields, Mapping)
        if set(fields) != _FIELDS:
            raise ValueError(f"expected the fields {sorted(_FIELDS)} of a Vocab, got {sorted(fields)}")
        tokens, counts, unk_token = fields["tokens"], fields["counts"], fields["unk_token"]
        check_is("tokens of a Vocab", tokens, list, tuple)
        check_is("counts of a Vocab", counts, list, tuple)
        for count in counts:
            checked_integer("a count", count, 0)
        if len(tokens) != len(counts) or unk_token not in [None, *tokens]:
            raise ValueError(
                f"expected a count for each token, and unk_token among the tokens; "
                f"got {len(tokens)} tokens, {len(counts)} counts and unk_token {unk_token!r}"
            )
        vocab = cls.__new__(cls)
        vocab._fill(tokens, dict(zip(tokens, counts, strict=True)), unk_token)
        return vocab

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the vocabulary as JSON, in UTF-8."""
        write_json(path, self.to_dict())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Vocab:
        """Read the vocabulary that :meth:`save` wrote.

        Raises
        ------
        ValueError
            If the file is not JSON or holds no vocabulary; the message names it.
        """
        return load_json(path, _FIELDS, cls.from_dict)


def _check_token(token: Any) -> None:
    if not isinstance(token, str):
        raise TypeError(f"tokens must be strings, got {type(token).__name__}: {token!r:.80}")
    if _SURROGATE.search(token):
        raise ValueError(f"tokens must be Unicode, got {token!a:.80}, which holds a lone surrogate")


def _count(tokens: Iterable[Any]) -> Mapping[str, int]:
    if isinstance(tokens, Mapping):
        for token, count in tokens.items():
            _check_token(token)
            checked_integer(f"the count of {token!r:.80}", count, 0)
        return tokens
    check_iterable("tokens", tokens, "tokens, or of lines of them")
    tokens = iter(tokens)
    first = next(tokens, None)
    if first is None:
        return {}
    tokens = itertools.chain([first], tokens)
    try:
        return Counter(tokens if isinstance(first, str) else itertools.chain.from_iterable(tokens))
    except TypeError as error:  # from the iteration: a number among lines, or a token that no dict counts
        raise TypeError(f"expected tokens (strings), or lines of tokens, but {error}") from None
