"""The noise of a step: the exact stream, its moments and tails, and its independence over positions."""

import math
import re

import numpy as np
import pytest
from numba import njit

from comparing import assert_close, assert_same_bits
from rondeau.kernels.cell import CellError
from rondeau.kernels.cell import cell_math as m
from rondeau.kernels.cell.symbols import MOST_DRAWS
from rondeau.kernels.explain import explain
from rondeau.kernels.numerics import noise
from rondeau.kernels.numerics.philox import philox4x32
from rondeau.kernels.recurrent.substreams import NOISE, first_substream
from rondeau.kernels.sequence import Cell, Layout, Run, Settings, Weights, forward

KEY = 0x0123456789ABCDEF
POSITIONS = np.arange(500)[:, None], np.arange(4)[:, None, None], np.arange(50)


@njit
def compiled_normals(key, substream, out):
    for b in range(out.shape[0]):
        for t in range(out.shape[1]):
            for j in range(out.shape[2]):
                out[b, t, j] = noise.normal(key, substream, t, b, j)


def test_numbers_are_made_from_the_words_of_philox():
    words = philox4x32(
        *(np.uint64(c) for c in (3, 2, 1, 35)), np.uint64(KEY & 0xFFFFFFFF), np.uint64(KEY >> 32)
    )
    first, second, third, fourth = (int(word) for word in words)
    u = ((first << 32 | second) >> 11) / 2**53
    v = ((third << 32 | fourth) >> 11) / 2**53
    assert noise.uniforms(KEY, 35, 1, 2, 3) == u
    expected = math.sqrt(-2 * math.log(1 - u)) * math.cos(2 * math.pi * v)
    assert_close(noise.normals(KEY, 35, 1, 2, 3), expected, rtol=1e-13)


def test_compiled_numbers_are_those_of_numpy_up_to_the_last_bits():
    out = np.empty((4, 500, 50))
    compiled_normals(KEY, 35, out)
    expected = noise.normals(KEY, 35, *POSITIONS)
    # Both err by up to 1.5 units in the last place: of logarithm, root, cosine and product.
    assert (np.abs(out - expected) <= 3 * np.spacing(np.abs(expected))).all()
    single = np.empty((4, 500, 50), np.float32)
    compiled_normals(KEY, 35, single)
    assert_same_bits(single, out.astype(np.float32))


def test_the_cosine_is_accurate_near_its_zeros_and_the_logarithm_at_its_ends():
    """The words are chosen such that a number lies at the edge: 0, the largest, and a turn of nearly a quarter."""

    @njit
    def parts(bits, x):
        return noise._compiled_cos_of_bits(bits), noise._log(x)

    quarter = 2**51
    for bits in (0, 1, quarter - 1, quarter, quarter + 1, 2 * quarter, 3 * quarter + 5, 4 * quarter - 1):
        cosine, _ = parts(np.int64(bits), 0.5)
        nearest = round(bits / quarter)
        angle = (bits - nearest * quarter) * 2 * math.pi / 2**53
        expected = (math.cos(angle), -math.sin(angle), -math.cos(angle), math.sin(angle))[nearest % 4]
        assert_close(np.float64(cosine), expected, rtol=4e-16)
    for x in (2.0**-53, 1.0, 1 - 2.0**-53, 0.5, math.sqrt(0.5), 0.7071067811865475, 0.75, 0.99):
        _, logarithm = parts(np.int64(0), x)
        assert_close(np.float64(logarithm), math.log(x), rtol=3e-16)
    largest = math.sqrt(-2 * parts(np.int64(0), 2.0**-53)[1])
    assert_close(np.float64(largest), 8.571674348652905, rtol=1e-15)


def moments(x):
    return [float((x**k).mean()) for k in range(1, 9)]


def test_moments_and_tails_of_a_million_numbers():
    t, b, j = np.arange(200)[:, None, None], np.arange(50)[:, None], np.arange(100)
    normals, uniforms = noise.normals(7, 35, t, b, j), noise.uniforms(7, 36, t, b, j)
    n = normals.size
    for k, found in enumerate(moments(normals), 1):
        expected = math.prod(range(k - 1, 0, -2)) if k % 2 == 0 else 0
        spread = math.sqrt((math.prod(range(2 * k - 1, 0, -2)) - expected**2) / n)
        assert abs(found - expected) < 4 * spread, k
    for k, found in enumerate(moments(uniforms), 1):
        spread = math.sqrt((1 / (2 * k + 1) - 1 / (k + 1) ** 2) / n)
        assert abs(found - 1 / (k + 1)) < 4 * spread, k
    assert uniforms.min() >= 0
    assert uniforms.max() < 1
    for bound in (0.5, 1.0, 2.0, 3.0, 4.0):
        for side in (normals, -normals):
            p = math.erfc(bound / math.sqrt(2)) / 2
            assert abs((side > bound).mean() - p) < 4 * math.sqrt(p * (1 - p) / n), bound
    counts = np.histogram(uniforms, 1000, (0, 1))[0]
    chi_squared = ((counts - n / 1000) ** 2 / (n / 1000)).sum()
    assert abs(chi_squared - 999) < 4 * math.sqrt(2 * 999)


