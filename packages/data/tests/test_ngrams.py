"""n-gram tables and models against counts and formulas written out over Python dicts."""

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from comparing import assert_close
from rondeau.data import (
    CharTokenizer,
    Codec,
    NgramModel,
    TokenStream,
    Vocab,
    WordTokenizer,
    count_ngrams,
    fit_zipf,
    read_text,
)
from rondeau.data import _ngrams as ngrams_module

V = 4
rows = st.lists(st.integers(0, V - 1), min_size=1, max_size=40)


@pytest.fixture(params=["table", "sorted", "chunks"])
def counting(request, monkeypatch):
    """Count in a table of all n-grams, by sorting, or by sorting chunk by chunk."""
    if request.param != "table":
        monkeypatch.setattr(ngrams_module, "_DENSE", 0)
    if request.param == "chunks":
        monkeypatch.setattr(ngrams_module, "_CHUNK", 3)


def runs(row, n):
    return [tuple(row[i : i + n]) for i in range(len(row) - n + 1)]


@pytest.mark.usefixtures("counting")
@pytest.mark.parametrize("n", [1, 2, 3])
@given(row=rows)
def test_counts(n, row):
    expected = Counter(runs(row, n))
    table = count_ngrams(TokenStream(row, V), n)
    got = list(zip(map(tuple, table.ngrams.tolist()), table.counts.tolist(), strict=True))
    assert got == sorted(expected.items(), key=lambda item: (-item[1], item[0]))
    assert len(table) == len(expected)


def witten_bell(train, history, token, order):
    """p(token | history) as the equation has it, over all of `train` each time."""
    if order == 1:
        return (train.count(token) + 1) / (len(train) + V)
    lower = witten_bell(train, history[1:], token, order - 1)
    followers = [run[-1] for run in runs(train, order) if run[:-1] == tuple(history)]
    if not followers:
        return lower
    distinct = len(set(followers))
    return (followers.count(token) + distinct * lower) / (len(followers) + distinct)


@pytest.mark.usefixtures("counting")
@pytest.mark.parametrize("order", [1, 2, 3])
@given(train=rows, held_out=rows.filter(lambda row: len(row) > 1))
def test_model_is_the_equation(order, train, held_out):
    model = NgramModel(TokenStream(train, V), order)
    for length in (0, 1, 2, len(held_out)):
        history = held_out[:length]
        used = history[max(0, length - order + 1) :]
        expected = [witten_bell(train, used, token, len(used) + 1) for token in range(V)]
        assert_close(model.probabilities(history), expected, rtol=1e-12)
        assert math.isclose(sum(expected), 1)
    total = 0.0
    for i in range(1, len(held_out)):
        used = held_out[max(0, i - order + 1) : i]
        total -= math.log(witten_bell(train, used, held_out[i], len(used) + 1))
    mean = total / (len(held_out) - 1)
    assert math.isclose(model.negative_log_likelihood(held_out), mean, rel_tol=1e-12)
    assert math.isclose(model.perplexity(TokenStream(held_out, V)), math.exp(mean), rel_tol=1e-12)


def test_add_k():
    train = TokenStream([0, 0, 1], 3)
    assert_close(
        NgramModel(train, 1, add_k=0.5).probabilities([]), [2.5 / 4.5, 1.5 / 4.5, 0.5 / 4.5], rtol=1e-7
    )


def test_known_perplexities():
    uniform = NgramModel(np.tile(np.arange(8), 1000), 1)
    assert math.isclose(uniform.perplexity(np.tile(np.arange(8), 10)), 8)
    cycle = np.tile(np.arange(8), 10_000)
    assert NgramModel(cycle, 2).perplexity(cycle) < 1.001


def test_model_errors():
    train = TokenStream([0, 1, 2], 3)
    with pytest.raises(ValueError, match="order must be at least 1, got 0"):
        NgramModel(train, 0)
    with pytest.raises(ValueError, match=r"add_k must be positive and finite, .* got 0"):
        NgramModel(train, 1, add_k=0)
    with pytest.raises(
        ValueError, match="expected a training stream of at least one token, got an empty one"
    ):
        NgramModel([], 1)
    model = NgramModel(train, 2)
    with pytest.raises(ValueError, match="at least two tokens to predict, got 1"):
        model.perplexity([0])
    with pytest.raises(ValueError, match="the stream has 9 values, but the model was made for 3"):
        model.perplexity(TokenStream([0, 1], 9))
    with pytest.raises(IndexError, match=r"from 0 to 2 \(vocab_size 3\)"):
        model.perplexity([0, 3])
    with pytest.raises(IndexError, match=r"from 0 to 2 \(vocab_size 3\)"):
        model.probabilities([3])


