"""The array programs of `rondeau.kernels.ops.lapack`, by cuSOLVER on a GPU."""

from collections.abc import Callable
from typing import Any

import numpy as np

from rondeau.kernels.runtime.deferred import require

__all__ = ["qr", "reflectors", "solve"]


def solve(a: Any, b: Any, error: Callable[[], Exception]) -> Any:
    """Return X; `error` is for a singular matrix, of which cuSOLVER does not tell without waiting."""
    sign, _ = np.linalg.slogdet(a)
    require(np.all(sign != 0), error)
    return np.linalg.solve(a, b)


def qr(a: Any) -> tuple[Any, Any]:
    """Return Q and R."""
    q, r = np.linalg.qr(a)
    return q, r


def reflectors(a: Any) -> tuple[Any, Any]:
    """Return the reflectors and their factors."""
    factored, tau = np.linalg.qr(a, mode="raw")
    return np.swapaxes(factored, -1, -2), tau
