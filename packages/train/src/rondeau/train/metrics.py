"""Metrics of models: `accuracy` and `perplexity` of logits; what scikit-learn has comes from scikit-learn.

``confusion_matrix``, ``precision_score``, ``recall_score``, ``f1_score``, ``roc_auc_score``, ``roc_curve`` and
``classification_report`` are scikit-learn's functions (the extra ``sklearn``), imported when they are first asked for.
They take tensors too, and say in this library's words what does not fit.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rondeau import nn
from rondeau import tensor as rt
from rondeau.train._checks import check_integer
from rondeau.train._extras import how_to_install

_FROM_SCIKIT_LEARN = (
    "classification_report",
    "confusion_matrix",
    "f1_score",
    "precision_score",
    "recall_score",
    "roc_auc_score",
    "roc_curve",
)

__all__ = ["accuracy", "perplexity", *_FROM_SCIKIT_LEARN]


def accuracy(
    logits: rt.Tensor | NDArray[Any], targets: rt.Tensor | NDArray[Any], *, ignore_index: int = -100
) -> float:
    """Return the share of rows whose largest logit is that of their target.

    Parameters
    ----------
    logits : Tensor or ndarray, shape (N, C)
        Or probabilities: only their order counts. Predicted classes are not taken: scikit-learn's ``accuracy_score``
        compares those, as ``(predicted == target).mean()`` does.
    targets : Tensor or ndarray of int, shape (N,)
        Classes.
    ignore_index : int
        Rows with this target do not count.

    Returns
    -------
    float
        In [0, 1]; NaN if no row counts.

    Raises
    ------
    ValueError
        If shapes do not fit, or a logit is NaN.
    TypeError
        If targets are not integers, or logits not numbers.
    IndexError
        If a class is outside [0, C) and is not `ignore_index`.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> from rondeau.train import metrics
    >>> metrics.accuracy(rt.tensor([[2.0, 0.0], [0.0, 1.0], [3.0, 0.0]]), rt.tensor([0, 1, 1]))
    0.6666666666666666
    """
    scores, classes, counts = _checked("accuracy", logits, targets, ignore_index)
    if not counts.any():
        return math.nan
    if np.isnan(scores).any():
        raise ValueError("accuracy expected logits of which one is the largest, but some are NaN")
    return float((scores.argmax(axis=1) == classes)[counts].mean())


def perplexity(
    logits: rt.Tensor | NDArray[Any], targets: rt.Tensor | NDArray[Any], *, ignore_index: int = -100
) -> float:
    """Return the exponential of the mean negative log-likelihood of targets under softmax(`logits`).

    1 is perfect, C is what guessing uniformly gives, and there is no worst.

    Parameters
    ----------
    logits : Tensor or ndarray, shape (N, C)
    targets : Tensor or ndarray of int, shape (N,)
        Classes.
    ignore_index : int
        Rows with this target do not count.

    Returns
    -------
    float
        At least 1; infinity where the exponential is out of range; NaN if no row counts, or a logit is NaN.

    Raises
    ------
    ValueError, TypeError, IndexError
        As `accuracy` does.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> from rondeau.train import metrics
    >>> round(metrics.perplexity(rt.zeros(3, 27), rt.tensor([0, 5, 26])), 4)
    27.0
    """
    scores, classes, _ = _checked("perplexity", logits, targets, ignore_index)
    numbers = scores if scores.dtype in (np.float32, np.float64) else scores.astype(np.float64)
    mean = nn.functional.cross_entropy(rt.from_numpy(numbers), classes, ignore_index=ignore_index).item()
    try:
        return math.exp(mean)
    except OverflowError:
        return math.inf


def _checked(
    function: str, logits: Any, targets: Any, ignore_index: int
) -> tuple[NDArray[Any], NDArray[np.int64], NDArray[np.bool_]]:
    """Return logits (N, C), classes (N,), and which rows count, or raise for what does not fit."""
    check_integer(f"{function}: ignore_index", ignore_index, -(2**63))
    scores, classes = _array(function, "logits", logits), _array(function, "targets", targets)
    if scores.ndim != 2 or scores.shape[1] == 0 or classes.shape != scores.shape[:1]:
        raise ValueError(
            f"{function} expected logits (N, C) and targets (N,), got shapes {scores.shape} and {classes.shape}"
        )
    if classes.dtype.kind not in "iu":
        raise TypeError(f"{function} expected targets of an integer dtype, got {classes.dtype}")
    counts = classes != ignore_index
    wrong = classes[counts & ((classes < 0) | (classes >= scores.shape[1]))]
    if wrong.size:
        raise IndexError(
            f"{function}: target {wrong[0]} is out of bounds: the {scores.shape[1]} columns of the logits are classes "
            f"0 to {scores.shape[1] - 1}, and ignore_index is {ignore_index}"
        )
    return scores, np.where(counts, classes, ignore_index).astype(np.int64), counts


def _array(function: str, name: str, values: Any) -> NDArray[Any]:
    try:
        array = np.asarray(values.detach().cpu().numpy() if isinstance(values, rt.Tensor) else values)
    except ValueError:
        raise TypeError(f"{function} expected {name} in an array, got rows of different lengths") from None
    if array.dtype.kind not in "fiub":
        raise TypeError(f"{function} expected {name} that are numbers, got {array.dtype}")
    return array


def __getattr__(name: str) -> Any:
    if name not in _FROM_SCIKIT_LEARN:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        from rondeau.train._scikit_metrics import checked_function
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"rondeau.train.metrics.{name} needs scikit-learn; {how_to_install('sklearn')}"
        ) from error
    return checked_function(name)


def __dir__() -> list[str]:
    return list(__all__)
