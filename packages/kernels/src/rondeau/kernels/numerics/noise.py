"""The noise of a step: normal and uniform numbers by position, from the words of Philox.

A number has 53 random bits, taken from two words; float32 is its rounding. A normal number is made by the method of Box
and Muller from two uniform numbers, u and v: ``sqrt(-2 log(1 - u)) cos(2 pi v)``. The angle is reduced to a quarter of
a turn while it is still an integer, so the cosine is as accurate near its zeros as elsewhere. The compiled functions
have no branch and call no library, so a loop over units runs a vector at a time.

The arguments are those of `rondeau.kernels.numerics.philox`.

Box, Muller, "A note on the generation of random normal deviates", Annals of Mathematical Statistics 29 (1958).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic
from numpy.typing import ArrayLike, NDArray

from rondeau.kernels.numerics.philox import compiled_words, words_of
from rondeau.kernels.numerics.scalar import fma
from rondeau.kernels.runtime.compiling import linked_njit

__all__ = ["cos_of_bits", "normal", "normals", "uniform", "uniforms"]

_inline = linked_njit(forceinline=True, fastmath=False)

_BITS = 53
_HALF, _UNUSED = np.uint64(32), np.uint64(64 - _BITS)
_QUARTER = 1 << (_BITS - 2)
_RADIANS = 2 * math.pi * 2.0**-_BITS
"""The angle of one unit of the last bit."""

# The series of the sine and the cosine around 0; on a quarter of a turn the rest is below 2**-54.
_SIN = tuple((-1.0) ** k / math.factorial(2 * k + 1) for k in range(1, 8))
_COS = tuple((-1.0) ** k / math.factorial(2 * k) for k in range(1, 9))
# That of log((1 + s) / (1 - s)) = 2 artanh(s), as 2 s + s**3 times a polynomial in s**2.
_ARTANH = tuple(2 / (2 * k + 3) for k in range(10))
_LN2_HIGH = 0.693147180369123816490
"""The upper half of ln 2, with which small integers have exact products."""
_LN2_LOW = 1.90821492927058770002e-10


@intrinsic
def _split(typingctx: Any, x: Any) -> Any:
    """Return (m, n) with ``x == m * 2**n`` and m in [sqrt(1/2), sqrt(2)), both float64, for a positive normal x."""
    pair = types.UniTuple(types.float64, 2)
    word = ir.IntType(64)

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, arguments: list[Any]) -> Any:
        least = word(0x3FE6A09E667F3BCD)  # the bits of sqrt(1/2)
        above = builder.sub(builder.bitcast(arguments[0], word), least)
        exponent = builder.sitofp(builder.ashr(above, word(52)), ir.DoubleType())
        fraction = builder.add(builder.and_(above, word(2**52 - 1)), least)
        return context.make_tuple(builder, pair, [builder.bitcast(fraction, ir.DoubleType()), exponent])

    return pair(types.float64), codegen


@_inline
def _log(x: Any) -> Any:
    """Return the natural logarithm of a number in [2**-53, 1]."""
    m, n = _split(x)
    f = m - 1.0
    s = f / (m + 1.0)  # so 2 s = f - s f, in which f is exact and the rest small
    square = s * s
    p = _ARTANH[9]
    p = fma(p, square, _ARTANH[8])
    p = fma(p, square, _ARTANH[7])
    p = fma(p, square, _ARTANH[6])
    p = fma(p, square, _ARTANH[5])
    p = fma(p, square, _ARTANH[4])
    p = fma(p, square, _ARTANH[3])
    p = fma(p, square, _ARTANH[2])
    p = fma(p, square, _ARTANH[1])
    p = fma(p, square, _ARTANH[0])
    return fma(n, _LN2_HIGH, f + fma(n, _LN2_LOW, -s * (f - p * square)))


def cos_of_bits(bits: Any) -> Any:
    """Return the cosine of ``bits`` times 2**-53 of a turn; a source for the compilers of all targets."""
    quadrant = (bits + (_QUARTER >> 1)) // _QUARTER
    angle = np.float64(bits - quadrant * _QUARTER) * _RADIANS
    square = angle * angle
    p = fma(_SIN[6], square, _SIN[5])
    p = fma(p, square, _SIN[4])
    p = fma(p, square, _SIN[3])
    p = fma(p, square, _SIN[2])
    p = fma(p, square, _SIN[1])
    p = fma(p, square, _SIN[0])
    sine = fma(p, square * angle, angle)
    p = fma(_COS[7], square, _COS[6])
    p = fma(p, square, _COS[5])
    p = fma(p, square, _COS[4])
    p = fma(p, square, _COS[3])
    p = fma(p, square, _COS[2])
    p = fma(p, square, _COS[1])
    p = fma(p, square, _COS[0])
    cosine = fma(p, square, 1.0)
    value = sine if quadrant & 1 else cosine
    return -value if (quadrant + 1) & 2 else value


_compiled_cos_of_bits = _inline(cos_of_bits)


@_inline
def _bits(upper: Any, lower: Any) -> Any:
    """Return the upper 53 bits of two words as an integer."""
    return np.int64(((upper << _HALF) | lower) >> _UNUSED)


@_inline
def uniform(key: Any, substream: Any, time: Any, batch: Any, unit: Any) -> Any:
    """Return a random number from [0, 1) as a float64; for compiled code.

    Examples
    --------
    >>> from numba import njit
    >>> njit(lambda unit: uniform(7, 35, 3, 0, unit))(2) == uniforms(7, 35, 3, 0, 2)
    np.True_
    """
    first, second, _, _ = compiled_words(key, substream, time, batch, unit)
    return np.float64(_bits(first, second)) * 2.0**-_BITS


@_inline
def normal(key: Any, substream: Any, time: Any, batch: Any, unit: Any) -> Any:
    """Return a random number from the standard normal distribution as a float64; for compiled code.

    Examples
    --------
    >>> from numba import njit
    >>> abs(njit(lambda unit: normal(7, 35, 3, 0, unit))(2) - normals(7, 35, 3, 0, 2)) < 1e-15
    np.True_
    """
    first, second, third, fourth = compiled_words(key, substream, time, batch, unit)
    radius = math.sqrt(-2.0 * _log(1.0 - np.float64(_bits(first, second)) * 2.0**-_BITS))
    return radius * _compiled_cos_of_bits(_bits(third, fourth))


def uniforms(
    key: int, substream: ArrayLike, times: ArrayLike, batches: ArrayLike, units: ArrayLike
) -> NDArray[np.float64]:
    """Return the numbers of `uniform`, computed in NumPy.

    Parameters
    ----------
    key : int
    substream, times, batches, units : array_like of integers
        Broadcast against one another.

    Returns
    -------
    ndarray of float64
        Numbers in [0, 1), of the broadcast shape.

    Raises
    ------
    TypeError, ValueError
        If the key or a position is not an integer, or out of range, or the positions do not broadcast.

    Examples
    --------
    >>> uniforms(7, 35, [[3], [4]], 0, [0, 1, 2]).shape
    (2, 3)
    """
    first, second, _, _ = words_of("uniforms", key, substream, times, batches, units)
    return _of_words(first, second) * 2.0**-_BITS


def normals(
    key: int, substream: ArrayLike, times: ArrayLike, batches: ArrayLike, units: ArrayLike
) -> NDArray[np.float64]:
    """Return the numbers of `normal`, computed in NumPy: the same words, so equal up to the last bits.

    Parameters, errors and shapes are those of `uniforms`.

    Examples
    --------
    >>> normals(7, 35, [[3], [4]], 0, [0, 1, 2]).shape
    (2, 3)
    """
    first, second, third, fourth = words_of("normals", key, substream, times, batches, units)
    radius = np.sqrt(-2.0 * np.log(1.0 - _of_words(first, second) * 2.0**-_BITS))
    bits = _of_words(third, fourth).astype(np.int64)
    quadrant = (bits + (_QUARTER >> 1)) // _QUARTER
    angle = (bits - quadrant * _QUARTER) * _RADIANS
    value = np.where(quadrant & 1, np.sin(angle), np.cos(angle))
    found: NDArray[np.float64] = radius * np.where((quadrant + 1) & 2, -value, value)
    return found


def _of_words(upper: NDArray[np.uint64], lower: NDArray[np.uint64]) -> NDArray[np.float64]:
    """Return the upper 53 bits of two words as a whole number."""
    return np.asarray(((upper << _HALF) | lower) >> _UNUSED, np.float64)
