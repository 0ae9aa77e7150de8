"""Metrics of logits, and scikit-learn's."""

import math

import numpy as np
import pytest

from comparing import assert_close
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


LOGITS = np.array([[1.0, 2.0, 0.0], [3.0, 1.0, -1.0], [0.0, 0.0, 5.0]])
CLASSES = np.array([1, 0, -100])


@pytest.mark.parametrize(
    "kind", ["float16", "float32", "float64", "int32", "bool", "list", "tensor", "tensor of int"]
)
@pytest.mark.parametrize("target", ["int64", "int8", "list", "tensor"])
def test_both_metrics_take_the_same(kind, target):
    make = {
        "list": np.ndarray.tolist,
        "tensor": rt.tensor,
        "tensor of int": lambda a: rt.tensor(a.astype(np.int64)),
    }
    logits = make.get(kind, lambda a: a.astype(kind))(LOGITS)
    targets = make.get(target, lambda a: a.astype(target))(CLASSES)
    numbers = (LOGITS.astype(bool).astype(float) if kind == "bool" else LOGITS)[:2]
    nll = np.log(np.exp(numbers).sum(1)) - numbers[[0, 1], CLASSES[:2]]
    assert metrics.perplexity(logits, targets) == pytest.approx(np.exp(nll.mean()), rel=1e-6)
    assert metrics.accuracy(logits, targets) == (0.5 if kind == "bool" else 1.0)


def test_classes_of_unsigned_integers_can_be_ignored():
    classes = np.array([1, 0, 2**64 - 1], np.uint64)
    for function in (metrics.accuracy, metrics.perplexity):
        with pytest.raises(IndexError, match="target 18446744073709551615 is out of bounds"):
            function(LOGITS, classes)
        some = classes[:2].astype(np.uint8)
        assert function(LOGITS[:2], some, ignore_index=1) == function(LOGITS[1:2], [0])


def test_nan_has_no_rank_and_an_unknown_perplexity():
    logits = LOGITS.copy()
    logits[0, 1] = math.nan
    with pytest.raises(
        ValueError, match="accuracy expected logits of which one is the largest, but some are NaN"
    ):
        metrics.accuracy(logits, CLASSES)
    assert math.isnan(metrics.perplexity(logits, CLASSES))


@pytest.mark.parametrize("function", ["accuracy", "perplexity"])
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
def test_what_does_not_fit_is_refused(function, logits, targets, error, message):
    with pytest.raises(error, match=f"^{function}.*{message}"):
        getattr(metrics, function)(logits, targets)
    with pytest.raises(ValueError, match=f"^{function}: ignore_index: expected at most 9223372036854775807"):
        getattr(metrics, function)(logits, targets, ignore_index=2**63)


@pytest.fixture
def theirs():
    return pytest.importorskip("sklearn.metrics", reason="needs scikit-learn")


TRUE, PREDICTED, SCORES = [0, 1, 1, 0, 1], [0, 1, 0, 1, 1], [0.1, 0.9, 0.4, 0.5, 0.8]


@pytest.mark.parametrize("as_tensor", [False, True])
@pytest.mark.parametrize("name", [name for name in metrics.__all__ if name not in ("accuracy", "perplexity")])
def test_scikit_learns_functions_are_scikit_learns(theirs, name, as_tensor):
    other = SCORES if name.startswith("roc") else PREDICTED
    given = [rt.tensor(values) if as_tensor else values for values in (TRUE, other)]
    found, expected = (
        getattr(metrics, name)(*given),
        getattr(theirs, name)(TRUE, np.asarray(other, np.float64)),
    )
    if name == "classification_report":
        assert found == expected
    else:
        assert_close(found, expected, rtol=1e-6)
    assert getattr(metrics, name).__wrapped__ is getattr(theirs, name)
    assert name in dir(metrics)


def test_labels_may_be_strings_and_indicators_two_dimensional(theirs):
    words = ["cat", "dog", "dog"], ["cat", "cat", "dog"]
    assert metrics.f1_score(*words, pos_label="dog") == theirs.f1_score(*words, pos_label="dog")
    indicators = np.array([[1, 0], [1, 1]]), np.array([[1, 0], [0, 1]])
    assert metrics.f1_score(*indicators, average="macro") == theirs.f1_score(*indicators, average="macro")
    probabilities = np.array([[0.6, 0.3, 0.1], [0.2, 0.5, 0.3], [0.1, 0.2, 0.7]])
    assert metrics.roc_auc_score([0, 1, 2], probabilities, multi_class="ovr") == 1.0
    assert metrics.confusion_matrix(y_pred=[0, 1], y_true=[0, 1]).tolist() == [[1, 0], [0, 1]]


@pytest.mark.parametrize(
    ("name", "arguments", "options", "error", "message"),
    [
        ("f1_score", ([1, 0], [1, 1, 1]), {}, ValueError, "expected as many y_pred as y_true, got 3 and 2"),
        ("f1_score", ([], []), {}, ValueError, "expected at least one target, got none"),
        ("f1_score", (None, [1]), {}, TypeError, "expected y_true in an array, got NoneType"),
        ("confusion_matrix", ([1], 1), {}, TypeError, "expected y_pred in an array, got int"),
        (
            "recall_score",
            ([[1], [1, 2]], [1, 0]),
            {},
            TypeError,
            "expected y_true in an array, got rows of different",
        ),
        (
            "precision_score",
            ([1, 0], [1, math.nan]),
            {},
            ValueError,
            "expected y_pred without NaN and infinity",
        ),
        (
            "roc_auc_score",
            ([1, 0], [0.3, math.inf]),
            {},
            ValueError,
            "expected y_score without NaN and infinity",
        ),
        (
            "classification_report",
            ([1, 0], np.ones((2, 3))),
            {},
            ValueError,
            r"got \(2,\) and \(2, 3\); of logits .* logits.argmax\(1\)",
        ),
        (
            "f1_score",
            ([1, 0], [0.3, 0.7]),
            {},
            ValueError,
            "expected labels in y_pred, got 0.3; compare scores with a",
        ),
        (
            "confusion_matrix",
            ([1, 0], ["a", "b"]),
            {},
            TypeError,
            "expected labels of one kind, got int64 and <U1",
        ),
        (
            "f1_score",
            ([0, 1, 2], [0, 1, 1]),
            {},
            ValueError,
            "there are 3 classes; give average='macro', 'micro'",
        ),
        ("roc_curve", ([0, 1, 2], [0.1, 0.2, 0.3]), {}, ValueError, "expected y_true of two classes, got 3"),
        ("roc_auc_score", ([0, 1, 2], [0.1, 0.2, 0.3]), {}, ValueError, r"give y_score of shape \(N, 3\)"),
        ("f1_score", ([0, 1],), {}, TypeError, "missing a required argument: 'y_pred'"),
        ("f1_score", ([0, 1], [0, 1]), {"speed": 1}, TypeError, "got an unexpected keyword argument 'speed'"),
        ("f1_score", ([0, 1], [0, 1]), {"average": "mean"}, ValueError, "The 'average' parameter"),
    ],
)
def test_scikit_learns_functions_refuse_in_our_words(theirs, name, arguments, options, error, message):
    with pytest.raises(error, match=f"^{name}: .*{message}"):
        getattr(metrics, name)(*arguments, **options)


def test_an_unknown_name_is_no_attribute():
    with pytest.raises(AttributeError, match=r"'rondeau.train.metrics' has no attribute 'f2'"):
        metrics.f2  # noqa: B018
