"""The array program of `rondeau.kernels.ops.scatter`."""

from typing import Any

from rondeau.kernels.runtime.devices import library_of

__all__ = ["add_at", "add_rows"]


def add_at(target: Any, indices: Any, values: Any) -> None:
    """Do ``target[indices[n]] += values[n]`` for every n, so that repeated indices add up.

    On a GPU they are added in no fixed order, so the last bits of the sums may differ from run to run.

    Parameters
    ----------
    target : array
        Changed in place.
    indices : array of integers, shape (N,), or any index with arrays
        In range of the target.
    values : array of the target's dtype, shape (N, ...), or of the shape of ``target[indices]``

    Examples
    --------
    >>> import numpy as np
    >>> target = np.zeros(3)
    >>> add_at(target, np.array([2, 0, 2]), np.array([1.0, 2.0, 4.0]))
    >>> target.tolist()
    [2.0, 0.0, 5.0]
    """
    library_of(target).add.at(target, indices, values)


def add_rows(rows: Any, ids: Any, table: Any) -> None:
    """Add the rows to the table."""
    add_at(table, ids, rows)
