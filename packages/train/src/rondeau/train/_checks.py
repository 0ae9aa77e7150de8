"""What optimisers, schedules and the training loop refuse at the door: arguments of a wrong type or out of range."""

from collections.abc import Mapping
from typing import Any

import numpy as np

_INTEGERS = (int, np.integer)
_NUMBERS = (*_INTEGERS, float, np.floating)


def check_number(name: str, value: Any) -> None:
    """Raise TypeError unless `value` is a real number.

    Examples
    --------
    >>> check_number("factor", "half")
    Traceback (most recent call last):
    ...
    TypeError: factor: expected a number, got str: 'half'
    """
    if isinstance(value, bool) or not isinstance(value, _NUMBERS):
        raise TypeError(f"{name}: expected a number, got {type(value).__name__}: {value!r:.80}")


def check_integer(name: str, value: Any, least: int, of_what: str = "") -> None:
    """Raise TypeError unless `value` is an integer, and ValueError if it is below `least`.

    Examples
    --------
    >>> check_integer("step_size", 0, 1, " step")
    Traceback (most recent call last):
    ...
    ValueError: step_size: expected at least 1 step, got 0
    """
    if isinstance(value, bool) or not isinstance(value, _INTEGERS):
        raise TypeError(f"{name}: expected an integer, got {type(value).__name__}: {value!r:.80}")
    if value < least:
        raise ValueError(f"{name}: expected at least {least}{of_what}, got {value}")


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
