"""Recurrent networks as scikit-learn estimators (the extra ``sklearn``)."""

from __future__ import annotations

import math
from abc import ABCMeta, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.metrics import accuracy_score, r2_score
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from rondeau import nn
from rondeau import tensor as rt
from rondeau.train import optim
from rondeau.train._checks import ABOVE_ZERO_OR_INFINITE, check_integer, check_number
from rondeau.train._diverged import DivergedError, first_not_finite

__all__ = ["RecurrentClassifier", "RecurrentRegressor"]


def __dir__() -> list[str]:
    return __all__


class _SequenceModel(nn.Module):
    """A recurrent layer and a linear head on its final state: of both directions side by side, if there are two."""

    def __init__(self, recurrent: nn.Recurrent, num_outputs: int) -> None:
        super().__init__()
        self.recurrent = recurrent
        self.head = nn.Linear(recurrent.hidden_size * recurrent.num_directions, num_outputs)

    def forward(self, x: rt.Tensor, lengths: NDArray[np.int64] | None) -> rt.Tensor:
        """Return the outputs (B, V) of sequences (B, T, I)."""
        _, states = self.recurrent(x, lengths=lengths)
        first = states if isinstance(states, rt.Tensor) else states[0]
        ends = [first[k] for k in range(-self.recurrent.num_directions, 0)]
        outputs: rt.Tensor = self.head(ends[0] if len(ends) == 1 else rt.cat(ends, -1))
        return outputs


class _RecurrentEstimator(BaseEstimator, metaclass=ABCMeta):  # type: ignore[misc]
    """What classifier and regressor share: the network, its training by Adam, and the form of sequences."""

    def __init__(
        self,
        cell: Any = "gru",
        hidden_size: int = 32,
        num_layers: int = 1,
        bidirectional: bool = False,
        epochs: int = 50,
        batch_size: int = 32,
        lr: float = 0.01,
        max_norm: float = 1.0,
        random_state: Any = None,
    ) -> None:
        self.cell = cell
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.bidirectional = bidirectional
        self.epochs = epochs
        self.batch_size = batch_size
        self.lr = lr
        self.max_norm = max_norm
        self.random_state = random_state

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        return tags

    @abstractmethod
    def _loss(self, outputs: rt.Tensor, targets: NDArray[Any]) -> rt.Tensor: ...

    def _fit(self, X: NDArray[Any], targets: NDArray[Any], num_outputs: int, lengths: Any) -> None:
        for name in ("epochs", "batch_size"):
            check_integer(name, getattr(self, name), 1)
        check_number("max_norm", self.max_norm, ABOVE_ZERO_OR_INFINITE)
        sequences, steps = _as_sequences(X), _checked_lengths(lengths, X)
        self._has_features = X.ndim == 3
        if self._has_features:
            self.n_features_in_ = X.shape[2]  # of one step: the number of steps may be another in predict
        self.loss_curve_ = []
        with _seeded(check_random_state(self.random_state)) as random:
            recurrent = nn.Recurrent(
                self._found_cell(),
                sequences.shape[2],
                self.hidden_size,
                self.num_layers,
                batch_first=True,
                bidirectional=self.bidirectional,
            )
            self.model_ = _SequenceModel(recurrent, num_outputs)
            optimiser = optim.Adam(self.model_.parameters(), lr=self.lr)
            for _ in range(self.epochs):
                order, total = random.permutation(len(sequences)), 0.0
                for begin in range(0, len(order), self.batch_size):
                    rows = order[begin : begin + self.batch_size]
                    outputs = self.model_(
                        rt.from_numpy(sequences[rows]), None if steps is None else steps[rows]
                    )
                    loss = self._loss(outputs, targets[rows])
                    if not math.isfinite(loss.item()):
                        raise self._diverged("the loss", loss.item())
                    optimiser.zero_grad()
                    loss.backward()
                    nn.utils.clip_grad_norm_(self.model_.parameters(), self.max_norm)
                    optimiser.step()
                    total += loss.item() * len(rows)
                self.loss_curve_.append(total / len(order))
        weights = ((f"the weight {name}", weight._array) for name, weight in self.model_.named_parameters())
        if found := first_not_finite(weights):
            raise self._diverged(*found)

    def _diverged(self, what: str, value: float) -> DivergedError:
        return DivergedError(
            f"{what} became {value} in epoch {len(self.loss_curve_) + 1}, with learning rate {self.lr:g}: lower lr, or "
            f"max_norm, which is {self.max_norm:g}"
        )

    def _outputs(self, X: ArrayLike, lengths: Any) -> NDArray[Any]:
        check_is_fitted(self)
        _refuse_ragged(X)
        checked = validate_data(
            self, X, reset=False, dtype="numeric", allow_nd=True, ensure_2d=not self._has_features
        )
        sequences = _as_sequences(checked)
        width = self.model_.recurrent.input_size
        if sequences.shape[2] != width:
            raise ValueError(f"X expected {width} features a step, as in fit, got {sequences.shape[2]}")
        with rt.no_grad():
            outputs = self.model_(rt.from_numpy(sequences), _checked_lengths(lengths, checked))
        found: NDArray[np.float64] = outputs.numpy().astype(np.float64)
        return found

    def _found_cell(self) -> Any:
        if not isinstance(self.cell, str):
            return self.cell
        found = getattr(nn.cells, self.cell, None) if self.cell in nn.cells.__all__ else None
        if found is None:
            raise ValueError(
                f"cell expected one of {', '.join(nn.cells.__all__)}, or a cell; got {self.cell!r}"
            )
        return found


