"""Where the threads of the pool run: each on cores of its own, none on the core of the thread that launches them.

A pool's thread spins for a moment before it sleeps, and one that waits for its partner looks as busy to the scheduler
as one that computes. Two that were woken on one core may therefore stay there for good, each waiting for the other's
turn to end, while another core is idle: on a virtual machine with two cores a step took 5 ms for minutes, 1.5 ms apart
and 2.6 ms on one thread. So the cores that the launching thread may use are divided into as many groups as there are
shares. The launching thread keeps its freedom, each other thread is given one of the groups in which the launching
thread is not, and that is looked after when the launching thread is found in another group.

This is done on Linux, with GNU OpenMP's pool, and only if the user has not said where its threads are to run: the
variables in `CHOSEN_BY` leave them to the scheduler or to OpenMP.
"""

from __future__ import annotations

import ctypes
import functools
import os
import sys
import threading
from typing import Any

import numba
import numpy as np
from llvmlite import binding
from numba import types

from rondeau.kernels.runtime import forking

__all__ = ["CHOSEN_BY", "groups_of_cores", "keep_apart"]

CHOSEN_BY = frozenset({"GOMP_CPU_AFFINITY", "OMP_PLACES", "OMP_PROC_BIND"})
"""Variables by which users of OpenMP place its threads; any value of any of them counts, OMP_PROC_BIND=false too."""

_WORD = f"i{types.intp.bitwidth}"
_PIECE = f"""
declare i32 @sched_setaffinity(i32, {_WORD}, ptr)

define void @settle(ptr %args, ptr %dimensions, ptr %steps, ptr %data) {{
  %mask = load ptr, ptr %args
  %bytes = load {_WORD}, ptr %steps
  call i32 @sched_setaffinity(i32 0, {_WORD} %bytes, ptr %mask)  ; 0: the calling thread
  ret void
}}
"""
"""A piece of work for the pool: the thread that takes it may from then on use the cores in its mask."""


class _OfThisThread(threading.local):
    """What was last arranged for the pool of this thread of Python; OpenMP has a pool for each thread that launches."""

    shares = 0
    cores: frozenset[int] = frozenset()
    """The launching thread's group; all cores if there are not enough for the shares."""


_of_this_thread = _OfThisThread()


def keep_apart(shares: int) -> None:
    """Keep the pool's threads off the calling thread's core: to be called before each launch, with the pool running.

    Parameters
    ----------
    shares : int
        The number of threads of the pool that the launch uses, the calling one among them.

    Examples
    --------
    >>> from rondeau.kernels.runtime import threads
    >>> threads.start_pool()
    >>> keep_apart(1)  # no other thread takes part
    """
    if shares == 1:
        return
    current_core = _core_of_caller()
    if current_core is None:
        return
    core = current_core()
    if shares != _of_this_thread.shares or core not in _of_this_thread.cores:
        _settle(shares, core)


def groups_of_cores(cores: list[int], shares: int, core: int) -> list[list[int]]:
    """Divide cores among threads.

    Parameters
    ----------
    cores : list of int
        The cores that may be used, in order.
    shares : int
        The number of threads.
    core : int
        The core on which the launching thread is.

    Returns
    -------
    list of list of int
        A group for each thread, the first of which has `core` in it and is the launching thread's. With fewer cores
        than threads every group has all cores.

    Examples
    --------
    >>> groups_of_cores([0, 1, 2, 3], 2, core=3)
    [[2, 3], [0, 1]]
    >>> groups_of_cores([4, 6], 2, core=4)
    [[4], [6]]
    >>> groups_of_cores([0, 1], 3, core=0)
    [[0, 1], [0, 1], [0, 1]]
    """
    if len(cores) < shares:
        return [cores] * shares
    groups = [cores[i * len(cores) // shares : (i + 1) * len(cores) // shares] for i in range(shares)]
    return sorted(groups, key=lambda group: core not in group)


def _settle(shares: int, core: int) -> None:
    """Give each thread of the pool its group of the cores that the calling thread may use."""
    allowed = os.sched_getaffinity(0)
    groups = groups_of_cores(sorted(allowed), shares, core)
    _of_this_thread.shares, _of_this_thread.cores = shares, frozenset(groups[0])
    masks = np.zeros((shares, 64 * (max(allowed) // 64 + 1)), np.uint8)
    for mask, group in zip(masks, groups, strict=True):
        mask[group] = 1
    masks = np.packbits(masks, axis=1, bitorder="little")
    word = ctypes.c_ssize_t
    work, run = _pool()
    run(work, ctypes.byref(ctypes.c_void_p(masks.ctypes.data)), ctypes.byref(word(shares)),
        ctypes.byref(word(masks.strides[0])), None, 0, 1, shares)  # fmt: skip
    if os.sched_getaffinity(0) != allowed:  # the calling thread took a piece too
        os.sched_setaffinity(0, allowed)


@functools.cache
def _core_of_caller() -> Any:
    """Return the C library's function for the core of the calling thread, or None where threads are not placed."""
    chosen = CHOSEN_BY & os.environ.keys()
    if chosen or not sys.platform.startswith("linux") or numba.threading_layer() != "omp":
        return None
    if binding.address_of_symbol(forking.POOL_SYMBOL) is None:
        return None
    function = getattr(ctypes.PyDLL(None), "sched_getcpu", None)  # PyDLL keeps the GIL: the call takes 65 ns
    if function is not None:
        function.argtypes = ()
    return function


@functools.cache
def _pool() -> tuple[int, Any]:
    """Return the address of the piece of work, and the pool's entry."""
    entry = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 5, *[ctypes.c_ssize_t] * 3)
    return _engine().get_function_address("settle"), entry(binding.address_of_symbol(forking.POOL_SYMBOL))


@functools.cache
def _engine() -> Any:
    """Compile the piece of work, and keep its machine code for the life of the process."""
    machine = binding.Target.from_default_triple().create_target_machine(jit=True)
    engine = binding.create_mcjit_compiler(binding.parse_assembly(_PIECE), machine)
    engine.finalize_object()
    return engine
