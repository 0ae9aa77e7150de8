"""Random arrays drawn where they are to be, as array programs over the words of Philox.

Element ``n`` of a draw comes from the words of counter ``n // (elements a counter)`` under the draw's key, so a draw
needs no state, nothing is copied, and it has the same words on every device: uniform numbers and integers have the same
bits in NumPy and in CuPy, normal ones differ in the last bits of the logarithm and the cosine.

On the CPU the generators of `rondeau.tensor` draw from NumPy's own streams, and uniform numbers of a GPU are those of
the same stream (`rondeau.kernels.numerics.pcg64`); this module has what cannot be.
"""

from __future__ import annotations

import math
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from rondeau.kernels.numerics.philox import philox4x32

__all__ = [
    "MOST_INTEGERS",
    "choices",
    "distinct_choices",
    "integers",
    "normal",
    "permutation",
    "uniform",
    "words",
]

MOST_INTEGERS = 2**32
"""The largest range of `integers`."""

_LOW, _HALF = np.uint64(2**32 - 1), np.uint64(32)
_SUBSTREAM = np.uint64(0x64726177)
"""The counter's last word, which sets these draws apart from masks under the same key: it spells "draw"."""


def words(library: ModuleType, key: int, count: int) -> Any:
    """Return random words of 32 bits.

    Parameters
    ----------
    library : module
        NumPy or CuPy: where the array is to be.
    key : int
        From 0 to 2**64 - 1.
    count : int

    Returns
    -------
    array of uint64, shape (count,)

    Examples
    --------
    >>> from rondeau.kernels.numerics.philox import words_of
    >>> [int(word) for word in words_of("doc", 7, 0x64726177, 0, 0, 1)] == words(np, 7, 8)[4:].tolist()
    True
    """
    blocks = library.arange(-(-count // 4), dtype=np.uint64)
    found = philox4x32(
        blocks & _LOW, blocks >> _HALF, np.uint64(0), _SUBSTREAM,
        np.uint64(key & 0xFFFFFFFF), np.uint64(key >> 32),
    )  # fmt: skip
    return np.stack(found, axis=-1).reshape(-1)[:count]


def uniform(library: ModuleType, key: int, shape: tuple[int, ...], dtype: DTypeLike) -> Any:
    """Return numbers drawn uniformly from [0, 1), of 24 bits in float32 and 53 in float64.

    Parameters
    ----------
    library, key
        As for `words`.
    shape : tuple of int
    dtype : float32 or float64

    Returns
    -------
    array

    Examples
    --------
    >>> drawn = uniform(np, 7, (1000,), np.float32)
    >>> drawn.dtype, bool(0 <= drawn.min() and drawn.max() < 1), round(float(drawn.mean()), 1)
    (dtype('float32'), True, 0.5)
    """
    size = math.prod(shape)
    if np.dtype(dtype) == np.float32:
        return (
            (words(library, key, size) >> np.uint64(8)).astype(np.float32) * np.float32(2.0**-24)
        ).reshape(shape)
    return (_bits(library, key, size, 53).astype(np.float64) * 2.0**-53).reshape(shape)


def normal(library: ModuleType, key: int, shape: tuple[int, ...], dtype: DTypeLike) -> Any:
    """Return numbers drawn from the standard normal distribution (Box and Muller 1958, equation 1).

    Parameters
    ----------
    library, key, shape, dtype
        As for `uniform`.

    Returns
    -------
    array

    Examples
    --------
    >>> drawn = normal(np, 7, (1000,), np.float32)
    >>> drawn.dtype, round(float(drawn.std()))
    (dtype('float32'), 1)
    """
    size = math.prod(shape)
    kind: Any = np.dtype(dtype).type
    if not size:
        return library.zeros(shape, kind)
    pairs = -(-size // 2)
    if kind is np.float32:
        drawn, unit = words(library, key, 2 * pairs), 2.0**-32
    else:
        drawn, unit = _bits(library, key, 2 * pairs, 53), 2.0**-53
    first, second = drawn[::2], drawn[1::2]
    radius = np.sqrt(np.log((first + np.uint64(1)).astype(kind) * kind(unit)) * kind(-2))
    angle = second.astype(kind) * kind(2 * math.pi * unit)
    both = np.stack((radius * np.cos(angle), radius * np.sin(angle)), axis=-1)
    return both.reshape(-1)[:size].reshape(shape)


def integers(library: ModuleType, key: int, low: int, high: int, shape: tuple[int, ...]) -> Any:
    """Return integers drawn uniformly from low to high - 1.

    A number of 64 bits is scaled to the range, so the probabilities differ by less than 2**-32 of their size.

    Parameters
    ----------
    library, key, shape
        As for `uniform`.
    low, high : int
        Of int64, at most `MOST_INTEGERS` apart.

    Returns
    -------
    array of int64

    Examples
    --------
    >>> drawn = integers(np, 7, -1, 2, (1000,))
    >>> int(drawn.min()), int(drawn.max())
    (-1, 1)
    """
    drawn, span = words(library, key, 2 * math.prod(shape)), np.uint64(high - low)
    scaled = (drawn[::2] * span + ((drawn[1::2] * span) >> _HALF)) >> _HALF
    return (scaled.astype(np.int64) + np.int64(low)).reshape(shape)


def permutation(library: ModuleType, key: int, n: int) -> Any:
    """Return 0..n-1 in random order.

    Parameters
    ----------
    library, key
        As for `words`.
    n : int

    Returns
    -------
    array of int64, shape (n,)

    Examples
    --------
    >>> sorted(permutation(np, 7, 4).tolist())
    [0, 1, 2, 3]
    """
    return np.argsort(_bits(library, key, n, 64), kind="stable").astype(np.int64, copy=False)


def choices(library: ModuleType, key: int, weights: Any, count: int) -> Any:
    """Return indices drawn with the weights of a row, each draw independent of the others.

    Parameters
    ----------
    library, key
        As for `words`.
    weights : array of float64, shape (rows, n)
        Finite, not negative, and positive somewhere in each row. Indices are in range for any other, too.
    count : int
        Of each row.

    Returns
    -------
    array of int64, shape (rows, count)

    Examples
    --------
    >>> choices(np, 7, np.array([[0.0, 1.0, 0.0], [0.0, 0.0, 2.0]]), 2).tolist()
    [[1, 1], [2, 2]]
    """
    cumulative = np.cumsum(weights, axis=-1)
    cumulative = cumulative / cumulative[:, -1:]  # ends with exactly 1, above every uniform number
    drawn = uniform(library, key, (len(weights), count), np.float64)
    found = (cumulative[:, None, :] <= drawn[:, :, None]).sum(axis=-1, dtype=np.int64)
    return np.minimum(found, weights.shape[-1] - 1)


def distinct_choices(library: ModuleType, key: int, weights: Any, count: int) -> Any:
    """Return different indices of a row, each drawn with the weights of those that are left.

    They are the order in which clocks ring that run at the rates of the weights (Efraimidis and Spirakis 2006).

    Parameters
    ----------
    library, key, weights, count
        As for `choices`; at least `count` weights of a row are positive.

    Returns
    -------
    array of int64, shape (rows, count)

    Examples
    --------
    >>> sorted(distinct_choices(np, 7, np.array([[1.0, 0.0, 3.0]]), 2)[0].tolist())
    [0, 2]
    """
    never = weights <= 0
    times = -np.log1p(-uniform(library, key, weights.shape, np.float64)) / np.where(never, 1.0, weights)
    order = np.argsort(np.where(never, np.inf, times), axis=-1, kind="stable")
    return order[:, :count].astype(np.int64, copy=False)


def _bits(library: ModuleType, key: int, count: int, bits: int) -> Any:
    """Return numbers of up to 64 random bits, uint64."""
    drawn = words(library, key, 2 * count)
    return ((drawn[::2] << _HALF) | drawn[1::2]) >> np.uint64(64 - bits)
