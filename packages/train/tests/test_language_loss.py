"""Who computes the loss of a language model: the model itself, or the task from its logits, with the same result."""

import numpy as np
import pytest

from comparing import assert_close, assert_same_bits
from rondeau import nn, train
from rondeau import tensor as rt
from rondeau.kernels.ops import linear_cross_entropy

V = 11
BATCH = tuple(np.random.default_rng(0).integers(0, V, (2, 3, 5)))


class OfLogits(nn.LanguageModel):
    """A subclass whose forward knows of no targets."""

    def forward(self, ids, state=None):
        return super().forward(ids, state)


def made(kind=nn.LanguageModel):
    rt.manual_seed(0)
    return kind(V, "gru", hidden_size=4)


@pytest.mark.parametrize("is_blocked", [False, True])
def test_both_are_the_same(monkeypatch, is_blocked):
    monkeypatch.setattr(linear_cross_entropy, "is_blocked", lambda *sizes: is_blocked)
    task, results = train.LanguageModelling(), []
    for model in (made(), made(OfLogits)):
        loss, weight, state = task.loss(model, BATCH, None)
        loss.backward()
        assert weight == BATCH[0].size
        evaluation = train.evaluate(model, BATCH[0].ravel(), batch_size=2, num_steps=3)
        results.append([loss, state, np.float64(evaluation.loss), *(p.grad for p in model.parameters())])
    for ours, expected in zip(*results, strict=True):
        assert_close(ours, expected, rtol=1e-5, atol=1e-7)


def test_a_hook_of_the_model_is_shown_logits():
    model, shown = made(), []
    expected, _, _ = train.LanguageModelling().loss(model, BATCH, None)
    model.register_forward_hook(lambda module, given, output: shown.append(output[0].shape))
    assert_same_bits(train.LanguageModelling().loss(model, BATCH, None)[0], expected)
    assert shown == [(15, V)]


@pytest.mark.parametrize("carry_state", [False, True])
def test_batches_count_by_the_targets_that_count(carry_state):
    """However they are cut; where nothing counts in a part of a batch, its state is carried all the same."""
    rng = np.random.default_rng(1)
    inputs, targets = rng.integers(0, V, (2, 6, 9))
    targets[:3, 1:] = -100
    targets[0] = -100

    def trained(columns=1, **options):
        rt.manual_seed(0)
        model = nn.LanguageModel(V, "gru", hidden_size=4, dtype="float64")
        parts = [(i, t) for i, t in zip(*(np.split(a, columns, 1) for a in (inputs, targets)), strict=True)]
        options |= {"task": train.LanguageModelling(carry_state), "max_epochs": 3}
        trainer = train.Trainer(model, train.optim.SGD(model.parameters(), lr=0.5), parts, **options)
        trainer.fit()
        return [*model.parameters(), np.float64(trainer.num_seen)]

    whole = trained()
    assert whole[-1] == 3 * (2 + 3 * 9)
    for ours, expected in zip(trained(shards=6), whole, strict=True):
        assert_close(ours, expected, rtol=1e-11, atol=1e-14)
    for ours, expected in zip(trained(3, shards=6), trained(3), strict=True):
        assert_close(ours, expected, rtol=1e-11, atol=1e-14)
    for ours, expected in zip(trained(3, shards=4, accumulate=2), trained(3, accumulate=2), strict=True):
        assert_close(ours, expected, rtol=1e-11, atol=1e-14)
