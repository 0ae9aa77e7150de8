"""The random numbers that a step draws, for the oracle: by position, computed in NumPy."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from types import FunctionType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rondeau import nn
from rondeau import tensor as rt
from rondeau.kernels.cell import cell_math
from rondeau.kernels.numerics.noise import normals, uniforms

Array = NDArray[Any]
Drawing = Callable[[str], Array]
"""A function from ``"normal"`` or ``"uniform"`` to the numbers of the next call."""

PER_LAYER = 64
"""The substreams of each layer and direction."""
FIRST = 35
"""That of a layer's first call; the next calls have the next ones."""


class Noise(NamedTuple):
    """Where the random numbers of sequences come from.

    Attributes
    ----------
    key : int
    substream : int
        The first of the layer and direction.
    first_step, first_row : int
        The position of the sequences in the caller's batch.
    """

    key: int = 0
    substream: int = 0
    first_step: int = 0
    first_row: int = 0

    def of_layer(self, index: int) -> Noise:
        """Return that of a layer and direction, given its index among those of the call."""
        return self._replace(substream=index * PER_LAYER)

    def at(self, time: int, rows: Array, units: int) -> Drawing:
        """Return a function that draws the numbers of one step, (rows, units) at each call."""
        numbers = itertools.count(self.substream + FIRST)
        position = self.first_step + time, self.first_row + rows[:, None], np.arange(units)

        def draw(distribution: str) -> Array:
            function = normals if distribution == "normal" else uniforms
            return function(self.key, next(numbers), *position)

        return draw


def key_of(seed: int) -> int:
    """Return the key that the first call draws after ``rt.manual_seed(seed)``."""
    return int(rt.Generator(seed).numpy.integers(2**64 - 1, dtype=np.uint64, endpoint=True))


class _OnArrays:
    """`cell_math` on arrays, with the random numbers of a function."""

    def __init__(self, draw: Drawing) -> None:
        self._draw = draw

    def __getattr__(self, name: str) -> Any:
        return getattr(cell_math, name)

    def normal(self) -> Array:
        return self._draw("normal")

    def uniform(self) -> Array:
        return self._draw("uniform")


def with_numbers(step: Any, draw: Drawing) -> Any:
    """Return a step that draws its random numbers from `draw`, and can be called on arrays."""
    language = _OnArrays(draw)
    names = {
        name: language if value in (cell_math, nn.cell_math) else value
        for name, value in step.__globals__.items()
        if name in step.__code__.co_names
    }
    again = FunctionType(step.__code__, names, step.__name__, step.__defaults__, step.__closure__)
    again.__kwdefaults__ = step.__kwdefaults__
    return again
