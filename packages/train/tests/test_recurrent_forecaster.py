"""`RecurrentForecaster`: what its windows hold, its forecasts, covariates and quantiles."""

import copy
import pickle
from dataclasses import replace

import numpy as np
import pytest

from comparing import assert_close, assert_same_bits

pytest.importorskip("sklearn", reason="needs scikit-learn")

from sklearn.base import clone
from sklearn.metrics import r2_score
from sklearn.model_selection import GridSearchCV

from rondeau.train.estimators import RecurrentForecaster
from rondeau.train.estimators._windows import Windows


def weights(model):
    return list(model.model_.parameters())


def waves(lengths, D=None, seed=0):
    rng = np.random.default_rng(seed)
    series = [np.sin(np.arange(T)[:, None] / 3 + rng.uniform(0, 6, D or 1)) for T in lengths]
    return series if D else [values[:, 0] for values in series]


def small(**options):
    return RecurrentForecaster(
        **{"horizon": 2, "window": 6, "hidden_size": 4, "epochs": 2, "random_state": 0} | options
    )


@pytest.mark.parametrize("K", [0, 2])
def test_windows_hold_the_steps_before_and_after_every_origin(K):
    rng = np.random.default_rng(0)
    series = [rng.normal(5, 3, (T, 2)) for T in (9, 4, 7)]  # the second is shorter than window + horizon
    known = [rng.normal(-2, 4, (len(values), K)) for values in series]
    W, h = 4, 2
    wanted = []
    for values, covariates in zip(series, known, strict=True):
        T = len(values)
        for origin in range(W if W + h <= T else 1, T - h + 1):
            seen = slice(max(0, origin - W), origin)
            wanted.append(
                (values[seen], covariates[seen], values[origin : origin + h], covariates[origin : origin + h])
            )
    windows = Windows.within(series, known, W, h)
    assert len(windows) == len(wanted) == 4 + 2 + 2
    changes = np.array([after - before[-1] for before, _, after, _ in wanted])
    every, every_known = np.concatenate(series), np.concatenate(known)
    batch = replace(windows, scales=windows.standard()).batch(np.arange(8))
    assert batch["lengths"].tolist() == [len(before) for before, *_ in wanted]
    for i, (before, past, _, future) in enumerate(wanted):
        row = batch["inputs"][i, : len(before)]
        assert_close(row[:, :2], (before - every.mean(0)) / every.std(0), rtol=1e-5, atol=1e-6)
        assert_close(row[:, 2:], (past - every_known.mean(0)) / every_known.std(0), rtol=1e-5, atol=1e-6)
        if K:
            standardised = (future - every_known.mean(0)) / every_known.std(0)
            assert_close(batch["covariates"][i], standardised, rtol=1e-5, atol=1e-6)
    assert_close(batch["targets"], (changes - changes.mean(0)) / changes.std(0), rtol=1e-5, atol=1e-6)
    full = replace(windows, scales=windows.standard()).batch(np.array([0, 1, 7]))
    assert full["lengths"] is None
    assert ("covariates" in full) == bool(K)


def test_what_validates_is_the_end_of_each_series_and_is_never_trained_on():
    windows = Windows.within(waves([30, 20], 1), [np.zeros((30, 0)), np.zeros((20, 0))], 5, 3)
    train, validation = windows.split(0.25)
    targets = [{(o + k) for o in windows.origins[rows] for k in range(3)} for rows in (train, validation)]
    assert not targets[0] & targets[1]
    assert [(windows.series[validation] == number).sum() for number in (0, 1)] == [6, 4]
    for number in (0, 1):
        origins = [windows.origins[rows[windows.series[rows] == number]] for rows in (train, validation)]
        assert origins[0].max() + 3 == origins[1].min()


def test_a_wave_is_forecast_beyond_its_end():
    wave = np.sin(np.arange(300) / 3)
    model = RecurrentForecaster(6, 20, hidden_size=16, epochs=15, random_state=0).fit([wave[:250]])
    assert_close(model.predict(), wave[None, 250:256], rtol=0, atol=0.1)
    assert model.score([wave[230:]]) > 0.99
    assert_same_bits(model.predict([wave[:250]]), model.predict())
    assert_same_bits(
        model.predict([wave[:250], wave[:270]])[1:], model.predict([wave[250:270]])
    )  # the last 20 count


def test_forecasts_follow_the_level_and_the_unit_of_the_series():
    X = waves([40, 30])
    moved = [1e6 + 1e3 * values for values in X]
    expected, found = small().fit(X).predict(), small().fit(moved).predict()
    assert_close(found, 1e6 + 1e3 * expected, rtol=0, atol=0.05)


