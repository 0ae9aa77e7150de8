"""Rounding to bfloat16 and int8, number by number and as vectors, against NumPy in float64."""

import re

import numpy as np
import pytest
import torch
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from comparing import assert_same_bits
from rondeau.kernels.numerics import rounding
from rondeau.kernels.product.microkernel import pointer_to
from rondeau.kernels.runtime.compiling import kernel_njit

WIDTHS = (4, 16)


def every_kind_of_float32():
    """Return float32 of every exponent and sign, every tie of an upper half, NaN and infinities."""
    bits = np.arange(0, 2**32, 8191, dtype=np.uint64).astype(np.uint32)
    ties = (np.arange(2**16, dtype=np.uint32) << 16) | 0x8000
    return np.concatenate([bits, ties, ties - 1, ties + 1]).view(np.float32)


def bfloat16_of(x):
    """Round finite float32 in NumPy: to a whole number of the last bit's values, at 8 bits of precision."""
    wide = x.astype(np.float64)
    _, exponent = np.frexp(wide)
    last = np.ldexp(1.0, np.maximum(exponent - 8, -133))
    with np.errstate(over="ignore"):  # beyond the largest bfloat16, float32's infinity
        rounded = (np.rint(wide / last) * last).astype(np.float32)
    return (rounded.view(np.uint32) >> 16).astype(np.uint16)


def int8_of(x, scale):
    """Quantise in NumPy."""
    with np.errstate(all="ignore"):
        return np.nan_to_num(np.clip(np.rint(x / scale), -127, 127), nan=0.0).astype(np.int8)


@kernel_njit
def bfloat16_loop(x, y):
    for i in range(x.size):
        y[i] = rounding.round_to_bfloat16(x[i])


@kernel_njit
def widening_loop(x, y):
    for i in range(x.size):
        y[i] = rounding.widen_bfloat16(x[i])


@kernel_njit
def int8_loop(x, scale, y):
    for i in range(x.size):
        y[i] = rounding.round_to_int8(x[i], scale)


def by_vectors(write, width, result):
    """Make ``kernel(x, y)`` that converts contiguous arrays, a vector of `width` numbers at a time."""

    @intrinsic
    def convert(typingctx, source, target):
        def generate(context, builder, signature, arguments):
            pointers = [
                builder.bitcast(pointer, ir.VectorType(kind, width).as_pointer())
                for pointer, kind in zip(
                    arguments, (context.get_value_type(source.dtype), result), strict=True
                )
            ]
            value = write(builder, builder.load(pointers[0], align=1))
            builder.store(value, pointers[1], align=1)
            return context.get_dummy_value()

        return types.void(source, target), generate

    @kernel_njit
    def loop(x, y):
        for i in range(0, x.size, width):
            convert(pointer_to(x, i), pointer_to(y, i))

    return loop


def test_bfloat16_is_the_nearest_even():
    x = every_kind_of_float32()
    y = np.empty(x.size, np.uint16)
    bfloat16_loop(x, y)
    number = ~np.isnan(x)
    assert_same_bits(y[number], bfloat16_of(x[number]))
    theirs = torch.from_numpy(x[number]).to(torch.bfloat16).view(torch.int16).numpy().view(np.uint16)
    assert_same_bits(y[number], theirs)


def test_a_nan_rounds_to_a_quiet_nan_of_its_sign():
    x = np.array([0x7F800001, 0xFF800001, 0x7FFFFFFF, 0xFFC00000], np.uint32).view(np.float32)
    y = np.empty(x.size, np.uint16)
    bfloat16_loop(x, y)
    assert y.tolist() == [0x7FC0, 0xFFC0, 0x7FFF, 0xFFC0]


def test_widening_is_exact_and_rounding_undoes_it():
    bits = np.arange(2**16).astype(np.uint16)
    wide, again = np.empty(bits.size, np.float32), np.empty_like(bits)
    widening_loop(bits, wide)
    assert_same_bits(wide.view(np.uint32), bits.astype(np.uint32) << 16)
    number = ~np.isnan(wide)
    bfloat16_loop(wide, again)
    assert_same_bits(again[number], bits[number])


def test_int8_is_the_nearest_even_and_symmetric():
    halves = np.arange(-260, 261, dtype=np.float32) / 2  # ties among them
    x = np.concatenate([halves, np.random.default_rng(0).normal(0, 60, 20_000).astype(np.float32)])
    for scale in np.float32([1.0, 0.25, 0.0078125, 0.037]):
        y, opposite = np.empty(x.size, np.int8), np.empty(x.size, np.int8)
        int8_loop(x * scale, scale, y)
        assert_same_bits(y, int8_of(x * scale, scale))
        int8_loop(-x * scale, scale, opposite)
        assert_same_bits(opposite, -y)


@pytest.mark.parametrize("largest", [1e-30, 1.0, 3e38])
def test_int8_is_off_by_half_a_scale_at_most(largest):
    x = (np.random.default_rng(1).uniform(-1, 1, 5000) * largest).astype(np.float32)
    scale = np.float32(rounding.int8_scale(np.abs(x).max()))
    y = np.empty(x.size, np.int8)
    int8_loop(x, scale, y)
    error = np.abs(y * np.float64(scale) - x)
    assert error.max() <= (0.5 + 2**-17) * float(scale)
    assert np.abs(y.astype(int)).max() == 127


def test_zeros_are_exact_and_numbers_that_are_none_are_never_silent():
    x, y = np.zeros(5, np.float32), np.empty(5, np.int8)
    scale = np.float32(rounding.int8_scale(np.float32(0)))
    int8_loop(x, scale, y)
    assert scale == 0
    assert not y.any()
    for special in np.float32([np.nan, np.inf, -np.inf]):
        x[2] = special
        scale = np.float32(rounding.int8_scale(np.abs(x).max()))
        int8_loop(x, scale, y)
        with np.errstate(invalid="ignore"):
            assert np.isnan(y * scale).all()


@pytest.mark.parametrize("width", WIDTHS)
def test_vectors_have_the_bits_of_single_numbers(width):
    x = every_kind_of_float32()
    x = x[: x.size // width * width].copy()
    single, vector = np.empty(x.size, np.uint16), np.empty(x.size, np.uint16)
    bfloat16_loop(x, single)
    by_vectors(rounding.write_round_to_bfloat16, width, ir.IntType(16))(x, vector)
    assert_same_bits(vector, single)

    wide, wide_vector = np.empty_like(x), np.empty_like(x)
    widening_loop(single, wide)
    by_vectors(rounding.write_widen_bfloat16, width, ir.FloatType())(single, wide_vector)
    assert_same_bits(wide_vector, wide)

    scale = np.float32(0.037)
    scales = ir.Constant(ir.VectorType(ir.FloatType(), width), [float(scale)] * width)
    small, small_vector = np.empty(x.size, np.int8), np.empty(x.size, np.int8)
    int8_loop(x, scale, small)
    by_vectors(
        lambda builder, value: rounding.write_round_to_int8(builder, value, scales), width, ir.IntType(8)
    )(x, small_vector)
    assert_same_bits(small_vector, small)


def test_loops_over_single_numbers_are_vectorised():
    bfloat16_loop(np.ones(8, np.float32), np.ones(8, np.uint16))
    int8_loop(np.ones(8, np.float32), np.float32(1), np.ones(8, np.int8))
    for loop, narrow in ((bfloat16_loop, "i16"), (int8_loop, "i8")):
        (code,) = loop.inspect_llvm().values()
        assert re.search(rf" to <\d+ x {narrow}>", code), "LLVM left the loop scalar"
