"""Statistics of a token stream: n-gram tables, Zipf's exponent, and the perplexity of n-gram language models."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ._checks import as_array, check_is, checked_integer, checked_number
from ._stream import TokenStream
from ._vocab import Vocab

_DENSE = 1 << 22  # up to so many possible n-grams are counted in a table of all; beyond, by sorting
_CHUNK = 1 << 20  # tokens counted or scored at a time


@dataclass(frozen=True, eq=False)
class NgramTable:
    """The n-grams of a token stream and their counts, by falling count, ties by index.

    Attributes
    ----------
    ngrams : ndarray of int64, shape (number of distinct n-grams, n)
        The token indices of each.
    counts : ndarray of int64, shape (number of distinct n-grams,)
        How often each occurs.

    Examples
    --------
    >>> from rondeau.data import count_ngrams
    >>> table = count_ngrams([0, 1, 0, 1, 2], n=2)
    >>> table.ngrams.tolist(), table.counts.tolist()
    ([[0, 1], [1, 0], [1, 2]], [2, 1, 1])
    """

    ngrams: npt.NDArray[np.int64]
    counts: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.counts)

    def most_common(self, number: int, vocab: Vocab) -> list[tuple[tuple[str, ...], int]]:
        """Return the `number` most frequent n-grams as tokens, each with its count."""
        number = checked_integer("number", number, 0)
        check_is("vocab", vocab, Vocab)
        rows = zip(self.ngrams[:number], self.counts[:number].tolist(), strict=True)
        return [(tuple(vocab.to_tokens(ngram)), count) for ngram, count in rows]


def count_ngrams(tokens: TokenStream | npt.ArrayLike, n: int) -> NgramTable:
    """Count the runs of `n` neighbouring tokens.

    Parameters
    ----------
    tokens : TokenStream or array_like of int
        The corpus, read once in chunks.
    n : int
        1 for single tokens, 2 for pairs, and so on.

    Returns
    -------
    NgramTable

    Raises
    ------
    ValueError
        If `n` is not from 1 to 63, or ``vocab_size ** n`` does not fit in 63 bits.

    Examples
    --------
    >>> vocab = Vocab("a rose is a rose is a rose".split())
    >>> table = count_ngrams(vocab[["a", "rose", "is", "a", "rose", "is", "a", "rose"]], n=2)
    >>> table.most_common(2, vocab)
    [(('a', 'rose'), 3), (('rose', 'is'), 2)]
    """
    stream = tokens if isinstance(tokens, TokenStream) else TokenStream(tokens)
    n = _checked_order("n", n, stream.vocab_size)
    keys, counts = _count_keys(stream, n)
    order = np.argsort(-counts, kind="stable")
    ngrams = np.empty((len(keys), n), np.int64)
    rest = keys[order]
    for column in reversed(range(n)):
        rest, ngrams[:, column] = np.divmod(rest, stream.vocab_size)
    return NgramTable(ngrams, counts[order])


@dataclass(frozen=True)
class ZipfFit:
    """A fit of ``log count = -exponent * log rank + intercept`` over the ranks from `first_rank` to `last_rank`.

    Examples
    --------
    >>> from rondeau.data import fit_zipf
    >>> fit = fit_zipf([600, 300, 200])
    >>> print(f"{fit.exponent:.2f}, over the ranks {fit.first_rank} to {fit.last_rank}")
    1.00, over the ranks 1 to 3
    """

    exponent: float
    intercept: float
    first_rank: int
    last_rank: int


def fit_zipf(counts: npt.ArrayLike, first_rank: int = 1, last_rank: int | None = None) -> ZipfFit:
    r"""Fit Zipf's law, :math:`\log n_i = -\alpha \log i + c`, by least squares over a range of ranks.

    Say the range beside the exponent: the most frequent words lie below the line, and the words seen once form a long
    step, so that each range gives another exponent.

    Parameters
    ----------
    counts : array_like of int, shape (number of distinct tokens,)
        The counts, falling (:attr:`NgramTable.counts`); :math:`n_i` is the count of rank i, and ranks start at 1.
    first_rank, last_rank : int
        The range, both ends included. Default: all ranks.

    Raises
    ------
    ValueError
        If the range holds fewer than two ranks, or the counts rise or are not positive.

    Examples
    --------
    >>> fit = fit_zipf([6000 / rank for rank in range(1, 101)], first_rank=2, last_rank=50)
    >>> round(fit.exponent, 6), round(fit.intercept - math.log(6000), 6)
    (1.0, 0.0)
    """
    counts = as_array("counts", counts).astype(np.float64)
    if counts.ndim != 1:
        raise ValueError(f"counts must be one row, an array of shape (n,); got shape {counts.shape}")
    first_rank = checked_integer("first_rank", first_rank)
    last_rank = len(counts) if last_rank is None else checked_integer("last_rank", last_rank)
    if not 1 <= first_rank < last_rank <= len(counts):
        raise ValueError(
            f"expected at least two ranks between 1 and {len(counts)}, "
            f"got first_rank {first_rank} and last_rank {last_rank}"
        )
    if (np.diff(counts) > 0).any() or not ((counts > 0) & (counts < math.inf)).all():
        raise ValueError("expected positive, finite counts that fall from rank to rank; sort them first")
    x = np.log(np.arange(first_rank, last_rank + 1))
    y = np.log(counts[first_rank - 1 : last_rank])
    slope = float(((x - x.mean()) * (y - y.mean())).sum() / ((x - x.mean()) ** 2).sum())
    return ZipfFit(-slope, float(y.mean() - slope * x.mean()), first_rank, last_rank)


class NgramModel:
    r"""A language model that predicts a token from the ``order - 1`` tokens before it.

    The unigram model (order 1) has add-k smoothing, :math:`p(w) = (c(w) + k) / (N + kV)`. Each higher order is
    interpolated with the one below by Witten-Bell smoothing,

    .. math:: p(w \mid h) = \frac{c(hw) + T(h)\, p(w \mid h')}{c(h) + T(h)},

    where :math:`c` counts in the training stream, :math:`T(h)` is the number of distinct tokens seen after the history
    :math:`h`, and :math:`h'` is the history without its first token (Witten and Bell 1991, method C, as in Chen and
    Goodman 1999, section 2.5). It has no parameter to tune and does not break on the small alphabets of
    character models, where the count-of-count estimates of Kneser-Ney smoothing do.

    Parameters
    ----------
    tokens : TokenStream or array_like of int
        The training stream.
    order : int
        1 for a unigram model, 2 for a bigram model, and so on.
    add_k : float
        The unigram's k; the default of 1 is Laplace's rule.

    Raises
    ------
    ValueError
        If `order` is not from 1 to 63, `add_k` is not a positive number, the stream is empty, or
        ``vocab_size ** order`` does not fit in 63 bits.

    Examples
    --------
    >>> model = NgramModel(TokenStream([0, 1, 0, 1, 0, 1, 2], vocab_size=3), order=2)
    >>> model.probabilities([0]).round(3).tolist()
    [0.1, 0.85, 0.05]
    >>> round(model.perplexity([0, 1, 0, 1]), 3)
    1.352
    """

    def __init__(self, tokens: TokenStream | npt.ArrayLike, order: int, *, add_k: float = 1.0) -> None:
        stream = tokens if isinstance(tokens, TokenStream) else TokenStream(tokens)
        order = _checked_order("order", order, stream.vocab_size)
        add_k = checked_number("add_k", add_k)
        if not 0 < add_k < math.inf:
            raise ValueError(
                f"add_k must be positive and finite, so that no token is impossible; got {add_k}"
            )
        if not len(stream):
            raise ValueError("expected a training stream of at least one token, got an empty one")
        self.order = order
        self.vocab_size = stream.vocab_size
        seen, counts = _count_keys(stream, 1)
        smoothed = np.full(self.vocab_size, add_k)
        smoothed[seen] += counts
        self._unigram: npt.NDArray[np.float64] = smoothed / smoothed.sum()
        self._levels = [_Level.count(stream, n) for n in range(2, order + 1)]

    def probabilities(self, history: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Return the probability of each token after a history, of which the last ``order - 1`` tokens matter.

        Parameters
        ----------
        history : array_like of int, shape (number of tokens,)

        Returns
        -------
        ndarray of float64, shape (vocab_size,)

        Raises
        ------
        IndexError
            If a token of the history is not below `vocab_size`.
        """
        tokens = TokenStream(history, self.vocab_size)[:]
        before = tokens[max(0, len(tokens) - self.order + 1) :]
        probabilities = self._unigram.copy()
        for level in self._levels[: len(before)]:
            context = 0
            for token in before[len(before) - level.n + 1 :].tolist():
                context = context * self.vocab_size + token
            contexts = np.full(self.vocab_size, context)
            probabilities = level.interpolated(
                contexts, np.arange(self.vocab_size), self.vocab_size, probabilities
            )
        return probabilities

    def negative_log_likelihood(self, tokens: TokenStream | npt.ArrayLike) -> float:
        """Return the mean of ``-log p``, in nats, over all tokens but the first, which nothing precedes.

        These are the tokens that a recurrent model predicts on the same stream; the second token of a stream has
        a history of one, the third of two, and so on.

        Raises
        ------
        ValueError
            If the stream has fewer than two tokens, or values that the model does not know.
        """
        stream = tokens if isinstance(tokens, TokenStream) else TokenStream(tokens, self.vocab_size)
        if len(stream) < 2:
            raise ValueError(f"expected a stream of at least two tokens to predict, got {len(stream)}")
        if stream.vocab_size > self.vocab_size:
            raise ValueError(
                f"the stream has {stream.vocab_size} values, but the model was made for {self.vocab_size}: "
                "encode both with one vocabulary"
            )
        overlap = max(self.order - 1, 1)
        total = 0.0
        for number, ids in enumerate(stream.chunks(_CHUNK, overlap)):
            before = overlap - 1 if number else 0  # tokens of the overlap that the last chunk scored
            total -= float(np.log(self._following(ids)[before:]).sum())
        return total / (len(stream) - 1)

    def perplexity(self, tokens: TokenStream | npt.ArrayLike) -> float:
        """Return ``exp`` of the mean negative log-likelihood: 1 is perfect, `vocab_size` is a uniform guess.

        Raises
        ------
        ValueError
            As :meth:`negative_log_likelihood`.
        """
        return math.exp(self.negative_log_likelihood(tokens))

    def _following(self, ids: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        """Return the probability of each of ``ids[1:]`` after those before it in `ids`."""
        probabilities = self._unigram[ids[1:]]
        for level in self._levels:
            if len(ids) < level.n:
                break
            contexts = _keys(ids[:-1], level.n - 1, self.vocab_size)
            lower = probabilities[level.n - 2 :]
            probabilities[level.n - 2 :] = level.interpolated(
                contexts, ids[level.n - 1 :], self.vocab_size, lower
            )
        return probabilities


@dataclass(frozen=True, eq=False)
class _Level:
    """The counts of one order of an n-gram model; n-grams and contexts as keys, sorted."""

    n: int
    ngrams: npt.NDArray[np.int64]
    counts: npt.NDArray[np.int64]
    contexts: npt.NDArray[np.int64]
    totals: npt.NDArray[np.int64]  # c(h) of each context
    distinct: npt.NDArray[np.int64]  # T(h) of each context

    @classmethod
    def count(cls, stream: TokenStream, n: int) -> _Level:
        ngrams, counts = _count_keys(stream, n)
        contexts, first, distinct = np.unique(
            ngrams // stream.vocab_size, return_index=True, return_counts=True
        )
        totals = np.add.reduceat(counts, first) if len(counts) else counts
        return cls(n, ngrams, counts, contexts, totals, distinct)

    def interpolated(
        self,
        contexts: npt.NDArray[np.int64],
        tokens: npt.NDArray[np.int64],
        vocab_size: int,
        lower: npt.NDArray[np.float64],
    ) -> npt.NDArray[np.float64]:
        """Return p(token | context) for each pair, given the same of the order below."""
        count = _looked_up(contexts * vocab_size + tokens, self.ngrams, self.counts)
        total = _looked_up(contexts, self.contexts, self.totals)
        distinct = _looked_up(contexts, self.contexts, self.distinct)
        # An unseen context (total 0) leaves the probability of the order below.
        seen = total > 0
        mixed = (count + distinct * lower) / np.where(seen, total + distinct, 1)
        return np.where(seen, mixed, lower).astype(np.float64, copy=False)


def _looked_up(
    keys: npt.NDArray[np.int64], known: npt.NDArray[np.int64], values: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """Return the value of each key, 0 for a key that is not known; `known` is sorted."""
    if not len(known):
        return np.zeros(len(keys), np.int64)
    at = np.minimum(np.searchsorted(known, keys), len(known) - 1)
    return np.where(known[at] == keys, values[at], 0)


def _keys(ids: npt.NDArray[np.int64], n: int, vocab_size: int) -> npt.NDArray[np.int64]:
    """Return one number for each run of n neighbours: its tokens as the digits of a number in base `vocab_size`."""
    keys = ids[: len(ids) - n + 1].copy()
    for i in range(1, n):
        keys *= vocab_size
        keys += ids[i : len(ids) - n + 1 + i]
    return keys


def _checked_order(name: str, n: int, vocab_size: int) -> int:
    """Return `n`, for which every n-gram has a key of 63 bits; over one token or none too, to bound the work."""
    n = checked_integer(name, n, 1, 63)
    if vocab_size**n >= 1 << 63:
        raise ValueError(
            f"{n}-grams over {vocab_size:,} tokens do not fit 63 bits; take a smaller order or vocabulary"
        )
    return n


def _count_keys(stream: TokenStream, n: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the keys of the stream's n-grams, sorted, and the count of each; `n` is one of `_checked_order`."""
    possible = stream.vocab_size**n
    if possible <= _DENSE:
        table = np.zeros(possible, np.int64)
        for keys in _chunked_keys(stream, n):
            table += np.bincount(keys, minlength=possible)
        seen = np.flatnonzero(table)
        return seen, table[seen]
    seen = counts = np.empty(0, np.int64)
    for keys in _chunked_keys(stream, n):
        new, new_counts = np.unique(keys, return_counts=True)
        seen, place = np.unique(np.concatenate([seen, new]), return_inverse=True)
        both = np.concatenate([counts, new_counts])
        counts = np.zeros(len(seen), np.int64)
        np.add.at(counts, place, both)
    return seen, counts


def _chunked_keys(stream: TokenStream, n: int) -> Iterator[npt.NDArray[np.int64]]:
    for ids in stream.chunks(_CHUNK, overlap=n - 1):
        if len(ids) >= n:
            yield _keys(ids, n, stream.vocab_size)
