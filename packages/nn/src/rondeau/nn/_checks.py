"""What layers and functions refuse at the door: arguments of a wrong type, and numbers out of their range."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["check_probability", "check_sizes"]

# Not the abstract classes of `numbers`, which take several times as long to ask.
_INTEGERS = (int, np.integer)
_NUMBERS = (*_INTEGERS, float, np.floating)


def check_probability(name: str, value: Any) -> None:
    """Refuse what is no number from 0 to 1.

    Raises
    ------
    ValueError
        With the name of the argument.

    Examples
    --------
    >>> check_probability("p", 1.5)
    Traceback (most recent call last):
        ...
    ValueError: p should be a number in range [0, 1] representing the probability of an element being zeroed, got 1.5
    """
    if isinstance(value, bool) or not isinstance(value, _NUMBERS) or not 0 <= value <= 1:
        raise ValueError(
            f"{name} should be a number in range [0, 1] representing the probability of an element being "
            f"zeroed, got {value!r}"
        )


def check_sizes(least: int = 1, /, **sizes: Any) -> None:
    """Refuse sizes that are no integers, or below the least: 1, or 0 where nothing may be of that size.

    Raises
    ------
    TypeError
        For what is no integer, with the name of the argument.
    ValueError
        For one that is too small.

    Examples
    --------
    >>> check_sizes(input_size=3, hidden_size=0)
    Traceback (most recent call last):
        ...
    ValueError: hidden_size must be greater than zero, got 0
    """
    for name, size in sizes.items():
        if isinstance(size, bool) or not isinstance(size, _INTEGERS):
            raise TypeError(f"{name} should be of type int, got: {type(size).__name__}")
        if size < least:
            bound = "greater than zero" if least == 1 else f"at least {least}"
            raise ValueError(f"{name} must be {bound}, got {size}")
