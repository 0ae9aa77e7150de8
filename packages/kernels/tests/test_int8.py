"""Products with weights in int8 against their definition in NumPy, and the error of a weight."""

import numpy as np
import pytest

from comparing import assert_close, assert_same_bits
from rondeau.kernels.numerics.rounding import quantise_rows
from rondeau.kernels.product import Rows, int8, packed_size
from rondeau.kernels.product.microkernel import pointer_to
from rondeau.kernels.product.packed_product import matrix_of_rows
from rondeau.kernels.runtime.compiling import kernel_njit

DEPTHS = (0, 1, 2, 7, 65, int8.LARGEST_PASS - 1, int8.LARGEST_PASS, int8.LARGEST_PASS + 1, 1030)
LANES = int8._LANES
WIDTHS = (1, LANES - 1, LANES, int8._WIDTH + 1, 2 * int8._WIDTH + LANES)


@kernel_njit
def pack_all(weight, packed):
    """Pack the transpose of ``weight`` (N, K)."""
    N, K = weight.shape
    panels = (N + int8._WIDTH - 1) // int8._WIDTH
    int8.pack_panels_of_int8(weight.reshape(-1), 0, 1, K, K, N, packed, 0, 0, panels)


@kernel_njit
def multiply_all(x, packed, room, c, accumulate):
    M, K = x.shape
    left = int8.as_left_operand(Rows(x.reshape(-1), 0, K), M, K, room, True)
    result = Rows(c.reshape(-1), 0, c.shape[1])
    int8.product_of_panels_of_int8(
        matrix_of_rows(left),
        M,
        int8.depth_of_int8(K),
        pointer_to(packed, 0),
        c.shape[1],
        matrix_of_rows(result),
        accumulate,
    )


@kernel_njit
def copy_all(packed, K, N, out):
    """Copy every row of the packed (K, N) operand."""
    for k in range(K):
        for low in range(0, N, int8._WIDTH):
            columns = min(int8._WIDTH, N - low)
            int8.copy_row_of_int8(packed, low * int8.depth_of_int8(K), columns, k, out, k * N + low)


def packed_weight(weight):
    packed = np.empty(packed_size(int8.depth_of_int8(weight.shape[1]), len(weight)), np.int16)
    pack_all(weight, packed)
    return packed


def product(x, weight, c=None):
    """``x @ weight.T``, added to ``c`` if given."""
    out = np.full((len(x), len(weight)), np.nan, np.float32) if c is None else c.copy()
    room = np.empty(int8.size_of_room(*x.shape), np.int32)
    multiply_all(x, packed_weight(weight), room, out, c is not None)
    return out


def quantised(x, largest):
    """Rows as integers and scales, float32 as the kernels compute them."""
    scale = np.abs(x).max(axis=1, initial=0, keepdims=True) / np.float32(largest)
    with np.errstate(invalid="ignore"):
        numbers = np.nan_to_num(np.rint(x / scale), nan=0.0)
    return np.clip(numbers, -largest, largest).astype(np.int64), scale


def emulated(x, weight):
    """The definition, pass by pass, before the passes are added."""
    (a, a_scale), (b, b_scale) = quantised(x, 32767), quantised(weight, 127)
    size = int8.LARGEST_PASS
    for k in range(0, max(x.shape[1], 1), size):
        sums = a[:, k : k + size] @ b[:, k : k + size].T
        assert np.abs(sums).max(initial=0) < 2**31
        yield a_scale * sums.astype(np.int32).astype(np.float32) * b_scale.T


def drawn(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("N", WIDTHS)
@pytest.mark.parametrize("K", DEPTHS)
def test_a_product_is_its_definition(K, N):
    x, weight, c = drawn(7, K), drawn(N, K, seed=1), drawn(7, N, seed=2)
    found, (first, *others) = product(x, weight), emulated(x, weight)
    if not others:
        assert_same_bits(found, first)
    assert_close(found, sum(others, first), rtol=1e-6, atol=1e-5)
    assert_close(product(x, weight, c), sum(others, c + first), rtol=1e-6, atol=1e-5)


def test_a_result_depends_on_its_row_and_column_alone():
    x, weight = drawn(12, 520), drawn(200, 520, seed=1)
    whole = product(x, weight)
    for M, N in ((1, 200), (5, 65), (6, 1)):
        assert_same_bits(product(x[:M], weight[:N]), whole[:M, :N])


def test_the_largest_sums_do_not_overflow():
    K = 2 * int8.LARGEST_PASS
    for signs in ((1, 1), (1, -1), (-1, -1)):
        x, weight = (np.full((1, K), sign, np.float32) for sign in signs)
        assert_close(product(x, weight), x @ weight.T, rtol=1e-6)


def test_a_weight_is_off_by_half_the_scale_of_its_row():
    N, K = 130, 67
    weight = (drawn(N, K) * 10.0 ** np.linspace(-30, 30, N)[:, None]).astype(np.float32)
    weight[3] = 0
    found = np.empty((K, N), np.float32)
    copy_all(packed_weight(weight), K, N, found.reshape(-1))
    numbers, scales = quantise_rows(weight)
    assert_same_bits(found.T.copy(), numbers * scales[:, None])
    exact = scales[:, None].astype(np.float64)
    assert (np.abs(weight - exact * numbers) <= exact / 2 * (1 + 2.0**-16)).all()


@pytest.mark.parametrize("special", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_shows(special):
    x, weight = drawn(3, 9), drawn(20, 9, seed=1)
    good = product(x, weight)
    x[1, 4] = special
    found = product(x, weight)
    assert np.isnan(found[1]).all()
    assert_same_bits(found[[0, 2]], good[[0, 2]])
    x[1, 4], weight[7, 2] = 0, special
    found = product(x, weight)
    assert np.isnan(found[:, 7]).all()
    assert np.isfinite(np.delete(found, 7, axis=1)).all()


def test_numbers_of_all_sizes_in_a_row():
    """What rounding a row costs is less than what rounding the weights does, even if one number dwarfs the others."""
    x, weight = drawn(4, 300), drawn(50, 300, seed=1)
    x[:, 5] *= 1e4
    numbers, scale = quantised(weight, 127)
    exact = x.astype(np.float64) @ (numbers * np.float64(scale)).T
    of_weights = np.abs(exact - x.astype(np.float64) @ weight.T.astype(np.float64))
    assert np.abs(product(x, weight) - exact).mean() < of_weights.mean() / 4
