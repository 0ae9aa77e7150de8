"""`RecurrentForecaster`: the next values of series."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import r2_score
from sklearn.utils.validation import check_is_fitted, validate_data

from rondeau import nn
from rondeau import tensor as rt
from rondeau.kernels.runtime.caller import warn_caller
from rondeau.train._checks import check_integer
from rondeau.train._tasks.forecasting import Forecasting
from rondeau.train.estimators._base import RecurrentEstimator
from rondeau.train.estimators._final_state import final_state
from rondeau.train.estimators._sequences import as_arrays, refuse_strings
from rondeau.train.estimators._shuffled import Rows, Samples
from rondeau.train.estimators._windows import Windows

Arrays = list[NDArray[np.float64]]
_ROWS = 1024  # windows of one call of the network in score


class ForecastModel(nn.Module):
    """A recurrent layer, and a linear head on its final state and the covariates ahead."""

    def __init__(self, recurrent: nn.Recurrent, num_covariates: int, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.recurrent = recurrent
        self.shape = shape
        width = recurrent.hidden_size * recurrent.num_directions + shape[0] * num_covariates
        self.head = nn.Linear(width, int(np.prod(shape)))

    def forward(
        self,
        x: rt.Tensor,
        lengths: NDArray[np.int64] | None = None,
        covariates: rt.Tensor | None = None,
    ) -> rt.Tensor:
        """Return forecasts (B, horizon, D) or (B, horizon, D, Q) of windows (B, T, D + K)."""
        features = final_state(self.recurrent, x, lengths)
        if covariates is not None:
            features = rt.cat([features, covariates.reshape(len(covariates), -1)], -1)
        outputs: rt.Tensor = self.head(features)
        return outputs.reshape(-1, *self.shape)


class RecurrentForecaster(RecurrentEstimator):
    """A recurrent layer that forecasts the next values of series, as a scikit-learn estimator.

    It is trained on all windows of the series: from `window` steps, and what is known of the future, to the `horizon`
    steps after them, all at once. Series, covariates and forecasts are standardised within; what is learnt is the
    change from the last value that is seen.

    Parameters
    ----------
    horizon : int
        How many steps ahead are forecast.
    window : int
        How many steps a forecast sees. Series that are too short for that are forecast from fewer.
    quantiles : sequence of float, optional
        Levels in (0, 1), ascending, for `predict_quantiles`. The loss is then the pinball loss; `predict` returns the
        quantile nearest to the median. Default: none, and the mean square error.
    cell, hidden_size, num_layers, bidirectional, epochs, batch_size, lr, max_norm, random_state, verbose, \
