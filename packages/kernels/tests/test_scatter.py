import numpy as np
import pytest

from comparing import assert_same_bits
from rondeau.kernels.ops import scatter


def plain(rows, ids, table):
    table = table.copy()
    for at, row in zip(ids, rows, strict=True):
        table[at] += row
    return table


def test_a_table_in_unaligned_memory_is_changed_in_place():
    memory = np.zeros(3 * 4 * 8 + 1, np.uint8)[1:].view(np.float64).reshape(3, 4)
    scatter.add_rows(np.ones((2, 4)), np.array([2, 2]), memory)
    assert memory.tolist() == [[0.0] * 4, [0.0] * 4, [2.0] * 4]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("N", "V", "E"), [(0, 3, 2), (1, 1, 1), (9, 4, 63), (50, 3, 64), (300, 65, 65), (40, 99, 200)]
)
def test_same_bits_as_the_plain_loop_on_any_number_of_threads(N, V, E, dtype, set_num_threads):
    rng = np.random.default_rng(N)
    rows, ids = rng.standard_normal((N, E)).astype(dtype), rng.integers(0, V, N)
    start = rng.standard_normal((V, E)).astype(dtype)
    expected = plain(rows, ids, start)
    for count in (1, 2, 3):
        set_num_threads(count)
        table = start.copy()
        scatter.add_rows(rows, ids, table)
        assert_same_bits(table, expected)


def test_rows_and_ids_of_any_strides():
    rng = np.random.default_rng(0)
    rows, ids = rng.standard_normal((4, 20)).T[::2], rng.integers(0, 3, 20)[::2]
    table = np.zeros((3, 4))
    scatter.add_rows(rows, ids, table)
    assert_same_bits(table, plain(rows, ids, np.zeros((3, 4))))


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"ids": np.array([0, 5])}, IndexError, "id 5 is out of range for a table of 3 rows"),
        ({"ids": np.array([-1, 0])}, IndexError, "id -1 is out of range"),
        ({"ids": np.array([0.0, 1.0])}, TypeError, "ids int64, got float64, float64 and float64"),
        ({"ids": [0, 2]}, TypeError, "ids must be a numpy array, got list"),
        ({"rows": None}, TypeError, "rows must be a numpy array, got NoneType"),
        ({"ids": np.array(0)}, ValueError, r"got \(2, 4\), \(\) and \(3, 4\)"),
        ({"ids": np.zeros(3, np.int64)}, ValueError, r"got \(2, 4\), \(3,\) and \(3, 4\)"),
        ({"rows": np.ones((2, 3))}, ValueError, r"got \(2, 3\), \(2,\) and \(3, 4\)"),
        ({"rows": np.ones((2, 4), np.float32)}, TypeError, "got float32, float64 and int64"),
        ({"rows": np.ones((2, 4), ">f8"), "table": np.zeros((3, 4), ">f8")}, TypeError, "got >f8, >f8"),
        ({"table": np.broadcast_to(np.zeros(4), (3, 4))}, ValueError, "writable and C-contiguous"),
        ({"table": np.zeros((4, 3)).T}, ValueError, "writable and C-contiguous"),
    ],
)
def test_what_does_not_fit_is_refused_before_the_kernel(change, error, message):
    arguments = {"rows": np.ones((2, 4)), "ids": np.array([0, 2]), "table": np.zeros((3, 4)), **change}
    with pytest.raises(error, match=message):
        scatter.add_rows(**arguments)
    assert not arguments["table"].any()
