"""scikit-learn's metrics, with arguments that are checked, and refused in this library's words."""

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn import metrics

from rondeau import tensor as rt

# Names of the second argument: of predicted labels, and of scores, of which the order counts.
_LABELS, _SCORES = "y_pred", "y_score"


@functools.cache
def checked_function(name: str) -> Callable[..., Any]:
    """Return a function of ``sklearn.metrics`` that checks its first two arguments before it computes.

    Examples
    --------
    >>> f1_score = checked_function("f1_score")
    >>> f1_score([0, 1, 1], rt.tensor([0, 1, 1]))
    1.0
    >>> f1_score([0, 1], [0, 1, 1])
    Traceback (most recent call last):
    ...
    ValueError: f1_score: expected as many y_pred as y_true, got 3 and 2
    """
    function: Callable[..., Any] = getattr(metrics, name)
    signature = inspect.signature(function)
    first, second = list(signature.parameters)[:2]

    @functools.wraps(function)
    def checked(*arguments: Any, **options: Any) -> Any:
        try:
            bound = signature.bind(*arguments, **options)
        except TypeError as error:
            raise TypeError(f"{name}: {error}") from None
        given = bound.arguments
        given[first], given[second] = (_array(name, which, given[which]) for which in (first, second))
        _check_pair(name, second, given[first], given[second])
        if "average" in signature.parameters and second == _LABELS:
            _check_average(name, given)
        try:
            return function(*bound.args, **bound.kwargs)
        except ValueError as error:  # of what only scikit-learn knows, such as the choices of an option
            raise ValueError(f"{name}: {error}") from error

    return checked


def _array(name: str, which: str, values: Any) -> NDArray[Any]:
    try:
        array = np.asarray(values.detach().cpu().numpy() if isinstance(values, rt.Tensor) else values)
    except ValueError:
        raise TypeError(f"{name}: expected {which} in an array, got rows of different lengths") from None
    if array.ndim == 0:
        raise TypeError(f"{name}: expected {which} in an array, got {type(values).__name__}")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise ValueError(f"{name}: expected {which} without NaN and infinity")
    return array


def _check_pair(name: str, second: str, true: NDArray[Any], other: NDArray[Any]) -> None:
    """Refuse targets and predictions that do not fit each other."""
    if len(true) != len(other):
        raise ValueError(f"{name}: expected as many {second} as y_true, got {len(other)} and {len(true)}")
    if not len(true):
        raise ValueError(f"{name}: expected at least one target, got none")
    classes = len(np.unique(true)) if true.ndim == 1 and true.dtype.kind != "O" else 0
    if second == _SCORES:
        if classes > 2 and name == "roc_curve":
            raise ValueError(
                f"{name}: expected y_true of two classes, got {classes}; compare one class with the rest"
            )
        if classes > 2 and other.ndim == 1:
            raise ValueError(
                f"{name}: y_true has {classes} classes; give y_score of shape (N, {classes}), probabilities, and "
                "multi_class='ovr' or 'ovo'"
            )
        return
    if true.ndim != other.ndim:
        raise ValueError(
            f"{name}: expected y_true and {second} of one shape, got {true.shape} and {other.shape}; of logits (N, C) "
            "the predicted classes are logits.argmax(1)"
        )
    if {true.dtype.kind, other.dtype.kind} & set("US") and {true.dtype.kind, other.dtype.kind} & set("biuf"):
        raise TypeError(f"{name}: expected labels of one kind, got {true.dtype} and {other.dtype}")
    for which, labels in (("y_true", true), (second, other)):
        if labels.dtype.kind == "f" and (labels % 1 != 0).any():
            raise ValueError(
                f"{name}: expected labels in {which}, got {labels[labels % 1 != 0][0]}; "
                "compare scores with a threshold first"
            )


def _check_average(name: str, given: Mapping[str, Any]) -> None:
    """Refuse to count one class as the positive one where there are more than two."""
    if given.get("average", "binary") != "binary" or given["y_true"].ndim > 1:
        return
    present = {label for which in ("y_true", _LABELS) for label in given[which].tolist()}
    if len(present) > 2:
        raise ValueError(
            f"{name}: there are {len(present)} classes; give average='macro', 'micro' or 'weighted', "
            "or None for a score of each"
        )
