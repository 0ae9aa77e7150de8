"""The product against an exact chain of fused multiply-adds, bit by bit; and that it touches nothing else."""

import ctypes
import mmap
import os
import platform
import subprocess
import sys
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from comparing import assert_same_bits
from rondeau.kernels.product import (
    Rows,
    matmul,
    num_panels,
    pack,
    pack_panels,
    packed_size,
    peak_flops,
    product_rows,
)
from rondeau.kernels.product.product import DEPTH_BLOCK
from rondeau.kernels.product.tiles import TILE, choose_tile
from rondeau.kernels.runtime import threads
from rondeau.kernels.runtime.compiling import kernel_njit
from rondeau.kernels.runtime.threads import PARALLEL_FROM

DTYPES = (np.float32, np.float64)


def fma32(a, b, c):
    """Give a * b + c of float32 arrays with one rounding.

    The product is exact in float64. The sum is rounded to odd there (the last bit set where something was lost), so
    that rounding it again to the shorter float32 is rounding once (Boldo and Melquiond, 2008).
    """
    product, c = a.astype(np.float64) * b.astype(np.float64), c.astype(np.float64)
    total = product + c
    back = total - product
    lost = (product - (total - back)) + (c - back)
    even = (total.view(np.int64) & 1) == 0
    towards = np.where(lost > 0, np.inf, -np.inf)
    odd = np.where((lost != 0) & even, np.nextafter(total, towards), total)
    return odd.astype(np.float32)


def fma64(a, b, c):
    """Give a * b + c of float64 arrays with one rounding, element by element in exact fractions."""
    exact = np.frompyfunc(lambda x, y, z: float(Fraction(x) * Fraction(y) + Fraction(z)), 3, 1)
    return exact(a, b, c).astype(np.float64)


def chain(a, b, c):
    """The definition: C[m, n] = fma(A[m, k], B[k, n], C[m, n]) over ascending k."""
    if not TILE.fused:
        pytest.skip("this processor has no fused multiply-add")
    fma = fma32 if a.dtype == np.float32 else fma64
    c = c.copy()
    for k in range(a.shape[1]):
        left, right = np.broadcast_arrays(a[:, k, None], b[None, k])
        c = fma(left, right, c)
    return c


def normal(rng, *shape, dtype=np.float32):
    return rng.standard_normal(shape).astype(dtype)


def laid_out(rng, values, layout):
    """Give the same matrix with other strides, inside a larger array of NaN."""
    rows, columns = values.shape
    if layout == "C":
        return values.copy()
    if layout == "F":
        return np.array(values, order="F")
    if layout == "reversed":
        return np.ascontiguousarray(values[::-1, ::-1])[::-1, ::-1]
    wide = np.full((2 * rows + 1, 3 * columns + 2), np.nan, values.dtype)
    view = wide[1 : 1 + 2 * rows : 2, 2 : 2 + 3 * columns : 3]
    view[...] = values
    return (
        view
        if layout == "strided"
        else np.asfortranarray(wide)[1 : 1 + 2 * rows : 2, 2 : 2 + 3 * columns : 3]
    )


LAYOUTS = ("C", "F", "reversed", "strided", "strided F")
# One less and one more than a tile, a panel and a block, for every processor's tile.
EDGES = st.sampled_from((0, 1, 2, 3, 4, 5, 6, 7, 11, 12, 13, 15, 16, 17, 31, 32, 33, 63, 64, 65, 79, 130))


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
@example(M=7, N=65, K=DEPTH_BLOCK + 1, a_layout="F", b_layout="C", c_layout="C", accumulate=True)
@example(M=3, N=17, K=2 * DEPTH_BLOCK + 3, a_layout="C", b_layout="F", c_layout="strided", accumulate=False)
@example(M=250, N=260, K=3, a_layout="C", b_layout="F", c_layout="F", accumulate=True)
@example(M=64, N=17, K=DEPTH_BLOCK + 1, a_layout="F", b_layout="C", c_layout="C", accumulate=True)
@example(M=64, N=17, K=DEPTH_BLOCK + 1, a_layout="F", b_layout="C", c_layout="strided", accumulate=False)
def test_each_element_is_one_chain(M, N, K, a_layout, b_layout, c_layout, accumulate):
    rng = np.random.default_rng(M * 10007 + N * 101 + K)
    a, b, start = normal(rng, M, K), normal(rng, K, N), normal(rng, M, N)
    out = laid_out(rng, start.copy(), c_layout)
    result = matmul(laid_out(rng, a, a_layout), laid_out(rng, b, b_layout), out=out, accumulate=accumulate)
    assert result is out
    assert_same_bits(out, chain(a, b, start if accumulate else np.zeros_like(start)))


