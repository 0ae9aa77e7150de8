"""`RecurrentRegressor`: numbers for each sequence."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import RegressorMixin
from sklearn.metrics import r2_score

from rondeau import nn
from rondeau.train._tasks.supervised import Supervised
from rondeau.train.estimators._final_state import FinalStateEstimator, Labelled
from rondeau.train.estimators._standard import Standard


class RecurrentRegressor(RegressorMixin, FinalStateEstimator):  # type: ignore[misc]
    """A recurrent layer and a linear head on its final state, as a scikit-learn regressor.

    Targets are standardised within, so that their scale does not matter; the loss is the mean square error of that.

    Parameters
    ----------
    cell, hidden_size, num_layers, bidirectional, epochs, batch_size, lr, max_norm, random_state, verbose, \
early_stopping, validation_fraction, n_iter_no_change, tol, warm_start, device
        As in `RecurrentClassifier`; the validation score is R². A fit that goes on from the weights of another
        standardises targets as that one did.

    Attributes
    ----------
    model_ : Module
    loss_curve_ : list of float
        The mean loss of each epoch.
    validation_scores_, best_validation_score_, n_iter_
        As in `RecurrentClassifier`.

    Notes
    -----
    The form of X is that of `RecurrentClassifier`; y is (n,), or (n, outputs).

    Examples
    --------
    >>> import numpy as np
    >>> from rondeau.train.estimators import RecurrentRegressor
    >>> X = np.random.default_rng(0).normal(size=(200, 6))
    >>> model = RecurrentRegressor(hidden_size=16, epochs=30, random_state=0).fit(X[:150], X[:150].sum(1))
    >>> bool(model.score(X[150:], X[150:].sum(1)) > 0.9)
    True
    """

    def fit(self, X: Any, y: ArrayLike, *, lengths: ArrayLike | None = None) -> RecurrentRegressor:
        """Train on sequences and their targets.

        Parameters
        ----------
        X : array_like, shape (n, T) or (n, T, I), or list of array_like
        y : array_like, shape (n,) or (n, outputs)
        lengths : array_like of int, shape (n,), optional
            Default: all of T.

        Returns
        -------
        RecurrentRegressor
            Itself.

        Raises
        ------
        ValueError
            If shapes do not fit, or X or y has NaN, infinity or strings.
        DivergedError
            If the loss or a weight is no longer finite.
        """
        return self._fit(X, y, lengths, incremental=False)

    def partial_fit(self, X: Any, y: ArrayLike, *, lengths: ArrayLike | None = None) -> RecurrentRegressor:
        """Make one more pass, over sequences that may be others than before.

        The targets of the first call say how all later ones are standardised. As many calls with the same sequences as
        `epochs` are a `fit`, to the bit.

        Parameters
        ----------
        X : array_like, shape (n, T) or (n, T, I), or list of array_like
        y : array_like, shape (n,) or (n, outputs)
        lengths : array_like of int, shape (n,), optional

        Returns
        -------
        RecurrentRegressor
            Itself.

        Raises
        ------
        ValueError
            As `fit`; and with `early_stopping`.
        DivergedError
            If the loss or a weight is no longer finite.
        """
        return self._fit(X, y, lengths, incremental=True)

    def _fit(
        self, X: Any, y: ArrayLike, lengths: ArrayLike | None, *, incremental: bool
    ) -> RecurrentRegressor:
        goes_on = self._goes_on(incremental)
        sequences, values = self._sequences_to_fit(X, y, lengths, goes_on, multi_output=True, y_numeric=True)
        targets = values.reshape(len(values), -1).astype(np.float64)
        if not goes_on:
            self._standard, self._shape = Standard.of("y", targets), values.shape[1:]
        elif values.shape[1:] != self._shape:
            raise ValueError(
                f"y: expected shape {('n', *self._shape)}, as in the first fit, got {values.shape}"
            )
        standardised = self._standard.apply("y", targets)
        width = sequences.values.shape[2]
        self._train(Labelled(sequences, standardised), width, targets.shape[1], incremental)
        return self

    def predict(self, X: Any, *, lengths: ArrayLike | None = None) -> NDArray[np.float64]:
        """Return the target of each sequence, shape (n,) or (n, outputs).

        Parameters
        ----------
        X : array_like, shape (n, T) or (n, T, I), or list of array_like
        lengths : array_like of int, shape (n,), optional

        Returns
        -------
        ndarray
        """
        outputs = self._final_outputs(X, lengths)
        outputs = self._standard.revert(outputs)
        found: NDArray[np.float64] = outputs.reshape(len(outputs), *self._shape)
        return found

    def score(
        self,
        X: Any,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        *,
        lengths: ArrayLike | None = None,
    ) -> float:
        """Return R², the coefficient of determination of the predictions.

        Parameters
        ----------
        X : array_like, shape (n, T) or (n, T, I), or list of array_like
        y : array_like, shape (n,) or (n, outputs)
        sample_weight : array_like, shape (n,), optional
        lengths : array_like of int, shape (n,), optional
            As in `RecurrentClassifier.score`.

        Returns
        -------
        float
        """
        return float(r2_score(y, self.predict(X, lengths=lengths), sample_weight=sample_weight))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    def _task(self) -> Supervised:
        return Supervised(
            nn.functional.mse_loss, {"score": lambda outputs, targets: r2_score(targets, outputs)}
        )
