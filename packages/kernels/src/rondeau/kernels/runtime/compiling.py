"""How every kernel is compiled: Numba's options, and the two decorators that set them."""

import functools
from collections.abc import Callable
from typing import Any

import numba
from numba.core import config
from numba.core.compiler_lock import global_compiler_lock

from rondeau.kernels.runtime import threads
from rondeau.kernels.runtime.cache import DiskCache
from rondeau.kernels.runtime.interrupts import holding_signals

__all__ = ["address_of", "cached_njit", "kernel_njit"]

_OPTIONS: dict[str, Any] = {"fastmath": {"contract"}, "error_model": "numpy", "nogil": True}


def kernel_njit(function: Callable[..., Any] | None = None, **options: Any) -> Any:
    """`numba.njit` with the options of every kernel here: for functions that only other kernels call.

    ``fastmath={"contract"}`` (never True: that assumes NaN and infinity away), ``error_model="numpy"`` and
    ``nogil=True``, unless `options` says otherwise.
    """
    if function is None:
        return functools.partial(kernel_njit, **options)
    if function.__module__ is None:  # made by exec: a second process that loads it looks for its module
        function.__module__ = __name__
    return numba.njit(**(_OPTIONS | options))(function)


def cached_njit(function: Callable[..., Any] | None = None, *, source: str = "", **options: Any) -> Any:
    """`kernel_njit` for a function that is called from Python: compiled at first use and kept on disk.

    Nothing is compiled at decoration. ``dispatcher.compile(signature)`` compiles, or loads, one explicit signature
    and returns its entry point, which costs less to call than the dispatcher.

    Parameters
    ----------
    function : callable
        The function, of a module or generated.
    source : str
        For a generated function (made by ``exec``, or a closure over generated functions), text that determines it
        and everything generated that it calls. Other functions need none: their files are in the key, and those of
        what their module imports.
    **options
        Options of `numba.njit`, e.g. ``parallel=True``.

    Returns
    -------
    numba.core.dispatcher.Dispatcher
    """
    if function is None:
        return functools.partial(cached_njit, source=source, **options)
    module = function.__module__ or "generated"
    dispatcher = kernel_njit(function, **options)
    if not config.DISABLE_JIT:
        # Compiling or loading a parallel kernel makes Numba load its pool: ours comes first.
        before = threads.start_pool if options.get("parallel") else None
        key = f"{sorted(options.items())!r}\n{source}"
        dispatcher._cache = DiskCache(module, function.__qualname__, key, before)
        dispatcher.compile = functools.partial(_compile, dispatcher.compile)
    return dispatcher


def _compile(compile_or_load: Callable[[Any], Any], signature: Any) -> Any:
    """Compile, or load, one signature of a dispatcher; a signal that arrives meanwhile finds Numba's state whole."""
    with global_compiler_lock, holding_signals():  # the lock first: Ctrl-C ends the wait for another thread
        return compile_or_load(signature)


def address_of(dispatcher: Any, signature: Any) -> int:
    """Compile, or load, one explicit signature of a dispatcher, and give the address of its machine code."""
    dispatcher.compile(signature)
    result = dispatcher.overloads[signature.args]
    return int(result.library.get_pointer_to_function(result.fndesc.llvm_func_name))
