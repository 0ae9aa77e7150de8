"""Philox against its published answers and a second implementation; masks against the numbers they are made of."""

import platform
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from comparing import assert_same_bits
from rondeau.kernels.numerics import philox
from rondeau.kernels.runtime.compiling import kernel_njit

WORD = st.integers(0, 2**32 - 1)
KEY = st.integers(0, 2**64 - 1)

# Random123, tests/kat_vectors: philox4x32 10. Counter, key, result.
ANSWERS = [
    (
        "00000000 00000000 00000000 00000000",
        "00000000 00000000",
        "6627e8d5 e169c58d bc57ac4c 9b00dbd8",
    ),
    (
        "ffffffff ffffffff ffffffff ffffffff",
        "ffffffff ffffffff",
        "408f276d 41c83b0e a20bc7c6 6d5451fd",
    ),
    (
        "243f6a88 85a308d3 13198a2e 03707344",
        "a4093822 299f31d0",
        "d16cfe09 94fdcceb 5001e420 24126ea1",
    ),
]


def words(text):
    return [int(word, 16) for word in text.split()]


def plain_philox(counter, key):
    """Philox4x32-10 in Python's integers, after the paper's figures rather than our loop."""
    (right_0, left_0, right_1, left_1), (k0, k1) = counter, key
    for r in range(10):
        high_0, low_0 = divmod(right_0 * 0xD2511F53, 2**32)
        high_1, low_1 = divmod(right_1 * 0xCD9E8D57, 2**32)
        round_0, round_1 = (k0 + r * 0x9E3779B9) % 2**32, (k1 + r * 0xBB67AE85) % 2**32
        right_0, left_0, right_1, left_1 = high_1 ^ left_0 ^ round_0, low_1, high_0 ^ left_1 ^ round_1, low_0
    return [right_0, left_0, right_1, left_1]


@kernel_njit
def compiled_words(key, substream, time, batch, unit, out):
    for i in range(out.size):
        out[i] = philox.random_word(key, substream, time, batch, unit + i)


@kernel_njit
def chosen_by_word(x, key, threshold, out):
    for unit in range(out.size):
        kept = philox.random_word(key, 1, 2, 3, unit) >= threshold
        out[unit] = x[unit] if kept else np.float32(0)


@pytest.mark.parametrize(("counter", "key", "result"), ANSWERS)
def test_published_answers(counter, key, result):
    ours = philox.philox4x32(*map(np.uint64, words(counter)), *map(np.uint64, words(key)))
    assert list(map(int, ours)) == words(result)
    unit, batch, time, substream = words(counter)
    low, high = words(key)
    assert (
        int(philox.uniforms(low + (high << 32), substream, time, batch, unit) * 2**24)
        == words(result)[0] >> 8
    )


@given(KEY, WORD, WORD, WORD, WORD)
def test_both_targets_against_a_second_implementation(key, substream, time, batch, unit):
    expected = plain_philox((unit, batch, time, substream), (key % 2**32, key >> 32))
    split = map(np.uint64, (unit, batch, time, substream, key % 2**32, key >> 32))
    assert list(map(int, philox.philox4x32(*split))) == expected
    out = np.empty(1, np.int32)
    compiled_words(np.uint64(key), substream, time, batch, unit, out)
    assert out[0] == expected[0] >> 8


@pytest.mark.parametrize("size", [1, 15, 16, 17, 33, 1000])
def test_compiled_words_are_the_uniforms_in_vector_loops_and_their_tails(size):
    key, first = 0xFEDCBA9876543210, 2**32 - size
    out = np.empty(size, np.int32)
    compiled_words(np.uint64(key), 5, philox.CONSTANT_OVER_TIME, 2**32 - 1, first, out)
    uniforms = philox.uniforms(key, 5, philox.CONSTANT_OVER_TIME, 2**32 - 1, first + np.arange(size))
    assert uniforms.dtype == np.float64
    assert_same_bits(out * 2.0**-24, uniforms)
    assert_same_bits(uniforms.astype(np.float32).astype(np.float64), uniforms)


def test_loops_over_units_are_vectorised():
    if platform.machine() not in ("x86_64", "AMD64", "aarch64", "arm64"):
        pytest.skip(f"no vectors are promised on {platform.machine()}")
    x = np.ones(8, np.float32)
    chosen_by_word(x, np.uint64(1), np.int32(1), np.empty_like(x))
    (code,) = chosen_by_word.inspect_llvm().values()
    assert re.search(r" mul (nuw )?(nsw )?<\d+ x i64>", code), "LLVM left the loop scalar"


