"""The functions that a GPU's kernels call, typed: compiled for the CPU and compared with those of the CPU target.

An emulator knows no types, and a mistake of types is silent: two uint32 make a number of 64 bits, a float32 and a
Python number one of float64.
"""

import numpy as np
import pytest
from numba import njit, types

from comparing import assert_same_bits
from rondeau.kernels.cpu import compiled_phase
from rondeau.kernels.cuda import functions
from rondeau.kernels.numerics import noise, philox

TYPED = functions.compiled(njit, {})


def positions(count=2000):
    """Return random keys of 64 bits and positions of 32, and extremes of both."""
    rng = np.random.default_rng(0)
    keys = np.array([0, 1, 2**63, 2**64 - 1], np.uint64)
    key = np.concatenate([rng.integers(2**64, size=count, dtype=np.uint64), rng.choice(keys, 500)])
    edges = rng.choice([0, 1, 2**31 - 1, 2**31, 2**32 - 1], (4, 500))
    others = np.concatenate([rng.integers(2**32, size=(4, count)), edges], axis=1)
    others[1, ::7] = philox.CONSTANT_OVER_TIME
    return key, *others


def drawn(draw, words, *of_places):
    """Return (words, random_word, uniform, normal) of places, in one loop that is compiled for the CPU."""
    random_word, uniform, normal = draw

    @njit
    def fill(key, substream, time, batch, unit, four, word, u, z):
        for i in range(len(key)):
            place = key[i], substream[i], time[i], batch[i], unit[i]
            four[i, 0], four[i, 1], four[i, 2], four[i, 3] = words(*place)
            word[i], u[i], z[i] = random_word(*place), uniform(*place), normal(*place)

    count = len(of_places[0])
    found = np.empty((count, 4), np.uint64), np.empty(count, np.int32), np.empty(count), np.empty(count)
    fill(*of_places, *found)
    return found


def test_random_numbers_are_those_of_the_cpu():
    places = positions()
    device = [TYPED[name] for name in ("random_word", "uniform", "normal")]
    four, word, u, z = drawn(device, TYPED["words"], *places)
    host = [philox.random_word, noise.uniform, noise.normal]
    four_expected, word_expected, u_expected, z_expected = drawn(host, philox.compiled_words, *places)
    assert_same_bits(four, four_expected)
    assert_same_bits(word, word_expected)
    assert_same_bits(u, u_expected)
    assert np.isfinite(z_expected).all()
    # Their logarithms differ in the last bit, of which the root halves the error and the product adds its own.
    assert (np.abs(z - z_expected) <= 3 * np.spacing(np.abs(z_expected))).all()
    assert {signature.return_type for signature in TYPED["random_word"].nopython_signatures} == {types.int32}


def numbers(dtype):
    """Return numbers of a dtype: all exponents, signed zeros, infinities, NaN, and the ends of its range."""
    info = np.finfo(dtype)
    rng = np.random.default_rng(1)
    exponents = np.arange(info.minexp - info.nmant, info.maxexp)
    spread = np.ldexp(rng.uniform(1, 2, exponents.size), exponents).astype(dtype)
    usual = np.linspace(-40, 40, 321).astype(dtype)
    edges = np.array(
        [0, info.max, info.tiny, info.smallest_subnormal, np.inf, 88.7228, 103.97, 709.78, 745.13], dtype
    )
    return np.concatenate([spread, -spread, usual, edges, -edges, np.array([np.nan], dtype)])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_functions_of_one_number(dtype):
    """The sigmoid and softplus to a few units in the last place of exact values, in both tails; the sign to the bit."""
    sigmoid, softplus, sign = TYPED["sigmoid"], TYPED["softplus"], TYPED["sign"]

    @njit
    def fill(x, out):
        for i in range(len(x)):
            out[0, i], out[1, i], out[2, i] = sigmoid(x[i]), softplus(x[i]), sign(x[i])

    x = numbers(dtype)
    out = np.empty((3, x.size), dtype)
    fill(x, out)
    with np.errstate(all="ignore"):
        wide = x.astype(np.longdouble)
        tail = np.exp(-np.abs(wide))
        exact = [np.where(wide < 0, tail, 1) / (1 + tail), np.maximum(wide, 0) + np.log1p(tail)]
        for got, expected in zip(out, exact, strict=False):
            rounded = expected.astype(dtype)
            unit = np.spacing(np.minimum(np.abs(rounded), np.finfo(dtype).max))
            close = np.abs(got - expected) <= 3 * unit
            assert ((got == rounded) | close | (np.isnan(got) & np.isnan(x))).all()
    assert_same_bits(out[2][:-1], np.where(x == 0, x, np.sign(x))[:-1])
    assert np.isnan(out[:, -1]).all()
    number = types.float32 if dtype == np.float32 else types.float64
    for function in (sigmoid, softplus, sign):
        assert dict(returned(function))[number,] == number, function


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_functions_of_several_numbers(dtype):
    """To the bit what the CPU's kernels compute, signed zeros and NaN included."""

    def over_pairs(minimum, maximum, clamp):
        @njit
        def fill(a, b, out):
            for i in range(len(a)):
                out[0, i], out[1, i] = minimum(a[i], b[i]), maximum(a[i], b[i])
                out[2, i] = clamp(a[i], -abs(b[i]), abs(b[i]))

        a, b = (side.ravel() for side in np.meshgrid(numbers(dtype)[::9], numbers(dtype)[::7]))
        a, b = (
            np.concatenate([side, dtype(edge)])
            for side, edge in ((a, [0.0, -0.0, 0.0]), (b, [-0.0, 0.0, np.nan]))
        )
        out = np.empty((3, a.size), dtype)
        fill(a, b, out)
        return out

    device = [TYPED[name] for name in ("minimum", "maximum", "clamp")]
    host = [compiled_phase._minimum, compiled_phase._maximum, compiled_phase._clamp]
    assert_same_bits(over_pairs(*device), over_pairs(*host))
    number = types.float32 if dtype == np.float32 else types.float64
    for function in device:
        of_numbers = [result for arguments, result in returned(function) if set(arguments) == {number}]
        assert of_numbers == [number], function


def returned(function):
    """Return pairs of the types of a compiled function's arguments and of its result."""
    return [(signature.args, signature.return_type) for signature in function.nopython_signatures]


def test_after_a_wait_in_vain_others_give_up_soon():
    """A block that never comes costs one long wait, and not one at every step."""
    spins = []
    names = {
        "ld_acquire": np.ndarray.__getitem__,
        "spin": lambda: spins.append(1),
        "_FEW_SPINS": 3,
        "_MOST_SPINS": 20,
    }
    wait_for = functions.compiled(lambda function: function, names)["wait_for"]
    arrived, lengths = np.zeros(2, np.uint32), []
    for step in (1, 2, 3):
        spins.clear()
        wait_for(arrived, 1, step)
        lengths.append(len(spins))
    assert lengths == [21, 3, 3]
    assert arrived.tolist() == [1, 0]
