"""The scikit-learn estimators: scikit-learn's own checks, and sequences with lengths."""

import numpy as np
import pytest

sklearn = pytest.importorskip("sklearn", reason="needs scikit-learn")
sklearn_checks = pytest.importorskip("sklearn.utils.estimator_checks", reason="needs scikit-learn")

from sklearn.model_selection import GridSearchCV  # noqa: E402

from rondeau import nn  # noqa: E402
from rondeau import tensor as rt  # noqa: E402
from rondeau.train import DivergedError  # noqa: E402
from rondeau.train.estimators import RecurrentClassifier, RecurrentRegressor  # noqa: E402


@sklearn_checks.parametrize_with_checks(
    [RecurrentClassifier(hidden_size=8, epochs=40), RecurrentRegressor(hidden_size=8, epochs=40)]
)
def test_scikit_learns_checks(estimator, check):
    check(estimator)


def last_valid(rng, n=240, T=7):
    """Sequences of which only the element at their end decides."""
    X, lengths = rng.choice([-1.0, 1.0], (n, T)), rng.integers(1, T + 1, n)
    return X, lengths, X[np.arange(n), lengths - 1]


@pytest.mark.parametrize("bidirectional", [False, True])
def test_lengths_say_where_a_sequence_ends(bidirectional):
    X, lengths, y = last_valid(np.random.default_rng(0))
    model = RecurrentClassifier("lstm", 16, bidirectional=bidirectional, epochs=25, random_state=0)
    model.fit(X[:200], y[:200], lengths=lengths[:200])
    assert model.score(X[200:], y[200:]) < 0.9  # it reads past the end
    assert (model.predict(X[200:], lengths=lengths[200:]) == y[200:]).all()
    changed = X[200:].copy()
    changed[np.arange(7) >= lengths[200:, None]] = 9.0
    wanted = model.predict_proba(X[200:], lengths=lengths[200:])
    assert (model.predict_proba(changed, lengths=lengths[200:]) == wanted).all()


@pytest.mark.parametrize("estimator", [RecurrentClassifier, RecurrentRegressor])
def test_a_score_and_a_search_take_lengths(estimator):
    X, lengths, y = last_valid(np.random.default_rng(0))
    model = estimator("lstm", 16, epochs=25, random_state=0).fit(X[:200], y[:200], lengths=lengths[:200])
    assert model.score(X[200:], y[200:]) < 0.9
    assert model.score(X[200:], y[200:], lengths=lengths[200:]) > 0.99
    with sklearn.config_context(enable_metadata_routing=True):
        model.set_fit_request(lengths=True).set_score_request(lengths=True)
        search = GridSearchCV(model, {"epochs": [25]}, cv=2).fit(X, y, lengths=lengths)
    assert search.best_score_ > 0.9


def test_a_cell_of_ones_own_and_several_features_and_targets():
    @nn.recurrent_cell(gates=("h",), states=("h",))
    def mean_cell(x, r, s):
        return 0.9 * s.h + 0.1 * (x.h + r.h)

    rng = np.random.default_rng(1)
    X = rng.normal(size=(200, 5, 3))
    y = np.stack([X[:, :, 0].sum(1), 100 + 10 * X[:, -1, 2]], axis=1)
    model = RecurrentRegressor(mean_cell, 16, epochs=60, random_state=0).fit(X[:160], y[:160])
    assert model.predict(X[160:]).shape == (40, 2)
    assert model.score(X[160:], y[160:]) > 0.9
    assert model.loss_curve_[-1] < 0.1 * model.loss_curve_[0]


def test_a_fit_leaves_the_librarys_generator_as_it_was():
    X, _, y = last_valid(np.random.default_rng(0), 20)
    rt.manual_seed(3)
    wanted = rt.rand(2).tolist()
    rt.manual_seed(3)
    RecurrentClassifier(epochs=1, random_state=0).fit(X, y)
    assert rt.rand(2).tolist() == wanted


