"""Evaluation against the negative log-likelihood that NumPy computes token by token."""

import math

import numpy as np
import pytest

from rondeau import nn
from rondeau import tensor as rt
from rondeau.data import TokenStream
from rondeau.train import Evaluation, evaluate

V = 5


class Counting(nn.Module):
    """Its logits depend on the token and on how many steps its state has seen, so that a lost state shows."""

    def __init__(self):
        super().__init__()
        self.table = nn.Parameter(np.random.default_rng(0).standard_normal((V, 7, V)))
        self.batches = []

    def forward(self, ids, state=None):
        batch, steps = ids.shape
        self.batches.append((batch, steps, self.training, rt.is_grad_enabled()))
        seen = np.zeros((1, batch, 1)) if state is None else state.numpy()
        ages = (seen[0] + np.arange(steps)).astype(np.int64) % 7
        logits = self.table.detach().numpy()[ids, ages]
        return rt.tensor(logits.transpose(1, 0, 2).reshape(-1, V)), rt.tensor(seen + steps)


def expected_loss(model, tokens, starts):
    """Mean loss where the state begins again before each position in `starts`."""
    total, age = 0.0, 0
    for i in range(len(tokens) - 1):
        age = 0 if i in starts else age
        scores = model.table.detach().numpy()[tokens[i], age % 7]
        total += math.log(np.exp(scores).sum()) - scores[tokens[i + 1]]
        age += 1
    return total / (len(tokens) - 1)


@pytest.fixture
def model():
    return Counting()


@pytest.fixture
def tokens():
    return np.random.default_rng(1).integers(0, V, 101)


@pytest.mark.parametrize("num_steps", [1, 7, 99, 100, 101, 1000])
def test_one_row_carries_the_state_over_everything(model, tokens, num_steps):
    score = evaluate(model, tokens, num_steps=num_steps)
    assert score.loss == pytest.approx(expected_loss(model, tokens, {0}), rel=1e-12)
    assert (score.num_tokens, score.carried, score.num_rows) == (100, True, 1)


@pytest.mark.parametrize(
    ("rows", "starts"), [(3, {0, 34, 67}), (4, {0, 25, 50, 75}), (7, {0, 15, 30, 44, 58, 72, 86})]
)
def test_rows_cover_every_token_once(model, tokens, rows, starts):
    score = evaluate(model, TokenStream(tokens, V), batch_size=rows, num_steps=8)
    assert score.loss == pytest.approx(expected_loss(model, tokens, starts), rel=1e-12)
    assert (score.num_tokens, score.num_rows) == (100, rows)


@pytest.mark.parametrize(("num_steps", "batch_size"), [(10, 1), (10, 3), (7, 4), (30, 50), (200, 2)])
def test_windows_begin_anew(model, tokens, num_steps, batch_size):
    score = evaluate(model, tokens, num_steps=num_steps, batch_size=batch_size, carry_state=False)
    starts = set(range(0, 100, num_steps))
    assert score.loss == pytest.approx(expected_loss(model, tokens, starts), rel=1e-12)
    assert (score.num_tokens, score.carried, score.num_rows) == (100, False, len(starts))


def test_more_rows_than_tokens(model):
    score = evaluate(model, [0, 1, 2], batch_size=16)
    assert score.loss == pytest.approx(expected_loss(model, [0, 1, 2], {0, 1}), rel=1e-12)
    assert score.num_rows == 2


@pytest.mark.parametrize("training", [True, False])
def test_runs_without_dropout_and_gradients_and_restores_both(model, tokens, training):
    model.train(training)
    evaluate(model, tokens)
    assert {batch[2:] for batch in model.batches} == {(False, False)}
    assert model.training is training
    assert rt.is_grad_enabled()


def test_a_real_model_scores_the_same_in_windows_of_any_length():
    rt.manual_seed(3)
    model = nn.LanguageModel(V, "lstm", 6, num_layers=2, dtype="float64")
    tokens = np.random.default_rng(2).integers(0, V, 50)
    one, other = evaluate(model, tokens, num_steps=49), evaluate(model, tokens, num_steps=4)
    assert one.loss == pytest.approx(other.loss, rel=1e-12)
    assert evaluate(model, tokens, batch_size=3, num_steps=4).loss != one.loss


@pytest.mark.parametrize("carry_state", [True, False])
def test_sizes_beyond_the_stream_are_all_of_it(model, carry_state):
    tokens = np.array([1, 2, 0, 1])
    huge = evaluate(model, tokens, batch_size=2**63 - 1, num_steps=2**63 - 1, carry_state=carry_state)
    assert huge == evaluate(model, tokens, batch_size=3, num_steps=3, carry_state=carry_state)
    with pytest.raises(
        ValueError, match="num_steps: expected at most 9223372036854775807, got an integer of 1329"
    ):
        evaluate(model, tokens, num_steps=10**400)


def test_measures():
    score = Evaluation(math.log(8), 1234, True)
    assert score.perplexity == pytest.approx(8)
    assert score.bits_per_token == pytest.approx(3)
    assert Evaluation(1e4, 10, True).perplexity == math.inf
    assert score.describe("character") == (
        "perplexity 8.000, 2.0794 nats and 3.0000 bits per character "
        "(1,234 characters scored, state carried over the whole stream)"
    )
    assert "state carried over 4 rows" in Evaluation(1.0, 10, True, 4).describe()
    assert "fresh state at each of 4 windows" in Evaluation(1.0, 10, False, 4).describe()


@pytest.mark.parametrize(
    ("tokens", "options", "message"),
    [
        ([], {}, "expected at least 2, one to read and one to predict, got 0"),
        ([1], {}, "expected at least 2, one to read and one to predict, got 1"),
        ([1, 2], {"batch_size": 0}, "batch_size: expected at least 1, got 0"),
        ([1, 2], {"num_steps": 0}, "num_steps: expected at least 1, got 0"),
    ],
)
def test_mistakes(model, tokens, options, message):
    with pytest.raises(ValueError, match=message):
        evaluate(model, np.array(tokens, np.int64), **options)