@pytest.mark.parametrize(("M", "N", "K"), [(1, 1, 1), (4, 9, 5), (6, 33, 7), (7, 35, 3), (13, 8, 0)])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_each_element_is_one_chain_in_float64(M, N, K, layout):
    rng = np.random.default_rng(0)
    a, b = normal(rng, M, K, dtype=np.float64), normal(rng, K, N, dtype=np.float64)
    expected = chain(a, b, np.zeros((M, N)))
    assert_same_bits(matmul(laid_out(rng, a, layout), laid_out(rng, b, layout)), expected)


@pytest.mark.parametrize("dtype", DTYPES)
def test_close_to_a_wider_product(dtype):
    rng = np.random.default_rng(1)
    a, b = normal(rng, 301, 1100, dtype=dtype), normal(rng, 1100, 257, dtype=dtype)
    exact = a.astype(np.longdouble) @ b.astype(np.longdouble)
    # The error of a chain of K roundings is below K ulp of the sum of magnitudes (Higham 2002, section 3.1).
    bound = 1100 * np.finfo(dtype).eps * (np.abs(a) @ np.abs(b))
    assert (np.abs(matmul(a, b) - exact) <= bound).all()


@pytest.fixture
def thread_count():
    before = threads.get_num_threads()
    yield threads.set_num_threads
    threads.set_num_threads(before)


def test_more_threads_than_tiles_cost_no_memory(thread_count):
    a = np.ones((300, 300), np.float32)
    thread_count(10**6)
    assert (matmul(a, a) == 300).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("M", "N", "K"), [(333, 129, 600), (65, 500, 130), (2, 12_000, 200), (5, 1, 900_000)]
)
def test_same_bits_for_any_number_of_threads(thread_count, dtype, M, N, K):
    assert M * N * K >= PARALLEL_FROM
    rng = np.random.default_rng(2)
    a, b, start = (normal(rng, *shape, dtype=dtype) for shape in ((M, K), (K, N), (M, N)))
    results = []
    for count in (1, 2, 3, 7):
        thread_count(count)
        results.append((matmul(a, b), matmul(a, b, out=start.copy(), accumulate=True)))
    for plain, added in results[1:]:
        assert_same_bits(plain, results[0][0])
        assert_same_bits(added, results[0][1])


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_row_is_the_same_alone(dtype):
    rng = np.random.default_rng(3)
    a, b = normal(rng, 61, 700, dtype=dtype), normal(rng, 700, 150, dtype=dtype)
    whole = matmul(a, b)
    for m in range(len(a)):
        assert_same_bits(matmul(a[m : m + 1], b)[0], whole[m])
    for n in (0, 63, 64, 149):
        assert_same_bits(matmul(a, b[:, n : n + 1])[:, 0], whole[:, n])


@pytest.mark.parametrize("cut", [1, 255, 511, 512, 513, 698])
def test_parts_of_k_add_up_to_the_whole(cut):
    rng = np.random.default_rng(4)
    a, b = normal(rng, 23, 699), normal(rng, 699, 70)
    parts = matmul(a[:, :cut], b[:cut])
    matmul(a[:, cut:], b[cut:], out=parts, accumulate=True)
    assert_same_bits(parts, matmul(a, b))


