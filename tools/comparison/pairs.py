"""Measurements in turn: A B A B, so that what changes on a shared machine changes for both.

A single time says little there; the ratio of two times taken one after the other does. What is kept is the median
of the ratios, and their range.
"""

import statistics
from collections.abc import Sequence
from typing import Any

from .process import Process


def in_turn(places: Sequence[tuple[Process, str]], pairs: int, figure: str = "seconds") -> list[list[float]]:
    """Measure every prepared function once in each round; the times of each, round by round.

    A round's time is the median of its calls, ``"seconds"``, or the ``"least"``.
    """
    rounds = [[process.ask("measure", name=name)[figure] for process, name in places] for _ in range(pairs)]
    return [list(times) for times in zip(*rounds, strict=True)]


def ratio(numerator: Sequence[float], denominator: Sequence[float], name: str = "ratio") -> dict[str, Any]:
    """Return the median and the range of the ratios of each round.

    >>> ratio([2.0, 9.0, 4.0], [1.0, 3.0, 2.0])
    {'ratio': 2.0, 'ratio_range': [2.0, 3.0]}
    """
    ratios = [n / d for n, d in zip(numerator, denominator, strict=True)]
    return {name: statistics.median(ratios), f"{name}_range": [min(ratios), max(ratios)]}