@pytest.mark.parametrize(
    ("options", "fit", "message"),
    [
        ({"cell": "gruu"}, {}, "cell expected one of"),
        ({"epochs": 0}, {}, "epochs: expected at least 1, got 0"),
        ({}, {"lengths": [1, 2]}, "lengths expected 20 integers, got int64 of shape"),
        ({"max_norm": -1}, {}, "max_norm: expected a number > 0, got -1"),
        ({"max_norm": float("nan")}, {}, "max_norm: expected a number > 0"),
    ],
)
def test_what_is_refused(options, fit, message):
    X, _, y = last_valid(np.random.default_rng(0), 20)
    with pytest.raises(ValueError, match=message):
        RecurrentClassifier(**options).fit(X, y, **fit)


def test_numbers_of_samples_are_integers():
    X, _, y = last_valid(np.random.default_rng(0), 20)
    with pytest.raises(TypeError, match=r"batch_size: expected an integer, got float: 2\.5"):
        RecurrentClassifier(batch_size=2.5).fit(X, y)


def test_other_widths_than_in_fit_are_refused():
    X = np.ones((20, 4, 2))
    model = RecurrentRegressor(epochs=1).fit(X, X.sum((1, 2)))
    with pytest.raises(ValueError, match="X expected 2 features a step, as in fit, got 3"):
        model.predict(np.ones((5, 4, 3)))


def test_three_dimensions_may_have_other_steps_in_predict():
    X = np.random.default_rng(0).normal(size=(20, 4, 2))
    model = RecurrentRegressor(epochs=1, random_state=0).fit(X, X.sum((1, 2)))
    assert model.n_features_in_ == 2
    longer = np.concatenate([X, np.full((20, 3, 2), 9.0)], axis=1)
    assert (model.predict(longer, lengths=[4] * 20) == model.predict(X)).all()
    with pytest.raises(ValueError, match=r"X expected sequences .* got an array of shape \(2,\)"):
        model.predict(np.ones(2))


@pytest.mark.parametrize("kind", [list, lambda rows: np.array(rows, object)])
def test_sequences_of_different_lengths_are_to_be_padded(kind):
    with pytest.raises(
        ValueError, match="X has sequences of 1 to 3 steps: pad them to one length, and give lengths="
    ):
        RecurrentClassifier().fit(kind([[1.0, 2.0, 3.0], [1.0]]), [0, 1])


@pytest.mark.parametrize("lengths", [[1.0] * 20, [True] * 20, [[1], [1, 2]], "all"])
def test_lengths_that_are_no_integers(lengths):
    X, _, y = last_valid(np.random.default_rng(0), 20)
    with pytest.raises(TypeError, match="lengths expected 20 integers"):
        RecurrentClassifier(epochs=1).fit(X, y, lengths=lengths)


def test_what_float32_cannot_hold():
    X, _, y = last_valid(np.random.default_rng(0), 20)
    with pytest.raises(ValueError, match=r"X has values too large for float32, up to 1e\+300; scale them"):
        RecurrentClassifier(epochs=1).fit(X * 1e300, y)
    with pytest.raises(
        ValueError, match=r"y has values too large to be standardised, up to 1e\+300; scale them"
    ):
        RecurrentRegressor(epochs=1).fit(X, y * 1e300)


@pytest.mark.parametrize("kind", [RecurrentClassifier, RecurrentRegressor])
def test_training_that_diverges_is_an_error(kind):
    X = np.random.default_rng(0).normal(size=(20, 4)).astype(np.float32)
    with pytest.raises(
        DivergedError, match=r"(the loss|the weight [\w.]+) became (nan|-?inf) in epoch \d+, with lear"
    ):
        kind(cell="rnn_relu", hidden_size=8, epochs=5, lr=1e25, max_norm=np.inf).fit(X, np.arange(20) % 2)
