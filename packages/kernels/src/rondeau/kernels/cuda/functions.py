"""The functions that generated kernels may call, as plain Python.

`compiler` makes device functions of them. The tests compile the same source for the CPU too, and compare its bits with
those of the CPU target's functions: an emulator of a GPU knows no types, and Numba's are full of traps. An operation of
a float32 and a Python number is one of float64, and that of two uint32 has 64 bits.

NaN stays NaN, and the logistic function is accurate in both tails, as on the CPU.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import FunctionType
from typing import Any

import numpy as np

from rondeau.kernels.numerics import noise
from rondeau.kernels.numerics.philox import philox4x32

__all__ = ["MATHEMATICS", "WRITTEN", "compiled"]

cuda: Any = None
"""`numba.cuda`, where the functions are compiled; and there the two that follow are those of `intrinsics`."""
ld_acquire: Any = None
spin: Any = None

_LOW, _HALF = np.uint64(2**32 - 1), np.uint64(32)
_UNUSED_OF_WORD, _UNUSED_OF_PAIR = np.uint64(32 - 24), np.uint64(64 - 53)
_FEW_SPINS, _MOST_SPINS = np.uint32(2**10), np.uint32(2**26)
_ALL_LANES = np.uint32(0xFFFFFFFF)


def sigmoid(x: Any) -> Any:
    """Return 1 / (1 + e**-x)."""
    e = math.exp(-abs(x))
    return (e if x < type(x)(0) else type(x)(1)) / (type(x)(1) + e)


def softplus(x: Any) -> Any:
    """Return log(1 + e**x)."""
    return (type(x)(0) if x < type(x)(0) else x) + math.log1p(math.exp(-abs(x)))


def sign(x: Any) -> Any:
    """Return -1, 0 or 1; NaN for NaN."""
    if x > type(x)(0):
        return type(x)(1)
    return type(x)(-1) if x < type(x)(0) else x


def minimum(a: Any, b: Any) -> Any:
    """Return the smaller of two numbers, or NaN if one of them is."""
    return a if a <= b or a != a else b


def maximum(a: Any, b: Any) -> Any:
    """Return the larger of two numbers, or NaN if one of them is."""
    return a if a >= b or a != a else b


def clamp(x: Any, low: Any, high: Any) -> Any:
    """Return the number between two limits that is nearest to x."""
    return minimum(maximum(x, low), high)


def words(key: Any, substream: Any, time: Any, batch: Any, unit: Any) -> Any:
    """Return the four random words of an element; see `rondeau.kernels.numerics.philox`."""
    return philox4x32(
        np.uint64(unit), np.uint64(batch), np.uint64(time), np.uint64(substream),
        np.uint64(key) & _LOW, np.uint64(key) >> _HALF,
    )  # fmt: skip


def random_word(key: Any, substream: Any, time: Any, batch: Any, unit: Any) -> Any:
    """Return 24 random bits of an element."""
    return np.int32(words(key, substream, time, batch, unit)[0] >> _UNUSED_OF_WORD)


def _bits(upper: Any, lower: Any) -> Any:
    """Return the upper 53 bits of two words as an integer."""
    return np.int64(((upper << _HALF) | lower) >> _UNUSED_OF_PAIR)


def uniform(key: Any, substream: Any, time: Any, batch: Any, unit: Any) -> Any:
    """Return a random number from [0, 1) as a float64; see `rondeau.kernels.numerics.noise`."""
    first, second, _, _ = words(key, substream, time, batch, unit)
    return np.float64(_bits(first, second)) * 2.0**-53


def fma(a: Any, b: Any, c: Any) -> Any:
    """Return ``a * b + c``, of which a device's compiler makes one instruction."""
    return a * b + c


# A device's own cosine would do, were its way with large angles not a call that keeps an array in memory.
cos_of_bits = FunctionType(noise.cos_of_bits.__code__, {**vars(noise), "fma": fma}, "cos_of_bits")


def normal(key: Any, substream: Any, time: Any, batch: Any, unit: Any) -> Any:
    """Return a random number from the standard normal distribution as a float64."""
    first, second, third, fourth = words(key, substream, time, batch, unit)
    radius = math.sqrt(-2.0 * math.log(1.0 - np.float64(_bits(first, second)) * 2.0**-53))
    return radius * cos_of_bits(_bits(third, fourth))


def _sum_of_warp(value: Any) -> Any:
    for distance in (16, 8, 4, 2, 1):
        value += cuda.shfl_xor_sync(_ALL_LANES, value, distance)
    return value


def _sum_of_parts(value: Any, parts: Any) -> Any:
    """Return the sum over the threads of a block, in an order that depends on their number alone."""
    value = _sum_of_warp(value)
    cuda.syncthreads()  # others may still read the parts of the sum before
    if cuda.threadIdx.x % 32 == 0:
        parts[cuda.threadIdx.x // 32] = value
    cuda.syncthreads()
    total = parts[0]
    for warp in range(1, cuda.blockDim.x // 32):
        total += parts[warp]
    return total


def sum_of_block_float32(value: Any) -> Any:
    """Return the sum of a float32 over the threads of a block, to each of them."""
    return _sum_of_parts(value, cuda.shared.array(32, np.float32))


def sum_of_block_float64(value: Any) -> Any:
    """Return the sum of a float64 over the threads of a block, to each of them."""
    return _sum_of_parts(value, cuda.shared.array(32, np.float64))


def wait_for(arrived: Any, index: Any, count: Any) -> None:
    """Wait until a counter has come to a count; give up after a minute or so, and leave a mark in element 0.

    Once there is a mark, others give up soon: a mistake costs a minute, and not one for each step that is left.
    """
    spins = np.uint32(0)
    while ld_acquire(arrived, index) < count:
        spin()
        spins += np.uint32(1)
        if spins == _FEW_SPINS and ld_acquire(arrived, np.uint32(0)) != np.uint32(0):
            break
        if spins > _MOST_SPINS:
            arrived[0] = np.uint32(1)
            break


#: The functions above, each after those that it calls.
WRITTEN: tuple[Callable[..., Any], ...] = (
    sigmoid, softplus, sign, minimum, maximum, clamp, philox4x32, words, random_word, _bits, uniform, fma,
    cos_of_bits, normal, _sum_of_warp, _sum_of_parts, sum_of_block_float32, sum_of_block_float64,
    wait_for,
)  # fmt: skip

#: Those that a device has itself.
MATHEMATICS = {
    name: getattr(math, name)
    for name in ("cos", "erf", "exp", "expm1", "log", "log1p", "sin", "sqrt", "tanh")
}


def compiled(compile_function: Callable[..., Any], names: Mapping[str, Any]) -> dict[str, Any]:
    """Return the functions compiled by name, each calling those that were compiled before it.

    Parameters
    ----------
    compile_function : callable
        Compiles a Python function, such as ``numba.cuda.jit(device=True)``.
    names : mapping
        What the functions find under a name, such as ``cuda``.

    Examples
    --------
    >>> from numba import njit
    >>> compiled(njit, {})["clamp"](3.0, 0.0, 1.0)
    1.0
    """
    done: dict[str, Any] = {}
    for function in WRITTEN:
        if isinstance(function, FunctionType):
            visible = {**function.__globals__, **names, **done}
            done[function.__name__] = compile_function(
                FunctionType(function.__code__, visible, function.__name__)
            )
    return done