def test_places_broadcast():
    times, batches, units = np.arange(3)[:, None, None], np.arange(4)[:, None], np.arange(5)
    together = philox.uniforms(9, 1, times, batches, units)
    assert together.shape == (3, 4, 5)
    for t, b, u in np.ndindex(3, 4, 5):
        assert together[t, b, u] == philox.uniforms(9, 1, t, b, u)


def test_every_part_of_the_place_counts():
    position = {"key": 1, "substream": 2, "times": 3, "batches": 4, "units": np.arange(64)}
    drawn = [philox.uniforms(**position)]
    drawn += [
        philox.uniforms(**{**position, name: position[name] + 1})
        for name in ("substream", "times", "batches")
    ]
    drawn += [philox.uniforms(**{**position, "key": key}) for key in (2, 1 + 2**32, 1 + 2**63)]
    for i, a in enumerate(drawn):
        for b in drawn[:i]:
            # 64 pairs of 24 bits: equal by chance with probability 4e-6 a pair of draws.
            assert not np.any(a == b)


def test_uniforms_are_uniform():
    # A fixed key: the chi-square of 255 degrees of freedom, in its central 99.9 %.
    uniforms = philox.uniforms(2024, 3, np.arange(500)[:, None], 1, np.arange(512))
    observed = np.bincount((uniforms * 256).astype(np.intp).ravel(), minlength=256)
    expected = uniforms.size / 256
    assert 190 < np.sum((observed - expected) ** 2) / expected < 330
    for a, b in ((uniforms[1:], uniforms[:-1]), (uniforms[:, 1:], uniforms[:, :-1])):
        assert abs(np.corrcoef(a.ravel(), b.ravel())[0, 1]) < 4 / np.sqrt(a.size)


def masks(N, W, dtype, p=0.3, key=2**63 + 11, substream=4):
    """The mask, and the masked x, with x, of random rows."""
    rng = np.random.default_rng(N + W)
    times, batches = rng.integers(0, 2**32, N), rng.integers(0, 2**32, N)
    x = rng.standard_normal((N, W)).astype(dtype)
    mask, out = np.full((N, W), np.nan, dtype), np.full((N, W), np.nan, dtype)
    philox.keep_mask(mask, times, batches, key, substream, p)
    philox.mask_rows(x, times, batches, key, substream, p, out)
    uniforms = philox.uniforms(key, substream, times[:, None], batches[:, None], np.arange(W))
    return x, mask, out, uniforms


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("p", [0.0, 2.0**-24, 0.1, 0.5, 0.9, 1 - 2.0**-24, 1 - 2.0**-53, 1.0])
@pytest.mark.parametrize(("N", "W"), [(0, 3), (2, 0), (1, 1), (3, 15), (2, 16), (5, 17), (40, 70)])
def test_masks_are_the_uniforms_compared_with_p(N, W, p, dtype):
    x, mask, out, uniforms = masks(N, W, dtype, p)
    scale = np.dtype(dtype).type(1 / (1 - p) if p < 1 else 0)
    assert_same_bits(mask, np.where(uniforms >= p, scale, 0))
    assert mask.dtype == dtype
    assert_same_bits(out, x * mask)


def test_float32_and_float64_keep_the_same():
    for p in (0.1, 1 / 3, 0.7):
        assert_same_bits(masks(9, 200, np.float32, p)[1] != 0, masks(9, 200, np.float64, p)[1] != 0)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("N", [1, 2, 3, 50])
def test_same_bits_for_any_number_of_threads(N, dtype, set_num_threads):
    results = []
    for count in (1, 2, 3, 7):
        set_num_threads(count)
        results.append(masks(N, 65, dtype)[1:3])
    for other in results[1:]:
        assert_same_bits(other, results[0])


def test_a_row_has_its_mask_wherever_it_lies():
    times, batches = np.repeat(np.arange(6), 5), np.tile(np.arange(5), 6)
    whole, part = np.empty((30, 33)), np.empty((7, 33))
    philox.keep_mask(whole, times, batches, 3, 0, 0.4)
    some = np.random.default_rng(0).permutation(30)[:7]
    philox.keep_mask(part, times[some], batches[some], 3, 0, 0.4)
    assert_same_bits(part, whole[some])
    philox.keep_mask(part, np.full(7, philox.CONSTANT_OVER_TIME), batches[:7], 3, 0, 0.4)
    assert_same_bits(part[0], part[5])  # the same row of the batch, whatever the step
    assert part[0].tobytes() != part[1].tobytes()


