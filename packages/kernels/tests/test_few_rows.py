"""A matrix of few rows against the whole matrix."""

import numpy as np
import pytest

from comparing import assert_same_bits
from rondeau.kernels.ops.few_rows import FewRows, are_few, summed
from rondeau.kernels.ops.scatter import add_rows

V, E = 50, 7


def drawn(seed, dtype, count=12):
    """Return few rows, and the whole matrix, from ids that repeat."""
    rng = np.random.default_rng(seed)
    ids, rows = rng.integers(0, V, count) // 2, rng.standard_normal((count, E)).astype(dtype)
    whole = np.zeros((V, E), dtype)
    add_rows(rows, ids, whole)
    return summed(rows, ids, V), whole


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("count", [0, 1, 12, 90])
def test_the_whole_is_the_sum_of_all_rows(dtype, count):
    few, whole = drawn(0, dtype, count)
    assert (few.shape, few.dtype, few.ndim) == (whole.shape, whole.dtype, whole.ndim)
    assert few.ids.tolist() == np.flatnonzero(whole.any(axis=1)).tolist()
    assert_same_bits(few.whole(), whole)
    assert_same_bits(np.asarray(few), whole)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_sums_are_those_of_whole_matrices(dtype):
    (a, whole_a), (b, whole_b) = drawn(0, dtype), drawn(1, dtype)
    both = a + b
    assert_same_bits(both.whole(), whole_a + whole_b)
    other = np.random.default_rng(2).standard_normal((V, E)).astype(dtype)
    kept = other.copy()
    assert_same_bits(other + a, kept + whole_a)
    assert_same_bits(a + other, kept + whole_a)
    assert_same_bits(other, kept)
    same = other
    same += a
    assert same is other
    assert_same_bits(other, kept + whole_a)
    assert_same_bits(a.whole(), whole_a)


def test_nothing_else_is_computed_with_it():
    few, whole = drawn(0, np.float64)
    for wrong in (
        lambda: whole * few,
        lambda: np.add(whole, few, out=np.zeros_like(whole)),
        lambda: np.exp(few),
    ):
        with pytest.raises(TypeError):
            wrong()
    for other in (whole[1:], FewRows(few.ids, few.values, V + 1)):
        with pytest.raises(ValueError, match=r"must have one shape to be added, got .*50, 7"):
            _ = other + few


@pytest.mark.parametrize("wrong", [-1, V])
def test_an_id_out_of_range_is_refused(wrong):
    with pytest.raises(IndexError, match=r"ids must be in \[0, 50\), the rows of the matrix, got"):
        summed(np.ones((2, E)), np.array([3, wrong]), V)


def test_few_are_a_small_share_of_a_large_table():
    assert are_few(1024, (16 * 1024, 64))
    assert not are_few(1025, (16 * 1024, 64))
    assert not are_few(1024, (16 * 1024, 63))
