"""Elementwise operators without a derivative: comparison, logic, and tests for NaN and infinity."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from rondeau.kernels.errors import ArgumentValueError
from rondeau.kernels.runtime.transfers import on_host
from rondeau.tensor._arguments import array_of, number, refused
from rondeau.tensor._modes import modes
from rondeau.tensor._ops._operands import as_tensor, different_devices, on_one_device
from rondeau.tensor._ops._operators import COMMON, discrete_binary, discrete_unary

if TYPE_CHECKING:
    from rondeau.tensor._tensor import Tensor

_compared = discrete_binary("Bool, with the broadcast shape.")
_of_bits = discrete_binary(COMMON)
_tested = discrete_unary("Bool, with the shape of `x`.")


@_compared
def eq(a: Any, b: Any) -> Any:
    """Return a == b, elementwise with broadcasting.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> rt.eq(rt.tensor([1, 2]), 2).tolist()
    [False, True]
    """
    return np.equal(a, b)


@_compared
def ne(a: Any, b: Any) -> Any:
    """Return a != b, elementwise with broadcasting.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> rt.ne(rt.tensor([1, 2]), 2).tolist()
    [True, False]
    """
    return np.not_equal(a, b)


@_compared
def less(a: Any, b: Any) -> Any:
    """Return a < b, elementwise with broadcasting.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> rt.less(rt.tensor([1, 2]), 2).tolist()
    [True, False]
    """
    return np.less(a, b)


@_compared
def less_equal(a: Any, b: Any) -> Any:
    """Return a <= b, elementwise with broadcasting.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> rt.less_equal(rt.tensor([1, 3]), 2).tolist()
    [True, False]
    """
    return np.less_equal(a, b)


@_compared
def greater(a: Any, b: Any) -> Any:
    """Return a > b, elementwise with broadcasting.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> rt.greater(rt.tensor([1, 3]), 2).tolist()
    [False, True]
    """
    return np.greater(a, b)


@_compared
def greater_equal(a: Any, b: Any) -> Any:
    """Return a >= b, elementwise with broadcasting.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> rt.greater_equal(rt.tensor([1, 2]), 2).tolist()
    [False, True]
    """
    return np.greater_equal(a, b)


@_compared
def logical_and(a: Any, b: Any) -> Any:
    """Return whether both are true (not zero).

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> rt.logical_and(rt.tensor([True, False]), True).tolist()
    [True, False]
    """
    return np.logical_and(a, b)


@_compared
def logical_or(a: Any, b: Any) -> Any:
    """Return whether at least one is true (not zero).

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> rt.logical_or(rt.tensor([True, False]), False).tolist()
    [True, False]
    """
    return np.logical_or(a, b)


@_of_bits
def bitwise_and(a: Any, b: Any) -> Any:
    """Return ``a & b`` of booleans or integers.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> rt.bitwise_and(rt.tensor([6, 3]), 2).tolist()
    [2, 2]
    """
    return np.bitwise_and(a, b)


@_of_bits
def bitwise_or(a: Any, b: Any) -> Any:
    """Return ``a | b`` of booleans or integers.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> rt.bitwise_or(rt.tensor([4, 3]), 2).tolist()
    [6, 3]
    """
    return np.bitwise_or(a, b)


@_of_bits
def bitwise_xor(a: Any, b: Any) -> Any:
    """Return ``a ^ b`` of booleans or integers.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> rt.bitwise_xor(rt.tensor([6, 3]), 2).tolist()
    [4, 1]
    """
    return np.bitwise_xor(a, b)


@_tested
def logical_not(x: Any) -> Any:
    """Return whether x is false (zero).

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> rt.logical_not(rt.tensor([True, False])).tolist()
    [False, True]
    """
    return np.logical_not(x)


@discrete_unary("With the shape and type of `x`.")
def bitwise_not(x: Any) -> Any:
    """Return ``~x`` of booleans or integers.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> rt.bitwise_not(rt.tensor([True, False])).tolist()
    [False, True]
    """
    return np.invert(x)


@_tested
def isnan(x: Any) -> Any:
    """Return where x is NaN.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> rt.isnan(rt.tensor([1.0, float("nan")])).tolist()
    [False, True]
    """
    return np.isnan(x)


@_tested
def isinf(x: Any) -> Any:
    """Return where x is infinite.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> rt.isinf(rt.tensor([1.0, float("-inf")])).tolist()
    [False, True]
    """
    return np.isinf(x)


@_tested
def isfinite(x: Any) -> Any:
    """Return where x is neither infinite nor NaN.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> rt.isfinite(rt.tensor([1.0, float("nan")])).tolist()
    [True, False]
    """
    return np.isfinite(x)


def equal(a: Tensor, b: Tensor) -> bool:
    """Return whether two tensors have the same shape and the same values.

    Parameters
    ----------
    a, b : Tensor

    Returns
    -------
    bool

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> rt.equal(rt.tensor([1, 2]), rt.tensor([1, 2]))
    True
    """
    x, y = array_of(a), array_of(b, "other")
    if type(x) is not type(y):
        raise different_devices(x, y)
    return bool(on_host(np.array_equal(x, y)))


def allclose(a: Tensor, b: Tensor, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False) -> bool:
    """Return whether abs(a - b) <= atol + rtol * abs(b) everywhere.

    Parameters
    ----------
    a, b : Tensor
    rtol, atol : float
    equal_nan : bool
        Whether NaN equals NaN.

    Returns
    -------
    bool

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> rt.allclose(rt.tensor([1.0]), rt.tensor([1.000001]))
    True
    """
    first, second = as_tensor(a), as_tensor(b)
    if type(first._array) is not type(second._array):
        first, second = on_one_device(first, second)
    x, y = first._array, second._array
    rtol, atol = float(number(rtol, "rtol")), float(number(atol, "atol"))
    if not (0 <= rtol < math.inf and 0 <= atol < math.inf):
        raise ArgumentValueError(
            f"allclose needs rtol and atol that are finite and not negative, got {rtol}, {atol}"
        )
    try:
        return bool(on_host(modes.quiet(np.allclose, x, y, rtol=rtol, atol=atol, equal_nan=equal_nan)))
    except ValueError as error:
        raise refused(error, "allclose", x, y) from error
