"""Elementwise operators: arithmetic, functions of one variable, limits and choice.

Every definition is the array function under a decorator that carries its vector-Jacobian products
(``vjp(g, out, *inputs)``, see `rondeau.tensor._autograd.Op`). At ties and kinks the derivative is PyTorch's.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from rondeau.tensor._arguments import array_of, no_tensor, number, plain_array, undefined
from rondeau.tensor._autograd import Op, Recorded, modes, record, record_broadcast, wrap
from rondeau.tensor._ops._erf import erf_array
from rondeau.tensor._ops._operands import as_tensor, binary, cast, comparison, constant, pair, unary
from rondeau.tensor._ops.comparison import greater, less

if TYPE_CHECKING:
    from rondeau.tensor._tensor import Tensor

# ------------------------------------------------------------------------------------------------ arithmetic


@binary(lambda g, _out, _a, _b: g, lambda g, _out, _a, _b: g)
def add(a: Any, b: Any) -> Any:
    """Return a + b, elementwise with broadcasting.

    Parameters
    ----------
    a, b : Tensor, ndarray or number

    Returns
    -------
    Tensor
        Of the broadcast shape and the common type.

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

    Parameters
    ----------
    a, b : Tensor, ndarray or number

    Returns
    -------
    Tensor
        Of the broadcast shape and the common type.

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

    Parameters
    ----------
    a, b : Tensor, ndarray or number

    Returns
    -------
    Tensor
        Of the broadcast shape and the common type.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> rt.mul(rt.tensor([1.0, 2.0]), rt.tensor([[3.0], [4.0]])).tolist()
    [[3.0, 6.0], [4.0, 8.0]]
    """
    return np.multiply(a, b)


@binary(lambda g, _out, _a, b: g / b, lambda g, _out, a, b: -g * a / (b * b), fractional=True)
def div(a: Any, b: Any) -> Any:
    """Return a / b, elementwise with broadcasting; integers give float32.

    Parameters
    ----------
    a, b : Tensor, ndarray or number

    Returns
    -------
    Tensor
        Of the broadcast shape and the common floating type.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> rt.div(rt.tensor([1, 2]), 4).tolist()
    [0.25, 0.5]
    """
    return np.true_divide(a, b)


def _power_to_base(g: Any, a: Any, b: Any) -> Any:
    # 0 * 0**-1 would be NaN where the exponent is 0: the derivative of a constant is 0.
    if isinstance(b, (int, float)):
        return g * 0 if b == 0 else g if b == 1 else g * (b * a ** (b - 1))
    return np.where(np.equal(b, 0), 0.0, g * (b * a ** (b - 1)))


def _power_to_exponent(g: Any, out: Any, a: Any, b: Any) -> Any:
    # 0**b is 0 for every b > 0, so its derivative is 0 and not 0 * log 0.
    # As a Python float for a number, which does not widen float32.
    logarithm = float(np.log(a)) if isinstance(a, (int, float)) else np.log(a)
    return np.where(np.logical_and(np.equal(a, 0), np.greater_equal(b, 0)), 0.0, g * (out * logarithm))


@binary(lambda g, _out, a, b: _power_to_base(g, a, b), lambda g, out, a, b: _power_to_exponent(g, out, a, b))
def pow(a: Any, b: Any) -> Any:
    """Return a to the power b, elementwise with broadcasting.

    Parameters
    ----------
    a, b : Tensor, ndarray or number

    Returns
    -------
    Tensor
        Of the broadcast shape and the common type.

    Raises
    ------
    RuntimeError
        For integers to a negative power, whose result is not an integer.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> rt.pow(rt.tensor([1.0, 2.0, 3.0]), 2).tolist()
    [1.0, 4.0, 9.0]
    """
    if b is not None and type(b) is not np.ndarray:
        if b == 2:
            return np.multiply(a, a)
        if b == 0.5:
            return np.sqrt(a)
    try:
        return np.power(a, b)
    except ValueError as error:
        raise RuntimeError(
            "integers to a negative power are no integers: convert the base with .float()"
        ) from error


@binary(lambda g, _out, _a, _b: g, lambda g, _out, a, b: -g * np.floor(a / b))
def remainder(a: Any, b: Any) -> Any:
    """Return the remainder of a / b with the sign of b, as Python's ``%``.

    Parameters
    ----------
    a, b : Tensor, ndarray or number

    Returns
    -------
    Tensor
        Of the broadcast shape and the common type.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> rt.remainder(rt.tensor([5, -5]), 3).tolist()
    [2, 1]
    """
    return np.remainder(a, b)


@comparison
def floor_divide(a: Any, b: Any) -> Any:
    """Return a / b rounded down, as Python's ``//``; no gradient flows through it.

    Parameters
    ----------
    a, b : Tensor, ndarray or number

    Returns
    -------
    Tensor
        Of the broadcast shape and the common type.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> rt.floor_divide(rt.tensor([5, -5]), 3).tolist()
    [1, -2]
    """
    return np.floor_divide(a, b)


def _larger(g: Any, chosen: Any, other: Any, tied: Any) -> Any:
    return np.where(chosen, g, np.where(tied, g / 2, other))


@binary(
    lambda g, _out, a, b: _larger(g, np.greater(a, b), 0.0, np.equal(a, b)),
    lambda g, _out, a, b: _larger(g, np.less(a, b), 0.0, np.equal(a, b)),
)
def maximum(a: Any, b: Any) -> Any:
    """Return the larger of a and b, elementwise; equal operands share the gradient, NaN wins.

    Parameters
    ----------
    a, b : Tensor, ndarray or number

    Returns
    -------
    Tensor
        Of the broadcast shape and the common type.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> rt.maximum(rt.tensor([1.0, 5.0]), 3).tolist()
    [3.0, 5.0]
    """
    return np.maximum(a, b)


@binary(
    lambda g, _out, a, b: _larger(g, np.less(a, b), 0.0, np.equal(a, b)),
    lambda g, _out, a, b: _larger(g, np.greater(a, b), 0.0, np.equal(a, b)),
)
def minimum(a: Any, b: Any) -> Any:
    """Return the smaller of a and b, elementwise; equal operands share the gradient, NaN wins.

    Parameters
    ----------
    a, b : Tensor, ndarray or number

    Returns
    -------
    Tensor
        Of the broadcast shape and the common type.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> rt.minimum(rt.tensor([1.0, 5.0]), 3).tolist()
    [1.0, 3.0]
    """
    return np.minimum(a, b)


_NEG = Op("neg", lambda g, _out, _x: -g)


def neg(x: Tensor) -> Tensor:
    """Return -x.

    Parameters
    ----------
    x : Tensor
        Not boolean.

    Returns
    -------
    Tensor
        Of the shape and type of `x`.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> rt.neg(rt.tensor([1, -2])).tolist()
    [-1, 2]
    """
    try:
        return record(_NEG, np.negative(x._array), (x,))
    except (TypeError, AttributeError) as error:
        raise undefined("neg", array_of(x)) from error


def positive(x: Tensor) -> Tensor:
    """Return `x` itself: what ``+x`` means.

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


