"""Shares of a kernel's work: each runs once, with its arguments, and an error of one is raised."""

import sys

import numpy as np
import pytest

from comparing import assert_same_bits
from rondeau.kernels.product import Rows
from rondeau.kernels.runtime import threads
from rondeau.kernels.runtime.compiling import kernel_njit, linked_njit
from rondeau.kernels.runtime.shares import bounds_of_share, indices_of_share, run_alone, run_shares


@pytest.fixture(autouse=True)
def _count_of_before():
    before = threads.get_num_threads()
    yield
    threads.set_num_threads(before)


@linked_njit
def _scale(rows, factor, is_negative, share, shares):
    for i in indices_of_share(rows.flat.size, share, shares):
        rows.flat[i] *= -factor if is_negative else factor
    return rows.flat  # which nobody takes


@linked_njit
def _allocate(size, out, share, shares):
    if share == shares - 1:
        out[0] = np.empty(size)[0]


@kernel_njit
def scale(x, factor, is_negative, shares):
    run_shares(_scale, (Rows(x.reshape(-1), 0, 1), factor, is_negative), shares)


@kernel_njit
def scale_alone(x, factor, is_negative):
    run_alone(_scale, (Rows(x.reshape(-1), 0, 1), factor, is_negative), 1)


@kernel_njit
def allocate(size, out, shares):
    run_shares(_allocate, (size, out), shares)


@kernel_njit
def allocate_alone(size, out):
    run_alone(_allocate, (size, out), 1)


def launched(kernel, *arguments):
    threads.set_num_threads(arguments[-1])
    threads.launch(kernel, *arguments)


@pytest.mark.parametrize("shares", [1, 2, 3, 50])
def test_records_and_numbers_arrive_in_every_share(shares):
    x = np.arange(21.0).reshape(3, 7)
    launched(scale, x, 2, True, shares)  # an integer becomes what the function was compiled for
    assert_same_bits(x, np.arange(21.0).reshape(3, 7) * -2.0)
    if shares == 1:
        scale_alone(x, 2, True)
        assert_same_bits(x, np.arange(21.0).reshape(3, 7) * 4.0)


@pytest.mark.parametrize("shares", [0, -1])
def test_without_shares_nothing_runs(shares):
    x = np.ones((1, 2))
    scale(x, 2, True, shares)
    assert x.tolist() == [[1.0, 1.0]]


@pytest.mark.parametrize("shares", [1, 2, 5])
def test_an_error_of_a_share_is_raised(shares):
    out = np.zeros(1)
    with pytest.raises(MemoryError):
        launched(allocate, 2**55, out, shares)
    launched(allocate, 10, out, shares)  # and the next call is in order
    if shares == 1:
        with pytest.raises(MemoryError):
            allocate_alone(2**55, out)


def test_arrays_are_neither_kept_nor_let_go():
    x = np.ones((4, 4))
    flat = x.reshape(-1)
    before = sys.getrefcount(x), sys.getrefcount(flat)
    for shares in (1, 2):
        launched(scale, x, 1, False, shares)
        launched(scale, flat.reshape(4, 4), 1, False, shares)
    scale_alone(x, 1, False)
    assert (sys.getrefcount(x), sys.getrefcount(flat)) == before


@pytest.mark.parametrize("size", [0, 1, 7, 64])
@pytest.mark.parametrize("shares", [1, 2, 3, 9])
def test_the_shares_of_a_size_are_all_of_it_in_order(size, shares):
    bounds = [bounds_of_share.py_func(size, share, shares) for share in range(shares)]
    assert [i for first, last in bounds for i in range(first, last)] == list(range(size))
    lengths = [last - first for first, last in bounds]
    assert max(lengths) - min(lengths) <= 1
