"""Classes of an estimator: their numbers, their weights, and those that a later fit may have."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.class_weight import compute_class_weight

from rondeau import nn
from rondeau import tensor as rt


def first_classes(labels: NDArray[Any], classes: ArrayLike | None, incremental: bool) -> NDArray[Any]:
    """Return the classes of a first fit, ascending.

    Raises
    ------
    ValueError
        If `partial_fit` is not told them.
    """
    if not incremental:
        return np.unique(labels)
    if classes is None:
        raise ValueError("classes: the first call of partial_fit needs all the classes that there will be")
    found: NDArray[Any] = np.unique(np.asarray(classes))
    return found


def class_numbers(labels: NDArray[Any], classes: NDArray[Any]) -> NDArray[np.int64]:
    """Return the place of each label in the classes.

    Raises
    ------
    ValueError
        If one is not among them.
    """
    unknown = np.setdiff1d(labels, classes)
    if unknown.size:
        raise ValueError(
            f"y: expected classes of the first fit, {shown(classes)}, got {shown(unknown)} too; a fit with all of them "
            "needs warm_start=False, or classes= in the first partial_fit"
        )
    return np.searchsorted(classes, labels).astype(np.int64)


def shown(classes: NDArray[Any]) -> str:
    """Return classes for a message, the first ten of them."""
    names = [repr(label) for label in classes[:10].tolist()]
    return ", ".join([*names, "..."] if len(classes) > 10 else names)


def weights_of(
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
        weight = rt.tensor(self._weights.astype(logits.dtype))
        return nn.functional.cross_entropy(logits, targets, weight, reduction="none").mean()


def softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return probabilities of logits, along the last dimension."""
    weights = np.exp(logits - logits.max(axis=-1, keepdims=True))
    found: NDArray[np.float64] = weights / weights.sum(axis=-1, keepdims=True)
    return found
