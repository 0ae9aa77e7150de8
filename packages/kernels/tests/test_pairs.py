"""Products with operands in bfloat16 against an emulation of the processor's instruction, bit by bit."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from comparing import assert_same_bits
from rondeau.kernels.product import matmul
from rondeau.kernels.product.packed_product import DEPTH_BLOCK
from rondeau.kernels.product.tiles import MULTIPLIES_PAIRS
from rondeau.kernels.runtime.precision import float32_matmul_precision

from .test_product import EDGES, LAYOUTS, fma32, laid_out

pytestmark = pytest.mark.skipif(not MULTIPLIES_PAIRS, reason="the processor does not multiply bfloat16")

SMALLEST = np.finfo(np.float32).smallest_normal


def rounded(x):
    """Round float32 to bfloat16, to nearest even, with the numbers in float32."""
    bits = x.view(np.uint32)
    upper = bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))
    upper = np.where(np.isnan(x), bits | np.uint32(0x400000), upper)
    return (upper & np.uint32(0xFFFF0000)).view(np.float32)


def flushed(x):
    """Subnormal numbers as zeros of their sign."""
    return np.where(np.abs(x) < SMALLEST, np.copysign(np.float32(0), x), x)


def chain(a, b, c):
    """The definition of ``vdpbf16ps``, applied to the pairs of k in turn: of each pair the second number first."""
    a, b = flushed(rounded(np.ascontiguousarray(a))), flushed(rounded(np.ascontiguousarray(b)))
    if a.shape[1] % 2:
        a, b = np.pad(a, ((0, 0), (0, 1))), np.pad(b, ((0, 1), (0, 0)))
    c = c.copy()
    for k in range(0, a.shape[1], 2):
        for of_pair in (k + 1, k):
            left, right = np.broadcast_arrays(a[:, of_pair, None], b[None, of_pair])
            c = flushed(fma32(left, right, flushed(c)))
    return c


@settings(max_examples=150)
@given(
    EDGES,
    EDGES,
    EDGES,
    st.sampled_from(LAYOUTS),
    st.sampled_from(LAYOUTS),
    st.sampled_from(LAYOUTS),
    st.booleans(),
)
@example(M=7, N=65, K=2 * DEPTH_BLOCK + 1, a_layout="F", b_layout="C", c_layout="C", accumulate=True)
@example(M=3, N=17, K=2 * DEPTH_BLOCK - 1, a_layout="C", b_layout="F", c_layout="strided", accumulate=False)
@example(M=250, N=1040, K=3, a_layout="C", b_layout="F", c_layout="F", accumulate=True)
def test_every_chain_is_the_instructions(M, N, K, a_layout, b_layout, c_layout, accumulate):
    rng = np.random.default_rng(M + N + K)
    a, b, c = (rng.standard_normal(shape).astype(np.float32) for shape in ((M, K), (K, N), (M, N)))
    expected = chain(a, b, c if accumulate else np.zeros_like(c))
    a, b, out = laid_out(rng, a, a_layout), laid_out(rng, b, b_layout), laid_out(rng, c, c_layout)
    with float32_matmul_precision("medium"):
        matmul(a, b, out=out, accumulate=accumulate)
    assert_same_bits(out, expected)


def any_bits(rng, shape):
    """Numbers of every size, infinities and NaN."""
    return rng.integers(0, 2**32, shape, np.uint32).view(np.float32)


def tiny(rng, shape):
    """Numbers whose products are about the smallest normal number, and some that are subnormal themselves."""
    return np.ldexp(rng.standard_normal(shape), rng.integers(-75, -55, shape)).astype(np.float32)


@pytest.mark.parametrize("draw", [any_bits, tiny])
def test_numbers_of_every_size(draw):
    rng = np.random.default_rng(0)
    a, b, c = (draw(rng, shape) for shape in ((40, 6), (6, 50), (40, 50)))
    if draw is tiny:
        c *= np.float32(2.0**-60)
    with np.errstate(all="ignore"), float32_matmul_precision("medium"):
        expected = chain(a, b, c)
        found = matmul(a, b, out=c.copy(), accumulate=True)
    numbers = ~np.isnan(expected)
    assert (np.isnan(found) == ~numbers).all()
    assert_same_bits(found[numbers], expected[numbers])
    if draw is tiny:
        assert 20 < (expected == 0).sum() < 1980


@pytest.mark.parametrize(("M", "N"), [(300, 70), (20, 700)], ids=["tall", "wide"])
def test_threads_change_no_bit(set_num_threads, M, N):
    rng = np.random.default_rng(1)
    a, b = (rng.standard_normal(shape).astype(np.float32) for shape in ((M, 401), (401, N)))
    found = []
    with float32_matmul_precision("medium"):
        for count in (1, 2):
            set_num_threads(count)
            found.append(matmul(a, b))
    assert_same_bits(*found)


def test_float64_is_left_alone():
    rng = np.random.default_rng(2)
    a, b = rng.standard_normal((5, 7)), rng.standard_normal((7, 9))
    with float32_matmul_precision("medium"):
        found = matmul(a, b)
    assert_same_bits(found, matmul(a, b))
