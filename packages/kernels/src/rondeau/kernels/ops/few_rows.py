"""A matrix that is zero but for few rows: the gradient of a table that was read by id."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rondeau.kernels.errors import ArgumentValueError
from rondeau.kernels.ops.scatter import add_rows
from rondeau.kernels.runtime import buffers

__all__ = ["FewRows", "are_few", "summed"]

_SHARE, _LEAST = 16, 2**20
"""A gradient is kept as few rows where a table has so many times more rows than were read, and so many numbers. With
400 rows of 200 numbers, on one core of Zen 5, backward and a step of gradient descent take 0.10 ms, and 0.39 and 6.1 ms
with the whole of 10,000 and 100,000 rows; where the norm is clipped, 0.4 to 0.5 ms, and 0.74 and 11."""


class FewRows:
    """A matrix of V rows that is zero but for some.

    It is added to matrices and to its like with `+` and `+=`, and then only these rows are touched. A sum is that of
    the whole matrix, bit for bit but for one thing: a negative zero to which a zero is added stays negative.

    Parameters
    ----------
    ids : ndarray of int64, shape (U,)
        Which rows, ascending, each once.
    values : ndarray of shape (U, E)
        The rows.
    number : int
        V.

    Examples
    --------
    >>> few = FewRows(np.array([1]), np.array([[5.0, 6.0]]), 3)
    >>> few.whole().tolist()
    [[0.0, 0.0], [5.0, 6.0], [0.0, 0.0]]
    >>> (np.ones((3, 2)) + few).tolist()
    [[1.0, 1.0], [6.0, 7.0], [1.0, 1.0]]
    >>> (few + few).values.tolist()
    [[10.0, 12.0]]
    """

    __slots__ = ("ids", "number", "values")

    ndim = 2

    def __init__(self, ids: NDArray[np.int64], values: NDArray[Any], number: int) -> None:
        self.ids, self.values, self.number = ids, values, number

    @property
    def shape(self) -> tuple[int, int]:
        """(V, E)."""
        return self.number, self.values.shape[1]

    @property
    def dtype(self) -> np.dtype[Any]:
        """That of the rows."""
        return self.values.dtype

    def whole(self) -> NDArray[Any]:
        """Return the matrix, a new array."""
        matrix = buffers.empty(self.shape, self.dtype)
        matrix.fill(0)
        matrix[self.ids] = self.values
        return matrix

    def copy(self) -> FewRows:
        """Return one with rows of its own; the ids, which nothing changes, are shared."""
        return FewRows(self.ids, self.values.copy(), self.number)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        """Return the matrix, for NumPy."""
        return self.whole() if dtype is None else self.whole().astype(dtype, copy=False)

    def __add__(self, other: Any) -> Any:
        """Return the sum with another one, or with a matrix, which is a matrix."""
        if not isinstance(other, FewRows):
            return other + self
        if other.shape != self.shape:
            raise ArgumentValueError(
                f"matrices must have one shape to be added, got {self.shape} and {other.shape}"
            )
        ids = np.union1d(self.ids, other.ids)
        values = np.zeros((ids.size, self.values.shape[1]), self.dtype)
        values[np.searchsorted(ids, self.ids)] = self.values
        values[np.searchsorted(ids, other.ids)] += other.values
        return FewRows(ids, values, self.number)

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, out: Any = (), **options: Any) -> Any:
        """Add to a matrix, in place where it says so."""
        matrix = inputs[0]
        if ufunc is not np.add or method != "__call__" or options or isinstance(matrix, FewRows):
            return NotImplemented
        if matrix.shape != self.shape:
            raise ArgumentValueError(
                f"matrices must have one shape to be added, got {matrix.shape} and {self.shape}"
            )
        if not out:
            matrix = matrix.copy()
        elif out[0] is not matrix:
            return NotImplemented
        matrix[self.ids] += self.values
        return matrix


def are_few(count: int, shape: tuple[int, ...]) -> bool:
    """Return whether so many rows of a table are few enough not to write the whole.

    Examples
    --------
    >>> are_few(400, (100_000, 200)), are_few(400, (1000, 200))
    (True, False)
    """
    return _SHARE * count <= shape[0] and shape[0] * shape[1] >= _LEAST


def summed(rows: NDArray[Any], ids: NDArray[np.int64], number: int) -> FewRows:
    """Return the matrix whose row v is the sum of ``rows[n]`` over all n with ``ids[n] == v``, in ascending order.

    Parameters
    ----------
    rows : ndarray of float32 or float64, shape (N, E)
        Any strides.
    ids : ndarray of int64, shape (N,)
        In [0, V).
    number : int
        V.

    Raises
    ------
    TypeError, ValueError
        As `rondeau.kernels.ops.scatter.add_rows`.
    IndexError
        If an id is out of range.

    Examples
    --------
    >>> few = summed(np.array([[1.0], [2.0], [4.0]]), np.array([2, 0, 2]), 3)
    >>> few.ids.tolist(), few.values.tolist()
    ([0, 2], [[2.0], [5.0]])
    """
    used, places = np.unique(ids, return_inverse=True)
    if used.size and not 0 <= used[0] <= used[-1] < number:
        raise IndexError(f"ids must be in [0, {number}), the rows of the matrix, got {used[0]} to {used[-1]}")
    values = buffers.empty((used.size, rows.shape[1]), rows.dtype)
    values.fill(0)
    add_rows(rows, places, values)
    return FewRows(used, values, number)
