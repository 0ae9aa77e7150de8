"""Activation functions, the nonlinearities between the layers of a network; at kinks the derivative is PyTorch's."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from rondeau.kernels.errors import ArgumentValueError
from rondeau.kernels.ops.erf import erf as erf_array
from rondeau.tensor._arguments import number
from rondeau.tensor._graph import Op, Recorded, record
from rondeau.tensor._modes import modes
from rondeau.tensor._ops._operands import as_float, constant, where_kept
from rondeau.tensor._ops._operators import unary
from rondeau.tensor._ops.elementary import erf, sigmoid

if TYPE_CHECKING:
    from rondeau.tensor._tensor import Tensor


@unary(lambda g, out, _x: where_kept(g, np.logical_not(np.less_equal(out, 0))))
def relu(x: Any) -> Any:
    """Return max(x, 0); its derivative at 0 is 0, at NaN 1.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> rt.relu(rt.tensor([-1.0, 2.0])).tolist()
    [0.0, 2.0]
    """
    if type(x) is np.ndarray and x.size >= _VECTORS_FROM:
        zeros = np.zeros_like(x)
        return np.maximum(x, zeros, out=zeros)
    return np.maximum(x, constant(0, x))


_VECTORS_FROM = 512
"""Elements from which zeros to compare with pay: NumPy compares two arrays vector by vector, but not one with a number.
With 64,000 elements of float32, 9 microseconds instead of 50."""

_LEAKY_RELU = Op("leaky_relu", lambda g, _out, x, slope: np.where(np.greater(x, 0), g, g * slope))


def leaky_relu(x: Tensor, negative_slope: float = 0.01) -> Tensor:
    """Return x where it is positive and negative_slope * x elsewhere.

    Parameters
    ----------
    x : Tensor
    negative_slope : float
        The factor for negative elements, and the derivative at 0.

    Returns
    -------
    Tensor
        With the shape of `x`; integers give float32.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> rt.leaky_relu(rt.tensor([-10.0, 2.0]), 0.5).tolist()
    [-5.0, 2.0]
    """
    x = as_float(x)
    a = x._array
    negative_slope = number(negative_slope, "negative_slope")
    return record(_LEAKY_RELU, modes.quiet(_leaky, a, negative_slope), (x,), negative_slope)


def _leaky(a: Any, slope: float) -> Any:
    scaled = a * slope
    return np.maximum(a, scaled) if 0 < slope <= 1 else np.where(a > 0, a, scaled)  # 0 times infinity is NaN


_SQRT_HALF = math.sqrt(0.5)
_SQRT_2_OVER_PI = math.sqrt(2 / math.pi)


def _gelu_derivative(g: Any, x: Any) -> Any:
    density = np.exp(-0.5 * x * x) * (_SQRT_HALF / math.sqrt(math.pi))
    return g * (0.5 * (1 + _erf(x * _SQRT_HALF)) + x * density)


def _erf(x: Any) -> Any:
    return erf(x) if isinstance(x, Recorded) else erf_array(x)  # type: ignore[arg-type]


def _gelu_tanh_derivative(g: Any, x: Any) -> Any:
    t = np.tanh(_SQRT_2_OVER_PI * (x + 0.044715 * x * x * x))
    inner = _SQRT_2_OVER_PI * (1 + 3 * 0.044715 * x * x)
    return g * (0.5 * (1 + t) + 0.5 * x * (1 - t * t) * inner)


_GELU = Op("gelu", lambda g, _out, x: _gelu_derivative(g, x))
_GELU_TANH = Op("gelu", lambda g, _out, x: _gelu_tanh_derivative(g, x))


def gelu(x: Tensor, approximate: str = "none") -> Tensor:
    """Return x times the standard normal distribution function at x (Hendrycks and Gimpel 2016).

    Parameters
    ----------
    x : Tensor
    approximate : {"none", "tanh"}
        "tanh" is 0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))).

    Returns
    -------
    Tensor
        With the shape of `x`; integers give float32.

    Raises
    ------
    ValueError
        If `approximate` is neither.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> [f"{v:.4f}" for v in rt.gelu(rt.tensor([-1.0, 0.0, 1.0])).tolist()]
    ['-0.1587', '0.0000', '0.8413']
    """
    x = as_float(x)
    a = x._array
    if not isinstance(approximate, str) or approximate not in ("none", "tanh"):
        raise ArgumentValueError(f"approximate must be 'none' or 'tanh', got {approximate!r}")
    if approximate == "none":
        return record(_GELU, modes.quiet(_gelu, a), (x,))
    return record(_GELU_TANH, modes.quiet(_gelu_tanh, a), (x,))


def _gelu(a: Any) -> Any:
    return 0.5 * a * (1 + erf_array(a * _SQRT_HALF))


def _gelu_tanh(a: Any) -> Any:
    return 0.5 * a * (1 + np.tanh(_SQRT_2_OVER_PI * (a + 0.044715 * a * a * a)))


def _softplus_derivative(g: Any, x: Any, beta: float, threshold: float) -> Any:
    scaled = x * beta
    return np.where(np.greater(scaled, threshold), g, g * _sigmoid(scaled))


def _sigmoid(x: Any) -> Any:
    # The operator if this is recorded: differentiating 1 / (1 + exp(-x)) step by step overflows.
    return sigmoid(x) if isinstance(x, Recorded) else 1 / (1 + np.exp(-x))  # type: ignore[arg-type]


_SOFTPLUS = Op("softplus", lambda g, _out, x, beta, threshold: _softplus_derivative(g, x, beta, threshold))


def softplus(x: Tensor, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
    """Return log(1 + exp(beta x)) / beta.

    Parameters
    ----------
    x : Tensor
    beta : float
        How sharp the bend is.
    threshold : float
        Where beta x exceeds this, the result is x.

    Returns
    -------
    Tensor
        With the shape of `x`; integers give float32.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> [f"{v:.4f}" for v in rt.softplus(rt.tensor([0.0, 100.0])).tolist()]
    ['0.6931', '100.0000']
    """
    x = as_float(x)
    beta, threshold = number(beta, "beta"), number(threshold, "threshold")
    return record(_SOFTPLUS, modes.quiet(_softplus, x._array, beta, threshold), (x,), beta, threshold)


def _softplus(a: Any, beta: float, threshold: float) -> Any:
    scaled = a if beta == 1 else a * beta
    y = np.log1p(np.exp(-np.abs(scaled))) + np.maximum(scaled, constant(0, a))
    y = y if beta == 1 else y / beta
    # In float32 log(1 + exp(x)) rounds to x from 17 on, so a larger threshold changes nothing.
    return y if threshold >= 17 and a.dtype == np.float32 else np.where(scaled > threshold, a, y)
