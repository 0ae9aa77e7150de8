"""The error function of arrays, which NumPy does not have.

Two Chebyshev series whose coefficients are interpolated, on first use, from the C library's `erf` and `erfc` at the
Chebyshev nodes: erf(x)/x in x^2 for |x| < 1, and for larger |x| the exponent of
erfc(x) = t exp(-x^2 + P(t)), t = 2 / (2 + x), which is smooth (Press et al., Numerical Recipes, 3rd ed., 6.2.2).
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import numpy as np
from numpy.polynomial import chebyshev

_SPLIT = 1.0
_LARGEST = 6.0  # erf is 1 in float64 beyond
_ERFC_RANGE = (2 / (2 + _LARGEST), 2 / (2 + _SPLIT))


def _interpolate(function: Any, low: float, high: float, degree: int) -> np.ndarray[Any, Any]:
    """Chebyshev coefficients of `function` on [low, high]."""
    middle, half = (high + low) / 2, (high - low) / 2
    return chebyshev.chebinterpolate(lambda u: np.array([function(middle + half * v) for v in u]), degree)


@cache
def _small() -> np.ndarray[Any, Any]:
    return _interpolate(lambda s: math.erf(math.sqrt(s)) / math.sqrt(s), 0.0, _SPLIT**2, 12)


@cache
def _large() -> np.ndarray[Any, Any]:
    def exponent(t: float) -> float:
        x = 2 / t - 2
        return math.log(math.erfc(x) / t) + x * x

    return _interpolate(exponent, *_ERFC_RANGE, 18)


def _evaluate(coefficients: np.ndarray[Any, Any], x: Any, low: float, high: float) -> Any:
    """Clenshaw's recurrence at x in [low, high]."""
    twice = (x - (high + low) / 2) * (4 / (high - low))
    b, before = 0.0, 0.0
    for c in coefficients[:0:-1]:
        b, before = twice * b - before + c, b
    return twice * 0.5 * b - before + coefficients[0]


def erf_array(x: Any) -> Any:
    """Return erf of an array of floats; within 1e-14 of it, relatively, in float64.

    Examples
    --------
    >>> abs(float(erf_array(np.array(2.0))) - math.erf(2.0)) < 1e-15
    True
    """
    wide = np.asarray(x, np.float64)
    magnitude = np.abs(wide)
    near = magnitude < _SPLIT
    small = wide * _evaluate(_small(), np.where(near, wide * wide, 0.0), 0.0, _SPLIT**2)
    far = np.minimum(np.where(near, _SPLIT, magnitude), _LARGEST)
    t = 2 / (2 + far)
    tail = t * np.exp(-far * far + _evaluate(_large(), t, *_ERFC_RANGE))
    large = np.copysign(1 - tail, wide)
    return np.where(np.isnan(wide), wide, np.where(near, small, large)).astype(x.dtype)
