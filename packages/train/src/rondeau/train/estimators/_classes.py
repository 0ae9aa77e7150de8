"""Classes of an estimator: their numbers, their weights, and those that a later fit may have."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.class_weight import compute_class_weight
from sklearn.utils.multiclass import check_classification_targets

from rondeau import nn
from rondeau import tensor as rt
from rondeau.train.estimators._base import RecurrentEstimator


def _numbers(labels: NDArray[Any], classes: NDArray[Any]) -> NDArray[np.int64]:
    """Return the place of each label in the classes.

    Raises
    ------
    ValueError
        If one is not among them.
    """
    unknown = np.setdiff1d(labels, classes)
    if unknown.size:
        raise ValueError(
            f"y: expected classes of the first fit, {_shown(classes)}, got {_shown(unknown)} too; a fit with all of "
            "them needs warm_start=False, or classes= in the first partial_fit"
        )
    return np.searchsorted(classes, labels).astype(np.int64)


def _shown(classes: NDArray[Any]) -> str:
    """Return classes for a message, the first ten of them."""
    names = [repr(label) for label in classes[:10].tolist()]
    return ", ".join([*names, "..."] if len(classes) > 10 else names)


def _weights(
    class_weight: Any, classes: NDArray[Any], labels: NDArray[Any], incremental: bool
) -> NDArray[np.float64] | None:
    """Return the weight of each class, as scikit-learn defines ``class_weight``; None where all count alike.

    Raises
    ------
    ValueError
        If `class_weight` is not None, "balanced" or a dict of classes, or "balanced" without all the labels.
    """
    if class_weight is None:
        return None
    if incremental and isinstance(class_weight, str) and class_weight == "balanced":
        raise ValueError(
            "class_weight 'balanced' needs all of y, and partial_fit sees a part: give a dict, such as that of "
            "sklearn.utils.class_weight.compute_class_weight"
        )
    found: NDArray[np.float64] = compute_class_weight(class_weight, classes=classes, y=labels)
    return found


class WeightedCrossEntropy:
    """The mean over samples of the cross-entropy, times the weight of the sample's class."""

    def __init__(self, weights: NDArray[np.float64]) -> None:
        self._weights = weights

    def __call__(self, logits: rt.Tensor, targets: rt.Tensor) -> rt.Tensor:
        """Return it for logits (N, C) and classes (N,)."""
        weight = rt.tensor(self._weights.astype(logits.dtype), device=logits.device)
        return nn.functional.cross_entropy(logits, targets, weight, reduction="none").mean()


class ClassEstimator(RecurrentEstimator):
    """An estimator of classes."""

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
        *,
        verbose: bool = False,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 10,
        tol: float = 1e-4,
        class_weight: Any = None,
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
        self.class_weight = class_weight

    def _targets(
        self, labels: NDArray[Any], classes: ArrayLike | None, goes_on: bool, incremental: bool
    ) -> NDArray[np.int64]:
        """Return the number of the class of each label, after a note of the classes and their weights.

        Raises
        ------
        ValueError
            If `labels` are not classes, or others than those of the first fit.
        """
        check_classification_targets(labels)
        if not goes_on:
            self.classes_ = np.unique(labels if classes is None else np.asarray(classes))
        elif classes is not None and not np.array_equal(np.unique(np.asarray(classes)), self.classes_):
            raise ValueError("classes: expected those of the first call, or none")
        numbers = _numbers(labels, self.classes_)
        self._class_weights = _weights(self.class_weight, self.classes_, labels, incremental)
        return numbers

    def _criterion(self) -> Callable[[rt.Tensor, rt.Tensor], rt.Tensor]:
        """Return the loss of logits (N, C) and classes (N,)."""
        weights = self._class_weights
        return nn.functional.cross_entropy if weights is None else WeightedCrossEntropy(weights)


def softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return probabilities of logits, along the last dimension."""
    weights = np.exp(logits - logits.max(axis=-1, keepdims=True))
    found: NDArray[np.float64] = weights / weights.sum(axis=-1, keepdims=True)
    return found
