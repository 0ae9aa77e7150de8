"""The arrays of `rondeau.nn.dynamics`: float64, on the CPU, and finite where a caller gives them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rondeau.kernels.errors import ArgumentValueError

from .._checks import as_host_array

__all__ = ["Array", "finite"]

Array = NDArray[np.float64]


def finite(name: str, value: Any) -> Array:
    """Return numbers in float64 and on the CPU, after refusing those that are NaN or infinite.

    Raises
    ------
    TypeError, ValueError
        The message names the argument.

    Examples
    --------
    >>> finite("state", [0.0, float("nan")])
    Traceback (most recent call last):
        ...
    rondeau.kernels.errors.ArgumentValueError: state must be finite numbers, but has elements that are NaN or infinite
    """
    array = as_host_array(name, value).astype(np.float64)
    if not np.isfinite(array).all():
        raise ArgumentValueError(f"{name} must be finite numbers, but has elements that are NaN or infinite")
    return array