def test_nan_and_infinity_pass_through():
    a, b = np.ones((3, 40), np.float32), np.ones((40, 20), np.float32)
    a[1, 7], b[3, 5] = np.nan, np.inf
    result = matmul(a, b)
    assert np.isnan(result[1]).all()
    assert np.isinf(result[[0, 2], 5]).all()
    assert (np.delete(result, 5, 1)[[0, 2]] == 40).all()


def test_out_may_be_an_operand():
    rng = np.random.default_rng(5)
    a, b = normal(rng, 20, 20), normal(rng, 20, 20)
    expected = matmul(a, b)
    assert matmul(a, b, out=b) is b
    assert_same_bits(b, expected)
    square = normal(rng, 20, 20)
    expected = chain(square, square.T, square)
    assert_same_bits(matmul(square, square.T, out=square, accumulate=True), expected)


def test_fields_of_a_structured_array():
    record = np.dtype([("flag", np.int8), ("value", np.float32)])
    a, b, c = (np.zeros((9, 9), record) for _ in range(3))
    rng = np.random.default_rng(6)
    a["value"], b["value"] = normal(rng, 9, 9), normal(rng, 9, 9)
    matmul(a["value"], b["value"], out=c["value"])
    plain = matmul(np.array(a["value"], order="C"), np.array(b["value"], order="C"))
    assert_same_bits(c["value"], plain)
    assert not c["flag"].any()