def test_what_always_changes_alike_goes_on_so():
    line, constant = 5 + 0.5 * np.arange(30), np.full(30, 1e-3)
    model = small(epochs=1).fit([np.stack([line, constant], axis=1)])
    assert_close(model.predict()[0], [[20.0, 1e-3], [20.5, 1e-3]], rtol=1e-12, atol=0)


def test_lists_and_arrays_of_series_are_the_same():
    X = waves([20, 20, 20])
    in_list = small().fit(X)
    for form in (np.array(X), np.array(X)[:, :, None], [values[:, None] for values in X]):
        model = small().fit(form)
        assert_same_bits(weights(model), weights(in_list))
        found = model.predict()
        assert found.shape == ((3, 2) if np.ndim(form[0]) == 1 else (3, 2, 1))
        assert_same_bits(found.reshape(3, 2), in_list.predict())
    assert small().fit(np.array(X)).n_features_in_ == 20  # as scikit-learn counts
    assert in_list.n_features_in_ == 1


def test_several_variables_are_forecast_together():
    X = waves([60, 50], D=3)
    model = small(hidden_size=16, epochs=30, lr=0.02, bidirectional=True).fit(X)
    assert model.predict([values[:10] for values in X]).shape == (2, 2, 3)
    assert model.score(X) > 0.95


def plans(n=6, T=60):
    """Series that do tomorrow what is planned for tomorrow, which nothing else tells."""
    known = np.random.default_rng(0).normal(size=(n, T))
    return [10 + 2 * row for row in known], list(known)


def test_covariates_tell_of_the_future():
    X, known = plans()
    model = small(epochs=15, hidden_size=8)
    informed = clone(model).fit(X[:4], covariates=known[:4])
    assert clone(model).fit(X[:4]).score(X[4:]) < 0.2
    assert informed.score(X[4:], covariates=known[4:]) > 0.9
    before = [values[:-2] for values in X[4:]]
    found = informed.predict(before, covariates=known[4:])
    assert_close(found, np.array([values[-2:] for values in X[4:]]), rtol=0, atol=1.5)
    # Without X, what came before is that of fit.
    onward = informed.predict(covariates=[row[:2] for row in known[:4]])
    wanted = informed.predict(X[:4], covariates=[np.append(row, row[:2]) for row in known[:4]])
    assert_same_bits(onward, wanted)


@pytest.mark.parametrize("pair", [(0.5, 0.5), (0.1, 0.1), (0.3, 0.1 + 0.2)], ids=["exact", "rounded", "sums"])
def test_what_was_constant_in_fit_is_shifted_alone(pair):
    # The mean of 0.1, 0.1, ... is not 0.1, and the numbers of 0.3, 0.1 + 0.2, ... differ, both by rounding.
    X, known, change = waves([50, 50]), np.tile(pair, 26), np.full(52, 0.25)
    model = small(epochs=1).fit(X, covariates=[known[:50]] * 2)
    zero = small(epochs=1).fit(X, covariates=[np.zeros(50)] * 2)
    found = model.predict(X, covariates=[known + change] * 2)
    assert_close(found, zero.predict(X, covariates=[change] * 2), rtol=1e-5, atol=0)


def test_quantiles_are_those_of_the_noise_and_never_cross():
    noise = np.random.default_rng(0).normal(3, 2, (4, 300))
    levels = (0.1, 0.45, 0.9)
    model = small(horizon=1, window=1, quantiles=levels, epochs=10, batch_size=64).fit(noise[:, :, None])
    at = np.linspace(0, 6, 5)[:, None, None]
    found = model.predict_quantiles(at)
    assert found.shape == (5, 1, 1, 3)
    assert_close(found.mean((0, 1, 2)), 3 + 2 * np.array([-1.2816, -0.1257, 1.2816]), rtol=0, atol=0.4)
    assert_same_bits(model.predict(at), found[..., 1])
    crossing = small(quantiles=(0.49, 0.5, 0.51)).fit(noise)
    assert (np.diff(crossing.predict_quantiles(noise), axis=-1) >= 0).all()


def test_a_score_is_r2_over_all_windows_or_of_what_followed():
    X = waves([15, 12])
    model = small().fit(X)
    followed, forecasts = [], []
    for values in X:
        for origin in range(6, len(values) - 1):
            followed.append(values[origin : origin + 2])
            forecasts.append(model.predict([values[:origin]])[0])
    assert model.score(X) == pytest.approx(r2_score(np.ravel(followed), np.ravel(forecasts)), rel=1e-6)
    y = np.array([[0.5, 0.1], [0.3, -0.2]])
    assert model.score(X, y) == pytest.approx(r2_score(y.ravel(), model.predict(X).ravel()))
    search = GridSearchCV(small(), {"window": [3, 6]}, cv=2).fit(waves([20, 25, 20, 25]))
    assert np.isfinite(search.best_score_)