def test_input_of_any_strides():
    x = np.random.default_rng(0).standard_normal((20, 12)).T[::2, ::-1]
    mask, out = np.empty(x.shape), np.empty(x.shape)
    positions = np.arange(12)[::2]
    philox.keep_mask(mask, positions, positions, 8, 1, 0.5)
    philox.mask_rows(x, positions, positions, 8, 1, 0.5, out)
    assert_same_bits(out, x * mask)


@given(st.floats(0, 1))
def test_the_threshold_is_the_first_uniform_not_below_p(p):
    threshold = philox.threshold_of(p)
    assert threshold * 2.0**-24 >= p
    assert threshold == 0 or (threshold - 1) * 2.0**-24 < p


GOOD = {"times": [0, 1], "batches": [0, 0], "key": 1, "substream": 0, "p": 0.5}


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"p": 1.5}, ValueError, "p must be from 0 to 1, got 1.5"),
        ({"p": float("nan")}, ValueError, "p must be from 0 to 1, got nan"),
        ({"key": -1}, ValueError, r"key must be from 0 to 2\*\*64 - 1, got -1"),
        ({"key": 2**64}, ValueError, r"key must be from 0 to 2\*\*64 - 1, got 18446744073709551616"),
        ({"key": 0.5}, TypeError, "key must be an integer, got float: 0.5"),
        ({"key": True}, TypeError, "key must be an integer, got bool: True"),
        ({"p": "half"}, TypeError, "p must be a number, got str: 'half'"),
        ({"substream": "first"}, TypeError, "substream must be integers, got <U5"),
        ({"substream": [1, 2]}, ValueError, r"substream must be one integer, got an array of shape \(2,\)"),
        ({"times": [[0], [1, 2]]}, ValueError, "times must be an array of integers, got a ragged list"),
        ({"times": None}, TypeError, "times must be integers, got object"),
        ({"substream": 2**32}, ValueError, r"substream must be from 0 to 2\*\*32 - 1, got 4294967296"),
        ({"times": [0, -1]}, ValueError, r"times must be from 0 to 2\*\*32 - 1, got -1 to 0"),
        ({"batches": [0.0, 1.0]}, TypeError, "batches must be integers, got float64"),
        ({"batches": [0]}, ValueError, r"batches must have shape \(2,\), one per row, got \(1,\)"),
        ({"out": np.empty((2, 3), np.int32)}, TypeError, "output must be float32 or float64, got int32"),
        ({"out": np.empty((3, 2)).T}, ValueError, "a writable, C-contiguous matrix"),
        (
            {"out": np.empty(2)},
            ValueError,
            r"output must be a writable, C-contiguous matrix, got shape \(2,\)",
        ),
    ],
)
@pytest.mark.parametrize("name", ["keep_mask", "mask_rows"])
def test_what_does_not_fit_is_refused_before_the_kernel(name, change, error, message):
    given = {**GOOD, "out": np.empty((2, 3)), **change}
    out = given.pop("out")
    arrays = {"mask": out} if name == "keep_mask" else {"x": np.ones_like(out), "out": out}
    with pytest.raises(error, match=message):
        getattr(philox, name)(**arrays, **given)


def test_mask_rows_refuses_what_does_not_pair():
    out = np.empty((2, 3))
    with pytest.raises(TypeError, match="of one dtype, got float32 and float64"):
        philox.mask_rows(np.ones((2, 3), np.float32), **GOOD, out=out)
    with pytest.raises(ValueError, match=r"of one shape, got \(2, 4\) and \(2, 3\)"):
        philox.mask_rows(np.ones((2, 4)), **GOOD, out=out)
    with pytest.raises(ValueError, match="two views of the same memory"):
        philox.mask_rows(out, **GOOD, out=out)


def test_what_is_no_array_is_refused():
    with pytest.raises(TypeError, match="output must be a numpy array, got list"):
        philox.keep_mask([[0.0]], **GOOD)
    with pytest.raises(TypeError, match="x must be a numpy array, got NoneType"):
        philox.mask_rows(None, **GOOD, out=np.empty((2, 3)))


def test_the_numpy_twin_refuses_the_same():
    with pytest.raises(
        ValueError, match=r"positions must broadcast, got units \(3,\), batches \(\), times \(2,\)"
    ):
        philox.uniforms(1, 0, [0, 1], 0, [0, 1, 2])
    with pytest.raises(ValueError, match=r"units must be from 0 to 2\*\*32 - 1"):
        philox.uniforms(1, 0, 0, 0, [2**32])
    with pytest.raises(TypeError, match="times must be integers, got float64"):
        philox.uniforms(1, 0, [0.5], 0, 0)
    with pytest.raises(ValueError, match="uniforms: key must be"):
        philox.uniforms(2**64, 0, 0, 0, 0)