def guarded(shape, dtype=np.float32):
    """Give an array whose last element is the last of readable memory: one step on and the process dies."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    page = mmap.PAGESIZE
    pages = (size + page - 1) // page + 1
    memory = mmap.mmap(-1, pages * page)
    array = np.frombuffer(memory, np.uint8)
    end = array.ctypes.data + (pages - 1) * page
    assert ctypes.CDLL(None, use_errno=True).mprotect(ctypes.c_void_p(end), page, 0) == 0
    at = (pages - 1) * page - size
    return array[at : at + size].view(dtype).reshape(shape)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="guards pages with mprotect")
@pytest.mark.parametrize(("M", "N", "K"), [(1, 1, 1), (3, 5, 7), (5, 64, 9), (11, 67, 13), (50, 130, 33)])
@pytest.mark.parametrize("dtype", DTYPES)
def test_nothing_beyond_an_operand_is_read_or_written(M, N, K, dtype):
    rng = np.random.default_rng(7)
    a, b, c = guarded((M, K), dtype), guarded((K, N), dtype), guarded((M, N), dtype)
    a[...], b[...] = normal(rng, M, K), normal(rng, K, N)
    expected = matmul(a.copy(), b.copy())
    assert_same_bits(matmul(a, b, out=c), expected)
    across = guarded((K, M), dtype)
    across[...] = a.T
    down = guarded((N, K), dtype)
    down[...] = b.T
    assert_same_bits(matmul(across.T, down.T, out=c), expected)


@kernel_njit
def whole_layer(
    a, a_at, a_ld, M, K, b, b_at, k_stride, n_stride, N, packed, packed_at, c, c_at, c_ld, accumulate
):
    pack(b, b_at, k_stride, n_stride, K, N, packed, packed_at)
    product_rows(Rows(a, a_at, a_ld), M, K, packed, packed_at, N, Rows(c, c_at, c_ld), accumulate)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("accumulate", [False, True])
@pytest.mark.parametrize(
    ("M", "K", "N"),
    [(1, 1, 1), (16, 256, 768), (25, 40, 65), (50, DEPTH_BLOCK + 5, 130), (6, 0, 20), (0, 4, 5), (4, 7, 0)],
)
def test_packed_product_equals_matmul(dtype, transposed, accumulate, M, K, N):
    rng = np.random.default_rng(8)
    a, b, start = (normal(rng, *shape, dtype=dtype) for shape in ((M, K), (K, N), (M, N)))
    # Every operand lies inside something larger, with rows further apart than they are long.
    a_wide, c_wide = np.full((M + 2, K + 3), np.nan, dtype), np.full((M + 2, N + 9), 7, dtype)
    a_wide[1 : M + 1, 2 : K + 2] = a
    c_wide[1 : M + 1, 4 : N + 4] = start
    weight = np.concatenate([np.full(5, np.nan, dtype), (b.T if transposed else b).reshape(-1)])
    packed = np.full(packed_size(K, N) + 20, np.nan, dtype)
    strides = (1, K) if transposed else (N, 1)
    whole_layer(
        a_wide.reshape(-1), K + 3 + 2, K + 3, M, K, weight, 5, *strides, N, packed, 10,
        c_wide.reshape(-1), N + 9 + 4, N + 9, accumulate,
    )  # fmt: skip
    expected = np.full_like(c_wide, 7)
    out = start.copy() if accumulate else np.empty((M, N), dtype)
    expected[1 : M + 1, 4 : N + 4] = matmul(a, b, out=out, accumulate=accumulate)
    assert_same_bits(c_wide, expected)
    assert np.isnan(packed[:10]).all()
    assert np.isnan(packed[-10:]).all()


@kernel_njit
def pack_in_shares(b, k_stride, n_stride, K, N, packed, shares):
    panels = num_panels(b, N)
    for share in range(shares):
        first, last = share * panels // shares, (share + 1) * panels // shares
        pack_panels(b, 0, k_stride, n_stride, K, N, packed, 0, first, last)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize(("K", "N"), [(1, 1), (5, 64), (33, 200), (16, 97), (40, 16)])
def test_packed_layout(dtype, transposed, K, N):
    b = np.arange(1, K * N + 1, dtype=dtype).reshape(K, N)
    lanes = TILE.vector_bytes // b.itemsize
    width = TILE.vectors * lanes
    expected = []
    for first in range(0, N, width):
        panel = b[:, first : first + width]
        padded = -(-panel.shape[1] // lanes) * lanes
        expected.append(np.pad(panel, ((0, 0), (0, padded - panel.shape[1]))).reshape(-1))
    expected = np.concatenate(expected)
    assert len(expected) <= packed_size(K, N)
    source, strides = (b.T.copy(), (1, K)) if transposed else (b, (N, 1))
    for shares in (1, 2, 5):
        packed = np.full(packed_size(K, N), np.nan, dtype)
        pack_in_shares(source.reshape(-1), *strides, K, N, packed, shares)
        assert_same_bits(packed[: len(expected)], expected)


@pytest.mark.parametrize(
    ("machine", "features", "tile"),
    [
        ("x86_64", {"avx512f", "avx2", "fma"}, (64, 5, 4, True, False)),
        ("x86_64", {"avx512f", "avx512bw", "avx2", "fma"}, (64, 5, 4, True, True)),
        ("AMD64", {"avx2", "fma"}, (32, 6, 2, True, True)),
        ("x86_64", {"sse2"}, (16, 5, 2, False, True)),
        ("aarch64", {"neon"}, (16, 5, 4, True, False)),
        ("arm64", set(), (16, 5, 4, True, False)),
    ],
)
def test_tile_of_a_processor(machine, features, tile):
    assert choose_tile(machine, frozenset(features)) == tile


SEVERAL_SHAPES = """
import sys
import numpy as np
from rondeau.kernels.product import matmul
from rondeau.kernels.product.tiles import TILE
rng = np.random.default_rng(0)
results = []
for M, N, K in [(1, 1, 1), (13, 70, 600), (33, 17, 40), (6, 35, 8)]:
    for dtype in (np.float32, np.float64):
        a, b = rng.standard_normal((M, K)).astype(dtype), rng.standard_normal((K, N)).astype(dtype)
        results.append(matmul(a, b).tobytes())
