"""Norms over dimensions."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from rondeau.kernels.errors import ArgumentTypeError, ArgumentValueError
from rondeau.kernels.ops.sums import in_single_precision, total
from rondeau.tensor._arguments import array_of, number
from rondeau.tensor._graph import Op, record, unwrap
from rondeau.tensor._limits import check_holds
from rondeau.tensor._modes import modes
from rondeau.tensor._ops._aliases import numpy_names
from rondeau.tensor._ops._dims import Dims, axes_of, kept
from rondeau.tensor._ops._reductions import MAXIMUM, MINIMUM

if TYPE_CHECKING:
    from rondeau.tensor._tensor import Tensor


def _norm_derivative(g: Any, out: Any, x: Any, p: float, axes: tuple[int, ...], keepdim: bool) -> Any:
    g, out = kept(g, axes, keepdim), kept(out, axes, keepdim)
    if p == 2:
        return np.where(np.equal(unwrap(out), 0), 0.0, x * (g / _nonzero(out)))
    if p == 1:
        return g * np.sign(x)
    if p == 0:
        return np.where(np.ones_like(unwrap(x), np.bool_), 0.0, g)
    if math.isinf(p):
        magnitude = np.abs(unwrap(x))
        tied = np.equal(magnitude, unwrap(out))
        share = (tied / np.sum(tied, axis=axes, keepdims=True)).astype(x.dtype)
        return g * (np.sign(x) * share)
    # The derivative at 0 is 0, as for every p > 1; for p < 1 it does not exist.
    zero = np.equal(unwrap(x), 0)
    inner = np.where(zero, 1.0, np.abs(x)) ** (p - 1) * np.sign(x)
    return np.where(np.equal(unwrap(out), 0), 0.0, inner * (g * _nonzero(out) ** (1 - p)))


def _nonzero(x: Any) -> Any:
    return np.where(np.equal(unwrap(x), 0), 1.0, x)


_NORM = Op("norm", _norm_derivative)


@numpy_names
def norm(x: Tensor, p: float | str = 2.0, dim: Dims = None, keepdim: bool = False) -> Tensor:
    """Return (sum abs(x)^p)^(1/p) over dimensions; its derivative at 0 is 0.

    Parameters
    ----------
    x : Tensor
        Of a floating-point type.
    p : float or "fro"
        2 ("fro"), 1, inf (largest), -inf (smallest), 0 (number of nonzeros) or any other number.
    dim : int or sequence of int, optional
        All dimensions by default.
    keepdim : bool
        Keep the reduced dimensions, with size 1.

    Returns
    -------
    Tensor

    Raises
    ------
    TypeError
        If `x` is an integer tensor.
    ValueError
        For an unknown name in `p`, or a number that the type of `x` cannot hold.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> rt.norm(rt.tensor([3.0, -4.0])).item(), rt.norm(rt.tensor([3.0, -4.0]), 1).item()
    (5.0, 7.0)
    """
    if isinstance(p, str) and p != "fro":
        raise ArgumentValueError(f"norm: p must be a number or 'fro', got {p!r}")
    order = 2.0 if isinstance(p, str) else float(number(p, "p"))
    array = array_of(x)
    if array.dtype.kind != "f":
        raise ArgumentTypeError(f"norm of {array.dtype}: convert with .float() first")
    check_holds(array.dtype, order, "norm: p ")
    axes = axes_of(dim, array.ndim)
    return record(_NORM, modes.quiet(_norm, array, order, axes, keepdim), (x,), order, axes, keepdim)


@in_single_precision
def _norm(array: Any, p: float, axes: tuple[int, ...], keepdim: bool) -> Any:
    if p == 2:
        return np.sqrt(total(array * array, axes, keepdim))
    magnitude = np.abs(array)
    if p == 1:
        return total(magnitude, axes, keepdim)
    if p == 0:
        return total((array != 0).astype(array.dtype), axes, keepdim)
    if math.isinf(p):
        reduction = MAXIMUM if p > 0 else MINIMUM
        reduce = reduction.method if type(magnitude) is np.ndarray else reduction.function
        return reduce(magnitude, axis=axes, keepdims=keepdim)
    return total(magnitude**p, axes, keepdim) ** (1 / p)
