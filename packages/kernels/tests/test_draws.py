"""Draws on a device: the words of Philox, the same bits in both libraries, and their distributions."""

import math

import numpy as np
import pytest
from tools.device_arrays import no_transfers

from comparing import assert_close, assert_same_bits
from rondeau.kernels.numerics import draws
from rondeau.kernels.numerics.philox import words_of

KEY = 2**63 + 12345
WEIGHTS = np.array([[1.0, 0.0, 3.0, 2.0]])

DRAWS = {
    "words": lambda library: draws.words(library, KEY, 9),
    "uniform in float32": lambda library: draws.uniform(library, KEY, (3, 5), np.float32),
    "uniform in float64": lambda library: draws.uniform(library, KEY, (7,), np.float64),
    "normal in float32": lambda library: draws.normal(library, KEY, (7,), np.float32),
    "normal in float64": lambda library: draws.normal(library, KEY, (2, 3), np.float64),
    "integers": lambda library: draws.integers(library, KEY, -(2**31), 2**31, (9,)),
    "permutation": lambda library: draws.permutation(library, KEY, 11),
    "choices": lambda library: draws.choices(library, KEY, library.asarray(WEIGHTS), 6),
    "distinct choices": lambda library: draws.distinct_choices(library, KEY, library.asarray(WEIGHTS), 3),
    "a number": lambda library: draws.normal(library, KEY, (), np.float32),
    "nothing": lambda library: draws.normal(library, KEY, (0, 3), np.float64),
    "no integers": lambda library: draws.integers(library, KEY, 0, 1, (0,)),
}


@pytest.mark.parametrize("name", DRAWS)
def test_both_libraries_draw_the_same_bits(device_stand_in, name):
    assert_same_bits(DRAWS[name](device_stand_in), DRAWS[name](np))


def test_nothing_is_copied(device_stand_in):
    with no_transfers():
        draws.uniform(device_stand_in, KEY, (5,), np.float32)
        draws.normal(device_stand_in, KEY, (5,), np.float64)
        draws.permutation(device_stand_in, KEY, 5)


def test_numbers_are_made_of_the_words_of_philox():
    # A counter's words are four elements of float32 and two of float64; "draw" in ASCII is the substream.
    words = [word for unit in range(3) for word in words_of("test", KEY, 0x64726177, 0, 0, unit)]
    assert draws.words(np, KEY, 10).tolist() == words[:10]
    singles = draws.uniform(np, KEY, (10,), np.float32)
    assert singles.tolist() == [int(word) // 2**8 / 2**24 for word in words[:10]]
    pairs = [int(a) * 2**32 + int(b) for a, b in zip(words[::2], words[1::2], strict=True)]
    assert draws.uniform(np, KEY, (6,), np.float64).tolist() == [pair // 2**11 / 2**53 for pair in pairs]
    span = 2**31 + 7
    assert draws.integers(np, KEY, -5, span - 5, (6,)).tolist() == [
        pair * span // 2**64 - 5 for pair in pairs
    ]
    radius, angle = (
        math.sqrt(-2 * math.log((pairs[0] // 2**11 + 1) / 2**53)),
        2 * math.pi * (pairs[1] // 2**11 / 2**53),
    )
    expected = [radius * math.cos(angle), radius * math.sin(angle)]
    assert_close(draws.normal(np, KEY, (2,), np.float64), expected, rtol=1e-14)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_moments_of_normal_numbers(dtype):
    drawn = draws.normal(np, KEY, (200_000,), dtype).astype(np.float64)
    # Standard errors: 1, sqrt(2), sqrt(15) and sqrt(96) over sqrt(200,000); four of each.
    for power, expected, error in ((1, 0, 1), (2, 1, 2**0.5), (3, 0, 15**0.5), (4, 3, 96**0.5)):
        assert abs((drawn**power).mean() - expected) < 4 * error / 200_000**0.5


def test_frequencies():
    drawn = draws.integers(np, KEY, 0, 7, (70_000,))
    assert (abs(np.bincount(drawn, minlength=7) - 10_000) < 4 * 100).all()
    drawn = draws.choices(np, KEY, WEIGHTS, 60_000)[0]
    assert (abs(np.bincount(drawn, minlength=4) - [10_000, 0, 30_000, 20_000]) < 4 * 125).all()
    rows = draws.distinct_choices(np, KEY, np.repeat(WEIGHTS, 60_000, axis=0), 2)
    pairs = np.bincount(rows[:, 0] * 4 + rows[:, 1], minlength=16).reshape(4, 4)
    weights = WEIGHTS[0] / 6
    expected = weights[:, None] * weights / (1 - weights)[:, None] * (1 - np.eye(4))
    assert (abs(pairs - 60_000 * expected) < 4 * 125).all()
    assert sorted(draws.permutation(np, KEY, 100).tolist()) == list(range(100))
