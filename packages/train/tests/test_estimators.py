"""The scikit-learn estimators: scikit-learn's own checks, and sequences with lengths."""

import copy
import pickle

import numpy as np
import pytest

from comparing import assert_same_bits

sklearn = pytest.importorskip("sklearn", reason="needs scikit-learn")
sklearn_checks = pytest.importorskip("sklearn.utils.estimator_checks", reason="needs scikit-learn")

from sklearn.base import clone  # noqa: E402
from sklearn.model_selection import GridSearchCV, train_test_split  # noqa: E402

from rondeau import nn  # noqa: E402
from rondeau import tensor as rt  # noqa: E402
from rondeau.train import DivergedError  # noqa: E402
from rondeau.train.estimators import (  # noqa: E402
    RecurrentClassifier,
    RecurrentForecaster,
    RecurrentRegressor,
    RecurrentTagger,
)


@pytest.mark.filterwarnings("ignore:y has one dimension", "ignore:a series has")
@sklearn_checks.parametrize_with_checks(
    [
        RecurrentClassifier(hidden_size=8, epochs=12, lr=0.05),
        RecurrentRegressor(hidden_size=8, epochs=20, lr=0.03),
        RecurrentTagger(hidden_size=8, epochs=4),
        RecurrentForecaster(hidden_size=8, epochs=4),
    ]
)
def test_scikit_learns_checks(estimator, check):
    check(estimator)


def weights(model):
    return list(model.model_.parameters())


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


@pytest.mark.parametrize(
    ("estimator", "y"),
    [
        (RecurrentClassifier, [0, 1] * 10),
        (RecurrentRegressor, [0, 1] * 10),
        (RecurrentTagger, [[0] * 7, [1] * 7] * 10),
        (RecurrentForecaster, None),
    ],
)
def test_the_random_state_decides_and_the_librarys_generator_stays_as_it_was(estimator, y):
    X, _, _ = last_valid(np.random.default_rng(0), 20)
    rt.manual_seed(3)
    wanted = rt.rand(2).tolist()
    rt.manual_seed(3)
    model = estimator(hidden_size=4, epochs=1, random_state=0, **{"window": 5} if y is None else {})
    first = clone(model).fit(X, y).partial_fit(X, y)
    assert rt.rand(2).tolist() == wanted
    assert_same_bits(weights(clone(model).fit(X, y).partial_fit(X, y)), weights(first))
    assert clone(model).set_params(random_state=1).fit(X, y).loss_curve_ != first.loss_curve_[:1]


def test_a_noisy_cell_predicts_the_same_each_time():
    X, y, _ = last_valid(np.random.default_rng(0), 20)
    model = RecurrentRegressor(cell="ctrnn", hidden_size=4, epochs=1, random_state=0).fit(X, y)
    before = rt.default_generator().get_state()
    assert_same_bits(model.predict(X), model.predict(X))
    assert rt.default_generator().get_state() == before


def test_a_constant_target_is_predicted_as_it_is():
    X = np.random.default_rng(0).normal(size=(20, 4))
    y = np.stack([np.full(20, 1e-3), X[:, 0]], axis=1)
    model = RecurrentRegressor(hidden_size=4, epochs=1, random_state=0).fit(X, y)
    assert_same_bits(model.predict(X)[:, 0], y[:, 0])


