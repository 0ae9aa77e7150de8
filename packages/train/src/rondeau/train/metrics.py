"""Metrics of models: `accuracy` and `perplexity` of logits; what scikit-learn has comes from scikit-learn.

``confusion_matrix``, ``precision_score``, ``recall_score``, ``f1_score``, ``roc_auc_score``, ``roc_curve`` and
``classification_report`` are scikit-learn's functions (the extra ``sklearn``), imported when they are first asked for.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rondeau import nn
from rondeau import tensor as rt

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
        Or probabilities: only their order counts.
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
        If shapes do not fit.
    TypeError
        If targets are no integers.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> from rondeau.train import metrics
    >>> metrics.accuracy(rt.tensor([[2.0, 0.0], [0.0, 1.0], [3.0, 0.0]]), rt.tensor([0, 1, 1]))
    0.6666666666666666
    """
    scores, classes = _array(logits), _array(targets)
    if scores.ndim != 2 or classes.shape != scores.shape[:1]:
        raise ValueError(
            f"accuracy expected logits (N, C) and targets (N,), got shapes {scores.shape} and {classes.shape}"
        )
    if classes.dtype.kind not in "iu":
        raise TypeError(f"accuracy expected targets of an integer dtype, got {classes.dtype}")
    counts = classes != ignore_index
    if not counts.any():
        return math.nan
    return float((scores.argmax(axis=1) == classes)[counts].mean())


def perplexity(logits: rt.Tensor, targets: rt.Tensor | NDArray[Any], *, ignore_index: int = -100) -> float:
    """Return the exponential of the mean negative log-likelihood of targets under softmax(`logits`).

    1 is perfect, C is what guessing uniformly gives, and there is no worst.

    Parameters
    ----------
    logits : Tensor, shape (N, C)
    targets : Tensor or ndarray of int, shape (N,)
    ignore_index : int
        Rows with this target do not count.

    Returns
    -------
    float
        At least 1; infinity where the exponential is out of range; NaN if no row counts.

    Raises
    ------
    TypeError, ValueError, IndexError
        As `rondeau.nn.functional.cross_entropy` does.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> from rondeau.train import metrics
    >>> round(metrics.perplexity(rt.zeros(3, 27), rt.tensor([0, 5, 26])), 4)
    27.0
    """
    with rt.no_grad():
        mean = nn.functional.cross_entropy(logits, targets, ignore_index=ignore_index).item()
    try:
        return math.exp(mean)
    except OverflowError:
        return math.inf


def _array(values: rt.Tensor | NDArray[Any]) -> NDArray[Any]:
    return values.numpy() if isinstance(values, rt.Tensor) else np.asarray(values)


def __getattr__(name: str) -> Any:
    if name not in _FROM_SCIKIT_LEARN:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        from sklearn import metrics
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"rondeau.train.metrics.{name} is scikit-learn's: install the extra with "
            "python -m pip install -e '.[sklearn]'"
        ) from error
    return getattr(metrics, name)


def __dir__() -> list[str]:
    return list(__all__)
