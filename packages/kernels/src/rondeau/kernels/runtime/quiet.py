"""NumPy functions without floating-point warnings: infinities and NaN are results, not events.

Kernels never warn about them, so a part of the same computation that is left to NumPy should not either.
"""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable
from typing import Any

import numpy as np

__all__ = ["quiet", "quiet_runner"]


def quiet_runner() -> Callable[..., Any]:
    """Return a function that calls ``function(*arguments)`` without floating-point warnings.

    It belongs to the calling thread, and the functions that it runs must not call it again. One context, made once,
    costs a tenth of an `np.errstate` block per call.

    Examples
    --------
    >>> run = quiet_runner()
    >>> run(np.divide, 1.0, 0.0)
    np.float64(inf)
    """
    context = contextvars.copy_context()
    context.run(np.seterr, all="ignore")
    return context.run


class _OfThisThread(threading.local):
    def __init__(self) -> None:
        self.run = quiet_runner()


quiet = _OfThisThread()
"""``quiet.run`` is the `quiet_runner` of this thread, for the kernels' own use."""
