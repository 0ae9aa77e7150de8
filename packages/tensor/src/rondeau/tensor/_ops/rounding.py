"""Rounding and the sign: piecewise constant functions, whose gradient is zero."""

from __future__ import annotations

from typing import Any

import numpy as np

from rondeau.tensor._ops._operands import no_gradient
from rondeau.tensor._ops._operators import unary

_level = unary(lambda g, _out, _x: no_gradient(g))


@_level
def sign(x: Any) -> Any:
    """Return -1, 0 or 1, the sign of x; its gradient is zero.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> rt.sign(rt.tensor([-3.0, 0.0, 2.0])).tolist()
    [-1.0, 0.0, 1.0]
    """
    return np.sign(x) if x.dtype.kind != "b" else x.copy()


@_level
def floor(x: Any) -> Any:
    """Return the largest integer not above x; its gradient is zero.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> rt.floor(rt.tensor([-1.5, 1.5])).tolist()
    [-2.0, 1.0]
    """
    return np.floor(x)


@_level
def ceil(x: Any) -> Any:
    """Return the smallest integer not below x; its gradient is zero.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> rt.ceil(rt.tensor([-1.5, 1.5])).tolist()
    [-1.0, 2.0]
    """
    return np.ceil(x)


@_level
def round(x: Any) -> Any:
    """Return the nearest integer, ties to even; its gradient is zero.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> rt.round(rt.tensor([0.5, 1.5, 2.6])).tolist()
    [0.0, 2.0, 3.0]
    """
    return np.rint(x) if x.dtype.kind == "f" else np.positive(x)
