"""`RecurrentClassifier`: a class for each sequence."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import ClassifierMixin
from sklearn.metrics import accuracy_score
from sklearn.model_selection import train_test_split

from rondeau.train import metrics
from rondeau.train._tasks.supervised import Supervised
from rondeau.train.estimators._classes import ClassEstimator, softmax
from rondeau.train.estimators._final_state import FinalStateEstimator, Labelled
from rondeau.train.estimators._shuffled import Rows, Samples


class RecurrentClassifier(ClassifierMixin, ClassEstimator, FinalStateEstimator):  # type: ignore[misc]
    """A recurrent layer and softmax on its final state, as a scikit-learn classifier.

    Parameters
    ----------
    cell : str or Cell
        The name of a cell of `rondeau.nn.cells`, or one made by `rondeau.nn.recurrent_cell`.
    hidden_size, num_layers, bidirectional
        Of `rondeau.nn.Recurrent`.
    epochs : int
        Passes over the training sequences, at most.
    batch_size : int
    lr : float
        The rate of Adam.
    max_norm : float
        Gradients are clipped to this norm.
    random_state : int, RandomState or None
        Decides the initial weights, the order of sequences, and which of them validate.
    verbose : bool
        Print the loss, and the validation score if there is one, of every epoch.
    early_stopping : bool
        Set a part of the sequences aside, score them after every epoch, stop when the score improves no more, and keep
        the weights of the best epoch. Without, all sequences are trained on, and the training loss says when to stop.
    validation_fraction : float
        The part set aside, with the same shares of classes.
    n_iter_no_change : int
        Training stops after more than this many epochs in a row without an improvement by `tol`. A recurrent network
        may stay on a plateau for long before it learns: raise this, to `epochs` to have all of them.
    tol : float
    class_weight : dict, "balanced" or None
        The weight of each class in the loss: by class, 1 for those left out; or in inverse proportion to how often it
        occurs, ``n / (classes * counts)``.
    warm_start : bool
        Whether `fit` goes on from the weights of the last one, instead of new ones.
    device : {"cpu", "cuda"}
        Where the network is trained, and predicts. To unpickle one without a GPU, move it first: ``model_.cpu()``.

    Attributes
    ----------
    classes_ : ndarray
    model_ : Module
    loss_curve_ : list of float
        The mean loss of each epoch: the cross-entropy in nats, times the class weights.
    validation_scores_ : list of float or None
        The accuracy after each epoch, with `early_stopping`.
    best_validation_score_ : float
        The largest of the last fit.
    n_iter_ : int
        Epochs of the last fit.

    Notes
    -----
    Sequences are X of shape (n, T, I), or (n, T) for one feature a step; ``lengths`` (n,) says where padded ones end.
    Or they are a list of arrays (T_i, I) or (T_i,), of whatever lengths. What is predicted may have another T than what
    was fitted if it is (n, T, I) or a list; scikit-learn takes the T of (n, T) for a number of features, which stays.
    Features should be scaled, as for any network: put a scaler in front where they are not.

    Parameters and attributes have the meaning that they have in scikit-learn's ``MLPClassifier``.

    Examples
    --------
    >>> import numpy as np
    >>> from rondeau.train.estimators import RecurrentClassifier
    >>> X = np.random.default_rng(0).choice([-1.0, 1.0], (200, 6))
    >>> y = np.where(X.sum(1) > 0, "more", "not more")
    >>> RecurrentClassifier(hidden_size=16, epochs=20, random_state=0).fit(X[:150], y[:150]).score(X[150:], y[150:])
    1.0
    """

    def fit(self, X: Any, y: ArrayLike, *, lengths: ArrayLike | None = None) -> RecurrentClassifier:
        """Train on sequences and their classes.

        Parameters
        ----------
        X : array_like, shape (n, T) or (n, T, I), or list of array_like
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
            If shapes do not fit, or X has NaN, infinity or strings.
        DivergedError
            If the loss or a weight is no longer finite.
        """
        return self._fit(X, y, lengths, incremental=False)

    def partial_fit(
        self,
        X: Any,
        y: ArrayLike,
        classes: ArrayLike | None = None,
        *,
        lengths: ArrayLike | None = None,
    ) -> RecurrentClassifier:
        """Make one more pass, over sequences that may be others than before.

        As many calls with the same sequences as `epochs` are a `fit`, to the bit.

        Parameters
        ----------
        X : array_like, shape (n, T) or (n, T, I), or list of array_like
        y : array_like, shape (n,)
        classes : array_like, optional
            All the classes that there will be; needed in the first call.
        lengths : array_like of int, shape (n,), optional

        Returns
        -------
        RecurrentClassifier
            Itself.

        Raises
        ------
        ValueError
            As `fit`; if `classes` are not given at first, or others later; with `early_stopping`; and with balanced
            class weights, which need all of y.
        DivergedError
            If the loss or a weight is no longer finite.
        """
        return self._fit(X, y, lengths, incremental=True, classes=classes)

    def _fit(
        self,
        X: Any,
        y: ArrayLike,
        lengths: ArrayLike | None,
        *,
        incremental: bool,
        classes: ArrayLike | None = None,
    ) -> RecurrentClassifier:
        goes_on = self._goes_on(incremental)
        sequences, labels = self._sequences_to_fit(X, y, lengths, goes_on)
        if incremental and not goes_on and classes is None:
            raise ValueError(
                "classes: the first call of partial_fit needs all the classes that there will be"
            )
        targets = self._targets(labels, classes, goes_on, incremental)
        width = sequences.values.shape[2]
        self._train(Labelled(sequences, targets), width, len(self.classes_), incremental)
        return self

    def predict_proba(self, X: Any, *, lengths: ArrayLike | None = None) -> NDArray[np.float64]:
        """Return the probabilities (n, classes) of sequences, in the order of ``classes_``.

        Parameters
        ----------
        X : array_like, shape (n, T) or (n, T, I), or list of array_like
        lengths : array_like of int, shape (n,), optional

        Returns
        -------
        ndarray
        """
        return softmax(self._final_outputs(X, lengths))

    def predict(self, X: Any, *, lengths: ArrayLike | None = None) -> NDArray[Any]:
        """Return the most probable class of each sequence, shape (n,).

        Parameters
        ----------
        X : array_like, shape (n, T) or (n, T, I), or list of array_like
        lengths : array_like of int, shape (n,), optional

        Returns
        -------
        ndarray
        """
        best = self._final_outputs(X, lengths).argmax(axis=1)
        found: NDArray[Any] = self.classes_[best]
        return found

    def score(
        self,
        X: Any,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        *,
        lengths: ArrayLike | None = None,
    ) -> float:
        """Return the share of sequences of which the class is predicted.

        Parameters
        ----------
        X : array_like, shape (n, T) or (n, T, I), or list of array_like
        y : array_like, shape (n,)
        sample_weight : array_like, shape (n,), optional
        lengths : array_like of int, shape (n,), optional
            To have a search over padded sequences pass them, enable scikit-learn's metadata routing and
            ``set_score_request(lengths=True)``; a list of sequences needs none.

        Returns
        -------
        float
        """
        return float(accuracy_score(y, self.predict(X, lengths=lengths), sample_weight=sample_weight))

    def _task(self) -> Supervised:
        return Supervised(self._criterion(), {"score": metrics.accuracy})

    def _split(self, samples: Samples, orders: np.random.RandomState) -> tuple[Rows, Rows]:
        assert isinstance(samples, Labelled)
        train, validation = train_test_split(
            np.arange(len(samples)),
            test_size=self.validation_fraction,
            random_state=orders,
            stratify=self.classes_[samples.targets],  # labels, for scikit-learn's messages
        )
        return train, validation
