"""Numba's options for every kernel, and the two decorators that apply them."""

import functools
from collections.abc import Callable
from typing import Any

import numba
from numba.core import config
from numba.core.compiler_lock import global_compiler_lock

from rondeau.kernels.runtime import threads
from rondeau.kernels.runtime.function_cache import FunctionCache
from rondeau.kernels.runtime.interrupts import holding_signals

__all__ = ["address_of", "cached_njit", "compile_or_load", "kernel_njit"]

_OPTIONS: dict[str, Any] = {"fastmath": {"contract"}, "error_model": "numpy", "nogil": True}


def kernel_njit(function: Callable[..., Any] | None = None, **options: Any) -> Any:
    """Apply `numba.njit` with the options of every kernel here; for functions that only other kernels call.

    The options are ``fastmath={"contract"}`` (never True, which assumes that NaN and infinity do not occur),
    ``error_model="numpy"`` and ``nogil=True``, unless `options` overrides them.
    """
    if function is None:
        return functools.partial(kernel_njit, **options)
    if function.__module__ is None:  # made by exec; a process that loads it looks for its module
        function.__module__ = __name__
    return numba.njit(**(_OPTIONS | options))(function)


def cached_njit(function: Callable[..., Any] | None = None, *, source: str = "", **options: Any) -> Any:
    """Apply `kernel_njit` to a function that is called from Python: compiled on first use and cached on disk.

    Nothing is compiled when the decorator runs. ``dispatcher.compile(signature)`` compiles or loads one explicit
    signature and returns its entry point, which costs less to call than the dispatcher.

    Parameters
    ----------
    function : callable
        The function, from a module or generated.
    source : str
        For a generated function (made by ``exec``, or a closure over generated functions), text that determines it
        and every generated function that it calls. Other functions need none: the key covers their files, and those of
        the modules that they import.
    **options
        Options of `numba.njit`, such as ``parallel=True``.

    Returns
    -------
    numba.core.dispatcher.Dispatcher
    """
    if function is None:
        return functools.partial(cached_njit, source=source, **options)
    module = function.__module__ or "generated"
    dispatcher = kernel_njit(function, **options)
    if not config.DISABLE_JIT:
        # Compiling or loading a parallel kernel makes Numba load its pool; `start_pool` must come first.
        before = threads.start_pool if options.get("parallel") else None
        key = f"{sorted(options.items())!r}\n{source}"
        dispatcher._cache = FunctionCache(module, function.__qualname__, key, before)
        dispatcher.compile = functools.partial(compile_or_load, dispatcher.compile)
    return dispatcher


def compile_or_load(compile: Callable[[Any], Any], signature: Any) -> Any:
    """Compile or load one signature of a dispatcher; a signal that arrives meanwhile leaves Numba's state intact.

    Parameters
    ----------
    compile : callable
        The dispatcher's own ``compile``.
    signature : signature, or tuple of types
    """
    with global_compiler_lock, holding_signals():  # the lock first: Ctrl-C ends the wait for another thread
        return compile(signature)


def address_of(dispatcher: Any, signature: Any) -> int:
    """Compile or load one explicit signature of a dispatcher, and return the address of its machine code."""
    dispatcher.compile(signature)
    result = dispatcher.overloads[signature.args]
    return int(result.library.get_pointer_to_function(result.fndesc.llvm_func_name))
