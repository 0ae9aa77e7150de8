"""What is random in an estimator, apart from the library's own generator."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from sklearn.utils import check_random_state

from rondeau import tensor as rt


class Randomness:
    """The draws of an estimator: all follow from its ``random_state``, over however many calls it is trained.

    Parameters
    ----------
    random_state : int, RandomState or None

    Attributes
    ----------
    orders : RandomState
        Draws the order of sequences, and what is held out.
    """

    def __init__(self, random_state: Any) -> None:
        self.orders: np.random.RandomState = check_random_state(random_state)
        self._generator: rt.Generator | None = None

    @contextmanager
    def used(self) -> Iterator[np.random.RandomState]:
        """Draw weights from a generator of its own, and leave the library's alone."""
        if self._generator is None:
            self._generator = rt.Generator(int(self.orders.randint(2**31)))
        with self._generator.as_default():
            yield self.orders