sys.stdout.buffer.write(bytes([TILE.vector_bytes, TILE.fused]) + b"".join(results))
"""


def results_on(**environment):
    command = [sys.executable, "-c", SEVERAL_SHAPES]
    run = subprocess.run(command, env=os.environ | environment, capture_output=True, check=True, timeout=120)
    return tuple(run.stdout[:2]), run.stdout[2:]


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="compiles for older x86 processors")
@pytest.mark.skipif(not TILE.fused, reason="this processor has no fused multiply-add")
def test_same_bits_from_the_code_of_an_older_processor():
    _, here = results_on()
    tile, older = results_on(
        NUMBA_CPU_NAME="haswell", NUMBA_CPU_FEATURES="+avx,+avx2,+fma,+sse4.2,+bmi,+bmi2"
    )
    assert tile == (32, 1)
    assert older == here


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="compiles for older x86 processors")
def test_a_processor_without_fused_multiply_add():
    tile, oldest = results_on(NUMBA_CPU_NAME="nehalem", NUMBA_CPU_FEATURES="+sse4.2")
    assert tile == (16, 0)
    first = np.frombuffer(oldest[:4], np.float32)
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((1, 1)), rng.standard_normal((1, 1))
    assert first == np.float32(a[0, 0]) * np.float32(b[0, 0])


ONES = np.ones((2, 3), np.float32)


@pytest.mark.parametrize(
    ("a", "b", "options", "error", "message"),
    [
        ([[1.0]], ONES, {}, TypeError, "a must be a 2-D ndarray, got a list"),
        (ONES, ONES[0], {}, TypeError, "b must be a 2-D ndarray, got a 1-D array"),
        (ONES, ONES.T.astype(float), {}, TypeError, "got float32 and float64; convert with astype"),
        (
            ONES.astype(int),
            ONES.T.astype(int),
            {},
            TypeError,
            "both be float32 or both float64, got int64 and int64",
        ),
        (ONES.astype(">f4"), ONES.T.astype(">f4"), {}, TypeError, "got >f4 and >f4"),
        (ONES, ONES, {}, ValueError, r"got \(2, 3\) and \(2, 3\): 3 columns of a against 2 rows of b"),
        (ONES, ONES.T, {"accumulate": True}, ValueError, "out must be the array to add to"),
        (ONES, ONES.T, {"out": [0]}, TypeError, "out must be an ndarray, got list"),
        (
            ONES,
            ONES.T,
            {"out": np.zeros((2, 2))},
            TypeError,
            "out must be float32, as its operands, got float64",
        ),
        (ONES, ONES.T, {"out": np.zeros((2, 3), np.float32)}, ValueError, r"shape \(2, 2\), got \(2, 3\)"),
        (
            ONES,
            ONES.T,
            {"out": np.broadcast_to(np.float32(0), (2, 2))},
            ValueError,
            "out must be writable, got a read-only",
        ),
    ],
)
def test_mistakes_are_named(a, b, options, error, message):
    with pytest.raises(error, match=message):
        matmul(a, b, **options)


def test_the_peak_is_of_a_float_dtype():
    with pytest.raises(TypeError, match=r"must be float32, float64 or .bfloat16', got .int64"):
        peak_flops("int64")


@pytest.mark.parametrize(("M", "N"), [(0, 65), (65, 0), (0, 0)])
def test_an_empty_product_of_great_depth(M, N):
    a, b = np.ones((1000, M), np.float32), np.ones((1000, N), np.float32)
    assert matmul(a.T, b).shape == (M, N)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("K", [1, 127, 129, 600])
@pytest.mark.parametrize("N", [8, 16, 32, 64, 40])
def test_a_panel_that_is_not_packed_gives_the_bits_of_one_that_is(N, K, dtype, set_num_threads):
    rng = np.random.default_rng(N + K)
    a, b, c = (rng.standard_normal(shape).astype(dtype) for shape in ((K, 203), (K, N), (203, N)))
    strided = np.empty((K, 2 * N), dtype)[:, :N]
    strided[...] = b
    for left in (a.T, np.ascontiguousarray(a.T), a.T[:3]):
        for count in (1, 2):
            set_num_threads(count)
            for out in (None, c[: len(left)].copy()):
                options = [{} if out is None else {"out": out.copy(), "accumulate": True} for _ in range(2)]
                assert_same_bits(matmul(left, b, **options[0]), matmul(left, strided, **options[1]))
