"""Argument validation: wrong types, and numbers beyond their range."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

LARGEST = (1 << 63) - 1  # what an array of int64 can hold
LARGEST_SEED = (1 << 128) - 1  # as large as the entropy that NumPy draws for a generator without a seed


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


def checked_integer(name: str, value: Any, least: int | None = None, most: int = LARGEST) -> int:
    """Return `value` as a Python integer, or raise unless it is an integer from `least` to `most`.

    Raises
    ------
    TypeError
        If it is not an integer.
    ValueError
        If it is out of range; by default, if 64 bits cannot hold it.

    Examples
    --------
    >>> checked_integer("min_freq", 0.5)
    Traceback (most recent call last):
        ...
    TypeError: min_freq must be an integer, got float: 0.5
    >>> checked_integer("batch_size", 10**30, least=1)
    Traceback (most recent call last):
        ...
    ValueError: batch_size must be at most 9,223,372,036,854,775,807, got an integer of 100 bits
    """
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise TypeError(f"{name} must be an integer, got {type(value).__name__}: {value!r:.80}")
    number = int(value)
    if number > most:
        raise ValueError(f"{name} must be at most {most:,}, got {shown(number)}")
    if least is not None and number < least:
        raise ValueError(
            f"{name} must be {'0 or more' if least == 0 else f'at least {least}'}, got {shown(number)}"
        )
    if number < -LARGEST:
        raise ValueError(f"{name} must be at least {-LARGEST:,}, got {shown(number)}")
    return number


def shown(number: int) -> str:
    """Return a number's digits where there are few: Python refuses to write more than some thousand."""
    return str(number) if number.bit_length() < 65 else f"an integer of {number.bit_length()} bits"


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


def checked_number(name: str, value: Any) -> float:
    """Return a real number as a float, or raise.

    Raises
    ------
    TypeError
        If it is not a real number.
    ValueError
        If it is an integer that no float can hold.

    Examples
    --------
    >>> checked_number("fraction", "half")
    Traceback (most recent call last):
        ...
    TypeError: fraction must be a number, got str: 'half'
    """
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
        raise TypeError(f"{name} must be a number, got {type(value).__name__}: {value!r:.80}")
    try:
        return float(value)
    except OverflowError:
        raise ValueError(f"{name} must be in the range of a float, got {shown(int(value))}") from None


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
    """Return a row of integers as an array, or raise TypeError: 1.5 and True are not indices of samples.

    Examples
    --------
    >>> as_indices("indices", [0.5, 1.0])
    Traceback (most recent call last):
        ...
    TypeError: indices must be a row of integers, got float64 of shape (2,)
    """
    check_iterable(name, values, "integers")
    return as_integer_row(name, values if hasattr(values, "__array__") else list(values))


def as_integer_row(name: str, values: Any) -> npt.NDArray[np.int64]:
    """Return an array_like of integers in one dimension as a new array of int64, or raise.

    Raises
    ------
    TypeError
        If it is of another kind or shape.
    ValueError
        If a number is beyond int64.
    """
    array = as_array(name, values)
    if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
        raise TypeError(f"{name} must be a row of integers, got {array.dtype} of shape {array.shape}")
    if array.dtype == np.uint64 and array.size and array.max() > LARGEST:
        raise ValueError(f"{name} must be at most {LARGEST:,}, got {array.max()}")
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
    # NumPy makes floats or objects of integers that no type of 64 bits can hold together.
    if array.dtype.kind in "fO" and isinstance(values, list | tuple) and _are_integers(values):
        largest = max(map(abs, map(int, values)))
        raise ValueError(
            f"{name} must be integers of at most {LARGEST:,}, got one of {largest.bit_length()} bits"
        )
    if array.dtype.kind not in "biuf":
        raise TypeError(f"{name} must be an array of numbers, got {type(values).__name__} of {array.dtype}")
    return array


def _are_integers(values: Sequence[Any]) -> bool:
    return len(values) > 0 and all(isinstance(value, int | np.integer) for value in values)
