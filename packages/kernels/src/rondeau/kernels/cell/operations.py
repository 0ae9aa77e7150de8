"""The operations of the cell language: each is declared here, once.

A new operation is an entry of this table, a function in `cell_math` that makes it public, a line in each target (on the
CPU ``CODE`` of `emit`, and ``FUNCTIONS`` of `compiled_phase` if it is a call), and a function of the same name in
`rondeau.tensor`, which higher derivatives use.

A derivative rule, ``rule(m, d, y, *operands)``, returns the adjoint of every operand, or None for one without: ``d`` is
the adjoint of the result ``y``, and ``m`` provides the functions of the language. At ties and kinks the derivatives are
PyTorch's.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

__all__ = ["OPERATIONS", "Operation"]


class Operation(NamedTuple):
    """The facts about an operation that hold on every target."""

    arity: int
    """The number of operands."""
    function: Callable[..., Any]
    """The operation on Python numbers and NumPy arrays: the reference of every target."""
    rule: Callable[..., tuple[Any, ...]] | None = None
    """The derivative rule; None for an operation without a derivative, such as a comparison."""
    is_operator: bool = False
    """Whether Python has an operator for it, which then works on arrays of any kind."""
    is_expensive: bool = False
    """Whether forward should keep the result for backward, rather than let backward compute it again."""
    gives_truth: bool = False
    """Whether the result is a truth value, like that of a comparison."""
    takes_truth: tuple[int, ...] = ()
    """The positions of the operands that are truth values."""
    kinks: str = ""
    """Where it has no derivative, and the value used there."""


def _sigmoid(x: Any) -> Any:
    """Compute the logistic function from ``exp(-|x|)``, which cannot overflow and is accurate in both tails."""
    small = np.exp(-np.abs(x))
    return np.where(np.signbit(x), small, 1) / (1 + small)


def _erf(x: Any) -> Any:
    """Compute the error function of every element in float64."""
    found = np.vectorize(math.erf, otypes=[np.float64])(x)
    return found.astype(x.dtype) if isinstance(x, np.ndarray) else float(found)


def _unless(m: Any, loses: Any, a: Any, b: Any, d: Any) -> Any:
    """Return the adjoint of one operand of `minimum` or `maximum`: half of ``d`` at a tie, all of it beside NaN."""
    return m.where(loses, 0.0, m.where(a == b, 0.5 * d, d))


def _clamp_rule(m: Any, d: Any, y: Any, x: Any, low: Any, high: Any) -> tuple[Any, ...]:
    return (
        m.where((x >= low) & (x <= high), d, 0.0),
        m.where((x < low) & (low <= high), d, 0.0),
        m.where((x > high) | (low > high), d, 0.0),
    )


def _power_rule(m: Any, d: Any, y: Any, base: Any, exponent: Any) -> tuple[Any, ...]:
    p = exponent.graph.nodes[exponent.index].value
    return d * (p * base ** (p - 1.0)), None


def _comparison(function: Callable[..., Any]) -> Operation:
    return Operation(2, function, is_operator=True, gives_truth=True)


def _logical(arity: int, function: Callable[..., Any]) -> Operation:
    return Operation(arity, function, is_operator=True, gives_truth=True, takes_truth=tuple(range(arity)))


#: Every operation, by name.
OPERATIONS: Mapping[str, Operation] = MappingProxyType({
    "add": Operation(2, operator.add, lambda m, d, y, a, b: (d, d), is_operator=True),
    "sub": Operation(2, operator.sub, lambda m, d, y, a, b: (d, -d), is_operator=True),
    "mul": Operation(2, operator.mul, lambda m, d, y, a, b: (d * b, d * a), is_operator=True),
    "div": Operation(
        2, operator.truediv, lambda m, d, y, a, b: (d / b, -(d / b) * y), is_operator=True
    ),
    "neg": Operation(1, operator.neg, lambda m, d, y, x: (-d,), is_operator=True),
    "pow": Operation(2, operator.pow, _power_rule, is_operator=True, is_expensive=True),
    "abs": Operation(
        1, np.abs, lambda m, d, y, x: (m.where(x > 0, d, m.where(x < 0, -d, 0.0)),), kinks="0 at 0"
    ),
    "sign": Operation(1, np.sign, lambda m, d, y, x: (None,), kinks="0 everywhere"),
    "sqrt": Operation(1, np.sqrt, lambda m, d, y, x: (d / (2.0 * y),)),
    "exp": Operation(1, np.exp, lambda m, d, y, x: (d * y,), is_expensive=True),
    "expm1": Operation(1, np.expm1, lambda m, d, y, x: (d * (y + 1.0),), is_expensive=True),
    "log": Operation(1, np.log, lambda m, d, y, x: (d / x,), is_expensive=True),
    "log1p": Operation(1, np.log1p, lambda m, d, y, x: (d / (1.0 + x),), is_expensive=True),
    "sin": Operation(1, np.sin, lambda m, d, y, x: (d * m.cos(x),), is_expensive=True),
    "cos": Operation(1, np.cos, lambda m, d, y, x: (-d * m.sin(x),), is_expensive=True),
    "erf": Operation(
        1, _erf, lambda m, d, y, x: (d * (2.0 / math.sqrt(math.pi) * m.exp(-x * x)),), is_expensive=True
    ),
    "sigmoid": Operation(1, _sigmoid, lambda m, d, y, x: (d * (y * (1.0 - y)),), is_expensive=True),
    "tanh": Operation(1, np.tanh, lambda m, d, y, x: (d * (1.0 - y * y),), is_expensive=True),
    "softplus": Operation(
        1, lambda x: np.logaddexp(x, 0), lambda m, d, y, x: (d * m.sigmoid(x),), is_expensive=True
    ),
    "relu": Operation(
        1, lambda x: np.maximum(x, 0), lambda m, d, y, x: (m.where(y <= 0, 0.0, d),), kinks="0 at 0"
    ),
    "minimum": Operation(
        2,
        np.minimum,
        lambda m, d, y, a, b: (_unless(m, a > b, a, b, d), _unless(m, b > a, a, b, d)),
        kinks="half for each at a tie",
    ),
    "maximum": Operation(
        2,
        np.maximum,
        lambda m, d, y, a, b: (_unless(m, a < b, a, b, d), _unless(m, b < a, a, b, d)),
        kinks="half for each at a tie",
    ),
    "clamp": Operation(
        3,
        lambda x, low, high: np.minimum(np.maximum(x, low), high),
        _clamp_rule,
        kinks="1 on the limits",
    ),
    "where": Operation(
        3,
        np.where,
        lambda m, d, y, condition, a, b: (None, m.where(condition, d, 0.0), m.where(condition, 0.0, d)),
        takes_truth=(0,),
    ),
    #: Over the hidden units of a row; `derive` handles the change of rank.
    "sum": Operation(1, lambda x: x.sum(-1, keepdims=True), lambda m, d, y, x: (d,)),
    "lt": _comparison(operator.lt),
    "le": _comparison(operator.le),
    "gt": _comparison(operator.gt),
    "ge": _comparison(operator.ge),
    "eq": _comparison(operator.eq),
    "ne": _comparison(operator.ne),
    "and": _logical(2, operator.and_),
    "or": _logical(2, operator.or_),
    "not": _logical(1, operator.invert),
})  # fmt: skip
