"""`RecurrentTagger`: a class for each step of a sequence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.validation import validate_data

from rondeau import nn
from rondeau import tensor as rt
from rondeau.kernels.runtime.caller import warn_caller
from rondeau.train import metrics
from rondeau.train._tasks.labelling import SequenceLabelling
from rondeau.train.estimators._classes import ClassEstimator, softmax
from rondeau.train.estimators._sequences import Sequences, as_float32, listed
from rondeau.train.estimators._shuffled import Rows


class EveryStepModel(nn.Module):
    """A recurrent layer and a linear head on its output at every step."""

    def __init__(self, recurrent: nn.Recurrent, num_outputs: int) -> None:
        super().__init__()
        self.recurrent = recurrent
        self.head = nn.Linear(recurrent.hidden_size * recurrent.num_directions, num_outputs)

    def forward(self, x: rt.Tensor, lengths: NDArray[np.int64] | None = None) -> rt.Tensor:
        """Return the outputs (B, T, V) of sequences (B, T, I)."""
        outputs: rt.Tensor = self.head(self.recurrent(x, lengths=lengths)[0])
        return outputs


@dataclass(frozen=True)
class Tagged:
    """Sequences with a class for each step.

    Attributes
    ----------
    sequences : Sequences
    targets : ndarray of int64, shape (n, T)
    """

    sequences: Sequences
    targets: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.targets)

    def batch(self, rows: Rows) -> tuple[Any, ...]:
        """Return some of them as (values, targets) or (values, targets, lengths)."""
        values, lengths = self.sequences.rows(rows)
        targets = self.targets[rows, : values.shape[1]]
        return (values, targets) if lengths is None else (values, targets, lengths)


class RecurrentTagger(ClassEstimator):
    """A recurrent layer and softmax at every step, as a scikit-learn estimator: a class for each step of a sequence.

    Parameters
    ----------
    cell, hidden_size, num_layers, bidirectional, epochs, batch_size, lr, max_norm, random_state, verbose, \
