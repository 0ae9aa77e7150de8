"""Padding of the input of a convolution with its own elements instead of zeros."""

from __future__ import annotations

import numpy as np

from rondeau.kernels.errors import ArgumentValueError
from rondeau.kernels.runtime.devices import library_of
from rondeau.tensor import Tensor, index_select

__all__ = ["PADDING_MODES", "padded"]

PADDING_MODES = ("zeros", "reflect", "replicate", "circular")
_AS_NUMPY_NAMES_IT = {"reflect": "reflect", "replicate": "edge", "circular": "wrap"}


def padded(input: Tensor, dim: int, before: int, after: int, mode: str) -> Tensor:
    """Return the input padded with its own elements before and after one dimension.

    Parameters
    ----------
    input : Tensor
        Any shape.
    dim : int
        The dimension.
    before, after : int
        The number of elements to add at each end.
    mode : {"reflect", "replicate", "circular"}
        Mirror the elements at the edge, which is not repeated; repeat the edge; or wrap around.

    Raises
    ------
    ValueError
        If the dimension has too few elements.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> x = rt.tensor([1.0, 2.0, 3.0])
    >>> [padded(x, 0, 1, 2, mode).tolist() for mode in ("reflect", "replicate", "circular")]
    [[2.0, 1.0, 2.0, 3.0, 2.0, 1.0], [1.0, 1.0, 2.0, 3.0, 3.0, 3.0], [3.0, 1.0, 2.0, 3.0, 1.0, 2.0]]
    """
    if before == after == 0:
        return input
    size = input.shape[dim]
    there = {"reflect": size - 1, "replicate": max(before, after), "circular": size}[mode]
    if max(before, after) > there:
        raise ArgumentValueError(
            f"padding mode {mode!r} takes at most {there} elements from a dimension of {size}, got padding "
            f"{before} before and {after} after it"
        )
    places = library_of(input._array).arange(size)
    order = np.pad(places, (before, after), mode=_AS_NUMPY_NAMES_IT[mode])  # type: ignore[call-overload]
    return index_select(input, dim, Tensor(order))