@pytest.mark.parametrize(
    ("options", "fit", "message"),
    [
        ({"cell": "gruu"}, {}, "cell expected one of"),
        (
            {"cell": "gru_d"},
            {},
            "cell expected one that reads X alone, got gru_d, which needs its inputs elapsed",
        ),
        ({"epochs": 0}, {}, "epochs: expected at least 1, got 0"),
        ({}, {"lengths": [1, 2]}, "lengths expected 20 integers, got int64 of shape"),
        ({"max_norm": -1}, {}, "max_norm: expected a number > 0, got -1"),
        ({"max_norm": float("nan")}, {}, "max_norm: expected a number > 0"),
        ({"tol": -1}, {}, "tol: expected a finite number >= 0, got -1"),
        ({"validation_fraction": 1.0}, {}, r"validation_fraction: expected a number in \(0, 1\), got 1.0"),
        ({"n_iter_no_change": 0}, {}, "n_iter_no_change: expected at least 1, got 0"),
        ({"class_weight": "even"}, {}, "class_weight"),
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


@pytest.mark.parametrize("kind", [list, tuple, lambda rows: np.array(rows, object)])
@pytest.mark.parametrize("estimator", [RecurrentClassifier, RecurrentRegressor])
def test_a_list_of_sequences_is_a_padded_array_with_lengths(estimator, kind):
    X, lengths, y = last_valid(np.random.default_rng(0), 40)
    rows = kind([row[:length] for row, length in zip(X, lengths, strict=True)])
    model = estimator(hidden_size=4, epochs=2, random_state=0)
    padded = clone(model).fit(X[:, :, None], y, lengths=lengths)
    ragged = model.fit(rows, y)
    assert ragged.loss_curve_ == padded.loss_curve_
    longer = np.pad(X, ((0, 0), (0, 3)), constant_values=9.0)[:, :, None]
    assert_same_bits(weights(clone(model).fit(longer, y, lengths=lengths)), weights(ragged))
    assert ragged.n_features_in_ == 1
    assert_same_bits(ragged.predict(rows), padded.predict(X[:, :, None], lengths=lengths))
    assert_same_bits(ragged.predict(X, lengths=lengths), ragged.predict(rows))
    assert ragged.score(rows, y) == padded.score(X[:, :, None], y, lengths=lengths)


def test_sequences_of_a_list_may_have_features_and_be_searched():
    rng = np.random.default_rng(0)
    rows = [rng.normal(size=(T, 2)) for T in rng.integers(1, 6, 60)]
    y = [int(row[-1, 1] > 0) for row in rows]
    search = GridSearchCV(RecurrentClassifier(epochs=25, random_state=0), {"hidden_size": [16]}, cv=2).fit(
        rows, y
    )
    assert search.best_estimator_.score(rows, y) > 0.95


@pytest.mark.parametrize(
    ("X", "message"),
    [
        (
            ["one", "three"],
            "X: expected sequences of numbers, got strings, such as 'one'; turn each into an array",
        ),
        (np.array(["one", "three"]), "X: expected sequences of numbers, got strings, such as 'one'"),
        (["one", "two"], "got strings, such as 'one'"),
        ([["a", "b"], ["c"]], "got strings, such as 'a'"),
        ([[1.0, 2.0], ["c"]], "got strings, such as 'c'"),
        ([[1.0, 2.0], []], r"X\[1\]: expected a sequence \(T,\) or \(T, I\), T and I at least 1"),
        ([[1.0, np.nan], [1.0]], r"X\[0\]: expected finite numbers, got NaN or infinity"),
        ([[1.0, 2.0], [1j]], r"X\[1\]: expected real numbers, got complex128"),
        ([[[1.0], [2.0]], [[1.0, 2.0]]], r"X\[1\]: expected 1 features a step, as X\[0\] has, got 2"),
        ([[[1.0], [2.0, 3.0]], [[1.0]]], r"X\[0\]: expected numbers \(T,\) or \(T, I\), got a ragged list"),
    ],
)
def test_lists_that_are_no_sequences(X, message):
    with pytest.raises(ValueError, match=message):
        RecurrentClassifier(epochs=1).fit(X, [0, 1])


def test_a_list_has_lengths_of_its_own_and_a_target_for_each_sequence():
    rows = [[1.0, 2.0], [1.0]]
    with pytest.raises(ValueError, match="lengths: X is a list of sequences, which have their own"):
        RecurrentClassifier(epochs=1).fit(rows, [0, 1], lengths=[1, 1])
    with pytest.raises(ValueError, match="y: expected a target for each of 2 sequences, got 3"):
        RecurrentRegressor(epochs=1).fit(rows, [0, 1, 2])


# Fits that go on.


def small(n=40, classes=2):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n, 5))
    return X, np.array(["a", "b", "c"])[(np.argsort(np.argsort(X[:, -1])) * classes) // n]


def test_as_many_partial_fits_as_epochs_are_a_fit():
    X, y = small()
    fitted = RecurrentClassifier(hidden_size=4, epochs=3, batch_size=16, random_state=5).fit(X, y)
    stepped = RecurrentClassifier(hidden_size=4, batch_size=16, random_state=5).partial_fit(X, y, ["b", "a"])
    stepped = pickle.loads(pickle.dumps(stepped)).partial_fit(X, y)
    stepped = copy.deepcopy(stepped).partial_fit(X, y)
    assert_same_bits(weights(stepped), weights(fitted))
    assert stepped.loss_curve_ == fitted.loss_curve_
    assert (fitted.n_iter_, stepped.n_iter_) == (3, 1)


def test_partial_fits_may_lack_classes_and_standardise_as_the_first():
    X, y = small()
    model = RecurrentClassifier(hidden_size=4, random_state=0).partial_fit(
        X[y == "a"], y[y == "a"], ["a", "b"]
    )
    assert model.partial_fit(X, y).classes_.tolist() == ["a", "b"]
    regressor = RecurrentRegressor(hidden_size=4, random_state=0)
    regressor.partial_fit(X, X[:, 0]).partial_fit(X + 5, X[:, 0] + 100)
    assert abs(regressor.predict(X)).max() < 50  # in the units of the first call
    with pytest.raises(ValueError, match=r"y: expected shape \('n',\), as in the first fit, got \(40, 2\)"):
        regressor.partial_fit(X, X[:, :2])


def test_a_warm_start_goes_on_from_the_weights():
    X, y = small()
    model = RecurrentClassifier(hidden_size=4, epochs=4, random_state=0, warm_start=True).fit(X, y)
    before = model.loss_curve_[-1]
    assert len(model.fit(X, y).loss_curve_) == 8
    assert model.loss_curve_[4] < before + 0.01
    anew = model.set_params(warm_start=False).fit(X, y)
    assert (
        anew.loss_curve_ == RecurrentClassifier(hidden_size=4, epochs=4, random_state=0).fit(X, y).loss_curve_
    )


@pytest.mark.parametrize("estimator", [RecurrentRegressor, RecurrentTagger, RecurrentForecaster])
def test_a_fit_goes_on_with_sequences_of_other_lengths(estimator):
    rng = np.random.default_rng(0)
    model = estimator(hidden_size=4, **{"window": 2} if estimator is RecurrentForecaster else {})

    def go_on(T, width):
        X = rng.normal(size=(10, T, width))
        y = (X[:, :, 0] > 0).astype(int)
        model.partial_fit(X, y[:, 0] if estimator is RecurrentRegressor else y)

    go_on(3, 2)
    go_on(7, 2)
    with pytest.raises(
        ValueError, match=r"expected (2 features a step|series of 2 variables), as in fit, got 3"
    ):
        go_on(7, 3)


def test_a_rate_may_be_changed_between_partial_fits():
    X, _ = small()
    model = RecurrentRegressor(hidden_size=4, random_state=0).partial_fit(X, X[:, 0])
    before = copy.deepcopy(weights(model))
    model.set_params(lr=1e-30).partial_fit(X, X[:, 0])
    assert_same_bits(weights(model), before)


def test_what_cannot_go_on():
    X, y = small()
    model = RecurrentClassifier(hidden_size=4, epochs=1, random_state=0, warm_start=True).fit(X, y)
    with pytest.raises(ValueError, match="y: expected classes of the first fit, 'a', 'b', got 'c' too"):
        model.fit(X, np.where(X[:, 0] > 0, "a", "c"))
    with pytest.raises(ValueError, match="X has 4 features, but RecurrentClassifier is expecting 5"):
        model.fit(X[:, 1:], y)
    with pytest.raises(ValueError, match="hidden_size is 5, and the weights were made with 4"):
        model.set_params(hidden_size=5).fit(X, y)
    fresh = RecurrentClassifier(hidden_size=4)
    with pytest.raises(ValueError, match="classes: the first call of partial_fit needs all the classes"):
        fresh.partial_fit(X, y)
    fresh.partial_fit(X, y, ["a", "b"])
    with pytest.raises(ValueError, match="classes: expected those of the first call, or none"):
        fresh.partial_fit(X, y, ["a", "b", "c"])
    with pytest.raises(ValueError, match="partial_fit makes one pass"):
        RecurrentRegressor(early_stopping=True).partial_fit(X, X[:, 0])
    with pytest.raises(ValueError, match="class_weight 'balanced' needs all of y"):
        RecurrentClassifier(class_weight="balanced").partial_fit(X, y, ["a", "b"])


# Early stopping.


def test_early_stopping_keeps_the_weights_of_the_best_epoch(capsys):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 5))
    y = X[:, 0] + 2 * rng.normal(size=60)  # much noise: what it learns is soon by heart
    options = {"hidden_size": 8, "random_state": 0, "validation_fraction": 0.3}
    model = RecurrentRegressor(
        epochs=200, early_stopping=True, n_iter_no_change=3, verbose=True, **options
    ).fit(X, y)
    best = int(np.argmax(model.validation_scores_))
    assert model.n_iter_ == len(model.validation_scores_) == len(model.loss_curve_) < 200
    assert model.n_iter_ > best + 1
    assert model.best_validation_score_ == max(model.validation_scores_)
    until_best = RecurrentRegressor(
        epochs=best + 1, early_stopping=True, n_iter_no_change=200, **options
    ).fit(X, y)
    assert_same_bits(weights(until_best), weights(model))
    lines = capsys.readouterr().out.splitlines()
    first = model.loss_curve_[0], model.validation_scores_[0]
    assert lines[0] == f"epoch 1/200  loss {first[0]:.4f}  validation score {first[1]:.4f}"
    assert lines[-1] == "stopped: the validation score has not improved by 0.0001 for 4 epochs"