early_stopping, validation_fraction, n_iter_no_change, tol, warm_start, device
        As in `RecurrentClassifier`, of windows in the place of sequences. What is set aside to validate is the end of
        each series, and the score is minus the mean loss.

    Attributes
    ----------
    model_, loss_curve_, validation_scores_, best_validation_score_, n_iter_
        As in `RecurrentClassifier`.

    Notes
    -----
    X is a list of series of whatever lengths, each (T_i,), or (T_i, D) for D variables that are forecast together; or
    an array (n, T) or (n, T, D) of n series. **One series is a list of one**, ``fit([series])``: a single array of two
    dimensions, times and variables, would be taken for as many series as it has rows.

    Covariates are what is known of the future, such as the month, a price or a plan: a list of arrays (T_i,) or
    (T_i, K), or an array, as X. In `predict` they have `horizon` steps more than the series. What is known of the past
    alone belongs into X, as another variable.

    scikit-learn takes the T of an array (n, T) for a number of features, which stays; lists and (n, T, D) may have
    another T in `predict` than in `fit`.

    Examples
    --------
    >>> import numpy as np
    >>> from rondeau.train.estimators import RecurrentForecaster
    >>> wave = np.sin(np.arange(400) / 4)
    >>> forecaster = RecurrentForecaster(horizon=8, window=24, epochs=20, random_state=0).fit([wave[:300]])
    >>> forecaster.predict().shape  # what follows the series of fit
    (1, 8)
    >>> bool(abs(forecaster.predict() - wave[300:308]).max() < 0.1)
    True
    >>> forecaster.score([wave[300:]]) > 0.99
    True
    """

    _is_of_rows: bool
    _has_variables: bool
    _num_variables: int
    _num_covariates: int

    _SHAPING = (*RecurrentEstimator._SHAPING, "horizon", "quantiles")

    def __init__(
        self,
        horizon: int = 1,
        window: int = 24,
        *,
        quantiles: Any = None,
        cell: Any = "gru",
        hidden_size: int = 32,
        num_layers: int = 1,
        bidirectional: bool = False,
        epochs: int = 50,
        batch_size: int = 32,
        lr: float = 0.01,
        max_norm: float = 1.0,
        random_state: Any = None,
        verbose: bool = False,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 10,
        tol: float = 1e-4,
        warm_start: bool = False,
        device: str = "cpu",
    ) -> None:
        super().__init__(
            cell,
            hidden_size,
            num_layers,
            bidirectional,
            epochs,
            batch_size,
            lr,
            max_norm,
            random_state,
            verbose=verbose,
            early_stopping=early_stopping,
            validation_fraction=validation_fraction,
            n_iter_no_change=n_iter_no_change,
            tol=tol,
            warm_start=warm_start,
            device=device,
        )
        self.horizon = horizon
        self.window = window
        self.quantiles = quantiles

    def fit(self, X: Any, y: Any = None, *, covariates: Any = None) -> RecurrentForecaster:
        """Train on series.

        Parameters
        ----------
        X : list of array_like, or array_like of shape (n, T) or (n, T, D)
        y : None
            Not used, as in scikit-learn's unsupervised estimators.
        covariates : list of array_like, or array_like of shape (n, T) or (n, T, K), optional
            At the steps of the series.

        Returns
        -------
        RecurrentForecaster
            Itself.

        Warns
        -----
        UserWarning
            If a series is shorter than ``window + horizon``.

        Raises
        ------
        ValueError
            If a series is not longer than `horizon`, shapes do not fit, or there are NaN, infinity or strings.
        DivergedError
            If the loss or a weight is no longer finite.
        """
        return self._fit(X, covariates, incremental=False)

    def partial_fit(self, X: Any, y: Any = None, *, covariates: Any = None) -> RecurrentForecaster:
        """Make one more pass, over series that may be others than before; those of the first call standardise.

        As many calls with the same series as `epochs` are a `fit`, to the bit.

        Parameters
        ----------
        X, y, covariates
            As in `fit`.

        Returns
        -------
        RecurrentForecaster
            Itself.

        Raises
        ------
        ValueError
            As `fit`; and with `early_stopping`.
        DivergedError
            If the loss or a weight is no longer finite.
        """
        return self._fit(X, covariates, incremental=True)

    def _fit(self, X: Any, covariates: Any, *, incremental: bool) -> RecurrentForecaster:
        check_integer("window", self.window, 1)
        forecasting = Forecasting(self.horizon, self.quantiles)  # checks both
        goes_on = self._goes_on(incremental)
        series = self._series(X, is_first=not goes_on)
        _check_long_enough(series, X, self.horizon)
        if (shortest := min(map(len, series))) < self.window + self.horizon:
            warn_caller(
                f"a series has {shortest} steps, fewer than window + horizon = {self.window + self.horizon}: it is "
                "forecast from fewer steps; if X is one series of several variables, fit([X])",
                UserWarning,
            )
        known = self._covariates(covariates, [len(values) for values in series], is_first=not goes_on)
        self._forecasting, self._window = forecasting, int(self.window)
        windows = Windows.within(series, known, self._window, self.horizon)
        if not goes_on:
            self._scales = windows.standard()
        self._last = [values[-self._window :] for values in series]
        self._last_known = [values[-self._window :] for values in known]
        width = self._num_variables + self._num_covariates
        self._train(replace(windows, scales=self._scales), width, self._num_variables, incremental)
        return self

    def predict(self, X: Any = None, *, covariates: Any = None) -> NDArray[np.float64]:
        """Return the next `horizon` values of series.

        Parameters
        ----------
        X : list of array_like, or array_like of shape (n, T) or (n, T, D), optional
            What came before, of which the last `window` steps count. Default: the series of the last fit.
        covariates : list of array_like, or array_like, optional
            At the steps of X and of the `horizon` steps after them, (T_i + horizon, K); without X, at those after them
            alone, (horizon, K).

        Returns
        -------
        ndarray of shape (n, horizon), or (n, horizon, D) where the series of `fit` have D variables
            With `quantiles`, the one nearest to the median.

        Raises
        ------
        ValueError
            If shapes do not fit those of `fit`, or covariates are missing.
        """
        forecasts = self._forecasts(self._ends(X, covariates))
        return self._formed(forecasts[..., self._middle()])

    def predict_quantiles(self, X: Any = None, *, covariates: Any = None) -> NDArray[np.float64]:
        """Return quantiles of the next `horizon` values of series.

        They ascend: where those of the network cross, they are put in order (Chernozhukov, Fernández-Val, Galichon,
        "Quantile and probability curves without crossing", 2010).

        Parameters
        ----------
        X, covariates
            As in `predict`.

        Returns
        -------
        ndarray of shape (n, horizon, Q), or (n, horizon, D, Q)
            In the order of `quantiles`.

        Raises
        ------
        ValueError
            As `predict`; and if there are no `quantiles`.
        """
        check_is_fitted(self)
        if self._forecasting.quantiles is None:
            raise ValueError(
                "predict_quantiles: expected quantiles=(0.1, 0.5, 0.9), say, in the forecaster, got none"
            )
        return self._formed(self._forecasts(self._ends(X, covariates)))

    def score(self, X: Any, y: Any = None, *, covariates: Any = None) -> float:
        """Return R² of the forecasts of `predict`, over all windows of the series.

        Parameters
        ----------
        X : list of array_like, or array_like of shape (n, T) or (n, T, D)
            Series: from every `window` steps, the `horizon` steps after them are forecast.
        y : array_like, shape (n, horizon) or (n, horizon, D), optional
            What followed after the end of each series. Only that is then forecast.
        covariates : list of array_like, or array_like, optional
            At the steps of X, and with y at the `horizon` steps after them too.

        Returns
        -------
        float
            The mean over variables.
        """
        if y is not None:
            windows = self._ends(X, covariates)
            followed = np.asarray(y, dtype=np.float64)
            shape = (len(windows), self._forecasting.horizon, self._num_variables)
            fewer = [shape[:2]] if shape[2] == 1 else []
            if followed.shape not in (shape, *fewer) and not (
                shape[1:] == (1, 1) and followed.shape == shape[:1]
            ):
                raise ValueError(f"y: expected what followed, of shape {shape}, got {followed.shape}")
            followed = followed.reshape(shape)
        else:
            check_is_fitted(self)
            series = self._series(X, is_first=False)
            _check_long_enough(series, X, self._forecasting.horizon)
            known = self._covariates(covariates, [len(values) for values in series], is_first=False)
            windows = Windows.within(series, known, self._window, self._forecasting.horizon)
            followed = windows.following(np.arange(len(windows)))
        forecasts = self._forecasts(windows)[..., self._middle()]
        return float(
            r2_score(followed.reshape(-1, self._num_variables), forecasts.reshape(-1, self._num_variables))
        )

    def _series(self, X: Any, *, is_first: bool) -> Arrays:
        """Return series as (T_i, D) each, after a note of their form or a check that it is that of the first fit."""
        refuse_strings("X", X)
        is_list = isinstance(X, (list, tuple)) or (
            isinstance(X, np.ndarray) and X.dtype == np.dtype(object) and X.ndim == 1
        )
        if is_list and not len(X):
            raise ValueError("X: expected at least one series, got an empty list")
        is_single = not hasattr(X[0], "__len__") if is_list else np.ndim(X) == 1
        if is_single:
            raise ValueError(
                "X: expected a list of series, or an array of which each row is one, got a single one. Reshape your "
                "data: one series is given as [X]"
            )
        if is_list:
            series = as_arrays("X", list(X))
            dimensions = np.ndim(X[0])
        else:
            array = validate_data(
                self,
                X,
                reset=is_first,
                dtype="numeric",
                allow_nd=True,
                ensure_2d=is_first or self._is_of_rows,
            )
            series = as_arrays("X", list(array))
            dimensions = array.ndim - 1
        if is_first:
            self._is_of_rows = dimensions == 1 and not is_list
            self._has_variables, self._num_variables = dimensions == 2, series[0].shape[1]
            if not self._is_of_rows:  # whose number of steps scikit-learn takes for features
                self.n_features_in_ = self._num_variables
        elif series[0].shape[1] != self._num_variables:
            raise ValueError(
                f"X: expected series of {self._num_variables} variables, as in fit, got {series[0].shape[1]}"
            )
        return series

    def _covariates(self, covariates: Any, counts: list[int], *, is_first: bool) -> Arrays:
        """Return covariates as (T_i, K) each, after a note of how many there are or a check of it."""
        if covariates is None:
            known = [np.zeros((count, 0)) for count in counts]
        else:
            refuse_strings("covariates", covariates)
            known = as_arrays("covariates", list(covariates))
            if len(known) != len(counts):
                raise ValueError(f"covariates: expected those of {len(counts)} series, got {len(known)}")
            for i, (array, count) in enumerate(zip(known, counts, strict=True)):
                if len(array) != count:
                    raise ValueError(f"covariates[{i}]: expected {count} steps, got {len(array)}")
        found = known[0].shape[1]
        if is_first:
            self._num_covariates = found
        elif found != self._num_covariates:
            raise ValueError(
                f"covariates: expected {self._num_covariates} at each step, as in fit, got {found}"
            )
        return known

    def _ends(self, X: Any, covariates: Any) -> Windows:
        """Return the windows at the ends of series."""
        check_is_fitted(self)
        horizon, window = self._forecasting.horizon, self._window
        if X is None:
            series = self._last
            ahead = self._covariates(covariates, [horizon] * len(series), is_first=False)
            known = [np.concatenate(parts) for parts in zip(self._last_known, ahead, strict=True)]
        else:
            series = self._series(X, is_first=False)
            known = self._covariates(covariates, [len(values) + horizon for values in series], is_first=False)
        series, known = [v[-window:] for v in series], [k[-window - horizon :] for k in known]
        return Windows.at_the_end(series, known, window, horizon)

    def _forecasts(self, windows: Windows) -> NDArray[np.float64]:
        """Return forecasts (n, horizon, D, Q); Q is 1 without quantiles."""
        windows = replace(windows, scales=self._scales)
        parts = []
        for begin in range(0, len(windows), _ROWS):
            rows = np.arange(begin, min(begin + _ROWS, len(windows)))
            inputs = windows.inputs(rows)
            outputs = self._outputs(inputs.pop("inputs"), **inputs)
            # As the changes are standardised: the last dimension is that of horizon and variables.
            outputs = outputs.reshape(len(rows), self._forecasting.horizon * self._num_variables, -1)
            changes = self._scales.changes.revert(outputs.swapaxes(1, 2)).swapaxes(1, 2)
            shape = (len(rows), self._forecasting.horizon, self._num_variables, -1)
            parts.append(windows.last(rows)[..., None] + changes.reshape(shape))
        return np.sort(np.concatenate(parts), axis=-1)

    def _middle(self) -> int:
        """Return which of the quantiles is nearest to the median."""
        levels = self._forecasting.quantiles or [0.5]
        return int(np.abs(np.array(levels) - 0.5).argmin())

    def _formed(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return (n, horizon, D, ...) without D where series have no dimension of variables."""
        return values if self._has_variables else values[:, :, 0]

    def _new_model(self, width: int, num_outputs: int) -> nn.Module:
        levels = () if self._forecasting.quantiles is None else (len(self._forecasting.quantiles),)
        shape = (self._forecasting.horizon, num_outputs, *levels)
        return ForecastModel(self._recurrent(width), self._num_covariates, shape)

    def _task(self) -> Forecasting:
        return self._forecasting

    def _split(self, samples: Samples, orders: np.random.RandomState) -> tuple[Rows, Rows]:
        assert isinstance(samples, Windows)
        return samples.split(self.validation_fraction)


def _check_long_enough(series: Arrays, X: Any, horizon: int) -> None:
    """Raise ValueError unless every series has a step before `horizon` others."""
    if (shortest := min(map(len, series))) > horizon:
        return
    is_array = np.ndim(X[0]) == 1 and not isinstance(X, (list, tuple))
    got = f"an array of {shortest} feature(s) a row, which is a series" if is_array else f"one of {shortest}"
    raise ValueError(
        f"X: expected series of more steps than the horizon, {horizon}, got {got}; one series of several variables is "
        "given as [X]"
    )
