"""`Draw`: everything that one call draws, from one seed, and a record of it."""

from __future__ import annotations

import functools
import random
import zlib
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Chosen = TypeVar("Chosen")

#: Sizes about the edges of vectors, tiles and panels, up to 70.
SIZES = (1, 2, 3, 4, 5, 6, 7, 8, 9, 15, 16, 17, 23, 24, 25, 31, 32, 33, 47, 48, 49, 63, 64, 65, 70)
#: Values that are no tensor, no number and no shape.
NONSENSE: tuple[Any, ...] = ("nonsense", None, object(), {}, [[1], [2, 3]], b"bytes", 1 + 2j)


class Draw:
    """The choices of one call.

    A call is good unless it says otherwise: `spoil` draws whether one thing of it is to be wrong, after which only
    an exception is right.

    Parameters
    ----------
    seed, index : int
        Which call.
    target : str
        Of which target.

    Attributes
    ----------
    notes : list of (str, object)
        What was drawn, by name, for the report.
    weights : int
        What to seed the library's own generator with.
    wrong : str or None
        What is wrong with the call on purpose.
    open : str or None
        Why a refusal is as right as a result.

    Examples
    --------
    >>> first, again = Draw(0, 7, "product"), Draw(0, 7, "product")
    >>> first.size() == again.size()
    True
    """

    def __init__(self, seed: int, index: int, target: str) -> None:
        name = f"{seed} {index} {target}"
        self.random = random.Random(name)
        self.weights = zlib.crc32(name.encode())
        self.notes: list[tuple[str, Any]] = []
        self.wrong: str | None = None
        self.open: str | None = None

    @functools.cached_property
    def numbers(self) -> np.random.Generator:
        """The generator of the elements of arrays."""
        return np.random.Generator(np.random.SFC64(self.random.getrandbits(64)))

    def note(self, name: str, value: Chosen) -> Chosen:
        """Record a drawn value, and return it."""
        self.notes.append((name, value))
        return value

    def chance(self, probability: float) -> bool:
        """Return True with a probability."""
        return self.random.random() < probability

    def choose(self, options: Sequence[Chosen]) -> Chosen:
        """Return one of several."""
        return self.random.choice(options)

    def spoil(self, reason: str, probability: float = 0.03) -> bool:
        """Draw whether this is what is wrong with the call; at most one thing is."""
        if self.wrong is None and self.chance(probability):
            self.wrong = reason
            return True
        return False

    def size(self, most: int = 70, empty: float = 0.0) -> int:
        """Return a size up to `most`: small ones more often; 0 with probability `empty`."""
        if self.chance(empty):
            return 0
        if self.chance(0.6):
            return self.random.randint(1, min(9, most))
        return min(self.choose(SIZES), most)

    def dtype(self) -> np.dtype[Any]:
        """Return float32 or float64."""
        return np.dtype(self.choose((np.float32, np.float64)))

    def normal(self, shape: tuple[int, ...], dtype: Any, scale: float = 1.0) -> Array:
        """Return normal numbers, contiguous."""
        return np.asarray(self.numbers.standard_normal(shape) * scale, dtype)

    def laid_out(self, values: Array, plain: float = 0.55) -> Array:
        """Return the same values in memory of another layout; with probability `plain` as they are.

        Strides may become negative, zero (the values are then repeated along an axis, and so differ), larger than the
        elements, or no multiple of an element; memory may be unaligned, read-only, or of a subclass of ndarray.
        """
        values = np.asanyarray(values)
        if self.chance(plain):
            return values
        name = self.choose(tuple(LAYOUTS) if values.ndim else LAYOUTS_OF_A_NUMBER)
        return self.note("layout", (name, LAYOUTS[name](self, values)))[1]

    def floats(self, shape: tuple[int, ...], dtype: Any, scale: float = 1.0, plain: float = 0.55) -> Array:
        """Return normal numbers in any layout."""
        return self.laid_out(self.normal(shape, dtype, scale), plain)

    def integers(self, shape: tuple[int, ...], below: int, dtype: Any = np.int64) -> Array:
        """Return integers from 0 to `below` - 1 in any layout; `below` is at least 1 unless the shape is empty."""
        return self.laid_out(np.asarray(self.numbers.integers(0, max(below, 1), shape), dtype), plain=0.7)

    def planted(self, values: Array) -> Array:
        """Return a copy with NaN or infinities at a few places."""
        values = values.copy()
        if values.size:
            special = self.choose((np.nan, np.inf, -np.inf))
            for _ in range(self.random.randint(1, 2)):
                values.flat[self.random.randrange(values.size)] = special
        return values


def _reversed(draw: Draw, values: Array) -> Array:
    axes = tuple(slice(None, None, draw.choose((1, -1))) for _ in range(values.ndim))
    return np.ascontiguousarray(values[axes])[axes] if values.ndim else values


def _stepped(draw: Draw, values: Array) -> Array:
    """Return every second or third element of a larger array."""
    steps = [draw.choose((1, 2, 3)) for _ in values.shape]
    base = np.full([n * step for n, step in zip(values.shape, steps, strict=True)], 77, values.dtype)
    view = base[tuple(slice(None, None, step) for step in steps)]
    view[...] = values
    return view


def _fortran(draw: Draw, values: Array) -> Array:
    return np.asfortranarray(values)


def _permuted(draw: Draw, values: Array) -> Array:
    order = draw.random.sample(range(values.ndim), values.ndim)
    return np.transpose(np.ascontiguousarray(np.transpose(values, order)), np.argsort(order).tolist())


def _repeated(draw: Draw, values: Array) -> Array:
    """Return an array with stride zero along an axis."""
    if not values.ndim or not values.size:
        return values
    axis = draw.random.randrange(values.ndim)
    first = np.take(values, [0], axis=axis)
    return np.broadcast_to(first, values.shape)


def _field(draw: Draw, values: Array) -> Array:
    """Return a field of a structured array: strides are no multiple of an element."""
    base = np.zeros(values.shape, [("before", "i1"), ("values", values.dtype)])
    base["values"] = values
    field: Array = base["values"]
    return field


def _unaligned(draw: Draw, values: Array) -> Array:
    """Return contiguous memory whose address is no multiple of the element's size."""
    memory = np.zeros(values.nbytes + 1, np.uint8)
    shifted = memory[1:].view(values.dtype).reshape(values.shape)
    shifted[...] = values
    return shifted


def _read_only(draw: Draw, values: Array) -> Array:
    frozen = values.copy()
    frozen.flags.writeable = False
    return frozen


class _Subclass(np.ndarray[Any, Any]):
    """An array of a type that is not NumPy's own."""


def _subclass(draw: Draw, values: Array) -> Array:
    return values.view(_Subclass)


#: Ways to lay values out in memory: a new one is one entry.
LAYOUTS: dict[str, Callable[[Draw, Array], Array]] = {
    "reversed": _reversed,
    "stepped": _stepped,
    "column order": _fortran,
    "permuted": _permuted,
    "repeated": _repeated,
    "field": _field,
    "unaligned": _unaligned,
    "read-only": _read_only,
    "subclass": _subclass,
}
LAYOUTS_OF_A_NUMBER = ("unaligned", "read-only", "subclass")
