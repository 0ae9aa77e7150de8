"""STREAM's triad, ``a = b + 3 c``: reading and writing memory once, as fast as it can be.

McCalpin, "Memory bandwidth and machine balance in current high performance computers" (1995).
"""

from collections.abc import Callable

import numba
import numpy as np


@numba.njit(nogil=True)
def _triad(a, b, c):  # type: ignore[no-untyped-def]
    for i in range(a.size):
        a[i] = b[i] + np.float32(3) * c[i]


@numba.njit(parallel=True)
def _triad_of_shares(a, b, c, shares):  # type: ignore[no-untyped-def]
    for share in numba.prange(shares):
        begin, end = share * a.size // shares, (share + 1) * a.size // shares
        _triad(a[begin:end], b[begin:end], c[begin:end])


def prepare(size: int, threads: int) -> Callable[[], object]:
    """Return a function that reads two arrays and writes a third, `size` bytes together."""
    a, b, c = (np.ones(size // 12, np.float32) for _ in range(3))
    if threads == 1:
        return lambda: _triad(a, b, c)
    numba.set_num_threads(threads)
    return lambda: _triad_of_shares(a, b, c, threads)
