"""How many threads compute, and the one way to start them.

There is one pool of threads, Numba's. A kernel gets the count as an argument and cuts its work into that many shares;
a share never depends on which thread takes it, so the bits are the same for any count. Shares may outnumber the pool
(`NUMBA_NUM_THREADS` at most, by default one per usable core): the pool then takes them in turns. A child that is forked
while the pool runs has no pool, and takes all shares itself: see `rondeau.kernels.runtime.forking`.
"""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Callable
from typing import Any

import numba
from numba import config
from numba.core.compiler_lock import global_compiler_lock
from threadpoolctl import threadpool_limits

from rondeau.kernels.errors import ArgumentTypeError, ArgumentValueError
from rondeau.kernels.runtime import forking

__all__ = ["get_num_threads", "launch", "set_num_threads", "shares_of", "start_pool"]

PARALLEL_FROM = 2**19
"""Multiply-adds from which work is shared among threads: below, one thread is done sooner than a pool wakes."""

SPINS = 5000
"""Turns that a thread of GNU OpenMP's pool waits busily before it sleeps, some 50 us: as long as Python takes from one
launch to the next. Its own choice, 300,000, is made for a machine of one's own: a thread waits in vain for one that
another process keeps from its core. Milliseconds of a GRU's training step on 2 threads of 2 cores (B T I H):

======== ======================= ======================== ======================== ========================
turns    16 20 32 64, free cores 50 50 65 128, free cores 50 50 65 128, a busy one 32 35 28 256, a busy one
======== ======================= ======================== ======================== ========================
300,000  0.35                    3.5                      15 - 118                 17 - 105
10,000   0.35                    3.5                      13 - 17                  14 - 23
5000     0.35                    3.5                      9.3 - 9.7                12
3000     0.40                    3.6                      8.3 - 8.7                11
1000     0.42                    3.6                      7.7 - 8.3                10
======== ======================= ======================== ======================== ========================
"""


class _Count:
    """The number of shares of every parallel kernel of this process."""

    shares: int = config.NUMBA_NUM_THREADS
    """Numba's default respects the scheduler's affinity mask and the variable NUMBA_NUM_THREADS."""


class _OfThisThread(threading.local):
    """Numba keeps the size of its pool per Python thread: the shares for which this thread last set it."""

    shares = 0


_of_this_thread = _OfThisThread()


@functools.cache
def start_pool() -> None:
    """Load Numba's pool, with threads that spin for `SPINS` turns unless the user has said how they shall wait.

    Compiling or loading a kernel with ``parallel=True`` would load the pool too, so this comes before. GNU OpenMP reads
    the variable GOMP_SPINCOUNT while it is loaded: it is set for that moment alone, and not at all where it or
    OMP_WAIT_POLICY is set already. Other layers, and an OpenMP that was loaded before, take no notice.

    Before anything is linked with the pool, `rondeau.kernels.runtime.forking` sees to the children that may be forked.

    Examples
    --------
    >>> start_pool()  # a second call does nothing
    """
    with global_compiler_lock:  # no other thread compiles, starts the pool or forks meanwhile
        chosen = {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"} & os.environ.keys()
        if not chosen:
            os.environ["GOMP_SPINCOUNT"] = str(SPINS)
        try:
            numba.set_num_threads(config.NUMBA_NUM_THREADS)  # loads the pool, and so decides its layer
        finally:
            if not chosen:
                os.environ.pop("GOMP_SPINCOUNT", None)
        forking.guard_pool()


@functools.cache
def _turn() -> threading.Lock | None:
    """Return the lock that a launch holds, where the pool's layer is `workqueue`; asked for once the pool runs."""
    return _LOCK if numba.threading_layer() == "workqueue" else None


_LOCK = threading.Lock()


def _after_fork_in_child() -> None:
    """Forget what the parent's threads asked of the pool, and a lock that one of them may hold."""
    global _LOCK, _of_this_thread
    _LOCK, _of_this_thread = threading.Lock(), _OfThisThread()
    _turn.cache_clear()


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_after_fork_in_child)


def get_num_threads() -> int:
    """Give the number of threads that kernels use.

    Returns
    -------
    int
        By default the number of usable cores, or NUMBA_NUM_THREADS where it is set.

    Examples
    --------
    >>> get_num_threads() >= 1
    True
    """
    return _Count.shares


def set_num_threads(n: int) -> None:
    """Set the number of threads that kernels use, and the most that NumPy's BLAS may use.

    Parameters
    ----------
    n : int
        At least 1. Work is cut into `n` shares; where Numba's pool is smaller (NUMBA_NUM_THREADS, by default the usable
        cores), its threads take the shares in turns. Results have the same bits for every `n`.

    Raises
    ------
    TypeError
        If `n` is no integer.
    ValueError
        If `n` is less than 1.

    Examples
    --------
    >>> before = get_num_threads()
    >>> set_num_threads(1)
    >>> get_num_threads()
    1
    >>> set_num_threads(before)
    """
    if isinstance(n, bool) or not isinstance(n, int):
        raise ArgumentTypeError(
            f"set_num_threads: n must be an integer, got {n!r}; pass the number of threads, e.g. 2"
        )
    if n < 1:
        raise ArgumentValueError(
            f"set_num_threads: n must be at least 1, got {n}; pass 1 to compute on one thread"
        )
    _Count.shares = n
    threadpool_limits(limits=n, user_api="blas")


def shares_of(multiply_adds: int) -> int:
    """Give the number of shares that work of this size is cut into: one where a pool would not be worth waking.

    Parameters
    ----------
    multiply_adds : int
        The size of the work; something else than a multiply-add counts as many as take as long.

    Returns
    -------
    int
        `get_num_threads`, or 1 below `PARALLEL_FROM`.

    Examples
    --------
    >>> shares_of(1000)
    1
    """
    return _Count.shares if multiply_adds >= PARALLEL_FROM else 1


def launch(function: Callable[..., Any], *arguments: Any, shares: int | None = None) -> Any:
    """Call a parallel kernel: every launch of the library goes through here.

    Parameters
    ----------
    function : callable
        A compiled function with ``parallel=True``, or its entry point. It gets the count of shares among its arguments.
    *arguments
        Its arguments.
    shares : int, optional
        How many threads of the pool are worth waking; default: `get_num_threads`.

    Returns
    -------
    object
        What `function` returns.

    Raises
    ------
    RuntimeError
        In a forked child, with a version of Numba whose pool cannot be left out.

    Notes
    -----
    Numba's `workqueue` layer aborts the process when two Python threads launch at once, so there a lock is held.

    Examples
    --------
    >>> from numba import njit, prange
    >>> import numpy as np
    >>> @njit(parallel=True)
    ... def fill(out, shares):
    ...     for share in prange(shares):
    ...         for i in range(share * out.size // shares, (share + 1) * out.size // shares):
    ...             out[i] = i
    >>> out = np.empty(5)
    >>> launch(fill, out, 2, shares=2)
    >>> out
    array([0., 1., 2., 3., 4.])
    """
    if shares is None:
        shares = _Count.shares
    if _of_this_thread.shares != shares:
        start_pool()
        forking.check_pool()
        numba.set_num_threads(min(shares, config.NUMBA_NUM_THREADS))
        _of_this_thread.shares = shares
    turn = _turn()
    if turn is None:
        return function(*arguments)
    with turn:
        return function(*arguments)
