"""Triangular parts of matrices."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from rondeau.kernels.errors import ArgumentValueError
from rondeau.kernels.runtime.devices import library_of
from rondeau.tensor._arguments import array_of, integer
from rondeau.tensor._graph import Op, record
from rondeau.tensor._ops._operands import where_kept

if TYPE_CHECKING:
    from rondeau.tensor._tensor import Tensor


_MASKED = Op("triangle", lambda g, _out, _x, mask: where_kept(g, mask))


def _triangle(x: Tensor, is_lower: bool, diagonal: int) -> Tensor:
    array = array_of(x)
    if array.ndim < 2:
        raise ArgumentValueError(f"a triangle needs at least 2 dimensions, got shape {array.shape}")
    rows, columns = array.shape[-2:]
    kept = min(max(integer(diagonal, "diagonal"), -rows), columns)  # beyond these limits nothing changes
    lower = library_of(array).tri(rows, columns, kept if is_lower else kept - 1, np.bool_)
    mask = lower if is_lower else np.logical_not(lower)
    return record(_MASKED, np.where(mask, array, array.dtype.type(0)), (x,), mask)


def tril(x: Tensor, diagonal: int = 0) -> Tensor:
    """Return the lower triangle of the last two dimensions, with zeros above it.

    Parameters
    ----------
    x : Tensor
    diagonal : int
        The last diagonal that is kept; 0 is the main one.

    Returns
    -------
    Tensor

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> rt.tril(rt.ones(2, 2)).tolist()
    [[1.0, 0.0], [1.0, 1.0]]
    """
    return _triangle(x, True, diagonal)


def triu(x: Tensor, diagonal: int = 0) -> Tensor:
    """Return the upper triangle of the last two dimensions, with zeros below it.

    Parameters
    ----------
    x : Tensor
    diagonal : int
        The first diagonal that is kept; 0 is the main one.

    Returns
    -------
    Tensor

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> rt.triu(rt.ones(2, 2)).tolist()
    [[1.0, 1.0], [0.0, 1.0]]
    """
    return _triangle(x, False, diagonal)
