"""Elementary functions of one variable, and the error function; integers become float32."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from rondeau.kernels.ops.erf import erf as erf_array
from rondeau.tensor._ops._operands import constant
from rondeau.tensor._ops._operators import float_unary


@float_unary(lambda g, out, _x: g * out)
def exp(x: Any) -> Any:
    """Return e to the power x.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> rt.exp(rt.tensor([0.0, float("-inf")])).tolist()
    [1.0, 0.0]
    """
    return np.exp(x)


@float_unary(lambda g, out, _x: g * (out + 1))
def expm1(x: Any) -> Any:
    """Return exp(x) - 1, accurate near 0.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> f"{rt.expm1(rt.tensor(1e-10, dtype='float64')).item():.11e}"
    '1.00000000005e-10'
    """
    return np.expm1(x)


@float_unary(lambda g, _out, x: g / x)
def log(x: Any) -> Any:
    """Return the natural logarithm; -inf at 0, NaN below.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> rt.log(rt.tensor([1.0, 0.0])).tolist()
    [0.0, -inf]
    """
    return np.log(x)


@float_unary(lambda g, _out, x: g / (x * math.log(2)))
def log2(x: Any) -> Any:
    """Return the logarithm to base 2.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> rt.log2(rt.tensor([8.0])).tolist()
    [3.0]
    """
    return np.log2(x)


@float_unary(lambda g, _out, x: g / (x + 1))
def log1p(x: Any) -> Any:
    """Return log(1 + x), accurate near 0.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> f"{rt.log1p(rt.tensor(1e-10, dtype='float64')).item():.10e}"
    '9.9999999995e-11'
    """
    return np.log1p(x)


@float_unary(lambda g, out, _x: g / (2 * out))
def sqrt(x: Any) -> Any:
    """Return the square root; NaN below 0.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> rt.sqrt(rt.tensor([4.0, 2.25])).tolist()
    [2.0, 1.5]
    """
    return np.sqrt(x)


@float_unary(lambda g, out, _x: -0.5 * g * out * out * out)
def rsqrt(x: Any) -> Any:
    """Return 1 / sqrt(x).

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> rt.rsqrt(rt.tensor([4.0])).tolist()
    [0.5]
    """
    return np.reciprocal(np.sqrt(x))


@float_unary(lambda g, _out, x: g * np.cos(x))
def sin(x: Any) -> Any:
    """Return the sine of an angle in radians.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> rt.sin(rt.tensor([0.0])).tolist()
    [0.0]
    """
    return np.sin(x)


@float_unary(lambda g, _out, x: -g * np.sin(x))
def cos(x: Any) -> Any:
    """Return the cosine of an angle in radians.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> rt.cos(rt.tensor([0.0])).tolist()
    [1.0]
    """
    return np.cos(x)


@float_unary(lambda g, out, _x: g * (1 - out * out))
def tanh(x: Any) -> Any:
    """Return the hyperbolic tangent.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> rt.tanh(rt.tensor([0.0, 100.0])).tolist()
    [0.0, 1.0]
    """
    return np.tanh(x)


@float_unary(lambda g, out, _x: g * (out * (1 - out)))
def sigmoid(x: Any) -> Any:
    """Return the logistic function 1 / (1 + exp(-x)).

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


@float_unary(lambda g, _out, x: g * (2 / math.sqrt(math.pi) * np.exp(-x * x)))
def erf(x: Any) -> Any:
    """Return the error function, 2/sqrt(pi) times the integral of exp(-t^2) from 0 to x.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> f"{rt.erf(rt.tensor(0.5, dtype='float64')).item():.12f}"
    '0.520499877813'
    """
    return erf_array(x)
