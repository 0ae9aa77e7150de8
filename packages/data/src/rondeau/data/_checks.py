"""What the package refuses at the door: arguments of a wrong type, and numbers that are too small."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt


def check_is(name: str, value: Any, *kinds: type) -> None:
    """Raise TypeError unless `value` is of one of the types.

    Examples
    --------
    >>> check_is("tokenizer", "words", dict)
    Traceback (most recent call last):
        ...
    TypeError: tokenizer must be of type dict, got str
    """
    if not isinstance(value, kinds):
        wanted = " or ".join(kind.__name__ for kind in kinds)
        raise TypeError(f"{name} must be of type {wanted}, got {type(value).__name__}")


def check_path(value: Any) -> None:
    """Raise TypeError unless `value` names a file or a folder."""
    check_is("path", value, str, os.PathLike)


def check_integer(name: str, value: Any) -> None:
    """Raise TypeError unless `value` is an integer.

    Examples
    --------
    >>> check_integer("min_freq", 0.5)
    Traceback (most recent call last):
        ...
    TypeError: min_freq must be an integer, got float: 0.5
    """
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise TypeError(f"{name} must be an integer, got {type(value).__name__}: {value!r:.80}")


def check_flags(**flags: Any) -> None:
    """Raise TypeError unless each value is True or False: ``shuffle="no"`` would shuffle.

    Examples
    --------
    >>> check_flags(shuffle="no")
    Traceback (most recent call last):
        ...
    TypeError: shuffle must be True or False, got 'no'
    """
    for name, flag in flags.items():
        if not isinstance(flag, bool | np.bool_):
            raise TypeError(f"{name} must be True or False, got {flag!r:.80}")


def check_number(name: str, value: Any) -> None:
    """Raise TypeError unless `value` is a real number.

    Examples
    --------
    >>> check_number("fraction", "half")
    Traceback (most recent call last):
        ...
    TypeError: fraction must be a number, got str: 'half'
    """
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
        raise TypeError(f"{name} must be a number, got {type(value).__name__}: {value!r:.80}")


def checked_list(name: str, values: Any, what: str) -> list[Any]:
    """Return what an iterable yields, or raise TypeError where `values` is none; `what` is what it should yield.

    Examples
    --------
    >>> checked_list("order", 3, "integers")
    Traceback (most recent call last):
        ...
    TypeError: order must be an iterable of integers, got int
    """
    check_iterable(name, values, what)
    return list(values)


def check_iterable(name: str, values: Any, what: str) -> None:
    """Raise TypeError unless `values` can be iterated over; `what` is what it should yield."""
    if not isinstance(values, Iterable):
        raise TypeError(f"{name} must be an iterable of {what}, got {type(values).__name__}")


def as_indices(name: str, values: Any) -> npt.NDArray[np.int64]:
    """Return a row of integers as an array, or raise TypeError: 1.5 and True are no places of samples.

    Examples
    --------
    >>> as_indices("indices", [0.5, 1.0])
    Traceback (most recent call last):
        ...
    TypeError: indices must be a row of integers, got float64 of shape (2,)
    """
    check_iterable(name, values, "integers")
    array = as_array(name, values if hasattr(values, "__array__") else list(values))
    if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
        raise TypeError(f"{name} must be a row of integers, got {array.dtype} of shape {array.shape}")
    if array.size and array.max() > np.iinfo(np.int64).max:
        raise ValueError(f"{name} must be at most {np.iinfo(np.int64).max}, got {array.max()}")
    return array.astype(np.int64)


def as_array(name: str, values: Any) -> npt.NDArray[Any]:
    """Return array_like numbers as an array, or raise TypeError.

    Examples
    --------
    >>> as_array("counts", [[1], [2, 3]])
    Traceback (most recent call last):
        ...
    TypeError: counts must be an array of numbers, got list
    """
    if isinstance(values, str):
        raise TypeError(f"{name} must be an array of numbers, got a text; encode it first, by Codec.encode")
    try:
        array = np.asarray(values)
    except (TypeError, ValueError):
        raise TypeError(f"{name} must be an array of numbers, got {type(values).__name__}") from None
    if array.dtype.kind not in "biuf":
        raise TypeError(f"{name} must be an array of numbers, got {type(values).__name__} of {array.dtype}")
    return array
