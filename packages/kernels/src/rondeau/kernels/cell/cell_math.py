"""Functions that a cell's step may call, on the symbols of a trace, on Python numbers and on NumPy arrays.

Arithmetic (``+ - * /``, whole powers) and comparisons (``< <= > >= == !=``, joined by ``& | ~``) are operators.
At ties and kinks the derivatives are PyTorch's. On arrays these functions are the reference that every compiled
target is tested against.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from rondeau.kernels.cell.trace import Symbol

__all__ = ["abs", "exp", "log", "maximum", "minimum", "relu", "sigmoid", "softplus", "sqrt", "tanh", "where"]


def _apply(op: str, function: Callable[..., Any], *operands: Any) -> Any:
    """Record ``op`` where an operand is a symbol, else compute ``function``."""
    for operand in operands:
        if isinstance(operand, Symbol):
            return operand.graph.apply(op, *operands)
    return function(*operands)


def sigmoid(x: Any) -> Any:
    """Return ``1 / (1 + exp(-x))``, without overflow for any x.

    >>> float(sigmoid(0.0))
    0.5
    """
    return _apply("sigmoid", _sigmoid, x)


def tanh(x: Any) -> Any:
    """Return the hyperbolic tangent.

    >>> float(tanh(0.0))
    0.0
    """
    return _apply("tanh", np.tanh, x)


def relu(x: Any) -> Any:
    """Return ``max(x, 0)``; its derivative at 0 is 0.

    >>> float(relu(-2.0))
    0.0
    """
    return _apply("relu", lambda x: np.maximum(x, 0), x)


def softplus(x: Any) -> Any:
    """Return ``log(1 + exp(x))``, without overflow for any x.

    >>> float(softplus(1000.0))
    1000.0
    """
    return _apply("softplus", lambda x: np.logaddexp(x, 0), x)


def exp(x: Any) -> Any:
    """Return e to the power x.

    >>> float(exp(0.0))
    1.0
    """
    return _apply("exp", np.exp, x)


def log(x: Any) -> Any:
    """Return the natural logarithm.

    >>> float(log(1.0))
    0.0
    """
    return _apply("log", np.log, x)


def sqrt(x: Any) -> Any:
    """Return the square root.

    >>> float(sqrt(9.0))
    3.0
    """
    return _apply("sqrt", np.sqrt, x)


def abs(x: Any) -> Any:
    """Return the absolute value; its derivative at 0 is 0.

    >>> float(abs(-2.0))
    2.0
    """
    return _apply("abs", np.abs, x)


def minimum(a: Any, b: Any) -> Any:
    """Return the smaller of two; NaN if either is; at a tie each gets half of the derivative.

    >>> float(minimum(1.0, 2.0))
    1.0
    """
    return _apply("minimum", np.minimum, a, b)


def maximum(a: Any, b: Any) -> Any:
    """Return the greater of two; NaN if either is; at a tie each gets half of the derivative.

    >>> float(maximum(1.0, 2.0))
    2.0
    """
    return _apply("maximum", np.maximum, a, b)


def where(condition: Any, a: Any, b: Any) -> Any:
    """Return ``a`` where ``condition`` holds, else ``b``. Both are computed.

    >>> float(where(1.0 < 2.0, 3.0, 4.0))
    3.0
    """
    return _apply("where", np.where, condition, a, b)


def _sigmoid(x: Any) -> Any:
    """Compute the logistic function from ``exp(-|x|)``, which cannot overflow and keeps both tails."""
    small = np.exp(-np.abs(x))
    return np.where(np.signbit(x), small, 1) / (1 + small)