def test_count_errors():
    with pytest.raises(ValueError, match="n must be at least 1, got 0"):
        count_ngrams([0, 1], 0)
    with pytest.raises(
        ValueError, match="4-grams over 65,536 tokens do not fit 63 bits; take a smaller order"
    ):
        count_ngrams(TokenStream([0, 1], 1 << 16), 4)


@pytest.mark.parametrize(("exponent", "ranks"), [(1.0, (1, 50)), (0.7, (10, 100)), (2.0, (99, 100))])
def test_zipf_finds_a_power_law(exponent, ranks):
    counts = 1e6 * np.arange(1.0, 101.0) ** -exponent
    counts[ranks[1] :] = counts[-1] / 7  # what is out of the range does not matter
    counts[: ranks[0] - 1] = 2e6
    fit = fit_zipf(counts, *ranks)
    assert math.isclose(fit.exponent, exponent, rel_tol=1e-9)
    assert math.isclose(fit.intercept, math.log(1e6), rel_tol=1e-9)
    assert (fit.first_rank, fit.last_rank) == ranks


def test_zipf_is_the_least_squares_line():
    counts = np.sort(np.random.default_rng(0).integers(1, 1000, 60))[::-1]
    slope, intercept = np.polyfit(np.log(np.arange(1, 61)), np.log(counts), 1)
    fit = fit_zipf(counts)
    assert_close([fit.exponent, fit.intercept], [-slope, intercept], rtol=1e-10)


def test_zipf_errors():
    for ranks in ((0, 3), (3, 3), (1, 5)):
        with pytest.raises(
            ValueError, match=f"at least two ranks between 1 and 4, got first_rank {ranks[0]} and last"
        ):
            fit_zipf([4, 3, 2, 1], *ranks)
    for counts in ([1, 2], [1, 0], [math.inf, 1], [3, math.nan]):
        with pytest.raises(ValueError, match="expected positive, finite counts that fall from rank to rank"):
            fit_zipf(counts)


def test_tokens_of_the_table():
    vocab = Vocab(["to", "be", "or", "not", "to", "be"])
    table = count_ngrams(vocab[["to", "be", "or", "not", "to", "be"]], 2)
    assert table.most_common(1, vocab) == [(("to", "be"), 2)]


def test_time_machine(real_data):
    text = read_text(real_data("timemachine.txt"))
    codec = Codec.fit(text, WordTokenizer(normalise="d2l"))
    stream = TokenStream(codec.encode(text), len(codec))
    words = codec.tokenizer.split(text)
    fits = []
    for n in (1, 2, 3):
        table = count_ngrams(stream, n)
        expected = Counter(zip(*(words[i:] for i in range(n)), strict=False))
        assert dict(table.most_common(len(table), codec.vocab)) == expected
        fits.append(fit_zipf(table.counts, 10, 1000).exponent)
    assert fits[0] > fits[1] > fits[2]  # flatter with n
    assert 0.9 < fits[0] < 1.2


def test_tiny_shakespeare_perplexity_falls_with_the_order(real_data):
    text = read_text(real_data("tinyshakespeare.txt"))
    codec = Codec.fit(text, CharTokenizer())
    train, held_out = TokenStream(codec.encode(text), len(codec)).split(0.9)
    perplexities = [NgramModel(train, order).perplexity(held_out) for order in (1, 2, 3)]
    assert perplexities == sorted(perplexities, reverse=True)
    # The unigram model is the cross-entropy of the two histograms but for smoothing.
    p, q = (np.bincount(part[:], minlength=len(codec)) / len(part) for part in (train, held_out))
    assert math.isclose(perplexities[0], math.exp(-(q[q > 0] * np.log(p[q > 0])).sum()), rel_tol=1e-3)
