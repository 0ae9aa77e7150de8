"""Sums whose error does not grow with the number of elements."""

import itertools

import numpy as np
import pytest

from comparing import assert_close, assert_same_bits
from rondeau.kernels.ops.sums import CHAIN, running_total, total

LAYOUTS = {
    "rows": lambda a: a,
    "columns": lambda a: a.T,
    "backwards": lambda a: a[::-1],
    "every third": lambda a: a[::3],
    "every second column": lambda a: a[..., ::2],
    "read only, repeated": lambda a: np.broadcast_to(a[:1], a.shape),
}
# Each has an axis that is longer than a chain, or than a chain of chains.
SHAPES = [
    (CHAIN * CHAIN + 3, 3),
    (3, CHAIN + 1),
    (7, 2 * CHAIN, 3),
    (CHAIN + 5, 7, 2, 3),
    (300, 70),
    (0, 300),
    (300, 0),
]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("shape", SHAPES)
def test_any_axes_of_any_memory_have_the_sum_of_float64(shape, layout):
    array = LAYOUTS[layout](np.random.default_rng(0).random(shape, np.float32))
    for axes in itertools.chain.from_iterable(
        itertools.combinations(range(array.ndim), n) for n in range(array.ndim + 1)
    ):
        for keepdims in (False, True):
            ours = total(array, axes, keepdims)
            exact = array.sum(axis=axes, keepdims=keepdims, dtype=np.float64)
            assert (ours.shape, ours.dtype) == (exact.shape, np.float32)
            assert_close(ours, exact, rtol=1e-6)
    assert total(array) == total(array, tuple(range(array.ndim)))
    assert_same_bits(total(array, 0), total(array, (0,)))


@pytest.mark.parametrize("columns", [1, 4, 100])
def test_the_error_does_not_grow_with_the_number_of_rows(columns):
    rows = np.random.default_rng(0).random((2**21 // columns, columns), np.float32)
    assert_close(total(rows, 0), rows.sum(axis=0, dtype=np.float64), rtol=6e-7)


@pytest.mark.parametrize("value", [-0.0, np.inf, -np.inf, np.nan])
def test_zeros_and_what_is_not_finite_are_summed_as_numpy_does(value):
    column = np.full((CHAIN * 3 + 1, 2), value, np.float32)
    assert_same_bits(total(column, 0), np.sum(column, 0))


@pytest.mark.parametrize("dtype", ["float64", "int64", "uint8", "complex64"])
def test_other_dtypes_are_summed_in_themselves(dtype):
    array = np.random.default_rng(0).integers(0, 2, (500, 3)).astype(dtype)
    ours, theirs = total(array, 0), np.sum(array, 0, dtype=dtype)
    assert ours.dtype == theirs.dtype
    assert_same_bits(ours, theirs)


def test_halves_are_added_in_float32():
    ones = np.ones((10_000, 2), np.float16)
    assert total(ones, 0).tolist() == [10_000, 10_000]
    assert total(ones, 0).dtype == np.float16
    assert total(ones) == np.float16(20_000)
    assert running_total(ones, 0)[-1].tolist() == [10_000, 10_000]


@pytest.mark.parametrize("axis", [0, 1])
def test_running_totals_are_added_in_float64(axis):
    array = np.random.default_rng(0).random((700, 700), np.float32)
    ours, exact = running_total(array, axis), np.cumsum(array, axis, dtype=np.float64)
    assert_same_bits(ours, exact.astype(np.float32))
    whole = np.arange(6).reshape(2, 3)
    assert running_total(whole, axis).tolist() == np.cumsum(whole, axis).tolist()
