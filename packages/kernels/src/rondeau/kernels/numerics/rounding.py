"""Rounding of float32 to narrower formats: bfloat16, and symmetric int8 or int16 with a scale.

Each rounding is written once, as LLVM code for a number or a vector of any width, and is offered in two forms: an
intrinsic for kernels that work number by number (`round_to_bfloat16`), and the function that emits the code, for
kernels that are themselves written in LLVM (`write_round_to_bfloat16`). None of them branches, so loops over the
intrinsics are vectorised, and an element has the same bits in either form. `quantise_rows` has them too, for whole
matrices of finite numbers in NumPy.

======== ============================== ============================================================================
format   stored as                      value
======== ============================== ============================================================================
bfloat16 uint16, the upper half of a    The nearest number with 8 significant bits, ties to even. Numbers beyond the
         float32                        largest become infinite; subnormal numbers are kept; a NaN stays a NaN,
                                        quiet, with its sign.
int8     int8 from -127 to 127, plus    ``scale * q`` with ``q = x / scale`` rounded to the nearest integer, ties to
         a float32 scale                even. Zero is exact, and -x is stored as -q.
int16    int16 from -32767 to 32767,    The same.
         plus a float32 scale
======== ============================== ============================================================================

With the scale that `int8_scale` or `int16_scale` gives for the largest magnitude of a group, no element of the group is
off by more than half a scale, plus 2**-17 or 2**-9 of a scale for the rounding of the quotient itself. Groups whose
largest magnitude is below 2**-119 or 2**-111 are the exception: their scale is subnormal. A NaN or an infinity in the
group makes every product with the scale a NaN, so a lost value is never silent.

The AVX512_BF16 instruction that rounds to bfloat16 behaves differently: it treats subnormal numbers as zero.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic
from numpy.typing import NDArray

from rondeau.kernels.runtime.compiling import linked_njit

__all__ = [
    "int8_scale",
    "int16_scale",
    "larger_magnitude",
    "quantise_rows",
    "round_to_bfloat16",
    "round_to_int8",
    "round_to_int16",
    "widen_bfloat16",
    "write_round_to_bfloat16",
    "write_round_to_int8",
    "write_widen_bfloat16",
]

INT8_LARGEST, INT16_LARGEST = 127, 32767
"""The largest magnitudes that are used: -128 and -32768 have no opposite."""

_ROUNDER = 1.5 * 2**23
"""Adding this to a float32 below 2**22 in magnitude leaves the nearest integer in the low bits."""
_ROUNDER_BITS = struct.unpack("<i", struct.pack("<f", _ROUNDER))[0]


def _like(kind: ir.Type, element: ir.Type) -> ir.Type:
    """Return `element`, or a vector of it with as many lanes as `kind`."""
    return ir.VectorType(element, kind.count) if isinstance(kind, ir.VectorType) else element


def _constant(kind: ir.Type, value: float) -> ir.Constant:
    """Return a constant of a type, in every lane if it is a vector."""
    return ir.Constant(kind, [value] * kind.count if isinstance(kind, ir.VectorType) else value)


def write_round_to_bfloat16(builder: ir.IRBuilder, x: ir.Value) -> ir.Value:
    """Emit the code that rounds float32 to bfloat16.

    Parameters
    ----------
    builder : llvmlite.ir.IRBuilder
        Where the code goes.
    x : float, or a vector of float

    Returns
    -------
    i16, or a vector of as many
    """
    integer = _like(x.type, ir.IntType(32))
    bits = builder.bitcast(x, integer)
    upper = builder.lshr(bits, _constant(integer, 16))
    odd = builder.and_(upper, _constant(integer, 1))
    # Add half of the lowest bit that stays, minus one unless that bit is odd: a tie carries only into an odd number.
    carried = builder.add(builder.add(bits, _constant(integer, 0x7FFF)), odd)
    rounded = builder.lshr(carried, _constant(integer, 16))
    quiet = builder.or_(upper, _constant(integer, 0x40))
    chosen = builder.select(builder.fcmp_unordered("uno", x, x), quiet, rounded)
    return builder.trunc(chosen, _like(x.type, ir.IntType(16)))


def write_widen_bfloat16(builder: ir.IRBuilder, bits: ir.Value) -> ir.Value:
    """Emit the code that widens bfloat16 to float32, which is exact.

    Parameters
    ----------
    builder : llvmlite.ir.IRBuilder
        Where the code goes.
    bits : i16, or a vector of i16

    Returns
    -------
    float, or a vector of as many
    """
    integer = _like(bits.type, ir.IntType(32))
    upper = builder.shl(builder.zext(bits, integer), _constant(integer, 16))
    return builder.bitcast(upper, _like(bits.type, ir.FloatType()))


def write_round_to_int8(builder: ir.IRBuilder, x: ir.Value, scale: ir.Value) -> ir.Value:
    """Emit the code that rounds ``x / scale`` to int8; quotients beyond ±127 become ±127, and NaN becomes 0.

    Parameters
    ----------
    builder : llvmlite.ir.IRBuilder
        Where the code goes.
    x, scale : float, or vectors of as many float
        The scale may be 0 if all numbers are zero; their quotients are NaN.

    Returns
    -------
    i8, or a vector of as many
    """
    return builder.trunc(_rounded(builder, x, scale, INT8_LARGEST), _like(x.type, ir.IntType(8)))


def _rounded(builder: ir.IRBuilder, x: ir.Value, scale: ir.Value, largest: int) -> ir.Value:
    """Emit the code that rounds ``x / scale`` to a 32-bit integer, at most `largest` in magnitude; NaN becomes 0."""
    integer, rounder = _like(x.type, ir.IntType(32)), _constant(x.type, _ROUNDER)
    quotient = builder.fdiv(x, scale)
    for limit, beyond in ((float(largest), ">"), (-float(largest), "<")):
        border = _constant(x.type, limit)
        quotient = builder.select(builder.fcmp_ordered(beyond, quotient, border), border, quotient)
    number = builder.fcmp_ordered("ord", quotient, quotient)
    quotient = builder.select(number, quotient, _constant(x.type, 0.0))
    shifted = builder.bitcast(builder.fadd(quotient, rounder), integer)
    return builder.sub(shifted, _constant(integer, _ROUNDER_BITS))


def _write_round_to_int16(builder: ir.IRBuilder, x: ir.Value, scale: ir.Value) -> ir.Value:
    """Emit the code that rounds ``x / scale`` to int16, as `write_round_to_int8` does to int8."""
    return builder.trunc(_rounded(builder, x, scale, INT16_LARGEST), _like(x.type, ir.IntType(16)))


def _generator(write: Callable[..., ir.Value]) -> Callable[..., ir.Value]:
    """Return the code generator of an intrinsic, with the signature that Numba calls."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return write(builder, *arguments)

    return generate


