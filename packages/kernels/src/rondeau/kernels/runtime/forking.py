"""Kernels in a forked child, which compute on its only thread.

A fork copies the memory of a process, but only the calling thread. The child of a process whose pool is running has the
pool's data but none of its threads: a kernel that hands work to the pool would wait forever, and with GNU OpenMP Numba
kills a child that tries. Compiled code finds the pool by the symbol ``numba_parallel_for``. Under that symbol we
register an entry of our own, which passes the work on to the pool or, in such a child, does all of it on the calling
thread. What a kernel computes for a share does not depend on the thread, so the bits are the same.

A child that is spawned, or forked by a fork server, has no pool and starts its own; so does a child that is forked
before its parent has started a pool.
"""

import ctypes
import functools
import os
from typing import Any

import numba
from llvmlite import binding
from numba import types
from numba.core.compiler_lock import global_compiler_lock

__all__ = ["POOL_SYMBOL", "check_pool", "guard_pool"]

POOL_SYMBOL = "numba_parallel_for"

_WORD = f"i{types.intp.bitwidth}"
_ENTRY = f"""
@pool_is_lost = global i8 0

declare void @{POOL_SYMBOL}(ptr, ptr, ptr, ptr, ptr, {_WORD}, {_WORD}, {_WORD})

define void @rondeau_parallel_for(
    ptr %work, ptr %args, ptr %dimensions, ptr %steps, ptr %data,
    {_WORD} %inner_ndim, {_WORD} %array_count, {_WORD} %num_threads
) {{
  %flag = load i8, ptr @pool_is_lost
  %is_lost = icmp ne i8 %flag, 0
  br i1 %is_lost, label %alone, label %shared

shared:
  call void @{POOL_SYMBOL}(
      ptr %work, ptr %args, ptr %dimensions, ptr %steps, ptr %data,
      {_WORD} %inner_ndim, {_WORD} %array_count, {_WORD} %num_threads
  )
  ret void

alone:  ; %work itself loops over the pieces; the pool would pass it one per call
  call void %work(ptr %args, ptr %dimensions, ptr %steps, ptr %data)
  ret void
}}
"""


class _Pool:
    """Numba's pool of threads, as this process sees it."""

    is_lost: bool = False
    """Whether it was running in the process that forked this one."""
    flag: ctypes.c_uint8 | None = None
    """The copy of `is_lost` that compiled code reads; None until the entry is registered."""


@functools.cache
def _compiled_entry() -> Any:
    """Compile the entry, and keep its machine code for the life of the process."""
    binding.initialize_native_target()  # Numba does the same, but only when it first compiles
    binding.initialize_native_asmprinter()
    machine = binding.Target.from_default_triple().create_target_machine(jit=True)
    engine = binding.create_mcjit_compiler(binding.parse_assembly(_ENTRY), machine)
    engine.finalize_object()
    return engine


def guard_pool() -> None:
    """Replace the pool's entry by ours, once per process, when the pool runs and no kernel is linked with it yet.

    Examples
    --------
    >>> from rondeau.kernels.runtime import threads
    >>> threads.start_pool()  # calls this
    """
    if _Pool.flag is not None or binding.address_of_symbol(POOL_SYMBOL) is None:
        return
    engine = _compiled_entry()  # linked with the pool, to which the symbol still refers
    _Pool.flag = ctypes.c_uint8.from_address(engine.get_global_value_address("pool_is_lost"))
    _Pool.flag.value = _Pool.is_lost
    binding.add_symbol(POOL_SYMBOL, engine.get_function_address("rondeau_parallel_for"))


def check_pool() -> None:
    """Raise RuntimeError if a kernel would hand its work to threads that do not exist.

    Raises
    ------
    RuntimeError
        In a forked child, if Numba calls its pool by a symbol other than the one that our entry replaces.
    """
    if _Pool.is_lost and _Pool.flag is None:
        raise RuntimeError(
            f"a forked process cannot compute with Numba {numba.__version__}: its parent's threads were not copied "
            f"with it, and this version does not call them by the symbol {POOL_SYMBOL}. Start processes by 'spawn' or "
            "'forkserver', e.g. multiprocessing.get_context('spawn').Pool(), or fork before the first kernel runs"
        )


def _is_running() -> bool:
    try:
        numba.threading_layer()
    except ValueError:
        return False
    return True


def _after_fork_in_child() -> None:
    global_compiler_lock.release()
    _Pool.is_lost = _Pool.is_lost or _is_running()
    if _Pool.flag is not None:
        _Pool.flag.value = _Pool.is_lost


if hasattr(os, "register_at_fork"):  # not on Windows
    # The lock is held across the fork: otherwise the child would wait forever for a thread that was compiling.
    os.register_at_fork(
        before=global_compiler_lock.acquire,
        after_in_parent=global_compiler_lock.release,
        after_in_child=_after_fork_in_child,
    )