def test_the_score_of_validation_is_that_of_predictions_on_a_stratified_part():
    X, y = small(90, classes=3)
    model = RecurrentClassifier(
        hidden_size=4, epochs=1, early_stopping=True, validation_fraction=0.4, random_state=0
    )
    model.fit(X, y)
    orders = np.random.RandomState(0)
    orders.randint(2**31)  # the seed of the weights comes first
    _, held_out = train_test_split(np.arange(90), test_size=0.4, random_state=orders, stratify=y)
    assert [(y[held_out] == c).sum() for c in "abc"] == [12, 12, 12]
    assert model.validation_scores_ == [pytest.approx(model.score(X[held_out], y[held_out]))]


def test_a_loss_that_improves_no_more_ends_a_fit(capsys):
    X, y = small()
    model = RecurrentClassifier(hidden_size=4, epochs=50, n_iter_no_change=2, tol=10.0, random_state=0).fit(
        X, y
    )
    assert model.n_iter_ == 4  # the first is better than none, and the three after are more than two
    assert model.validation_scores_ is None
    assert capsys.readouterr().out == ""


def test_too_few_samples_to_validate():
    X, _ = small(10)
    with pytest.raises(ValueError, match=r"have only 1 member.*'a'"):
        RecurrentClassifier(early_stopping=True).fit(X, ["a"] + ["b"] * 9)
    model = RecurrentRegressor(early_stopping=True)
    with pytest.raises(ValueError, match=r"validation_fraction 0\.1 of 10 samples is 1, and a score needs 2"):
        model.fit(X, X[:, 0])
    assert not hasattr(model, "model_")


