"""Confidence intervals of a mean, by Student's t."""

import math
from collections.abc import Sequence
from typing import NamedTuple


class Spread(NamedTuple):
    """Mean and standard deviation of a sample, and an interval that covers the mean of all with a given confidence."""

    mean: float
    deviation: float
    low: float
    high: float


def spread_of(values: Sequence[float], confidence: float = 0.95) -> Spread:
    """Return mean, standard deviation (of n - 1) and confidence interval of at least two values.

    Examples
    --------
    >>> spread = spread_of([1.0, 2.0, 3.0])
    >>> round(spread.low, 3), round(spread.high, 3)
    (-0.484, 4.484)
    """
    count = len(values)
    mean = math.fsum(values) / count
    deviation = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (count - 1))
    half = quantile((1 + confidence) / 2, count - 1) * deviation / math.sqrt(count)
    return Spread(mean, deviation, mean - half, mean + half)


def quantile(probability: float, degrees: int) -> float:
    """Return the number below which Student's t lies with a probability of at least one half.

    The distribution function is a finite sum (Abramowitz and Stegun, 26.7.3 and 26.7.4), of which the angle
    ``theta = atan(t / sqrt(degrees))`` is found by bisection.

    Parameters
    ----------
    probability : float
        In [0.5, 1).
    degrees : int
        Degrees of freedom, at least 1.

    Examples
    --------
    >>> round(quantile(0.975, 4), 3)
    2.776
    """
    low, high = 0.0, math.pi / 2
    while low < (middle := (low + high) / 2) < high:
        if _within(middle, degrees) < 2 * probability - 1:
            low = middle
        else:
            high = middle
    return math.sqrt(degrees) * math.tan(low)


def _within(theta: float, degrees: int) -> float:
    """Return the probability that ``abs(t)`` is at most ``sqrt(degrees) * tan(theta)``."""
    sine, cosine = math.sin(theta), math.cos(theta)
    is_odd = degrees % 2
    term = cosine if is_odd else 1.0
    total = 0.0
    for k in range(1 + is_odd, degrees, 2):
        total += term
        term *= cosine * cosine * k / (k + 1)
    return 2 / math.pi * (theta + sine * total) if is_odd else sine * total
