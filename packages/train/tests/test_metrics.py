"""Metrics of logits, and scikit-learn's."""

import math

import numpy as np
import pytest

from rondeau import tensor as rt
from rondeau.train import metrics


def test_accuracy_counts_the_rows_that_count():
    logits = rt.tensor([[2.0, 0.0, 1.0], [0.0, 1.0, 2.0], [3.0, 0.0, 1.0], [0.0, 9.0, 1.0]])
    assert metrics.accuracy(logits, rt.tensor([0, 1, 0, 1])) == 0.75
    assert metrics.accuracy(logits.numpy(), np.array([0, 1, -100, -100])) == 0.5
    assert metrics.accuracy(logits, rt.tensor([0, 1, 5, 5]), ignore_index=5) == 0.5
    assert math.isnan(metrics.accuracy(logits, np.full(4, -100)))
    assert metrics.accuracy(logits.requires_grad_(), rt.tensor([0, 1, 0, 1])) == 0.75
    with pytest.raises(TypeError, match="ignore_index: expected an integer, got str"):
        metrics.accuracy(logits, rt.tensor([0, 1, 0, 1]), ignore_index="none")


def test_perplexity_is_the_exponential_of_the_mean_nll():
    probabilities = np.array([[0.5, 0.25, 0.25], [0.1, 0.8, 0.1]])
    logits = rt.tensor(np.log(probabilities), requires_grad=True)
    assert metrics.perplexity(logits, rt.tensor([0, 1])) == pytest.approx(1 / math.sqrt(0.5 * 0.8))
    assert metrics.perplexity(logits, rt.tensor([0, -100])) == pytest.approx(2.0)
    assert metrics.perplexity(rt.tensor([[0.0, 1e5]]), rt.tensor([0])) == math.inf


@pytest.mark.parametrize(
    ("logits", "targets", "error", "message"),
    [
        (np.ones(3), np.array([0]), ValueError, r"expected logits \(N, C\) and targets \(N,\), got shapes"),
        (np.ones((3, 2)), np.array([0, 1]), ValueError, r"got shapes \(3, 2\) and \(2,\)"),
        (np.ones((1, 2)), np.array([0.5]), TypeError, "targets of an integer dtype, got float64"),
        (np.ones((1, 0)), np.array([0]), ValueError, r"got shapes \(1, 0\) and \(1,\)"),
        (np.ones((1, 2)), np.array([2]), IndexError, "target 2 is out of bounds: the 2 columns"),
        (np.ones((1, 2)), np.array([-1]), IndexError, "target -1 is out of bounds"),
        (np.array([["a", "b"]]), np.array([0]), TypeError, "logits that are numbers, got <U1"),
        ([[1.0], [2.0, 3.0]], np.array([0, 0]), TypeError, "logits in an array, got rows of different"),
    ],
)
def test_what_does_not_fit_is_refused(logits, targets, error, message):
    with pytest.raises(error, match=message):
        metrics.accuracy(logits, targets)


def test_scikit_learns_functions_are_scikit_learns():
    theirs = pytest.importorskip("sklearn.metrics", reason="needs scikit-learn")
    assert metrics.confusion_matrix is theirs.confusion_matrix
    assert metrics.f1_score([0, 1, 1], [0, 1, 0]) == pytest.approx(2 / 3)
    assert set(metrics.__all__) <= set(dir(metrics))


def test_an_unknown_name_is_no_attribute():
    with pytest.raises(AttributeError, match=r"'rondeau.train.metrics' has no attribute 'f2'"):
        metrics.f2  # noqa: B018
