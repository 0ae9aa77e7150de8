"""Standardisation of targets and series: mean 0 and standard deviation 1 of each column."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

_ROUNDING = 4 * np.finfo(np.float64).eps


class Standard(NamedTuple):
    """The means and standard deviations of columns.

    A constant column has deviation 0: `apply` shifts it alone, and `revert` returns the constant, whatever it is given.
    Constant is what varies by rounding alone, by a few units in the last place.

    Attributes
    ----------
    mean, scale : ndarray of float64, shape (D,)
    """

    mean: NDArray[np.float64]
    scale: NDArray[np.float64]

    @classmethod
    def of(cls, name: str, columns: NDArray[np.float64]) -> Standard:
        """Return those of an array (N, D).

        Raises
        ------
        ValueError
            If its values are so large that they have none.
        """
        with np.errstate(all="ignore"):
            mean, scale = columns.mean(axis=0), columns.std(axis=0)
        if not np.isfinite(scale).all():
            raise _too_large(name, columns)
        # The mean of 0.1, 0.1, ... is rounded, and what is left for the deviation would be divided by.
        low, high = columns.min(axis=0), columns.max(axis=0)
        is_constant = high - low <= _ROUNDING * np.maximum(np.abs(low), np.abs(high))
        return cls(np.where(is_constant, low, mean), np.where(is_constant, 0.0, scale))

    def apply(self, name: str, values: NDArray[np.float64]) -> NDArray[np.float32]:
        """Return values (..., D), standardised.

        Raises
        ------
        ValueError
            If float32 cannot hold them.
        """
        with np.errstate(all="ignore"):
            scale = np.where(self.scale > 0, self.scale, 1.0)
            standardised = ((values - self.mean) / scale).astype(np.float32)
        if not np.isfinite(standardised).all():
            raise _too_large(name, values)
        return standardised

    def revert(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return values (..., D) in the unit of the columns."""
        return values * self.scale + self.mean


def _too_large(name: str, values: NDArray[Any]) -> ValueError:
    return ValueError(
        f"{name} has values too large to be standardised, up to {np.abs(values).max():g}; scale them"
    )