def test_numbers_of_neighbouring_positions_and_of_other_calls_are_independent():
    t, b, j = np.arange(200)[:, None, None], np.arange(20)[:, None], np.arange(64)
    first, second = noise.normals(7, 35, t, b, j), noise.normals(7, 36, t, b, j)
    other, uniforms = noise.normals(8, 35, t, b, j), noise.uniforms(7, 35, t, b, j)
    pairs = [(first[1:], first[:-1]), (first[:, 1:], first[:, :-1]), (first[..., 1:], first[..., :-1])]
    pairs += [
        (first, second),
        (first, other),
        (second, uniforms - 0.5),
        (np.abs(first[1:]), np.abs(first[:-1])),
    ]
    for x, y in pairs:
        correlation = np.corrcoef(x.ravel(), y.ravel())[0, 1]
        assert abs(correlation) < 4 / math.sqrt(x.size)


def drawn(step, T=5, B=3, H=9, dtype=np.float64, states=("h",), **settings):
    cell = Cell(step, ("h",), states, "drawn")
    layout = Layout.dense(T, B)
    weights = Weights(np.zeros((H, 2), dtype), np.zeros((H, H), dtype) if cell.recurrent else None)
    run = Run(cell, layout, settings=Settings(**{"key": KEY, "substream": 128, **settings}))
    return forward(run, np.zeros((T * B, 2), dtype), weights, every_state=True).every


def test_a_step_draws_the_stream_of_its_position():
    """The calls of a step are numbered in their order; each has a substream, from 35 on, of those of the layer."""
    for dtype in (np.float64, np.float32):
        h, k = drawn(
            lambda x, r, s: (m.normal() + 0 * x.h, m.uniform() - m.normal()), dtype=dtype, states=("h", "k")
        )
        t, b, j = np.repeat(np.arange(5), 3)[:, None], np.tile(np.arange(3), 5)[:, None], np.arange(9)
        assert_close(h, noise.normals(KEY, 163, t, b, j).astype(dtype), rtol=3 * np.finfo(dtype).eps)
        expected = noise.uniforms(KEY, 164, t, b, j).astype(dtype) - noise.normals(KEY, 165, t, b, j).astype(
            dtype
        )
        assert_close(k, expected, atol=8 * np.finfo(dtype).eps)


def test_two_calls_are_two_numbers_and_one_value_is_one():
    (twice,) = drawn(lambda x, r, s: m.normal() - m.normal() + 0 * x.h)
    assert (np.abs(twice) > 1e-9).all()

    def once(x, r, s):
        drawn_once = m.normal()
        return drawn_once - drawn_once + 0 * x.h

    (same,) = drawn(once)
    assert not same.any()


def test_a_step_may_draw_only_so_many_numbers():
    def greedy(x, r, s):
        return sum((m.normal() for _ in range(29)), x.h)

    with pytest.raises(
        CellError, match=re.escape("a step may draw at most 28 random numbers, and this is one more")
    ):
        Cell(greedy, ("h",), ("h",), "greedy")
    Cell(lambda x, r, s: sum((m.normal() for _ in range(28)), x.h), ("h",), ("h",), "sated")
    assert first_substream(0) + NOISE + MOST_DRAWS <= first_substream(1), (
        "a draw would share a layer's numbers"
    )


@pytest.mark.parametrize("name", ["normal", "uniform"])
def test_noise_is_drawn_only_in_a_step(name):
    with pytest.raises(CellError, match=rf"{name}\(\) draws a number for each unit of a step"):
        getattr(m, name)()


def test_a_cell_says_whether_it_draws():
    assert Cell(lambda x, r, s: x.h + m.normal(), ("h",), ("h",), "noisy").draws_noise

    def unused(x, r, s):
        m.normal()
        return x.h

    cell = Cell(unused, ("h",), ("h",), "unused")
    assert not cell.draws_noise
    assert "Random numbers" not in explain(cell)
