"""The dimensions that an operator works along: normalised numbers, and shapes without and with reduced dimensions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from rondeau.kernels.errors import ArgumentValueError
from rondeau.tensor._arguments import integer
from rondeau.tensor._devices import as_array
from rondeau.tensor._graph import Recorded

Dims = int | Sequence[int] | None

_ALL = [tuple(range(n)) for n in range(8)]  # made once: the dimensions of most reductions


def normalize_dims(dim: Dims, ndim: int) -> tuple[int, ...]:
    """Return dimensions as ascending non-negative numbers; None and () mean all.

    Raises
    ------
    IndexError
        If a tensor of `ndim` dimensions does not have one of them.
    TypeError
        If they are not integers.
    ValueError
        If a dimension is named twice.
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
    """Return one dimension as a non-negative number; a 0-d tensor accepts 0 and -1.

    Raises
    ------
    IndexError
        If a tensor of `ndim` dimensions does not have it.
    TypeError
        If it is not an integer.
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
    """Do as `normalize_dims` does; a 0-d array has nothing to reduce over."""
    if dim is None and ndim < len(_ALL):
        return _ALL[ndim]
    if type(dim) is int and -ndim <= dim < ndim:
        return (dim % ndim,)
    axes = normalize_dims(dim, ndim)
    return axes if ndim else ()


_FILLED_UP_TO = 4096  # up to so many elements, writing them costs less than NumPy's broadcast view


def restored(g: Any, shape: tuple[int, ...], axes: tuple[int, ...], keepdim: bool) -> Any:
    """Broadcast an array that was reduced over `axes` back to `shape`."""
    g = kept(g, axes, keepdim)
    if type(g) is np.ndarray and math.prod(shape) <= _FILLED_UP_TO:
        full = np.empty(shape, g.dtype)
        full[...] = g
        return full
    return np.broadcast_to(g, shape)


def kept(g: Any, axes: tuple[int, ...], keepdim: bool) -> Any:
    """Restore the reduced dimensions, with size one."""
    if keepdim or not axes:
        return g
    if isinstance(g, Recorded):
        return np.expand_dims(g, axes)  # type: ignore[call-overload]
    if type(g) is not np.ndarray:
        g = as_array(g)
    if g.ndim == 0:
        return g.reshape((1,) * len(axes))
    sizes = list(g.shape)
    for axis in axes:
        sizes.insert(axis, 1)
    return g.reshape(sizes)
