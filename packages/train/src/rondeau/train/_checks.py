"""Argument checks of optimisers, schedules and the training loop: types, and the ranges of numbers."""

import copy
import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

_INTEGERS = (int, np.integer)
_NUMBERS = (*_INTEGERS, float, np.floating)
_LARGEST_INTEGER = 2**63 - 1
_LARGEST = sys.float_info.max
_MOST_DIGITS = 40


@dataclass(frozen=True)
class Interval:
    """The numbers that an argument may be, and how a message calls them; NaN is in no interval.

    Examples
    --------
    >>> Interval("a number in [0, 1)", 0, 1, includes_high=False).holds(1.0)
    False
    """

    expected: str
    low: float
    high: float
    includes_low: bool = True
    includes_high: bool = True

    def holds(self, value: Any) -> bool:
        """Return whether a real number is in it; an integer that no float holds is in none."""
        if isinstance(value, int) and abs(value) > _LARGEST:
            return False
        # As Python's: to be compared, the largest double would be converted to float32, and overflow.
        value = float(value) if isinstance(value, np.floating) else value
        above = value >= self.low if self.includes_low else value > self.low
        return bool(above and (value <= self.high if self.includes_high else value < self.high))


ANY = Interval("a number", -math.inf, math.inf)
FINITE = Interval("a finite number", -_LARGEST, _LARGEST)
AT_LEAST_ZERO = Interval("a finite number >= 0", 0, _LARGEST)
ABOVE_ZERO = Interval("a finite number > 0", 0, _LARGEST, includes_low=False)
ABOVE_ZERO_OR_INFINITE = Interval("a number > 0", 0, math.inf, includes_low=False)
UP_TO_ONE = Interval("a number in [0, 1]", 0, 1)
BELOW_ONE = Interval("a number in [0, 1)", 0, 1, includes_high=False)
ABOVE_ZERO_UP_TO_ONE = Interval("a number in (0, 1]", 0, 1, includes_low=False)


def shown(value: Any) -> str:
    """Return a value for a message; of a long integer its size, since Python refuses to print the longest.

    Examples
    --------
    >>> shown(0.5), shown("0.5"), shown(10**400)
    ('0.5', "'0.5'", 'an integer of 1329 bits')
    """
    if isinstance(value, int) and value.bit_length() > math.log2(10) * _MOST_DIGITS:
        return f"an integer of {value.bit_length()} bits"
    try:
        return f"{plain(value)!r:.80}"
    except ValueError:  # for an integer within
        return f"a {type(value).__name__} with an integer too long to print"


def check_real(name: str, value: Any) -> None:
    """Raise TypeError unless `value` is a real number.

    Examples
    --------
    >>> check_real("factor", "half")
    Traceback (most recent call last):
    ...
    TypeError: factor: expected a number, got str: 'half'
    """
    if isinstance(value, bool) or not isinstance(value, _NUMBERS):
        raise TypeError(f"{name}: expected a number, got {type(value).__name__}: {shown(value)}")


def check_number(name: str, value: Any, interval: Interval = FINITE) -> None:
    """Raise TypeError unless `value` is a real number, and ValueError unless it is in `interval`.

    Examples
    --------
    >>> check_number("lr", 10**400, AT_LEAST_ZERO)
    Traceback (most recent call last):
    ...
    ValueError: lr: expected a finite number >= 0, got an integer of 1329 bits
    """
    check_real(name, value)
    if not interval.holds(value):
        raise ValueError(f"{name}: expected {interval.expected}, got {shown(value)}")


def check_integer(
    name: str, value: Any, least: int, of_what: str = "", *, most: int | None = _LARGEST_INTEGER
) -> None:
    """Raise TypeError unless `value` is an integer, and ValueError unless it is from `least` to `most`.

    `most` is by default what 64 bits hold; None is for seeds, which may be longer.

    Examples
    --------
    >>> check_integer("step_size", 0, 1, " step")
    Traceback (most recent call last):
    ...
    ValueError: step_size: expected at least 1 step, got 0
    >>> check_integer("length", 10**20, 0)
    Traceback (most recent call last):
    ...
    ValueError: length: expected at most 9223372036854775807, got 100000000000000000000
    """
    if isinstance(value, bool) or not isinstance(value, _INTEGERS):
        raise TypeError(f"{name}: expected an integer, got {type(value).__name__}: {shown(value)}")
    if value < least:
        raise ValueError(f"{name}: expected at least {least}{of_what}, got {shown(value)}")
    if most is not None and value > most:
        raise ValueError(f"{name}: expected at most {most}{of_what}, got {shown(value)}")


def plain(value: Any) -> Any:
    """Return a number of NumPy's as Python's, which JSON can hold, and a copy of all else.

    Examples
    --------
    >>> plain(np.float32(0.5)), plain("min")
    (0.5, 'min')
    """
    return value.item() if isinstance(value, np.generic) else copy.copy(value)


def check_flag(name: str, value: Any) -> None:
    """Raise TypeError unless `value` is True or False: ``"no"`` would count as True.

    Examples
    --------
    >>> check_flag("nesterov", "no")
    Traceback (most recent call last):
    ...
    TypeError: nesterov: expected True or False, got 'no'
    """
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"{name}: expected True or False, got {shown(value)}")


def check_is(name: str, value: Any, *kinds: type) -> None:
    """Raise TypeError unless `value` is of one of the types.

    Examples
    --------
    >>> check_is("codec", None, dict)
    Traceback (most recent call last):
    ...
    TypeError: codec: expected dict, got NoneType
    """
    if not isinstance(value, kinds):
        wanted = " or ".join(kind.__name__ for kind in kinds)
        raise TypeError(f"{name}: expected {wanted}, got {type(value).__name__}")


def checked_list(name: str, values: Any, what: str) -> list[Any]:
    """Return what an iterable yields, or raise TypeError where `values` is none; `what` is what it should yield.

    Examples
    --------
    >>> checked_list("milestones", 3, "steps")
    Traceback (most recent call last):
    ...
    TypeError: milestones: expected an iterable of steps, got int
    """
    try:
        iterator = iter(values)
    except TypeError:
        raise TypeError(f"{name}: expected an iterable of {what}, got {type(values).__name__}") from None
    return list(iterator)


def check_state(what: str, state: Any, names: set[str]) -> None:
    """Raise TypeError unless a state is a mapping, and ValueError unless it has the names.

    Examples
    --------
    >>> check_state("a schedule", {"step": 3}, {"last_epoch"})
    Traceback (most recent call last):
    ...
    ValueError: state of a schedule: expected the names last_epoch, got step
    """
    check_is(f"state of {what}", state, Mapping)
    if not names <= set(state):
        found = ", ".join(map(str, state)) or "none"
        raise ValueError(f"state of {what}: expected the names {', '.join(sorted(names))}, got {found}")
