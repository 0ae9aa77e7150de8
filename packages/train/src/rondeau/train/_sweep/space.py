"""What a sweep draws from: for each name a range of numbers, or a choice of values."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from rondeau.train._checks import shown

KINDS = ("log", "linear", "integer", "log_integer", "choice")
"""How an entry of a space is written: ``{kind: [low, high]}``, or ``{"choice": [...]}``."""

_EXPECTED = (
    "expected one of {log: [low, high]}, {linear: ...}, {integer: ...}, {log_integer: ...}, {choice: [...]}"
)


class Range(NamedTuple):
    """Numbers from `low` to `high`, both included; integers, or on a logarithmic scale, where `kind` says so."""

    kind: str
    low: float
    high: float

    @property
    def is_integer(self) -> bool:
        """Return whether integers alone are drawn."""
        return self.kind in ("integer", "log_integer")

    @property
    def is_log(self) -> bool:
        """Return whether the logarithm is what is drawn evenly."""
        return self.kind in ("log", "log_integer")

    def plain(self) -> dict[str, list[Any]]:
        """Return the entry as it is written."""
        return {self.kind: [self.low, self.high]}


class Choice(NamedTuple):
    """Any of some values, which have no order."""

    values: tuple[Any, ...]

    def plain(self) -> dict[str, list[Any]]:
        """Return the entry as it is written."""
        return {"choice": list(self.values)}


Space = Mapping[str, Range | Choice]


def parse_space(space: Any) -> dict[str, Range | Choice]:
    """Return a space that is written as a mapping.

    Raises
    ------
    TypeError, ValueError
        The message names the key.

    Examples
    --------
    >>> parse_space({"lr": {"log": [1e-4, 1e-2]}})
    {'lr': Range(kind='log', low=0.0001, high=0.01)}
    >>> parse_space({"lr": {"log": [0, 1]}})
    Traceback (most recent call last):
    ...
    ValueError: space: lr: a logarithmic range begins above 0, got 0
    """
    if not isinstance(space, Mapping):
        raise TypeError(f"space: expected a mapping, got {type(space).__name__}")
    if not space:
        raise ValueError("space: expected at least one name with a range or a choice, got none")
    entries = {}
    for name, entry in space.items():
        if not isinstance(name, str):
            raise TypeError(f"space: expected names, got {type(name).__name__}: {shown(name)}")
        try:
            entries[name] = parse_entry(entry)
        except ValueError as error:
            raise ValueError(f"space: {name}: {error}") from None
    return entries


def parse_entry(entry: Any) -> Range | Choice:
    """Return one entry of a space.

    Raises
    ------
    ValueError
        The message says what was expected.
    """
    if not isinstance(entry, Mapping):
        raise ValueError(f"{_EXPECTED}, got {shown(entry)}")
    if len(entry) != 1 or (kind := next(iter(entry))) not in KINDS:
        raise ValueError(f"{_EXPECTED}, got {', '.join(map(str, entry)) or 'nothing'}")
    values = entry[kind]
    if isinstance(values, str | bytes) or not isinstance(values, Sequence):
        raise ValueError(f"{kind}: expected a list, got {shown(values)}")
    return _choice(values) if kind == "choice" else _range(kind, values)


def _choice(values: Sequence[Any]) -> Choice:
    if not values:
        raise ValueError("choice: expected at least one value, got none")
    for i, value in enumerate(values):
        if not (value is None or isinstance(value, bool | int | float | str)) or value != value:
            raise ValueError(f"choice: expected numbers, texts, true, false or null, got {shown(value)}")
        if value in values[:i]:
            raise ValueError(f"choice: {shown(value)} is there twice")
    return Choice(tuple(values))


def _range(kind: str, values: Sequence[Any]) -> Range:
    whole = kind in ("integer", "log_integer")
    if len(values) != 2:
        raise ValueError(f"{kind}: expected two numbers, the lowest and the highest, got {len(values)}")
    for value in values:
        is_number = isinstance(value, int if whole else int | float) and not isinstance(value, bool)
        if not is_number or abs(value) > 2**53 or not math.isfinite(value):
            what = "whole numbers" if whole else "finite numbers"
            raise ValueError(f"{kind}: expected {what} that a float holds exactly, got {shown(value)}")
    low, high = values
    if not low < high:
        raise ValueError(f"{kind}: expected the lowest number first, got {shown(low)} and {shown(high)}")
    if kind == "log" and low <= 0:
        raise ValueError(f"a logarithmic range begins above 0, got {shown(low)}")
    if kind == "log_integer" and low < 1:
        raise ValueError(f"a logarithmic range of integers begins at 1 or above, got {shown(low)}")
    return Range(kind, *(values if whole else map(float, values)))