# Class weights.


def test_class_weights_scale_the_loss_of_each_sample():
    X, _ = small(24)
    y = np.arange(24) % 4 == 0
    model = RecurrentClassifier(hidden_size=4, epochs=1, batch_size=24, random_state=0, max_norm=np.inf)
    models = [
        clone(model).set_params(class_weight=w).fit(X, y)
        for w in (None, "balanced", {True: 2.0}, {False: 2 / 3, True: 2})
    ]
    plain, balanced, by_dict, same = (m.loss_curve_[0] for m in models)
    assert balanced == pytest.approx(same)  # 24 / (2 * 18), 24 / (2 * 6)
    false_part = (balanced - by_dict) / (2 / 3 - 1)  # of the mean
    assert plain == pytest.approx(false_part + (by_dict - false_part) / 2)


def test_balanced_weights_find_a_rare_class():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 4))
    y = np.where(rng.random(200) < 0.1, X[:, -1] > -1, 0).astype(int)
    recall = [
        RecurrentClassifier(hidden_size=8, epochs=5, random_state=0, class_weight=w)
        .fit(X, y)
        .predict(X)[y == 1]
        .mean()
        for w in (None, "balanced")
    ]
    assert recall[0] < 0.2
    assert recall[1] > 0.6


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
    what = r"(the loss|the norm of the gradients|the weight [\w.]+) became (nan|-?inf) at step \d+"
    with pytest.raises(DivergedError, match=what + r".*: here lr, which is 1e\+25, and max_norm, inf"):
        kind(cell="rnn_relu", hidden_size=8, epochs=5, lr=1e25, max_norm=np.inf).fit(X, np.arange(20) % 2)
