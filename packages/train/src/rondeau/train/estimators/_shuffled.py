"""Batches of samples in a new order every epoch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.int64]


class Samples(Protocol):
    """What an estimator trains on."""

    def __len__(self) -> int: ...

    def batch(self, rows: Rows) -> Any:
        """Return the samples of these rows as a batch of a `Supervised` task."""


class Shuffled:
    """Batches of some of the samples, in an order that is drawn for every epoch.

    Parameters
    ----------
    samples : Samples
    rows : ndarray of int, shape (n,)
        Which of them.
    batch_size : int
    orders : RandomState
    """

    def __init__(self, samples: Samples, rows: Rows, batch_size: int, orders: np.random.RandomState) -> None:
        self._samples, self._rows, self._batch_size, self._orders = samples, rows, batch_size, orders

    def __len__(self) -> int:
        return -(-len(self._rows) // self._batch_size)

    def __iter__(self) -> Iterator[Any]:
        order = self._rows[self._orders.permutation(len(self._rows))]
        for begin in range(0, len(order), self._batch_size):
            yield self._samples.batch(order[begin : begin + self._batch_size])


def in_order(samples: Samples, rows: Rows, batch_size: int = 256) -> list[Any]:
    """Return batches of some of the samples in their order, for an evaluation."""
    return [samples.batch(rows[begin : begin + batch_size]) for begin in range(0, len(rows), batch_size)]
