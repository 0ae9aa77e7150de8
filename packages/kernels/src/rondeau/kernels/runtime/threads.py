"""The number of threads that kernels use, and the one way to launch a parallel kernel.

There is one pool of threads, Numba's. A kernel receives the number of shares as an argument and divides its work into
that many; a share does not depend on the thread that takes it, so the bits are the same for any number. There may be
more shares than threads in the pool (at most `NUMBA_NUM_THREADS`, by default one per usable core), which then takes
them in turn. A child that is forked while the pool is running has no pool, and takes all shares itself: see
`rondeau.kernels.runtime.forking`.
"""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numba
from numba import config
from numba.core.compiler_lock import global_compiler_lock
from threadpoolctl import ThreadpoolController, threadpool_limits

from rondeau.kernels.errors import ArgumentTypeError, ArgumentValueError
from rondeau.kernels.runtime import forking
from rondeau.kernels.runtime.placement import keep_apart

__all__ = ["get_num_threads", "launch", "one_blas_thread", "set_num_threads", "shares_of", "start_pool"]

PARALLEL_FROM = 2**22
"""The number of multiply-adds from which work is shared among threads. Microseconds of a product on one and two threads
(Zen 5), the pool's threads still spinning after the launch before, or asleep:

============================== ==== ==== ==== ==== ==== ====
millions of multiply-adds      0.5  1    2    4    7.5  16
============================== ==== ==== ==== ==== ==== ====
one thread                     5.3  9.8  18   38   68   142
two, spinning                  6.5  8.8  13   24   40   76
two, asleep                    30   32   36   51   66   105
============================== ==== ==== ==== ==== ==== ====

In a program of small operations they are asleep: an attention decoder took 11.0 ms a step when products of two million
were shared, 9.3 ms on one thread.
"""

SPINS = 5000
"""Turns that a thread of GNU OpenMP's pool spins before it sleeps, about 50 us: as long as Python takes from one launch
to the next. OpenMP's own default, 300,000, assumes a machine that is otherwise idle: a thread spins in vain while
another process keeps its partner from running. Milliseconds of a GRU training step on 2 threads of 2 cores (B T I H):

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
    """Numba keeps the size of its pool per Python thread; this is the number of shares it was last set for."""

    shares = 0


_of_this_thread = _OfThisThread()


@functools.cache
def start_pool() -> None:
    """Load Numba's pool, with threads that spin for `SPINS` turns unless the user has chosen otherwise.

    Compiling or loading a kernel with ``parallel=True`` would load the pool too, so this must come first. GNU OpenMP
    reads the variable GOMP_SPINCOUNT while it is loaded: it is set only for that moment, and not at all if it or
    OMP_WAIT_POLICY is already set. Other threading layers, and an OpenMP that was loaded earlier, ignore it.

    Before any kernel is linked with the pool, `rondeau.kernels.runtime.forking` prepares for children that may be
    forked.

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
    """Return the lock that a launch must hold if the pool's layer is `workqueue`, or None; the pool must be running."""
    return _LOCK if numba.threading_layer() == "workqueue" else None


_LOCK = threading.Lock()
_BLAS_LOCK = threading.RLock()  # a block may be entered inside another


def _after_fork_in_child() -> None:
    """Forget the pool sizes that the parent's threads asked for, and locks that one of them may hold."""
    global _LOCK, _BLAS_LOCK, _of_this_thread
    _LOCK, _BLAS_LOCK, _of_this_thread = threading.Lock(), threading.RLock(), _OfThisThread()
    _turn.cache_clear()


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_after_fork_in_child)


def get_num_threads() -> int:
    """Return the number of threads that kernels use.

    Returns
    -------
    int
        By default the number of usable cores, or NUMBA_NUM_THREADS if it is set.

    Examples
    --------
    >>> get_num_threads() >= 1
    True
    """
    return _Count.shares


def set_num_threads(n: int) -> None:
    """Set the number of threads that kernels use, and the maximum for NumPy's BLAS.

    Parameters
    ----------
    n : int
        At least 1. Work is divided into `n` shares; if Numba's pool is smaller (NUMBA_NUM_THREADS, by default the
        usable cores), its threads take the shares in turn. Results have the same bits for every `n`.

    Raises
    ------
    TypeError
        If `n` is not an integer.
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
    with _BLAS_LOCK:
        threadpool_limits(limits=n, user_api="blas")


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Let NumPy's BLAS and LAPACK run on one thread inside a ``with`` block, where their bits must not depend on more.

    The limit is the process's, so threads of Python take turns.

    Examples
    --------
    >>> import numpy as np
    >>> with one_blas_thread():
    ...     np.linalg.solve(2 * np.eye(2), np.ones(2))
    array([0.5, 0.5])
    """
    with _BLAS_LOCK, _blas().limit(limits=1):
        yield


@functools.cache
def _blas() -> ThreadpoolController:
    """Return the control of the BLAS libraries that are loaded, NumPy's among them; finding them takes milliseconds."""
    return ThreadpoolController().select(user_api="blas")


def shares_of(multiply_adds: int) -> int:
    """Return the number of shares for work of this size: 1 if the pool is not worth waking.

    Parameters
    ----------
    multiply_adds : int
        The size of the work; other operations count as the number of multiply-adds that take as long.

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
        A compiled function that calls `run_shares`, or its entry point. The number of shares is one of its arguments.
    *arguments
        Its arguments.
    shares : int, optional
        The number of threads worth waking; `get_num_threads` by default.

    Returns
    -------
    object
        The result of `function`.

    Raises
    ------
    RuntimeError
        In a forked child, with a version of Numba whose pool cannot be bypassed.

    Notes
    -----
    Numba's `workqueue` layer aborts the process if two Python threads launch at the same time, so a lock is held for
    it.

    Examples
    --------
    >>> import numpy as np
    >>> from rondeau.kernels.runtime.compiling import kernel_njit, linked_njit
    >>> from rondeau.kernels.runtime.shares import indices_of_share, run_shares
    >>> @linked_njit
    ... def count_share(out, share, shares):
    ...     for i in indices_of_share(out.size, share, shares):
    ...         out[i] = i
    >>> @kernel_njit
    ... def count(out, shares):
    ...     run_shares(count_share, (out,), shares)
    >>> out = np.empty(5)
    >>> launch(count, out, 2, shares=2)
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
    if shares > 1:
        keep_apart(min(shares, config.NUMBA_NUM_THREADS))
    turn = _turn()
    if turn is None:
        return function(*arguments)
    with turn:
        return function(*arguments)
