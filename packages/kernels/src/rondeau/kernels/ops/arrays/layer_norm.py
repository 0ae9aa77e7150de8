"""The array program of `rondeau.kernels.ops.layer_norm`, in its notation."""

from typing import Any

import numpy as np

__all__ = ["backward_input", "backward_parameters", "forward"]


def forward(x: Any, w: Any, b: Any, eps: Any) -> tuple[Any, Any, Any]:
    """Return y, mean and rstd."""
    mean = np.mean(x, axis=1)
    centred = x - mean[:, None]
    # In float64, which squares of float32 do not exceed. If squares of float64 are infinite, rstd is NaN and not 0,
    # which would turn the row into zeros.
    var = np.mean(np.square(centred, dtype=np.float64), axis=1)
    rstd = np.where(np.isinf(var), np.nan, 1 / np.sqrt(var + eps)).astype(x.dtype)
    return centred * rstd[:, None] * w + b, mean, rstd


def backward_input(dy: Any, x: Any, w: Any, mean: Any, rstd: Any) -> Any:
    """Return dx."""
    h, z = dy * w, (x - mean[:, None]) * rstd[:, None]
    mean_h, mean_hz = np.mean(h, axis=1, keepdims=True), np.mean(h * z, axis=1, keepdims=True)
    return rstd[:, None] * (h - mean_h - z * mean_hz)


def backward_parameters(dy: Any, x: Any, mean: Any, rstd: Any) -> tuple[Any, Any]:
    """Return dw and db."""
    dw = np.sum(dy * ((x - mean[:, None]) * rstd[:, None]), axis=0, dtype=np.float64)
    return dw.astype(x.dtype), np.sum(dy, axis=0, dtype=np.float64).astype(x.dtype)