class RecurrentClassifier(ClassifierMixin, _RecurrentEstimator):  # type: ignore[misc]
    """A recurrent layer and softmax on its final state, as a scikit-learn classifier.

    Parameters
    ----------
    cell : str or Cell
        The name of a cell of `rondeau.nn.cells`, or one made by `rondeau.nn.recurrent_cell`.
    hidden_size, num_layers, bidirectional
        Of `rondeau.nn.Recurrent`.
    epochs : int
        Passes over the training sequences.
    batch_size : int
    lr : float
        The rate of Adam.
    max_norm : float
        Gradients are clipped to this norm.
    random_state : int, RandomState or None
        Decides the initial weights and the order of sequences.

    Attributes
    ----------
    classes_ : ndarray
    model_ : Module
    loss_curve_ : list of float
        The mean cross-entropy of each epoch, in nats.

    Notes
    -----
    Sequences are X of shape (n, T, I), or (n, T) for one feature a step; ``lengths`` (n,) says where padded ones end.
    What is predicted may have another T than what was fitted if it is (n, T, I); scikit-learn takes the T of (n, T) for
    a number of features, which stays.
    Features should be scaled, as for any network: put a scaler in front where they are not.

    Examples
    --------
    >>> import numpy as np
    >>> from rondeau.train.estimators import RecurrentClassifier
    >>> X = np.random.default_rng(0).choice([-1.0, 1.0], (200, 6))
    >>> y = np.where(X.sum(1) > 0, "more", "not more")
    >>> RecurrentClassifier(hidden_size=16, epochs=20, random_state=0).fit(X[:150], y[:150]).score(X[150:], y[150:])
    1.0
    """

    def fit(self, X: ArrayLike, y: ArrayLike, *, lengths: ArrayLike | None = None) -> RecurrentClassifier:
        """Train on sequences and their classes.

        Parameters
        ----------
        X : array_like, shape (n, T) or (n, T, I)
        y : array_like, shape (n,)
        lengths : array_like of int, shape (n,), optional
            Default: all of T.

        Returns
        -------
        RecurrentClassifier
            Itself.

        Raises
        ------
        ValueError
            If shapes do not fit, or X has NaN or infinity.
        DivergedError
            If the loss or a weight is no longer finite.
        """
        _refuse_ragged(X)
        sequences, labels = validate_data(self, X, y, dtype="numeric", allow_nd=True)
        check_classification_targets(labels)
        self.classes_, targets = np.unique(labels, return_inverse=True)
        self._fit(sequences, targets.astype(np.int64), len(self.classes_), lengths)
        return self

    def predict_proba(self, X: ArrayLike, *, lengths: ArrayLike | None = None) -> NDArray[np.float64]:
        """Return the probabilities (n, classes) of sequences, in the order of ``classes_``.

        Parameters
        ----------
        X : array_like, shape (n, T) or (n, T, I)
        lengths : array_like of int, shape (n,), optional

        Returns
        -------
        ndarray
        """
        logits = self._outputs(X, lengths)
        weights = np.exp(logits - logits.max(axis=1, keepdims=True))
        found: NDArray[np.float64] = weights / weights.sum(axis=1, keepdims=True)
        return found

    def predict(self, X: ArrayLike, *, lengths: ArrayLike | None = None) -> NDArray[Any]:
        """Return the most probable class of each sequence, shape (n,).

        Parameters
        ----------
        X : array_like, shape (n, T) or (n, T, I)
        lengths : array_like of int, shape (n,), optional

        Returns
        -------
        ndarray
        """
        best = self._outputs(X, lengths).argmax(axis=1)
        found: NDArray[Any] = self.classes_[best]
        return found

    def score(
        self,
        X: ArrayLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        *,
        lengths: ArrayLike | None = None,
    ) -> float:
        """Return the share of sequences of which the class is predicted.

        Parameters
        ----------
        X : array_like, shape (n, T) or (n, T, I)
        y : array_like, shape (n,)
        sample_weight : array_like, shape (n,), optional
        lengths : array_like of int, shape (n,), optional
            To have a search over padded sequences pass them, enable scikit-learn's metadata routing and
            ``set_score_request(lengths=True)``.

        Returns
        -------
        float
        """
        return float(accuracy_score(y, self.predict(X, lengths=lengths), sample_weight=sample_weight))

    def _loss(self, outputs: rt.Tensor, targets: NDArray[Any]) -> rt.Tensor:
        return nn.functional.cross_entropy(outputs, rt.from_numpy(targets))


