"""Elementwise choice between values; where they are equal the derivative is PyTorch's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from rondeau.kernels.errors import ArgumentTypeError, ArgumentValueError
from rondeau.kernels.runtime.devices import is_array, is_of_device
from rondeau.tensor._arguments import array_of, number, plain_array, refused
from rondeau.tensor._graph import Op, Recorded, record, record_broadcast, unwrap, wrap
from rondeau.tensor._limits import check_array_holds, check_holds
from rondeau.tensor._modes import modes
from rondeau.tensor._ops._operands import number_like, on_one_device, pair, value_for, where_kept
from rondeau.tensor._ops._operators import binary

if TYPE_CHECKING:
    from rondeau.tensor._tensor import Tensor


def _unless_lost(g: Any, lost: Any, tied: Any) -> Any:
    """Return the gradient of an operand: none where the other was chosen, half where both are equal, otherwise all."""
    kept = where_kept(g, np.logical_not(lost))
    values = unwrap(tied)
    return np.where(tied, kept / 2, kept) if is_of_device(values) or np.any(values) else kept


@binary(
    lambda g, _out, a, b: _unless_lost(g, np.less(a, b), np.equal(a, b)),
    lambda g, _out, a, b: _unless_lost(g, np.greater(a, b), np.equal(a, b)),
)
def maximum(a: Any, b: Any) -> Any:
    """Return the larger of a and b, elementwise; equal operands share the gradient; for NaN, both get all of it.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> rt.maximum(rt.tensor([1.0, 5.0]), 3).tolist()
    [3.0, 5.0]
    """
    return np.maximum(a, b)


@binary(
    lambda g, _out, a, b: _unless_lost(g, np.greater(a, b), np.equal(a, b)),
    lambda g, _out, a, b: _unless_lost(g, np.less(a, b), np.equal(a, b)),
)
def minimum(a: Any, b: Any) -> Any:
    """Return the smaller of a and b, elementwise; equal operands share the gradient; for NaN, both get all of it.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> rt.minimum(rt.tensor([1.0, 5.0]), 3).tolist()
    [1.0, 3.0]
    """
    return np.minimum(a, b)


def _inside(x: Any, low: Any, high: Any) -> Any:
    inside = np.True_
    if low is not None:
        inside = np.greater_equal(x, low)
    if high is not None:
        inside = np.logical_and(inside, np.less_equal(x, high))
    return inside


_CLAMP = Op("clamp", lambda g, _out, x, low, high: where_kept(g, _inside(x, low, high)))


@binary(
    lambda g, _out, x, low: where_kept(g, np.greater_equal(x, low)),
    lambda g, _out, x, low: where_kept(g, np.less(x, low)),
)
def at_least(x: Any, low: Any) -> Any:
    """Return the larger of x and low, like `maximum`, but at a tie x gets the gradient, and for NaN neither does."""
    return np.maximum(x, low)


@binary(
    lambda g, _out, x, high: where_kept(g, np.less_equal(x, high)),
    lambda g, _out, x, high: where_kept(g, np.greater(x, high)),
)
def at_most(x: Any, high: Any) -> Any:
    """Return the smaller of x and high, like `minimum`, but at a tie x gets the gradient, and for NaN neither does."""
    return np.minimum(x, high)


def clamp(x: Tensor, min: Any = None, max: Any = None) -> Tensor:
    """Return x limited to [min, max]; the gradient passes at the limits themselves.

    Parameters
    ----------
    x : Tensor
    min, max : number or Tensor, optional
        At least one is required; tensors are broadcast. Where min > max the result is max.

    Returns
    -------
    Tensor
        With the shape and type of `x` (for tensor limits, the broadcast shape and the common type).

    Raises
    ------
    ValueError
        If there is no limit.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> rt.clamp(rt.tensor([-2.0, 0.5, 2.0]), -1, 1).tolist()
    [-1.0, 0.5, 1.0]
    """
    if min is None and max is None:
        raise ArgumentValueError("clamp needs min, max or both")
    if isinstance(min, (Recorded, np.ndarray)) or isinstance(max, (Recorded, np.ndarray)):
        bounded = x if min is None else at_least(x, min)
        return bounded if max is None else at_most(bounded, max)
    min = None if min is None else number(min, "a limit of clamp")
    max = None if max is None else number(max, "a limit of clamp")
    if array_of(x).dtype.kind != "f":
        for limit in (min, max):
            if limit is not None:
                x = pair(x, limit)[0]
    for limit in (min, max):
        if limit is not None:
            check_holds(x._array.dtype, limit, "clamp: ")
    return record(_CLAMP, modes.quiet(_clamp, x._array, min, max), (x,), min, max)


def _clamp(a: Any, low: Any, high: Any) -> Any:
    if low is not None:
        a = np.maximum(a, a.dtype.type(low))
    return a if high is None else np.minimum(a, a.dtype.type(high))


_WHERE = Op(
    "where",
    lambda g, _out, _a, _b, condition: where_kept(g, condition),
    lambda g, _out, _a, _b, condition: where_kept(g, np.logical_not(condition)),
)


def where(condition: Any, a: Any, b: Any) -> Tensor:
    """Return a where the condition is true and b elsewhere, with broadcasting.

    Parameters
    ----------
    condition : Tensor or ndarray of bool
    a, b : Tensor, ndarray or number

    Returns
    -------
    Tensor
        With the broadcast shape and the common type of a and b.

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
    if isinstance(condition, Recorded):
        mask = condition._array
    else:
        mask = condition if is_array(condition) else plain_array(condition)
    if mask.dtype.kind != "b":
        raise ArgumentTypeError(
            f"where needs a boolean condition, got {mask.dtype}: compare first, e.g. condition != 0"
        )
    if not (isinstance(a, Recorded) and isinstance(b, Recorded) and a._array.dtype is b._array.dtype):
        a, b = pair(a, b)
    if not isinstance(a, Recorded):
        a = number_like(b._array, a, "where: ")
    if not isinstance(b, Recorded):
        b = number_like(a._array, b, "where: ")
    try:
        chosen = np.where(mask, a._array, b._array)
    except (TypeError, ValueError) as error:
        if not type(mask) is type(a._array) is type(b._array):
            return where(*on_one_device(wrap(mask), a, b))
        raise refused(error, "where", mask, a._array, b._array) from error
    # For a tensor keep the tensor itself, so that changes to it are noticed.
    return record_broadcast(_WHERE, chosen, (a, b), condition if isinstance(condition, Recorded) else mask)


def masked_fill(x: Tensor, mask: Any, value: Any) -> Tensor:
    """Return `x` with `value` where the mask is true.

    Parameters
    ----------
    x : Tensor
    mask : Tensor or ndarray of bool
        Broadcast to the shape of `x`.
    value : number or Tensor of zero dimensions

    Returns
    -------
    Tensor
        With the broadcast shape and the type of `x`.

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
    dtype = array_of(x).dtype
    if isinstance(value, Recorded) and value._array.ndim == 0:
        check_array_holds(dtype, value._array, "masked_fill: ")
    given = value_for(x, value)
    if given._array.ndim:
        raise ArgumentValueError(
            "masked_fill needs a number or a tensor of zero dimensions; for more use where()"
        )
    return where(mask, given, x)
