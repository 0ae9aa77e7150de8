"""Steps with weights in int8: the weights that these stand for, and the rounding of what they multiply."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

_CALLS_FOR = 0.1
"""`verdict.check_close` allows a hundred times what it sees a result move; ten times the real rounding is enough."""


def dequantised(matrix: Array) -> Array:
    """Return a float32 matrix whose rows are rounded to int8, each with a scale of its own, as float64."""
    largest = np.abs(matrix).max(axis=1, keepdims=True, initial=0)
    scale = largest / np.float32(127)
    quotient = np.divide(matrix, scale, out=np.zeros_like(matrix), where=scale > 0)
    rounded: Array = np.rint(quotient).astype(np.float64) * scale
    return rounded


class Shaking(np.ndarray[Any, Any]):
    """A matrix that moves what it multiplies, ``left @ matrix``, as rounding to int16 moves it.

    That is by up to half a unit, of which the largest number of a row has 32767.
    """

    numbers: Any
    """A generator."""

    def __array_finalize__(self, base: Any) -> None:
        """Take over the generator of the array that this one is a part of."""
        self.numbers = getattr(base, "numbers", None)

    def __rmatmul__(self, left: Any) -> Any:
        """Return the product, which is a plain array."""
        left = np.asarray(left)
        half = np.abs(left).max(axis=-1, keepdims=True, initial=0) / (2 * 32767)
        moved = left + _CALLS_FOR * half * self.numbers.uniform(-1, 1, left.shape)
        return moved @ np.asarray(self)


def shaking(matrix: Array, numbers: np.random.Generator) -> Shaking:
    """Return a matrix as one that moves what it multiplies, by numbers of a generator."""
    view = matrix.view(Shaking)
    view.numbers = numbers
    return view
