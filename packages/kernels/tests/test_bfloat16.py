"""Rounding to bfloat16, before a launch and in a kernel, against its definition."""

import numpy as np
from tools.cuda_emulator import Kernel

from comparing import assert_same_bits
from rondeau.kernels.cuda.persistent.bfloat16 import bfloat16_pairs

ALL = (np.arange(0x8000, dtype=np.uint32) << 16).view(np.float32)
"""The numbers of bfloat16 that are not negative, in order, then NaNs."""
FINITE = ALL[np.isfinite(ALL)].astype(np.float64)


def nearest(x):
    """Return the bits of the nearest number of bfloat16; of two as near, the one whose last bit is 0."""
    if np.isnan(x):
        return 0x7FFF
    size = abs(float(x))
    steps = np.append(FINITE, 2.0**128)  # what would come next is infinity, whose bits do
    above = int(np.searchsorted(steps, size))
    found = min(above, len(steps) - 1)
    if 0 < above < len(steps):
        up, down = steps[above] - size, size - steps[above - 1]
        found = above if up < down or (up == down and above % 2 == 0) else above - 1
    return found | (0x8000 if np.signbit(x) else 0)


def drawn():
    """Numbers of every size, ties, the largest, infinities and NaNs."""
    rng = np.random.default_rng(0)
    bits = rng.integers(0, 2**32, 600, dtype=np.uint32)
    bits[:200] = (bits[:200] & 0xFFFF0000) | 0x8000  # half way between two numbers
    bits[:8] = 0, 0x80000000, 0x7F7FFFFF, 0xFF7F8000, 0x7F800000, 0xFF800000, 0x7FFFFFFF, 0x7F7F7FFF
    return bits.view(np.float32)


def pack(x, pairs):
    i = cuda.threadIdx.x  # noqa: F821
    pairs[i] = pack_bf16x2(x[2 * i], x[2 * i + 1])  # noqa: F821


def test_rounding():
    x = drawn()
    expected = np.array([nearest(number) for number in x], np.uint32)
    expected = expected[0::2] | expected[1::2] << 16
    assert_same_bits(bfloat16_pairs(x[0::2], x[1::2]), expected)
    pairs = np.zeros(len(x) // 2, np.uint32)
    Kernel(pack).launch(1, len(pairs), x, pairs)
    assert_same_bits(pairs, expected)
