"""Records that stay in memory: what is read is what was written, and owns nothing."""

import sys
from typing import Any, NamedTuple

import numba
import numpy as np
from numba import types

from rondeau.kernels.runtime.compiling import kernel_njit
from rondeau.kernels.runtime.kept_records import memory_for, reader, write_record
from rondeau.kernels.runtime.signatures import INDICES, record_type


class Inner(NamedTuple):
    numbers: Any
    count: Any


class Outer(NamedTuple):
    inner: Any
    matrix: Any


def kind_of(memory, like):
    return record_type(
        Outer,
        inner=record_type(Inner, numbers=INDICES, count=types.intp),
        matrix=types.Array(like.dtype, 2, "C"),
    )


read = reader(kind_of)


@kernel_njit
def keep(memory, record):
    write_record(memory, record)


@kernel_njit
def add(memory, like):
    """Add the count to all numbers and the matrix, of a slice in turn."""
    inner, matrix = read(memory, like)
    inner.numbers[1:] += inner.count
    for row in range(matrix.shape[0]):
        part = matrix[row]
        part += like.size
    return matrix.shape[1]


def test_what_is_read_is_what_was_written_and_owns_nothing():
    numbers, matrix = np.arange(4), np.ones((2, 3), np.float32)
    memory = memory_for(kind_of(None, numba.typeof(matrix)), np.dtype(np.int16))
    keep(memory, Outer(Inner(numbers, 5), matrix))
    before = [sys.getrefcount(array) for array in (numbers, matrix)]
    columns = [add(memory, np.empty(2, np.float32)) for _ in range(3)]
    after = [sys.getrefcount(array) for array in (numbers, matrix)]
    assert after == before
    assert columns == [3, 3, 3]
    assert numbers.tolist() == [0, 16, 17, 18]
    assert matrix.tolist() == [[7.0] * 3] * 2