early_stopping, validation_fraction, n_iter_no_change, tol, class_weight, warm_start, device
        As in `RecurrentClassifier`, steps taking the place of sequences in the loss, the score and the class weights.
        With `bidirectional`, the class of a step depends on those after it too. What is set aside to validate is whole
        sequences, whatever their classes.

    Attributes
    ----------
    classes_ : ndarray
        All labels of all steps, ascending.
    model_, loss_curve_, validation_scores_, best_validation_score_, n_iter_
        As in `RecurrentClassifier`.

    Notes
    -----
    X is (n, T, I), or (n, T) for one feature a step, and y (n, T); ``lengths`` (n,) says where padded sequences end,
    and labels past that do not count. Or both are lists: of arrays (T_i, I) or (T_i,), and of T_i labels each. What is
    predicted has the form of y. One long sequence is a list of one, ``fit([X], [y])``.

    With a y of one dimension, each row of X is a sequence of one step, with its features; a warning says so, for a
    sequence (T, I) with its T labels looks the same.

    To scikit-learn it is not a classifier, since y is not a list of classes: searches split sequences without regard to
    them.

    Examples
    --------
    Whether an even or odd number of ones came so far:

    >>> import numpy as np
    >>> from rondeau.train.estimators import RecurrentTagger
    >>> rng = np.random.default_rng(0)
    >>> X = [rng.integers(0, 2, T) for T in rng.integers(3, 9, 300)]
    >>> y = [np.where(np.cumsum(row) % 2, "odd", "even") for row in X]
    >>> tagger = RecurrentTagger(epochs=20, lr=0.02, random_state=0).fit(X[:250], y[:250])
    >>> tagger.score(X[250:], y[250:])
    1.0
    >>> tagger.predict([[1, 1, 0, 1]])
    array([['odd', 'even', 'even', 'odd']], dtype='<U4')
    """

    _is_single: bool

    def fit(self, X: Any, y: Any, *, lengths: ArrayLike | None = None) -> RecurrentTagger:
        """Train on sequences and the classes of their steps.

        Parameters
        ----------
        X : array_like, shape (n, T) or (n, T, I), or list of array_like
        y : array_like, shape (n, T), or list of array_like
        lengths : array_like of int, shape (n,), optional
            Default: all of T.

        Returns
        -------
        RecurrentTagger
            Itself.

        Raises
        ------
        ValueError
            If there is not one label for each step, or X has NaN, infinity or strings.
        DivergedError
            If the loss or a weight is no longer finite.
        """
        return self._fit(X, y, lengths, incremental=False)

    def partial_fit(
        self, X: Any, y: Any, classes: ArrayLike | None = None, *, lengths: ArrayLike | None = None
    ) -> RecurrentTagger:
        """Make one more pass, over sequences that may be others than before.

        As many calls with the same sequences as `epochs` are a `fit`, to the bit.

        Parameters
        ----------
        X : array_like, shape (n, T) or (n, T, I), or list of array_like
        y : array_like, shape (n, T), or list of array_like
        classes : array_like, optional
            All the classes that there will be. Default: those of the first call.
        lengths : array_like of int, shape (n,), optional

        Returns
        -------
        RecurrentTagger
            Itself.

        Raises
        ------
        ValueError
            As `fit`; with `early_stopping`; and with balanced class weights, which need all of y.
        DivergedError
            If the loss or a weight is no longer finite.
        """
        return self._fit(X, y, lengths, incremental=True, classes=classes)

    def _fit(
        self,
        X: Any,
        y: Any,
        lengths: ArrayLike | None,
        *,
        incremental: bool,
        classes: ArrayLike | None = None,
    ) -> RecurrentTagger:
        goes_on = self._goes_on(incremental)
        if y is None:
            raise ValueError(f"{type(self).__name__} requires y to be passed, but the target y is None")
        rows = listed("X", X)
        is_single = rows is None and _is_regular(y) and np.ndim(y) == 1
        if goes_on and is_single != self._is_single:
            raise ValueError("y: expected as many dimensions as in the first fit")
        self._is_single = is_single
        if rows is not None:
            sequences = self._noted_list(rows, lengths, goes_on)
        else:
            array = validate_data(self, **self._checks_of_array(X, goes_on))
            sequences = self._noted(self._as_steps(array), lengths, array.ndim == 3, goes_on)
        numbers = self._targets(self._labels(y, sequences, rows), classes, goes_on, incremental)
        if is_single:
            warn_caller(
                "y has one dimension: each row of X is taken for a sequence of one step; one sequence (T, I) with T "
                "labels is given as fit([X], [y])",
                UserWarning,
            )
        targets = np.zeros(sequences.values.shape[:2], np.int64)
        targets[sequences.steps()] = numbers
        self._train(Tagged(sequences, targets), self._width, len(self.classes_), incremental)
        return self

    def predict_proba(
        self, X: Any, *, lengths: ArrayLike | None = None
    ) -> NDArray[np.float64] | list[NDArray[np.float64]]:
        """Return the probabilities of the classes at each step, in the order of ``classes_``.

        Parameters
        ----------
        X : array_like, shape (n, T) or (n, T, I), or list of array_like
        lengths : array_like of int, shape (n,), optional

        Returns
        -------
        ndarray of shape (n, T, classes), or list of ndarray of shape (T_i, classes)
            A list where X is a list of sequences of several lengths. Past the length of a sequence they mean nothing.
        """
        found: NDArray[np.float64] | list[NDArray[np.float64]]
        found = self._formed(X, *self._probabilities(X, lengths))
        return found

    def predict(self, X: Any, *, lengths: ArrayLike | None = None) -> NDArray[Any] | list[NDArray[Any]]:
        """Return the most probable class of each step.

        Parameters
        ----------
        X : array_like, shape (n, T) or (n, T, I), or list of array_like
        lengths : array_like of int, shape (n,), optional

        Returns
        -------
        ndarray of shape (n, T), or list of ndarray of shape (T_i,)
            As those of `predict_proba`.
        """
        probabilities, sequences = self._probabilities(X, lengths)
        found: NDArray[Any] | list[NDArray[Any]]
        found = self._formed(X, self.classes_[probabilities.argmax(axis=-1)], sequences)
        return found

    def score(self, X: Any, y: Any, *, lengths: ArrayLike | None = None) -> float:
        """Return the share of steps of which the class is predicted.

        Parameters
        ----------
        X : array_like, shape (n, T) or (n, T, I), or list of array_like
        y : array_like, shape (n, T), or list of array_like
        lengths : array_like of int, shape (n,), optional

        Returns
        -------
        float
        """
        probabilities, sequences = self._probabilities(X, lengths)
        predicted = self.classes_[probabilities.argmax(axis=-1)[sequences.steps()]]
        return float(np.mean(predicted == self._labels(y, sequences, listed("X", X))))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        return tags

    def _new_model(self, width: int, num_outputs: int) -> nn.Module:
        return EveryStepModel(self._recurrent(width), num_outputs)

    def _as_steps(self, array: NDArray[Any]) -> NDArray[np.float32]:
        if self._is_single and array.ndim == 2:
            return as_float32("X", array)[:, None, :]
        return super()._as_steps(array)

    def _labels(self, y: Any, sequences: Sequences, rows: list[Any] | None) -> NDArray[Any]:
        """Return the labels of all steps, sequence by sequence; `rows` are those of an X that is a list.

        Raises
        ------
        ValueError
            If there is not one for each step.
        """
        n, T = sequences.values.shape[:2]
        if rows is None and _is_regular(y):
            array = np.asarray(y)
            array = array[:, None] if self._is_single and array.ndim == 1 else array
            if array.shape == (n, T):
                return array[sequences.steps()]
            if sequences.lengths is None:
                raise ValueError(
                    f"y: expected a label for each step, shape {(n, T)}, got shape {array.shape}"
                )
        counts = [T] * n if sequences.lengths is None else sequences.lengths.tolist()
        if len(y) != n:
            raise ValueError(f"y: expected the labels of {n} sequences, got {len(y)}")
        labels = [np.asarray(row) for row in y]
        for i, (row, count) in enumerate(zip(labels, counts, strict=True)):
            if row.shape != (count,):
                raise ValueError(
                    f"y[{i}]: expected a label for each of {count} steps of X[{i}], got shape {row.shape}"
                )
        return np.concatenate(labels)

    def _probabilities(self, X: Any, lengths: Any) -> tuple[NDArray[np.float64], Sequences]:
        sequences = self._sequences_to_predict(X, lengths)
        return softmax(self._outputs(sequences.values, lengths=sequences.lengths)), sequences

    def _formed(self, X: Any, values: NDArray[Any], sequences: Sequences) -> Any:
        """Return what there is of steps (n, T, ...) in the form of X."""
        if listed("X", X) is not None and sequences.lengths is not None:
            return [row[:length] for row, length in zip(values, sequences.lengths, strict=True)]
        return values[:, 0] if self._is_single else values

    def _task(self) -> SequenceLabelling:
        task = SequenceLabelling({"score": metrics.accuracy})
        task.criterion = self._criterion()
        return task


def _is_regular(y: Any) -> bool:
    """Return whether an array can hold labels: they are not a list of lists of several lengths."""
    try:
        np.asarray(y)
    except ValueError:
        return False
    return True
