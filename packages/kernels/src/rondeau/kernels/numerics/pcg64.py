"""NumPy's PCG64 as an array program: its uniform numbers, drawn at once on any device, with the same bits.

The generator is a linear congruence of 128 bits, so the state after any number of steps is a product and a sum, and all
of them can be computed side by side. A draw on a GPU costs a few dozen operations on arrays; on the CPU, NumPy's own
loop is faster.

O'Neill: PCG: A family of simple fast space-efficient statistically good algorithms for random number generation. Harvey
Mudd College, HMC-CS-2014-0905, section 6.3.1; the jumps are Brown's, "Random number generation with arbitrary stride",
1994.
"""

from __future__ import annotations

import functools
import math
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike

__all__ = ["uniform", "words"]

_MULTIPLIER = 0x2360ED051FC65DA44385DF649FCCF645
_ALL = 2**128
_COLUMNS = 2**16
"""Steps from one row of states to the next; what is known of a row's steps takes 2 MB of a device, once."""

_HALF, _LOW = np.uint64(32), np.uint64(2**32 - 1)


class _Wide(NamedTuple):
    """Unsigned integers of 128 bits, as two arrays or numbers of 64."""

    high: Any
    low: Any

    @classmethod
    def of(cls, number: int) -> _Wide:
        return cls(np.uint64(number >> 64), np.uint64(number & (2**64 - 1)))

    def in_array(self, library: ModuleType) -> _Wide:
        """Return one number as arrays of a library, shape (1,)."""
        return _Wide(*(library.full(1, part, np.uint64) for part in self))

    def times(self, other: _Wide) -> _Wide:
        """Return the product modulo 2**128; this one is of arrays."""
        high = self.high * other.low + self.low * other.high + _high_of_product(self.low, other.low)
        return _Wide(high, self.low * other.low)

    def plus(self, other: _Wide) -> _Wide:
        """Return the sum modulo 2**128; this one is of arrays."""
        low = self.low + other.low
        return _Wide(self.high + other.high + (low < self.low), low)

    def followed_by(self, other: _Wide) -> _Wide:
        """Return the integers of this one, and then those of the other."""
        return _Wide(*(np.concatenate(parts) for parts in zip(self, other, strict=True)))


def _high_of_product(a: Any, b: Any) -> Any:
    """Return the upper 64 bits of products of arrays of 64 bits."""
    a_high, a_low, b_high, b_low = a >> _HALF, a & _LOW, b >> _HALF, b & _LOW
    middle = a_high * b_low + ((a_low * b_low) >> _HALF)
    other = a_low * b_high + (middle & _LOW)
    return a_high * b_high + (middle >> _HALF) + (other >> _HALF)


def _jump(steps: int) -> tuple[int, int]:
    """Return the factor of the state, and that of the increment, after so many steps."""
    factor, rest, by, add = 1, 0, _MULTIPLIER, 1
    while steps:
        if steps & 1:
            factor, rest = factor * by % _ALL, (rest * by + add) % _ALL
        by, add, steps = by * by % _ALL, (by + 1) * add % _ALL, steps >> 1
    return factor, rest


@functools.cache
def _jumps_of_a_row(library: ModuleType) -> tuple[_Wide, _Wide]:
    """Return the factors of `_jump` for 1, 2, ... `_COLUMNS` steps, where a library has its arrays."""
    factors, rests = (_Wide.of(number).in_array(library) for number in _jump(1))
    while (count := len(factors.low)) < _COLUMNS:
        factor, rest = map(_Wide.of, _jump(count))
        further = factors.times(factor)
        rests = rests.followed_by(factors.times(rest).plus(rests))
        factors = factors.followed_by(further)
    return factors, rests


def words(library: ModuleType, state: int, increment: int, count: int) -> Any:
    """Return the words that follow a state of the generator.

    Parameters
    ----------
    library : module
        NumPy or CuPy: where the array is to be.
    state, increment : int
        As in ``bit_generator.state["state"]``.
    count : int

    Returns
    -------
    array of uint64, shape (count,)

    Examples
    --------
    >>> generator = np.random.PCG64(7)
    >>> state = generator.state["state"]
    >>> words(np, state["state"], state["inc"], 3).tolist() == generator.random_raw(3).tolist()
    True
    """
    rows = _Wide.of(state).in_array(library)
    while (known := len(rows.low)) * _COLUMNS < count:
        factor, rest = _jump(known * _COLUMNS)
        rows = rows.followed_by(rows.times(_Wide.of(factor)).plus(_Wide.of(rest * increment % _ALL)))
    needed = -(-count // _COLUMNS)
    rows = _Wide(rows.high[:needed, None], rows.low[:needed, None])
    factors, rests = _jumps_of_a_row(library)
    columns = min(count, _COLUMNS)
    factors, rests = (_Wide(wide.high[:columns], wide.low[:columns]) for wide in (factors, rests))
    states = rows.times(factors).plus(rests.times(_Wide.of(increment)))
    mixed, by = states.high ^ states.low, states.high >> np.uint64(58)
    return ((mixed >> by) | (mixed << ((np.uint64(64) - by) & np.uint64(63)))).reshape(-1)[:count]


def uniform(
    library: ModuleType, generator: np.random.Generator, shape: tuple[int, ...], dtype: DTypeLike
) -> Any:
    """Return the numbers of ``generator.random(shape, dtype)`` as an array of a library, and advance the generator.

    Parameters
    ----------
    library : module
        NumPy or CuPy.
    generator : numpy.random.Generator
        Of a PCG64.
    shape : tuple of int
    dtype : float32 or float64

    Returns
    -------
    array

    Examples
    --------
    >>> one, other = np.random.default_rng(7), np.random.default_rng(7)
    >>> bool((uniform(np, one, (3,), np.float32) == other.random(3, np.float32)).all())
    True
    >>> one.random() == other.random()
    True
    """
    source, size = generator.bit_generator, math.prod(shape)
    before = source.state
    state, increment = before["state"]["state"], before["state"]["inc"]
    if np.dtype(dtype) == np.float64:
        source.advance(size)  # type: ignore[attr-defined]
        source.state = {**before, "state": source.state["state"]}  # a half of a word may wait for float32
        return ((words(library, state, increment, size) >> np.uint64(11)) * 2.0**-53).reshape(shape)
    # A word is two numbers, first its lower half. The upper one waits for the next draw, where it is not needed here.
    waiting = min(before["has_uint32"], size)
    count = -(-(size - waiting) // 2)
    drawn = words(library, state, increment, count)
    halves = np.stack((drawn & _LOW, drawn >> _HALF), axis=-1).reshape(-1)
    if waiting:
        halves = np.concatenate((library.full(1, before["uinteger"], np.uint64), halves))
    if count:
        source.advance(count - 1)  # type: ignore[attr-defined]
        last = int(source.random_raw())
        source.state = {
            **source.state,
            "has_uint32": (size - waiting) % 2,
            "uinteger": last >> 32,
        }
    elif waiting:
        source.state = {**before, "has_uint32": 0}
    numbers = (halves[:size] >> np.uint64(8)).astype(np.float32) * np.float32(2.0**-24)
    return numbers.reshape(shape)
