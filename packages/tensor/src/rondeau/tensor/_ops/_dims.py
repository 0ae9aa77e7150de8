"""The dimensions that an operator works along: numbers from 0, and shapes without and with what was reduced."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from rondeau.kernels.errors import ArgumentValueError
from rondeau.tensor._arguments import integer
from rondeau.tensor._graph import Recorded

Dims = int | Sequence[int] | None

_ALL = [tuple(range(n)) for n in range(8)]  # made once: the dimensions of most reductions


def normalize_dims(dim: Dims, ndim: int) -> tuple[int, ...]:
    """Return dimensions as ascending numbers from 0; None and () mean all.

    Raises
    ------
    IndexError
        For a dimension that a tensor of `ndim` dimensions does not have.
    TypeError
        If they are no integers.
    ValueError
        For a dimension that is named twice.
    """
    if dim is None or (isinstance(dim, tuple) and not dim):
        return tuple(range(ndim))
    dims = tuple(dim) if isinstance(dim, (tuple, list, range)) else (dim,)
    found = sorted(normalize_dim(d, ndim) for d in dims)
    if len(set(found)) != len(found):
        raise ArgumentValueError(
            f"a dimension is named twice in dim={tuple(dims)} of a tensor with {ndim} dimensions"
        )
    return tuple(found)


def normalize_dim(dim: int, ndim: int) -> int:
    """Return one dimension as a number from 0; a 0-d tensor lets 0 and -1 stand for its only element.

    Raises
    ------
    IndexError
        For a dimension that a tensor of `ndim` dimensions does not have.
    TypeError
        If it is no integer.
    """
    size = ndim or 1
    if type(dim) is not int:
        dim = integer(dim, "dim")
    if not -size <= dim < size:
        raise IndexError(
            f"dim {dim} is out of range for a tensor with {ndim} dimensions: expected {-size} to {size - 1}"
        )
    return dim % size if ndim else 0


def axes_of(dim: Dims, ndim: int) -> tuple[int, ...]:
    """As `normalize_dims`; nothing to reduce over in a 0-d array."""
    if dim is None and ndim < len(_ALL):
        return _ALL[ndim]
    if type(dim) is int and -ndim <= dim < ndim:
        return (dim % ndim,)
    axes = normalize_dims(dim, ndim)
    return axes if ndim else ()


_FILLED_UP_TO = 4096  # elements for which writing them all costs less than NumPy's broadcast view


def restored(g: Any, shape: tuple[int, ...], axes: tuple[int, ...], keepdim: bool) -> Any:
    """Broadcast what was reduced over `axes` back to `shape`."""
    g = kept(g, axes, keepdim)
    if type(g) is np.ndarray and math.prod(shape) <= _FILLED_UP_TO:
        full = np.empty(shape, g.dtype)
        full[...] = g
        return full
    return np.broadcast_to(g, shape)


def kept(g: Any, axes: tuple[int, ...], keepdim: bool) -> Any:
    """Put the reduced dimensions back, of size one."""
    if keepdim or not axes:
        return g
    if isinstance(g, Recorded):
        return np.expand_dims(g, axes)  # type: ignore[call-overload]
    g = np.asarray(g)
    if g.ndim == 0:
        return g.reshape((1,) * len(axes))
    sizes = list(g.shape)
    for axis in axes:
        sizes.insert(axis, 1)
    return g.reshape(sizes)
