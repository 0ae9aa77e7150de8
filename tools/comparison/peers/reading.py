"""Reading memory once, as fast as it can be: the floor of whatever has to read as much."""

from collections.abc import Callable

import numba
import numpy as np


@numba.njit(
    fastmath=True, nogil=True
)  # fastmath: a sum in any order, so that it is vector loads and nothing else
def _sum(numbers):  # type: ignore[no-untyped-def]
    total = np.float32(0)
    for i in range(numbers.size):
        total += numbers[i]
    return total


@numba.njit(parallel=True)
def _sum_of_shares(numbers, shares):  # type: ignore[no-untyped-def]
    sums = np.zeros(shares, np.float32)
    for share in numba.prange(shares):
        sums[share] = _sum(numbers[share * numbers.size // shares : (share + 1) * numbers.size // shares])
    return sums


def prepare(size: int, threads: int) -> Callable[[], object]:
    """Return a function that sums an array of `size` bytes."""
    numbers = np.ones(size // 4, np.float32)
    if threads == 1:
        return lambda: _sum(numbers)
    numba.set_num_threads(threads)
    return lambda: _sum_of_shares(numbers, threads)