def test_fits_that_go_on():
    X, known = plans(2, 20)
    fitted = small(epochs=3).fit(X, covariates=known)
    stepped = small().partial_fit(X, covariates=known)
    stepped = pickle.loads(pickle.dumps(stepped)).partial_fit(X, covariates=known)
    stepped = copy.deepcopy(stepped).partial_fit(X, covariates=known)
    assert_same_bits(weights(stepped), weights(fitted))
    warm = small(warm_start=True).fit(X)
    assert len(warm.fit(X).loss_curve_) == 4
    with pytest.raises(ValueError, match="horizon is 3, and the weights were made with 2"):
        warm.set_params(horizon=3).fit(X)
    assert warm.predict().shape == (2, 2)  # as it was trained


def test_early_stopping_scores_by_the_loss():
    X = list(np.random.default_rng(0).normal(size=(3, 40)))
    model = small(epochs=60, early_stopping=True, validation_fraction=0.3, n_iter_no_change=2).fit(X)
    assert model.n_iter_ < 60
    assert model.best_validation_score_ == max(model.validation_scores_) < 0
    with pytest.raises(
        ValueError, match=r"validation_fraction 0\.9 of 4 samples leaves none to train on: lower it"
    ):
        small(early_stopping=True, validation_fraction=0.9).fit([np.arange(11.0)][:1])


def test_short_series_are_forecast_from_fewer_steps_and_said_to_be_short():
    X = waves([30, 5])
    with pytest.warns(
        UserWarning, match=r"a series has 5 steps, fewer than window \+ horizon = 8: .* fit\(\[X\]\)"
    ):
        model = small().fit(X)
    assert np.isfinite(model.predict([X[0][:1], X[0][:3]])).all()
    assert_same_bits(model.predict([X[0][:1], X[0][:3]])[1:], model.predict([X[0][:3]]))


@pytest.mark.parametrize(
    ("options", "X", "covariates", "message"),
    [
        ({}, np.arange(20.0), None, r"X: expected a list of series, .* one series is given as \[X\]"),
        ({}, [1.0, 2.0, 3.0], None, r"got a single one\. Reshape your data: one series is given as \[X\]"),
        ({}, [[1.0, 2.0]], None, "X: expected series of more steps than the horizon, 2, got one of 2"),
        ({}, np.ones((9, 2)), None, r"got an array of 2 feature\(s\) a row, which is a series"),
        (
            {},
            [np.ones((9, 2)), np.ones((9, 1))],
            None,
            r"X\[1\]: expected 2 features a step, as X\[0\] has, got 1",
        ),
        ({}, [[1.0, np.nan] * 5], None, r"X\[0\]: expected finite numbers"),
        ({}, [], None, "X: expected at least one series, got an empty list"),
        ({}, [[[1.0], [2.0, 3.0]]], None, r"X\[0\]: expected numbers \(T,\) or \(T, I\), got a ragged list"),
        ({}, ["Monday", "Tuesday"], None, "X: expected sequences of numbers, got strings, such as 'Monday'"),
        ({}, [np.ones(9)], [np.ones(8)], r"covariates\[0\]: expected 9 steps, got 8"),
        ({}, [np.ones(9)], [np.ones(9)] * 2, "covariates: expected those of 1 series, got 2"),
        ({"quantiles": (0.9, 0.1)}, [np.ones(9)], None, "quantiles: expected ascending levels"),
        ({"horizon": 0}, [np.ones(9)], None, "horizon: expected at least 1, got 0"),
        ({"window": 0}, [np.ones(9)], None, "window: expected at least 1, got 0"),
        ({}, [np.ones(9) * 1e300, -np.ones(9) * 1e300], None, "X has values too large to be standardised"),
    ],
)
def test_what_is_refused(options, X, covariates, message):
    with pytest.raises(ValueError, match=message):
        small(**options).fit(X, covariates=covariates)


def test_what_does_not_fit_the_fit():
    X, known = plans(2, 20)
    model = small().fit(X, covariates=known)
    with pytest.raises(ValueError, match="covariates: expected 1 at each step, as in fit, got 0"):
        model.predict(X)
    with pytest.raises(ValueError, match=r"covariates\[0\]: expected 22 steps, got 20"):
        model.predict(X, covariates=known)
    with pytest.raises(ValueError, match="X: expected series of 1 variables, as in fit, got 2"):
        model.predict([np.ones((9, 2))], covariates=[np.ones(11)])
    with pytest.raises(ValueError, match=r"predict_quantiles: expected quantiles="):
        model.predict_quantiles(covariates=[np.ones(2)] * 2)
    with pytest.raises(ValueError, match=r"y: expected what followed, of shape \(2, 2, 1\), got \(2,\)"):
        small().fit(X).score(X, [1.0, 2.0])