_ABS = Op("abs", lambda g, _out, x: g * np.sign(x))


def abs(x: Tensor) -> Tensor:
    """Return the absolute value; its derivative at 0 is 0.

    Parameters
    ----------
    x : Tensor

    Returns
    -------
    Tensor
        Of the shape and type of `x`.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> rt.abs(rt.tensor([-1.5, 2.0])).tolist()
    [1.5, 2.0]
    """
    try:
        return record(_ABS, np.abs(x._array), (x,))
    except AttributeError:
        raise no_tensor(x) from None


# --------------------------------------------------------------------------------- functions of one variable


@unary(lambda g, out, _x: g * out)
def exp(x: Any) -> Any:
    """Return e to the power x.

    Parameters
    ----------
    x : Tensor

    Returns
    -------
    Tensor
        Of the shape of `x`; integers give float32.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> rt.exp(rt.tensor([0.0, float("-inf")])).tolist()
    [1.0, 0.0]
    """
    return np.exp(x)


@unary(lambda g, out, _x: g * (out + 1))
def expm1(x: Any) -> Any:
    """Return exp(x) - 1, accurate near 0.

    Parameters
    ----------
    x : Tensor

    Returns
    -------
    Tensor
        Of the shape of `x`; integers give float32.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> f"{rt.expm1(rt.tensor(1e-10, dtype='float64')).item():.11e}"
    '1.00000000005e-10'
    """
    return np.expm1(x)


