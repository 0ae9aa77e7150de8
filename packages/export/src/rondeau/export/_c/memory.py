"""The memory of an exported model: its weights, packed for the product, and the room that a step works in."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rondeau.kernels.numerics.rounding import quantise_rows

__all__ = ["PANEL", "Memory", "packed"]

Array = NDArray[Any]

PANEL = 64
"""Rows of a matrix whose sums are formed at once; four vectors of AVX-512, eight of AVX2."""


def packed(matrix: Array) -> Array:
    """Return the numbers of a matrix (O, K) in the order in which the product reads them.

    Panels of `PANEL` rows follow one another, the last one with the rows that are left; within a panel, column follows
    column. So memory is read in order, and the sums of a panel stay in registers.

    Examples
    --------
    >>> packed(np.array([[1, 2], [3, 4]])).tolist()
    [1, 3, 2, 4]
    """
    panels = [matrix[first : first + PANEL].T.ravel() for first in range(0, len(matrix), PANEL)]
    return np.concatenate(panels) if panels else matrix.ravel()


class Memory:
    """Collects the weights and the work area of a model while its source is written.

    Parameters
    ----------
    quantise : bool
        Whether matrices are kept in int8, with a scale for each row.
    """

    def __init__(self, quantise: bool) -> None:
        self.quantise = quantise
        self._floats: list[Array] = []
        self._bytes: list[Array] = []
        self._num_floats = self._num_bytes = 0
        self.work = 0

    @property
    def floats(self) -> Array:
        """All weights in float32."""
        return np.concatenate([np.empty(0, np.float32), *self._floats])

    @property
    def bytes(self) -> Array:
        """All weights in int8."""
        return np.concatenate([np.empty(0, np.int8), *self._bytes])

    def vector(self, array: Array) -> str:
        """Keep an array of float32, and return the expression of its address."""
        offset = self._num_floats
        self._floats.append(np.ascontiguousarray(array, np.float32).ravel())
        self._num_floats += array.size
        return f"@weights + {offset}"

    def matrix(self, matrix: Array) -> str:
        """Keep a matrix (O, K), packed, and return the arguments by which a product reads it."""
        if not self.quantise:
            return self.vector(packed(matrix))
        numbers, scales = quantise_rows(matrix)
        return f"{self._integers(packed(numbers))}, {self.vector(scales)}"

    def matrix_of_columns(self, matrix: Array) -> str:
        """Keep a matrix (O, K) column by column, and return the arguments by which one column is added."""
        if not self.quantise:
            return self.vector(matrix.T)
        numbers, scales = quantise_rows(matrix)
        return f"{self._integers(numbers.T)}, {self.vector(scales)}"

    def _integers(self, array: Array) -> str:
        offset = self._num_bytes
        self._bytes.append(np.ascontiguousarray(array).ravel())
        self._num_bytes += array.size
        return f"@bytes + {offset}"

    def room(self, count: int) -> str:
        """Reserve room in the work area, and return the expression of its address."""
        offset = self.work
        self.work += count
        return f"work + {offset}"
