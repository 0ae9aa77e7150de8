"""What the mean divides by that a loss of classes takes of a batch: classes that it ignores, and their weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rondeau import nn
from rondeau.nn.freezing import has_forward_of

_MODULES = (nn.CrossEntropyLoss, nn.LinearCrossEntropyLoss, nn.NLLLoss)
_FUNCTIONS = (nn.functional.cross_entropy, nn.functional.nll_loss)
_IGNORED_BY_FUNCTIONS = -100


def is_of_classes(loss: Callable[..., Any]) -> bool:
    """Return whether a loss is one of the library's that compare outputs with classes.

    Examples
    --------
    >>> is_of_classes(nn.CrossEntropyLoss()), is_of_classes(nn.MSELoss())
    (True, False)
    """
    if isinstance(loss, nn.Module):
        return any(isinstance(loss, kind) and has_forward_of(loss, kind) for kind in _MODULES)
    return loss in _FUNCTIONS


def sum_of_weights(loss: Callable[..., Any], classes: NDArray[Any]) -> float:
    """Return what the mean divides by that a loss of `is_of_classes` takes: how many classes count, or their weights.

    Parameters
    ----------
    loss : callable
    classes : ndarray
        Those of a batch, all of which the loss has accepted.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> sum_of_weights(nn.functional.cross_entropy, np.array([2, -100, 0]))
    2
    >>> sum_of_weights(nn.CrossEntropyLoss(rt.tensor([0.5, 1.0, 4.0])), np.array([2, -100, 0]))
    4.5
    """
    ignored = loss.ignore_index if isinstance(loss, nn.Module) else _IGNORED_BY_FUNCTIONS
    weight = loss.weight if isinstance(loss, nn.Module) else None
    if weight is None:
        return int(np.count_nonzero(classes != ignored))
    of_classes: NDArray[Any] = weight.detach().cpu().numpy()
    return float(of_classes[classes[classes != ignored]].sum(dtype=np.float64))
