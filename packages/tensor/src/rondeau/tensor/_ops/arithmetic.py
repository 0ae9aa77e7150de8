"""Arithmetic operators of one and two operands.

Every definition is the array function under a decorator that has its vector-Jacobian products
(``vjp(g, out, *inputs)``, see `rondeau.tensor._graph.Op`) and completes its docstring.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from rondeau.kernels.errors import ArgumentValueError
from rondeau.kernels.runtime.deferred import require
from rondeau.tensor._arguments import array_of
from rondeau.tensor._graph import Recorded
from rondeau.tensor._modes import modes
from rondeau.tensor._ops._operands import no_gradient
from rondeau.tensor._ops._operators import COMMON, binary, discrete_binary, float_unary, unary

if TYPE_CHECKING:
    from rondeau.tensor._tensor import Tensor


@binary(lambda g, _out, _a, _b: g, lambda g, _out, _a, _b: g)
def add(a: Any, b: Any) -> Any:
    """Return a + b, elementwise with broadcasting.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> rt.add(rt.tensor([1.0, 2.0]), 10).tolist()
    [11.0, 12.0]
    """
    return np.add(a, b)


@binary(lambda g, _out, _a, _b: g, lambda g, _out, _a, _b: -g)
def sub(a: Any, b: Any) -> Any:
    """Return a - b, elementwise with broadcasting.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> rt.sub(1, rt.tensor([1.0, 2.0])).tolist()
    [0.0, -1.0]
    """
    return np.subtract(a, b)


@binary(lambda g, _out, _a, b: g * b, lambda g, _out, a, _b: g * a)
def mul(a: Any, b: Any) -> Any:
    """Return a * b, elementwise with broadcasting.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> rt.mul(rt.tensor([1.0, 2.0]), rt.tensor([[3.0], [4.0]])).tolist()
    [[3.0, 6.0], [4.0, 8.0]]
    """
    return np.multiply(a, b)


# Divide twice: the square of b can overflow even if the derivative is finite.
@binary(lambda g, _out, _a, b: g / b, lambda g, _out, a, b: -g * (a / b / b), fractional=True)
def div(a: Any, b: Any) -> Any:
    """Return a / b, elementwise with broadcasting; integers give float32.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> rt.div(rt.tensor([1, 2]), 4).tolist()
    [0.25, 0.5]
    """
    return np.true_divide(a, b)


def _power(a: Any, b: Any) -> Any:
    """Return a to the power b; common constant exponents are computed as in PyTorch, which matters at -0 and -inf."""
    if isinstance(b, (int, float)) and not isinstance(a, Recorded):
        if b == 2:
            return np.multiply(a, a)
        if b == 0.5:
            return np.sqrt(a)
        if b == -0.5:
            return np.reciprocal(np.sqrt(a))
    power = np.power(a, b)
    return power.astype(np.bool_) if _is_bool(a) and _is_bool(b) else power  # NumPy gives int8


def _is_bool(x: Any) -> bool:
    return type(x) is bool or getattr(x, "dtype", None) == np.bool_


def _power_to_base(g: Any, _out: Any, a: Any, b: Any) -> Any:
    # With exponent 0 this is the derivative of a constant, 0, where 0 * 0**-1 would be NaN.
    if isinstance(b, (int, float)):
        return no_gradient(g) if b == 0 else g if b == 1 else g * (b * _power(a, b - 1))
    return np.where(np.equal(b, 0), 0.0, g * (b * _power(a, b - 1)))


def _power_to_exponent(g: Any, out: Any, a: Any, b: Any) -> Any:
    # 0**b is 0 for every b > 0, so its derivative is 0, not 0 * log 0.
    # A number is converted to a Python float, which does not widen float32.
    logarithm = float(np.log(a)) if isinstance(a, (int, float)) else np.log(a)
    return np.where(np.logical_and(np.equal(a, 0), np.greater_equal(b, 0)), 0.0, g * (out * logarithm))


@binary(_power_to_base, _power_to_exponent)
def pow(a: Any, b: Any) -> Any:
    """Return a to the power b, elementwise with broadcasting.

    Raises
    ------
    ValueError
        For integers raised to a negative power, whose result is not an integer.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> rt.pow(rt.tensor([1.0, 2.0, 3.0]), 2).tolist()
    [1.0, 4.0, 9.0]
    """
    if type(a) is not np.ndarray and type(b) is not np.ndarray:
        b = _checked_exponent(a, b)
    try:
        return _power(a, b)
    except ValueError as error:
        raise _negative_exponent() from error


def _checked_exponent(a: Any, b: Any) -> Any:
    """Return an exponent; raise an error for integers to a negative power, for which CuPy returns numbers."""
    if any(getattr(x, "dtype", np.dtype(type(x))).kind in "fb" for x in (a, b)):
        return b
    require(np.all(np.greater_equal(b, 0)), _negative_exponent)
    return b if isinstance(b, int) else np.maximum(b, 0)


def _negative_exponent() -> ArgumentValueError:
    return ArgumentValueError("integers to a negative power are not integers: convert the base with .float()")


def _check_divisor(name: str, a: Any, b: Any) -> None:
    """Raise an error for integers divided by zero, for which NumPy and CuPy return 0, and for booleans."""
    dtype = (a if hasattr(a, "dtype") else b).dtype
    if dtype.kind == "b":
        raise TypeError
    if dtype.kind != "f":
        message = f"{name}: {dtype} divided by zero: convert with .float() to get inf or NaN"
        require(np.all(b), lambda: ArgumentValueError(message))


@binary(lambda g, _out, _a, _b: g, lambda g, _out, a, b: -g * np.floor(a / b))
def remainder(a: Any, b: Any) -> Any:
    """Return the remainder of a / b with the sign of b, like Python's ``%``.

    Raises
    ------
    ValueError
        For integers divided by zero.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> rt.remainder(rt.tensor([5, -5]), 3).tolist()
    [2, 1]
    """
    _check_divisor("remainder", a, b)
    return np.remainder(a, b)


@discrete_binary(COMMON)
def floor_divide(a: Any, b: Any) -> Any:
    """Return a / b rounded down, like Python's ``//``; no gradient flows through it.

    Raises
    ------
    ValueError
        For integers divided by zero.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> rt.floor_divide(rt.tensor([5, -5]), 3).tolist()
    [1, -2]
    """
    _check_divisor("floor_divide", a, b)
    return np.floor_divide(a, b)


@unary(lambda g, _out, _x: -g)
def neg(x: Any) -> Any:
    """Return -x; booleans have no negative.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> rt.neg(rt.tensor([1, -2])).tolist()
    [-1, 2]
    """
    return np.negative(x)


def positive(x: Tensor) -> Tensor:
    """Return `x` itself, as ``+x`` does.

    Parameters
    ----------
    x : Tensor

    Returns
    -------
    Tensor

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> rt.positive(rt.tensor(1.0)).item()
    1.0
    """
    array_of(x)
    return x


@unary(lambda g, _out, x: g * np.sign(x))
def abs(x: Any) -> Any:
    """Return the absolute value; its derivative at 0 is 0.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> rt.abs(rt.tensor([-1.5, 2.0])).tolist()
    [1.5, 2.0]
    """
    return np.abs(x)


@unary(lambda g, _out, x: g * (2 * x))
def square(x: Any) -> Any:
    """Return x * x; booleans give int64.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> rt.square(rt.tensor([3, 4])).tolist()
    [9, 16]
    """
    return modes.quiet(np.multiply, x, x, dtype=np.int64 if x.dtype.kind == "b" else None)


@float_unary(lambda g, out, _x: -g * out * out)
def reciprocal(x: Any) -> Any:
    """Return 1 / x.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> rt.reciprocal(rt.tensor([4.0])).tolist()
    [0.25]
    """
    return np.reciprocal(x)
