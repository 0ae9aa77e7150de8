"""The array programs of `rondeau.kernels.ops.optimisers`: each updates w and the averages of a rule in place."""

import math
from typing import Any

import numpy as np

__all__ = ["adagrad", "adam", "amsgrad", "momentum", "rmsprop", "sgd"]


def _gradient(w: Any, g: Any, rule: Any) -> Any:
    """Return d."""
    d = rule.sign * g
    return d + rule.l2 * w if rule.l2 != 0 else d


def sgd(w: Any, g: Any, rule: Any) -> None:
    """Update by `Sgd`."""
    w -= rule.lr * _gradient(w, g, rule)


def momentum(w: Any, g: Any, rule: Any) -> None:
    """Update by `Momentum`."""
    d = _gradient(w, g, rule)
    v = rule.velocity
    v[...] = rule.momentum * v + rule.intake * d
    w -= rule.lr * (d + rule.momentum * v if rule.nesterov else v)


def adagrad(w: Any, g: Any, rule: Any) -> None:
    """Update by `Adagrad`."""
    d = _gradient(w, g, rule)
    s = rule.total
    s += d * d
    w -= rule.lr * d / (np.sqrt(s) + rule.eps)


def rmsprop(w: Any, g: Any, rule: Any) -> None:
    """Update by `RMSprop`."""
    d = _gradient(w, g, rule)
    s = rule.square
    s[...] = rule.alpha * s + rule.rest * d * d
    if rule.centered:
        m = rule.mean
        m += rule.rest * (d - m)
        # Where s is infinite, m * m is infinite too, and their difference would be NaN.
        s = np.where(s < math.inf, s - m * m, s)
    v = d / (np.sqrt(s) + rule.eps)
    if rule.momentum > 0:
        v += rule.momentum * rule.velocity
        rule.velocity[...] = v
    w -= rule.lr * v


def adam(w: Any, g: Any, rule: Any) -> None:
    """Update by `Adam`."""
    _update_averages(w, g, rule)
    _step(w, rule, rule.square)


def amsgrad(w: Any, g: Any, rule: Any) -> None:
    """Update by `Amsgrad`."""
    _update_averages(w, g, rule)
    rule.largest[...] = np.where(rule.square <= rule.largest, rule.largest, rule.square)
    _step(w, rule, rule.largest)


def _update_averages(w: Any, g: Any, rule: Any) -> None:
    d = _gradient(w, g, rule)
    m, s = rule.mean, rule.square
    m += rule.rest1 * (d - m)
    s[...] = rule.beta2 * s + rule.rest2 * d * d


def _step(w: Any, rule: Any, s: Any) -> None:
    w[...] = rule.shrink * w - rule.rate * rule.mean / (np.sqrt(s) / rule.root + rule.eps)
