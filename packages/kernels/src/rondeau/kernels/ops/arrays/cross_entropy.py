"""The array program of `rondeau.kernels.ops.cross_entropy`, in its notation."""

from typing import Any

import numpy as np

__all__ = ["backward", "forward", "share_of_mean"]


def forward(z: Any, t: Any, w: Any, s: Any, ignored: int) -> tuple[Any, Any, Any]:
    """Return the losses, e and the scale."""
    shifted = z - np.max(z, axis=1, keepdims=True)
    e = np.exp(shifted)
    total = np.sum(e, axis=1)
    log_total = np.log(total)
    counts, at = _counted(t, ignored)
    of_class = np.take_along_axis(shifted, at[:, None], 1)[:, 0]
    losses = (1 - s) * w[at] * (log_total - of_class)
    if s > 0:
        losses += s / z.shape[1] * np.sum(w * (log_total[:, None] - shifted), axis=1)
    return np.where(counts, losses, z.dtype.type(0)), e, 1 / total


def backward(e: Any, scale: Any, t: Any, w: Any, s: Any, ignored: int, dlosses: Any) -> Any:
    """Return dz."""
    counts, at = _counted(t, ignored)
    smooth = s / e.shape[1]
    of_class = (1 - s) * w[at]
    dz = (dlosses * (of_class + smooth * np.sum(w)) * scale)[:, None] * e
    if s > 0:
        dz -= dlosses[:, None] * (smooth * w)
    column = at[:, None]
    of_column = np.take_along_axis(dz, column, 1) - (dlosses * of_class)[:, None]
    np.put_along_axis(dz, column, of_column, 1)
    # Selected, not multiplied by 0: a row that does not count may hold infinities.
    return np.where(counts[:, None], dz, e.dtype.type(0))


def share_of_mean(t: Any, w: Any, ignored: int) -> Any:
    """Return 1 / the sum of the weights of the rows that count, in float64."""
    counts, at = _counted(t, ignored)
    return 1 / np.sum(np.where(counts, w[at], 0), dtype=np.float64)


def _counted(t: Any, ignored: int) -> tuple[Any, Any]:
    """Return which rows count, and the classes with 0 in the place of the ignored one."""
    counts = t != ignored
    return counts, np.where(counts, t, 0)
