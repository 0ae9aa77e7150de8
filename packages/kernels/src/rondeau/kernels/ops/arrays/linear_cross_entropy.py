"""The array program of `rondeau.kernels.ops.linear_cross_entropy`, in its notation."""

from typing import Any

import numpy as np

from rondeau.kernels.ops.arrays import cross_entropy

__all__ = ["losses_and_gradients"]

_LOGITS = 2**24
"""Logits of a block of rows: as many as keep a GPU busy."""


def losses_and_gradients(
    x: Any, weight: Any, bias: Any, targets: Any, factors: Any, needs: Any
) -> tuple[Any, Any, Any, Any]:
    """Return the losses, dx, dW and db, each gradient None unless it is wanted."""
    t, w, s, ignored = targets
    N, V = len(x), len(weight)
    losses = np.zeros_like(x, shape=(N,))
    dx = np.zeros_like(x) if needs.x else None
    dw = np.zeros_like(weight) if needs.weight else None
    db = np.zeros_like(bias) if needs.bias else None
    rows = max(_LOGITS // V, 1)
    for first in range(0, N, rows):
        at = slice(first, first + rows)
        z = np.matmul(x[at], weight.T)
        z += bias
        losses[at], e, scale = cross_entropy.forward(z, t[at], w, s, ignored)
        if not any(needs):
            continue
        dz = cross_entropy.backward(e, scale, t[at], w, s, ignored, factors[at])
        if dx is not None:
            dx[at] = np.matmul(dz, weight)
        if dw is not None:
            dw += np.matmul(dz.T, x[at])
        if db is not None:
            db += np.sum(dz, axis=0)
    return losses, dx, dw, db