@unary(lambda g, _out, x: g / x)
def log(x: Any) -> Any:
    """Return the natural logarithm; -inf at 0, NaN below.

    Parameters
    ----------
    x : Tensor

    Returns
    -------
    Tensor
        Of the shape of `x`; integers give float32.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> rt.log(rt.tensor([1.0, 0.0])).tolist()
    [0.0, -inf]
    """
    return np.log(x)


@unary(lambda g, _out, x: g / (x * math.log(2)))
def log2(x: Any) -> Any:
    """Return the logarithm to base 2.

    Parameters
    ----------
    x : Tensor

    Returns
    -------
    Tensor
        Of the shape of `x`; integers give float32.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> rt.log2(rt.tensor([8.0])).tolist()
    [3.0]
    """
    return np.log2(x)


@unary(lambda g, _out, x: g / (x + 1))
def log1p(x: Any) -> Any:
    """Return log(1 + x), accurate near 0.

    Parameters
    ----------
    x : Tensor

    Returns
    -------
    Tensor
        Of the shape of `x`; integers give float32.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> f"{rt.log1p(rt.tensor(1e-10, dtype='float64')).item():.10e}"
    '9.9999999995e-11'
    """
    return np.log1p(x)


@unary(lambda g, out, _x: g / (2 * out))
def sqrt(x: Any) -> Any:
    """Return the square root; NaN below 0.

    Parameters
    ----------
    x : Tensor

    Returns
    -------
    Tensor
        Of the shape of `x`; integers give float32.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> rt.sqrt(rt.tensor([4.0, 2.25])).tolist()
    [2.0, 1.5]
    """
    return np.sqrt(x)


@unary(lambda g, out, _x: -0.5 * g * out * out * out)
def rsqrt(x: Any) -> Any:
    """Return 1 / sqrt(x).

    Parameters
    ----------
    x : Tensor

    Returns
    -------
    Tensor
        Of the shape of `x`; integers give float32.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> rt.rsqrt(rt.tensor([4.0])).tolist()
    [0.5]
    """
    return np.reciprocal(np.sqrt(x))


@unary(lambda g, out, _x: -g * out * out)
def reciprocal(x: Any) -> Any:
    """Return 1 / x.

    Parameters
    ----------
    x : Tensor

    Returns
    -------
    Tensor
        Of the shape of `x`; integers give float32.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> rt.reciprocal(rt.tensor([4.0])).tolist()
    [0.25]
    """
    return np.reciprocal(x)


_SQUARE = Op("square", lambda g, _out, x: g * (2 * x))


def square(x: Tensor) -> Tensor:
    """Return x * x.

    Parameters
    ----------
    x : Tensor

    Returns
    -------
    Tensor
        Of the shape and type of `x`.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> rt.square(rt.tensor([3, 4])).tolist()
    [9, 16]
    """
    try:
        return record(_SQUARE, modes.quiet(np.multiply, x._array, x._array), (x,))
    except AttributeError:
        raise no_tensor(x) from None


@unary(lambda g, _out, x: g * np.cos(x))
def sin(x: Any) -> Any:
    """Return the sine of an angle in radians.

    Parameters
    ----------
    x : Tensor

    Returns
    -------
    Tensor
        Of the shape of `x`; integers give float32.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> rt.sin(rt.tensor([0.0])).tolist()
    [0.0]
    """
    return np.sin(x)


@unary(lambda g, _out, x: -g * np.sin(x))
def cos(x: Any) -> Any:
    """Return the cosine of an angle in radians.

    Parameters
    ----------
    x : Tensor

    Returns
    -------
    Tensor
        Of the shape of `x`; integers give float32.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> rt.cos(rt.tensor([0.0])).tolist()
    [1.0]
    """
    return np.cos(x)