@intrinsic
def round_to_bfloat16(typingctx: Any, x: Any) -> Any:
    """Round a float32 to bfloat16, returned as uint16."""
    if x != types.float32:
        return None
    return types.uint16(x), _generator(write_round_to_bfloat16)


@intrinsic
def widen_bfloat16(typingctx: Any, bits: Any) -> Any:
    """Return a bfloat16, given as uint16, as a float32."""
    if bits != types.uint16:
        return None
    return types.float32(bits), _generator(write_widen_bfloat16)


@intrinsic
def round_to_int8(typingctx: Any, x: Any, scale: Any) -> Any:
    """Round ``x / scale`` of two float32 to int8, at most 127 in magnitude; NaN becomes 0."""
    if not x == scale == types.float32:
        return None
    return types.int8(x, scale), _generator(write_round_to_int8)


@intrinsic
def round_to_int16(typingctx: Any, x: Any, scale: Any) -> Any:
    """Round ``x / scale`` of two float32 to int16, at most 32767 in magnitude; NaN becomes 0."""
    if not x == scale == types.float32:
        return None
    return types.int16(x, scale), _generator(_write_round_to_int16)


@intrinsic
def larger_magnitude(typingctx: Any, largest: Any, x: Any) -> Any:
    """Return the larger of a magnitude and that of a float32, as int32: the bits of a float32 without its sign.

    As integers they are ordered as the magnitudes are, and NaN is the largest. Numba's own integers would be int64.
    """
    if largest != types.int32 or x != types.float32:
        return None

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        magnitude = builder.and_(builder.bitcast(arguments[1], ir.IntType(32)), ir.IntType(32)(0x7FFFFFFF))
        is_larger = builder.icmp_signed(">", magnitude, arguments[0])
        return builder.select(is_larger, magnitude, arguments[0])

    return types.int32(largest, x), generate


@linked_njit
def int8_scale(largest: Any) -> Any:
    """Return the int8 scale for numbers whose largest magnitude is `largest`, in float32.

    Parameters
    ----------
    largest : float32
        The largest magnitude; NaN if one of the numbers is NaN.

    Returns
    -------
    float32
        ``largest / 127``, which is 0 if all numbers are 0.
    """
    return largest / np.float32(INT8_LARGEST)


@linked_njit
def int16_scale(largest: Any) -> Any:
    """Return the int16 scale for numbers whose largest magnitude is `largest`, as `int8_scale` does for int8."""
    return largest / np.float32(INT16_LARGEST)


def quantise_rows(matrix: NDArray[Any]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Round every row of a matrix to int8, with a scale of its own.

    Parameters
    ----------
    matrix : ndarray of float32, shape (O, K)
        Finite.

    Returns
    -------
    numbers : ndarray of int8, shape (O, K)
        From -127 to 127.
    scales : ndarray of float32, shape (O,)

    Examples
    --------
    >>> numbers, scales = quantise_rows(np.array([[0.5, -1.0, 0.0]], np.float32))
    >>> numbers.tolist(), float(scales[0] * 127)
    ([[64, -127, 0]], 1.0)
    """
    scales = np.abs(matrix).max(1, initial=0) / np.float32(INT8_LARGEST)
    divisors = np.where(scales > 0, scales, np.float32(1))
    numbers = np.clip(np.rint(matrix / divisors[:, None]), -INT8_LARGEST, INT8_LARGEST)
    return numbers.astype(np.int8), scales
