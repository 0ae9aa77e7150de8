"""The array programs of `rondeau.kernels.ops.pooling`, in its notation."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from rondeau.kernels.ops.arrays.scatter import add_at
from rondeau.kernels.ops.arrays.windows import cropped, unfold
from rondeau.kernels.ops.windows import Window
from rondeau.kernels.runtime.devices import library_of

__all__ = ["average_backward", "average_forward", "gather", "max_forward", "scatter"]


def max_forward(x: Any, window: Window, shape: tuple[int, ...]) -> tuple[Any, Any]:
    """Return y and the indices."""
    M, H, W = x.shape
    window = cropped(window, shape, (H, W))
    flat = (window.rows * window.columns, *shape)
    values = unfold(x, window, shape, -np.inf).reshape(M, *flat)
    plane = library_of(x).arange(H * W).reshape(H, W)
    positions = unfold(plane, window, shape, -1).reshape(flat)
    largest = np.max(values, axis=1)
    is_largest = (values == largest[:, None]) & (positions >= 0)
    first = np.min(np.where(is_largest, positions, H * W), axis=1)
    last_nan = np.max(np.where(np.isnan(values), positions, -1), axis=1)
    indices = np.where(np.isnan(largest), last_nan, first)
    return gather(x, indices), indices  # not `largest`: of 0.0 and -0.0 the first counts


def gather(planes: Any, indices: Any) -> Any:
    """Return the elements at the indices."""
    return np.take_along_axis(_rows(planes), _rows(indices), 1).reshape(indices.shape)


def scatter(values: Any, indices: Any, shape: tuple[int, ...]) -> Any:
    """Return planes with the sums of values."""
    planes = np.zeros_like(values, order="C", shape=shape)
    starts = library_of(values).arange(len(values)) * math.prod(shape[1:])
    add_at(planes.reshape(-1), (indices + starts[:, None, None]).reshape(-1), values.reshape(-1))
    return planes


def _rows(array: Any) -> Any:
    return array.reshape(len(array), math.prod(array.shape[1:]))


def average_forward(x: Any, regions: Any) -> Any:
    """Return y: the sums over rows, then over columns, in float64."""
    P, Q = regions.divisor.shape
    of_rows = np.zeros_like(x, np.float64, order="C", shape=(len(x), P, x.shape[2]))
    for p, (first, last) in enumerate(_ends(regions.first_row, regions.last_row)):
        of_rows[:, p] = np.sum(x[:, first:last], axis=1, dtype=np.float64)
    y = np.zeros_like(of_rows, shape=(len(x), P, Q))
    for q, (first, last) in enumerate(_ends(regions.first_column, regions.last_column)):
        y[:, :, q] = np.sum(of_rows[:, :, first:last], axis=2)
    return (y / regions.divisor).astype(x.dtype)


def average_backward(dy: Any, regions: Any) -> Any:
    """Return dx: the shares are added to rows, then to columns."""
    shares = dy / regions.divisor
    of_rows = np.zeros_like(dy, order="C", shape=(len(dy), regions.height, dy.shape[2]))
    for p, (first, last) in enumerate(_ends(regions.first_row, regions.last_row)):
        of_rows[:, first:last] += shares[:, p : p + 1]
    dx = np.zeros_like(dy, order="C", shape=(len(dy), regions.height, regions.width))
    for q, (first, last) in enumerate(_ends(regions.first_column, regions.last_column)):
        dx[:, :, first:last] += of_rows[:, :, q : q + 1]
    return dx


def _ends(first: Any, last: Any) -> Iterator[tuple[int, int]]:
    return zip(first.tolist(), last.tolist(), strict=True)
