"""The functions that a cell's step may call: on the symbols of a trace, on Python numbers and on NumPy arrays.

Arithmetic (``+ - * /``, ``**`` with a number as its exponent) and comparisons (``< <= > >= == !=``, combined with
``& | ~``) are operators. At ties and kinks the derivatives are PyTorch's. On arrays these functions are the reference
that every compiled target is tested against.
"""

from __future__ import annotations

import difflib
import functools
import math
import operator
from typing import Any, NoReturn

from rondeau.kernels.cell.errors import raise_at_user_line
from rondeau.kernels.cell.operations import OPERATIONS
from rondeau.kernels.cell.symbols import Symbol, apply, drawn_symbol, input_symbol

__all__ = [
    "abs",
    "clamp",
    "cos",
    "erf",
    "exp",
    "expm1",
    "layer_norm",
    "log",
    "log1p",
    "maximum",
    "minimum",
    "normal",
    "pow",
    "relu",
    "sigmoid",
    "sign",
    "sin",
    "softplus",
    "sqrt",
    "tanh",
    "uniform",
    "where",
]


def __getattr__(name: str) -> NoReturn:
    """Raise AttributeError with the names of the functions that exist."""
    near = difflib.get_close_matches(name, __all__, n=1)
    hint = f"; did you mean {near[0]}?" if near else ""
    raise AttributeError(f"cell_math has no function {name!r}, it has {', '.join(__all__)}{hint}")


def _apply(op: str, *operands: Any) -> Any:
    """Record an operation if an operand is a symbol, otherwise compute it."""
    for operand in operands:
        if isinstance(operand, Symbol):
            return apply(operand.graph, op, *operands)
    return OPERATIONS[op].function(*operands)


def sigmoid(x: Any) -> Any:
    """Return ``1 / (1 + exp(-x))``, which does not overflow for any x.

    >>> float(sigmoid(0.0))
    0.5
    """
    return _apply("sigmoid", x)


def tanh(x: Any) -> Any:
    """Return the hyperbolic tangent.

    >>> float(tanh(0.0))
    0.0
    """
    return _apply("tanh", x)


def relu(x: Any) -> Any:
    """Return ``max(x, 0)``; its derivative at 0 is 0.

    >>> float(relu(-2.0))
    0.0
    """
    return _apply("relu", x)


def softplus(x: Any) -> Any:
    """Return ``log(1 + exp(x))``, which does not overflow for any finite x.

    >>> float(softplus(1000.0))
    1000.0
    """
    return _apply("softplus", x)


def exp(x: Any) -> Any:
    """Return e to the power x.

    >>> float(exp(0.0))
    1.0
    """
    return _apply("exp", x)


def expm1(x: Any) -> Any:
    """Return ``exp(x) - 1``, exact near 0.

    >>> float(expm1(1e-20))
    1e-20
    """
    return _apply("expm1", x)


def log(x: Any) -> Any:
    """Return the natural logarithm.

    >>> float(log(1.0))
    0.0
    """
    return _apply("log", x)


def log1p(x: Any) -> Any:
    """Return ``log(1 + x)``, exact near 0.

    >>> float(log1p(1e-20))
    1e-20
    """
    return _apply("log1p", x)


def sqrt(x: Any) -> Any:
    """Return the square root.

    >>> float(sqrt(9.0))
    3.0
    """
    return _apply("sqrt", x)


def sin(x: Any) -> Any:
    """Return the sine of an angle in radians.

    >>> float(sin(0.0))
    0.0
    """
    return _apply("sin", x)


def cos(x: Any) -> Any:
    """Return the cosine of an angle in radians.

    >>> float(cos(0.0))
    1.0
    """
    return _apply("cos", x)


def erf(x: Any) -> Any:
    """Return the error function, ``2 / sqrt(pi)`` times the integral of ``exp(-t**2)`` from 0 to x.

    >>> float(erf(0.0))
    0.0
    """
    return _apply("erf", x)


def abs(x: Any) -> Any:
    """Return the absolute value; its derivative at 0 is 0.

    >>> float(abs(-2.0))
    2.0
    """
    return _apply("abs", x)


def sign(x: Any) -> Any:
    """Return the sign of x, -1, 0 or 1, and NaN for NaN; its derivative is 0.

    >>> float(sign(-2.0))
    -1.0
    """
    return _apply("sign", x)


def minimum(a: Any, b: Any) -> Any:
    """Return the smaller of a and b, NaN if either is NaN; at a tie each gets half of the derivative.

    >>> float(minimum(1.0, 2.0))
    1.0
    """
    return _apply("minimum", a, b)


def maximum(a: Any, b: Any) -> Any:
    """Return the greater of a and b, NaN if either is NaN; at a tie each gets half of the derivative.

    >>> float(maximum(1.0, 2.0))
    2.0
    """
    return _apply("maximum", a, b)