@unary(lambda g, out, _x: g * (1 - out * out))
def tanh(x: Any) -> Any:
    """Return the hyperbolic tangent.

    Parameters
    ----------
    x : Tensor

    Returns
    -------
    Tensor
        Of the shape of `x`; integers give float32.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> rt.tanh(rt.tensor([0.0, 100.0])).tolist()
    [0.0, 1.0]
    """
    return np.tanh(x)


@unary(lambda g, out, _x: g * (out * (1 - out)))
def sigmoid(x: Any) -> Any:
    """Return the logistic function 1 / (1 + exp(-x)).

    Parameters
    ----------
    x : Tensor

    Returns
    -------
    Tensor
        Of the shape of `x`; integers give float32.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> rt.sigmoid(rt.tensor([0.0, 1000.0, -1000.0])).tolist()
    [0.5, 1.0, 0.0]
    """
    if x.ndim == 0:
        return 1 / (1 + np.exp(-x))
    y = np.negative(x)
    np.exp(y, out=y)
    return np.reciprocal(np.add(y, constant(1, x), out=y), out=y)


@unary(lambda g, _out, x: g * (2 / math.sqrt(math.pi) * np.exp(-x * x)))
def erf(x: Any) -> Any:
    """Return the error function, 2/sqrt(pi) times the integral of exp(-t^2) from 0 to x.

    Parameters
    ----------
    x : Tensor

    Returns
    -------
    Tensor
        Of the shape of `x`; integers give float32.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> f"{rt.erf(rt.tensor(0.5, dtype='float64')).item():.12f}"
    '0.520499877813'
    """
    return erf_array(x)


# ------------------------------------------------------------------------------------- rounding and limits

_STEP = Op("step", lambda g, _out, _x: g * 0)


def _flat(function: Any, x: Tensor) -> Tensor:
    """Apply a function whose derivative is zero everywhere but at jumps."""
    try:
        return record(_STEP, function(x._array), (x,))
    except (TypeError, AttributeError) as error:
        raise undefined(function.__name__, array_of(x)) from error


def sign(x: Tensor) -> Tensor:
    """Return -1, 0 or 1.

    Parameters
    ----------
    x : Tensor

    Returns
    -------
    Tensor
        Of the shape and type of `x`; its gradient is zero.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> rt.sign(rt.tensor([-3.0, 0.0, 2.0])).tolist()
    [-1.0, 0.0, 1.0]
    """
    return _flat(np.sign, x)


def floor(x: Tensor) -> Tensor:
    """Return the largest integer not above x, in the type of `x`.

    Parameters
    ----------
    x : Tensor

    Returns
    -------
    Tensor
        Of the shape and type of `x`; its gradient is zero.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> rt.floor(rt.tensor([-1.5, 1.5])).tolist()
    [-2.0, 1.0]
    """
    return _flat(np.floor, x)


def ceil(x: Tensor) -> Tensor:
    """Return the smallest integer not below x, in the type of `x`.

    Parameters
    ----------
    x : Tensor

    Returns
    -------
    Tensor
        Of the shape and type of `x`; its gradient is zero.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> rt.ceil(rt.tensor([-1.5, 1.5])).tolist()
    [-1.0, 2.0]
    """
    return _flat(np.ceil, x)


def round(x: Tensor) -> Tensor:
    """Return the nearest integer, of two equally near the even one, in the type of `x`.

    Parameters
    ----------
    x : Tensor

    Returns
    -------
    Tensor
        Of the shape and type of `x`; its gradient is zero.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> rt.round(rt.tensor([0.5, 1.5, 2.6])).tolist()
    [0.0, 2.0, 3.0]
    """
    return _flat(np.rint if array_of(x).dtype.kind == "f" else np.positive, x)


def _inside(x: Any, low: Any, high: Any) -> Any:
    inside = np.True_
    if low is not None:
        inside = np.greater_equal(x, low)
    if high is not None:
        inside = np.logical_and(inside, np.less_equal(x, high))
    return inside