class RecurrentRegressor(RegressorMixin, _RecurrentEstimator):  # type: ignore[misc]
    """A recurrent layer and a linear head on its final state, as a scikit-learn regressor.

    Targets are standardised within, so that their scale does not matter; the loss is the mean square error of that.

    Parameters
    ----------
    cell, hidden_size, num_layers, bidirectional, epochs, batch_size, lr, max_norm, random_state
        As in `RecurrentClassifier`.

    Attributes
    ----------
    model_ : Module
    loss_curve_ : list of float
        The mean loss of each epoch.

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

    def fit(self, X: ArrayLike, y: ArrayLike, *, lengths: ArrayLike | None = None) -> RecurrentRegressor:
        """Train on sequences and their targets.

        Parameters
        ----------
        X : array_like, shape (n, T) or (n, T, I)
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
            If shapes do not fit, or X or y has NaN or infinity.
        DivergedError
            If the loss or a weight is no longer finite.
        """
        _refuse_ragged(X)
        sequences, values = validate_data(
            self, X, y, dtype="numeric", allow_nd=True, multi_output=True, y_numeric=True
        )
        targets = values.reshape(len(values), -1).astype(np.float64)
        with np.errstate(all="ignore"):
            self._mean, scale = targets.mean(axis=0), targets.std(axis=0)
        self._scale = np.where(scale > 0, scale, 1.0)
        self._shape = values.shape[1:]
        with np.errstate(all="ignore"):
            standardised = ((targets - self._mean) / self._scale).astype(np.float32)
        if not (np.isfinite(standardised).all() and np.isfinite(scale).all()):
            raise ValueError(
                f"y has values too large to be standardised, up to {np.abs(targets).max():g}; scale them"
            )
        self._fit(sequences, standardised, targets.shape[1], lengths)
        return self

    def predict(self, X: ArrayLike, *, lengths: ArrayLike | None = None) -> NDArray[np.float64]:
        """Return the target of each sequence, shape (n,) or (n, outputs).

        Parameters
        ----------
        X : array_like, shape (n, T) or (n, T, I)
        lengths : array_like of int, shape (n,), optional

        Returns
        -------
        ndarray
        """
        outputs = self._outputs(X, lengths) * self._scale + self._mean
        found: NDArray[np.float64] = outputs.reshape(len(outputs), *self._shape)
        return found

    def score(
        self,
        X: ArrayLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        *,
        lengths: ArrayLike | None = None,
    ) -> float:
        """Return R², the coefficient of determination of the predictions.

        Parameters
        ----------
        X : array_like, shape (n, T) or (n, T, I)
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

    def _loss(self, outputs: rt.Tensor, targets: NDArray[Any]) -> rt.Tensor:
        return nn.functional.mse_loss(outputs, rt.from_numpy(targets))


def _as_sequences(X: NDArray[Any]) -> NDArray[np.float32]:
    """Return sequences (n, T, I) of float32; X of two dimensions has one feature a step."""
    if X.ndim not in (2, 3) or 0 in X.shape[1:]:
        raise ValueError(
            f"X expected sequences (n, T) or (n, T, I), T and I at least 1, got an array of shape {X.shape}"
        )
    with np.errstate(over="ignore"):
        array = np.ascontiguousarray(X, dtype=np.float32)
    if not np.isfinite(array).all():
        raise ValueError(f"X has values too large for float32, up to {np.abs(X).max():g}; scale them")
    return array if array.ndim == 3 else array[:, :, None]


def _refuse_ragged(X: Any) -> None:
    """Refuse sequences of different lengths, of which NumPy says something else."""
    rows = X if isinstance(X, list | tuple) or getattr(X, "dtype", None) == np.dtype(object) else []
    sizes = {len(row) for row in rows if hasattr(row, "__len__")}
    if len(sizes) > 1:
        raise ValueError(
            f"X has sequences of {min(sizes)} to {max(sizes)} steps: pad them to one length, and give lengths="
        )


def _checked_lengths(lengths: Any, X: NDArray[Any]) -> NDArray[np.int64] | None:
    if lengths is None:
        return None
    try:
        found = np.asarray(lengths)
    except ValueError:
        raise TypeError(f"lengths expected {len(X)} integers, got lists of different lengths") from None
    if found.shape != (len(X),) or found.dtype.kind not in "iu":
        kind = ValueError if found.dtype.kind in "iu" else TypeError
        raise kind(f"lengths expected {len(X)} integers, got {found.dtype} of shape {found.shape}")
    return found.astype(np.int64)


@contextmanager
def _seeded(random: np.random.RandomState) -> Iterator[np.random.RandomState]:
    """Draw weights by a seed from `random`; the library's own generator is afterwards what it was."""
    generator = rt.default_generator()
    before = generator.get_state()
    generator.manual_seed(int(random.randint(2**31)))
    try:
        yield random
    finally:
        generator.set_state(before)