def clamp(x: Any, low: Any, high: Any) -> Any:
    """Return x limited to the range from ``low`` to ``high``; at the limits the derivative for x is 1.

    >>> float(clamp(3.0, -1.0, 1.0))
    1.0
    """
    return _apply("clamp", x, low, high)


def where(condition: Any, a: Any, b: Any) -> Any:
    """Return ``a`` where ``condition`` is true and ``b`` elsewhere. Both are computed.

    >>> float(where(1.0 < 2.0, 3.0, 4.0))
    3.0
    """
    return _apply("where", condition, a, b)


def pow(x: Any, exponent: float) -> Any:
    """Return ``x ** exponent`` for a number as exponent; with exponent 0 the derivative is 0.

    >>> float(pow(4.0, 1.5))
    8.0
    """
    return x**exponent


def normal() -> Any:
    """Return a random number from the standard normal distribution, fresh for every sequence, step and hidden unit.

    Each call in a step draws numbers of its own, in training and in evaluation; multiply by a scalar of the run, as in
    ``noise * m.normal()`` with ``*, noise=0.1``, and set it to zero for a step without noise. The number depends only
    on the key of the call, which `rondeau.tensor.manual_seed` determines, and on its position, not on threads or other
    sequences. It is made by the method of Box and Muller from two uniform numbers of 53 bits; float32 is its rounding.
    Its derivative is zero.

    Raises
    ------
    CellError
        If it is called outside a step.

    >>> from rondeau.kernels.sequence import Cell
    >>> noisy = Cell(lambda x, r, s, *, noise=0.1: x.h + r.h + noise * normal(), ("h",), ("h",), "noisy")
    >>> noisy.draws_noise
    True
    """
    return drawn_symbol("normal")


def uniform() -> Any:
    """Return a random number from the uniform distribution on [0, 1), fresh for every sequence, step and hidden unit.

    See `normal`, except for the distribution. It has 53 bits; float32 is its rounding, and so may be 1.

    Raises
    ------
    CellError
        If it is called outside a step.

    >>> from rondeau.kernels.sequence import Cell
    >>> Cell(lambda x, r, s: where(uniform() < 0.9, x.h, s.h), ("h",), ("h",), "skips").draws_noise
    True
    """
    return drawn_symbol("uniform")


def layer_norm(values: Any, weight: Any = None, bias: Any = None, eps: float = 1e-5) -> Any:
    """Normalise over the hidden units: ``(v - mean) / sqrt(variance + eps) * weight + bias``.

    Several values are normalised jointly: mean and variance are taken over the units of all of them, as if they were
    concatenated (Ba, Kiros, Hinton, "Layer normalization", 2016, equations 3 and 4).

    Parameters
    ----------
    values : symbol, or tuple of them
        One number per hidden unit each (for arrays, in the last dimension).
    weight, bias : symbol, or tuple of one per value, optional
        Gains and shifts, usually learned vectors.
    eps : float
        Added to the variance, to avoid division by zero.

    Returns
    -------
    symbol, or tuple of them
        Like `values`.

    >>> import numpy as np
    >>> layer_norm(np.array([1.0, 3.0]), eps=0.0).tolist()
    [-1.0, 1.0]
    """
    several = isinstance(values, tuple | list)
    group = tuple(values) if several else (values,)
    weights, biases = (_matched(given, len(group), several) for given in (weight, bias))
    count = len(group) * _width(group[0])
    mean = _sum(functools.reduce(operator.add, group)) / count
    centered = [value - mean for value in group]
    variance = _sum(functools.reduce(operator.add, [c * c for c in centered])) / count
    # Squares beyond the range of the dtype would make the scale 0, and every output a wrong zero.
    scale = where(variance < math.inf, 1 / sqrt(variance + eps), math.nan)
    normal = [c * scale for c in centered]
    scaled = [n if w is None else n * w for n, w in zip(normal, weights, strict=True)]
    shifted = [n if b is None else n + b for n, b in zip(scaled, biases, strict=True)]
    return tuple(shifted) if several else shifted[0]


def _matched(given: Any, count: int, several: bool) -> tuple[Any, ...]:
    """Return one gain or shift for each value of a group."""
    if given is None:
        return (None,) * count
    parts = tuple(given) if isinstance(given, tuple | list) else (given,)
    if len(parts) != count or isinstance(given, tuple | list) != several:
        raise_at_user_line(
            f"layer_norm of {count} values takes as many weights and biases, or none, got {len(parts)}"
        )
    return parts


def _sum(x: Any) -> Any:
    return _apply("sum", x)


def _width(x: Any) -> Any:
    return input_symbol(x.graph, "width", "H") if isinstance(x, Symbol) else x.shape[-1]
