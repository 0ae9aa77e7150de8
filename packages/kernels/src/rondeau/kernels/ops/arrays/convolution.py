"""The array programs of `rondeau.kernels.ops.convolution`, in its notation: products with the unfolded windows."""

import math
from typing import Any

import numpy as np

from rondeau.kernels.ops.arrays.windows import fold, unfold
from rondeau.kernels.ops.windows import Window

__all__ = ["backward_input", "backward_weight", "forward"]


def forward(x: Any, w: Any, b: Any, window: Window, shape: tuple[int, ...], groups: int) -> Any:
    """Return y; b may be None."""
    u = _unfolded(x, window, shape, groups)
    y = np.matmul(_of_groups(w, groups), u).reshape(len(x), len(w), *shape)
    return y if b is None else y + b[:, None, None]


def backward_input(dy: Any, w: Any, window: Window, shape: tuple[int, ...], groups: int) -> Any:
    """Return dx."""
    N, C, H, W = shape
    P, Q = dy.shape[2:]
    du = np.matmul(_of_groups(w, groups).swapaxes(1, 2), dy.reshape(N, groups, len(w) // groups, P * Q))
    return fold(du.reshape(N, C, window.rows, window.columns, P, Q), window, (H, W))


def backward_weight(dy: Any, x: Any, window: Window, shape: tuple[int, ...], groups: int) -> Any:
    """Return dw, for at least one sample: a single product, over windows and samples."""
    N, F, P, Q = dy.shape
    of_group = (
        dy.reshape(N, groups, F // groups, P * Q).transpose(1, 2, 0, 3).reshape(groups, F // groups, -1)
    )
    u = _unfolded(x, window, (P, Q), groups).transpose(1, 0, 3, 2)
    return np.matmul(of_group, u.reshape(groups, N * P * Q, -1)).reshape(shape)


def _unfolded(x: Any, window: Window, shape: tuple[int, ...], groups: int) -> Any:
    """Return u of every sample and group, (N, G, K, L)."""
    return unfold(x, window, shape, 0.0).reshape(
        len(x), groups, x.shape[1] // groups * window.rows * window.columns, math.prod(shape)
    )


def _of_groups(w: Any, groups: int) -> Any:
    """Return the weights of every group, (G, F / G, K)."""
    return w.reshape(groups, len(w) // groups, math.prod(w.shape[1:]))
