"""The array program of `rondeau.kernels.ops.erf`."""

from typing import Any

from rondeau.kernels.runtime.devices import special_functions

__all__ = ["erf"]


def erf(x: Any) -> Any:
    """Return erf of every element of an array of a GPU; NumPy has no such function."""
    return special_functions().erf(x)
