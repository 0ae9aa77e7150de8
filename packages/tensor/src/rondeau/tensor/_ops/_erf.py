"""The error function of arrays, which NumPy does not have."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from rondeau.kernels.runtime.compiling import cached_njit


@cached_njit
def _fill(x, out):  # type: ignore[no-untyped-def]
    for i in range(x.size):
        out[i] = math.erf(x[i])


def erf_array(x: Any) -> Any:
    """Return erf of every element of an array of floats.

    Examples
    --------
    >>> erf_array(np.array([0.0, -10.0, np.inf])).tolist()
    [0.0, -1.0, 1.0]
    """
    wide = x.astype(np.float32) if x.dtype == np.float16 else x
    out = np.empty(wide.shape, wide.dtype)
    _fill(wide.reshape(-1), out.reshape(-1))
    return out.astype(x.dtype, copy=False)