_CLAMP = Op("clamp", lambda g, _out, x, low, high: np.where(_inside(x, low, high), g, 0.0))


def clamp(x: Tensor, min: Any = None, max: Any = None) -> Tensor:
    """Return x limited to [min, max]; at the limits themselves the gradient passes.

    Parameters
    ----------
    x : Tensor
    min, max : number or Tensor, optional
        At least one; tensors are broadcast. Where min > max the result is max.

    Returns
    -------
    Tensor
        Of the shape and type of `x` (for tensor limits of the broadcast shape and common type).

    Raises
    ------
    ValueError
        Without any limit.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> rt.clamp(rt.tensor([-2.0, 0.5, 2.0]), -1, 1).tolist()
    [-1.0, 0.5, 1.0]
    """
    if min is None and max is None:
        raise ValueError("clamp needs min, max or both")
    if isinstance(min, (Recorded, np.ndarray)) or isinstance(max, (Recorded, np.ndarray)):
        bounded = x if min is None else where(less(x, min), min, x)
        return bounded if max is None else where(greater(bounded, max), max, bounded)
    min = None if min is None else number(min, "a limit of clamp")
    max = None if max is None else number(max, "a limit of clamp")
    if array_of(x).dtype.kind != "f":
        for limit in (min, max):
            if limit is not None:
                x = pair(x, limit)[0]
    a = x._array
    if min is not None:
        a = np.maximum(a, a.dtype.type(min))
    if max is not None:
        a = np.minimum(a, a.dtype.type(max))
    return record(_CLAMP, a, (x,), min, max)


# ------------------------------------------------------------------------------------------------- choice

_WHERE = Op(
    "where",
    lambda g, _out, _a, _b, condition: np.where(condition, g, 0.0),
    lambda g, _out, _a, _b, condition: np.where(condition, 0.0, g),
)


def where(condition: Any, a: Any, b: Any) -> Tensor:
    """Return a where the condition holds, else b, elementwise with broadcasting.

    Parameters
    ----------
    condition : Tensor or ndarray of bool
    a, b : Tensor, ndarray or number

    Returns
    -------
    Tensor
        Of the broadcast shape and the common type of a and b.

    Raises
    ------
    TypeError
        If the condition is not boolean.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> x = rt.tensor([-1.0, 2.0])
    >>> rt.where(x > 0, x, 0).tolist()
    [0.0, 2.0]
    """
    mask = condition._array if isinstance(condition, Recorded) else plain_array(condition)
    if mask.dtype.kind != "b":
        raise TypeError(
            f"where needs a boolean condition, got {mask.dtype}: compare first, e.g. condition != 0"
        )
    if not (isinstance(a, Recorded) and isinstance(b, Recorded) and a._array.dtype is b._array.dtype):
        a, b = pair(a, b)
    if not isinstance(a, Recorded):
        a = wrap(np.asarray(a, b._array.dtype))
    if not isinstance(b, Recorded):
        b = wrap(np.asarray(b, a._array.dtype))
    return record_broadcast(_WHERE, np.where(mask, a._array, b._array), (a, b), mask)


def masked_fill(x: Tensor, mask: Any, value: Any) -> Tensor:
    """Return `x` with `value` where the mask holds.

    Parameters
    ----------
    x : Tensor
    mask : Tensor or ndarray of bool
        Broadcast to the shape of `x`.
    value : number or Tensor of zero dimensions

    Returns
    -------
    Tensor
        Of the broadcast shape and the type of `x`.

    Raises
    ------
    TypeError
        If the mask is not boolean.
    ValueError
        If `value` has dimensions.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> rt.masked_fill(rt.tensor([1.0, 2.0]), rt.tensor([True, False]), float("-inf")).tolist()
    [-inf, 2.0]
    """
    given = as_tensor(value)
    if given._array.ndim:
        raise ValueError("masked_fill needs a number or a tensor of zero dimensions; for more use where()")
    return where(mask, cast(given, array_of(x).dtype), x)
