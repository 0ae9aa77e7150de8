import numpy as np
import pytest

from rondeau.kernels import scatter, threads


def plain(rows, ids, table):
    table = table.copy()
    for at, row in zip(ids, rows, strict=True):
        table[at] += row
    return table


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("N", "V", "E"), [(0, 3, 2), (1, 1, 1), (9, 4, 63), (50, 3, 64), (300, 65, 65), (40, 99, 200)]
)
def test_same_bits_as_the_plain_loop_on_any_number_of_threads(N, V, E, dtype):
    rng = np.random.default_rng(N)
    rows, ids = rng.standard_normal((N, E)).astype(dtype), rng.integers(0, V, N)
    start = rng.standard_normal((V, E)).astype(dtype)
    expected = plain(rows, ids, start)
    before = threads.get_num_threads()
    try:
        for count in (1, 2, 3):
            threads.set_num_threads(count)
            table = start.copy()
            scatter.add_rows(rows, ids, table)
            assert np.array_equal(table, expected)
    finally:
        threads.set_num_threads(before)


def test_rows_and_ids_of_any_strides():
    rng = np.random.default_rng(0)
    rows, ids = rng.standard_normal((4, 20)).T[::2], rng.integers(0, 3, 20)[::2]
    table = np.zeros((3, 4))
    scatter.add_rows(rows, ids, table)
    assert np.array_equal(table, plain(rows, ids, np.zeros((3, 4))))
