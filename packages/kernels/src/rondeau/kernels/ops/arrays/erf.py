"""The array program of `rondeau.kernels.ops.erf`."""

from typing import Any

from rondeau.kernels.runtime.devices import beyond_numpy

__all__ = ["erf"]


def erf(x: Any) -> Any:
    """Return erf of every element of an array of a GPU; NumPy has no such function."""
    return beyond_numpy("cupyx.scipy.special").erf(x)
