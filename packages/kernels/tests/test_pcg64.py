"""NumPy's PCG64 as an array program: the same bits, and the same state afterwards."""

import numpy as np
import pytest
from tools.device_arrays import no_transfers

from comparing import assert_same_bits
from rondeau.kernels.numerics import pcg64

ROW = pcg64._COLUMNS
SIZES = (
    1,
    0,
    5,
    ROW,
    ROW + 1,
    2,
    3 * ROW + 1,
    3,
)  # around a row of states, and odd ones: half of a word waits


@pytest.mark.parametrize("dtypes", [(np.float32,), (np.float64,), (np.float32, np.float64, np.float64)])
def test_the_numbers_and_the_state_are_numpys(device_stand_in, dtypes):
    theirs, ours = np.random.default_rng(7), np.random.default_rng(7)
    for number, size in enumerate(SIZES):
        dtype = dtypes[number % len(dtypes)]
        with no_transfers():
            found = pcg64.uniform(device_stand_in, ours, (size, 1), dtype)
        assert_same_bits(found, theirs.random((size, 1), dtype))
        assert ours.bit_generator.state == theirs.bit_generator.state


def test_a_number_is_a_draw_too():
    theirs, ours = np.random.default_rng(1), np.random.default_rng(1)
    for _ in range(3):
        assert pcg64.uniform(np, ours, (), np.float32).tolist() == theirs.random(dtype=np.float32)


def test_words_of_any_state():
    for seed in range(3):
        generator = np.random.PCG64(2**100 + seed)
        state = generator.state["state"]
        assert_same_bits(
            pcg64.words(np, state["state"], state["inc"], ROW + 5), generator.random_raw(ROW + 5)
        )
