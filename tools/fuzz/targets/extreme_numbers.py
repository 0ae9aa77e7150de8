"""Values and gradients at infinities, NaN, zeros and what overflows: the limits, or NaN where there is none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rondeau import tensor as rt

from ..drawing import Draw
from ..verdict import attempt, check_close, check_equal, tolerance_of

Array = NDArray[Any]

_SPECIAL = (0.0, -0.0, 1.0, -1.0, 2.5, -30.0, 30.0, 88.0, -88.0, 1e4, -1e4, 1e30, -1e30, 1e-30)
_ENDLESS = (np.inf, -np.inf, np.nan)


class Rowwise(NamedTuple):
    """A function of a row, with the right value and gradient of its sum, in float64."""

    ours: Callable[[Any], Any]
    right: Callable[[Array], Array]
    slope: Callable[[Array], Array]


def _sigmoid(x: Array) -> Array:
    return np.where(x >= 0, 1 / (1 + np.exp(-np.abs(x))), np.exp(-np.abs(x)) / (1 + np.exp(-np.abs(x))))


def _softmax(x: Array) -> Array:
    e = np.exp(x - x.max(initial=-np.inf))
    return np.asarray(e / e.sum())


def _logsumexp(x: Array) -> Array:
    largest = x.max()
    if np.isinf(largest):
        return np.asarray(largest)
    return np.asarray(largest + np.log(np.exp(x - largest).sum()))


def _slope_of_logsumexp(x: Array) -> Array:
    whole = _logsumexp(x)
    return np.zeros_like(x) if whole == -np.inf else np.exp(x - whole)


def _others(x: Array) -> Array:
    """Return for each element the product of the others."""
    return np.array([np.prod(np.delete(x, i)) for i in range(x.size)])


def _slope_of_std(x: Array) -> Array:
    deviation = x.std(ddof=1)
    return np.zeros_like(x) if deviation == 0 else (x - x.mean()) / (deviation * (x.size - 1))


FUNCTIONS: dict[str, Rowwise] = {
    "exp": Rowwise(rt.exp, np.exp, np.exp),
    "log": Rowwise(rt.log, np.log, lambda x: 1 / x),
    "sqrt": Rowwise(rt.sqrt, np.sqrt, lambda x: 1 / (2 * np.sqrt(x))),
    "sigmoid": Rowwise(rt.sigmoid, _sigmoid, lambda x: _sigmoid(x) * _sigmoid(-x)),
    "softplus": Rowwise(lambda x: rt.softplus(x, threshold=800.0), lambda x: np.logaddexp(x, 0), _sigmoid),
    "relu": Rowwise(rt.relu, lambda x: np.maximum(x, 0), lambda x: np.where(x <= 0, 0.0, 1.0)),
    "tanh": Rowwise(rt.tanh, np.tanh, lambda x: 1 - np.tanh(x) ** 2),
    "maximum": Rowwise(
        lambda x: rt.maximum(x, 0),
        lambda x: np.maximum(x, 0),
        lambda x: np.where(x < 0, 0.0, np.where(x == 0, 0.5, 1.0)),
    ),
    "clamp": Rowwise(
        lambda x: rt.clamp(x, -1, 2), lambda x: np.clip(x, -1, 2), lambda x: ((x >= -1) & (x <= 2)) * 1.0
    ),
    "logsumexp": Rowwise(lambda x: x.logsumexp(0), _logsumexp, _slope_of_logsumexp),
    "softmax": Rowwise(lambda x: x.softmax(0), _softmax, lambda x: np.zeros_like(x) * _softmax(x)),
    "prod": Rowwise(rt.prod, lambda x: np.asarray(np.prod(x)), _others),
    "std": Rowwise(rt.std, lambda x: np.asarray(x.std(ddof=1)), _slope_of_std),
    "sum": Rowwise(rt.sum, lambda x: np.asarray(x.sum()), np.ones_like),
}


def extreme_numbers(draw: Draw) -> None:
    """Apply a function to a row of extreme numbers; differentiate twice the same way, recorded and not."""
    name = draw.note("function", draw.choose(tuple(FUNCTIONS)))
    function = FUNCTIONS[name]
    numbers = (*_SPECIAL, *(_ENDLESS if name not in ("std", "sum") else ()))
    if name in ("std", "prod", "sum"):  # whose orders of summing and multiplying differ where they overflow
        numbers = tuple(n for n in numbers if not 1e4 < abs(n) < np.inf)
    row = np.array([draw.choose(numbers) for _ in range(draw.random.randint(2, 5))])
    if draw.chance(0.2):
        row[:] = row[0]
    draw.note("row", row)
    x = rt.tensor(row, dtype="float64", requires_grad=True)
    with np.errstate(all="ignore"):
        value, slope = np.asarray(function.right(row)), np.asarray(function.slope(row))
    result = attempt(draw, lambda: function.ours(x), x)
    tolerance = tolerance_of(np.float64, 16)
    check_close(name, result, value, np.float64, tolerance=tolerance)
    plain = attempt(draw, lambda: rt.grad(function.ours(x).sum(), x)[0], x)
    recorded = attempt(draw, lambda: rt.grad(function.ours(x).sum(), x, create_graph=True)[0], x)
    least = 1.0 if name in ("sigmoid", "softmax", "std", "tanh") else 0.0  # differences of numbers about 1
    check_close(f"{name}: gradient", plain, slope, np.float64, tolerance=tolerance, least=least)
    check_close(f"{name}: recorded gradient", recorded, slope, np.float64, tolerance=tolerance, least=least)
    check_equal(f"{name}: NaN of both", np.isnan(plain.detach().numpy()), np.isnan(recorded.detach().numpy()))
