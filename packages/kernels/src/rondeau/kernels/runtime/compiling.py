"""Numba's options for every kernel, and the decorators that apply them.

==================  ============================================  ==================================================
decorator           called                                        compiled
==================  ============================================  ==================================================
`cached_njit`       from Python                                   on first use, and kept on disk
`kernel_njit`       from Python                                   on first use in each process
`addressed_njit`    by kernels, by its address                    on first use, and kept on disk
`linked_njit`       by kernels                                    as a part of each kernel
`shared_njit`       by kernels, and from Python as it is written  as a part of each kernel
==================  ============================================  ==================================================
"""

import contextlib
import functools
import gc
from collections.abc import Callable, Iterator
from typing import Any

import numba
from numba.core import config
from numba.core.compiler_lock import global_compiler_lock
from numba.extending import register_jitable

from rondeau.kernels.runtime import threads
from rondeau.kernels.runtime.compiler import AddressedFunction, KernelCompiler, LinkedCompiler, LinkedFunction
from rondeau.kernels.runtime.function_cache import FunctionCache
from rondeau.kernels.runtime.interrupts import holding_signals

__all__ = [
    "LINKED",
    "address_of",
    "addressed_njit",
    "cached_njit",
    "compile_or_load",
    "kernel_njit",
    "linked_njit",
    "shared_njit",
]

_OPTIONS: dict[str, Any] = {"fastmath": {"contract"}, "error_model": "numpy", "nogil": True}

LINKED: dict[str, Any] = {"pipeline_class": LinkedCompiler, "no_cfunc_wrapper": True}
"""Options of an overload for which no kernel needs machine code of its own."""


def kernel_njit(function: Callable[..., Any] | None = None, **options: Any) -> Any:
    """Apply `numba.njit` with the options of every kernel here.

    The options are ``fastmath={"contract"}`` (never True, which assumes that NaN and infinity do not occur),
    ``error_model="numpy"`` and ``nogil=True``, unless `options` overrides them.
    """
    if function is None:
        return functools.partial(kernel_njit, **options)
    if not options.get("parallel"):
        options = {"pipeline_class": KernelCompiler, "no_cfunc_wrapper": True, **options}
    return numba.njit(**(_OPTIONS | options))(_with_module(function))


def linked_njit(function: Callable[..., Any] | None = None, **options: Any) -> Any:
    """Compile a function with the options of kernels as a part of every kernel that calls it.

    A call from Python, as in a test, compiles it once more, in each process.

    Parameters
    ----------
    function : callable
    **options
        Options of `numba.njit`, such as ``forceinline=True``.

    Returns
    -------
    LinkedFunction

    Examples
    --------
    >>> @linked_njit
    ... def twice(x):
    ...     return x + x
    >>> @kernel_njit
    ... def four_times(x):
    ...     return twice(twice(x))
    >>> four_times(3)
    12
    """
    if function is None:
        return functools.partial(linked_njit, **options)
    if config.DISABLE_JIT:
        return function
    return LinkedFunction(_with_module(function), _OPTIONS | options)


def shared_njit(function: Callable[..., Any]) -> Any:
    """Let kernels call a function that Python calls as it is, uncompiled."""
    return register_jitable(**LINKED)(function)


def _with_module(function: Callable[..., Any]) -> Callable[..., Any]:
    if function.__module__ is None:  # made by exec; a process that loads it looks for its module
        function.__module__ = __name__
    return function


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
    return _cached(kernel_njit(function, **options), module, source, options)


def addressed_njit(function: Callable[..., Any], *, source: str = "") -> AddressedFunction:
    """Compile a function that kernels call by its address, see `address_of`.

    The parameters are those of `cached_njit`.
    """
    module = function.__module__ or "generated"
    dispatcher = AddressedFunction(_with_module(function), _OPTIONS)
    return _cached(dispatcher, module, source, {})  # type: ignore[no-any-return]


def _cached(dispatcher: Any, module: str, source: str, options: dict[str, Any]) -> Any:
    if not config.DISABLE_JIT:
        # Compiling or loading a parallel kernel makes Numba load its pool; `start_pool` must come first.
        before = threads.start_pool if options.get("parallel") else None
        key = f"{sorted(options.items())!r}\n{source}"
        dispatcher._cache = FunctionCache(module, dispatcher.py_func.__qualname__, key, before)
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
    # The lock first: Ctrl-C ends the wait for another thread.
    with global_compiler_lock, holding_signals(), _without_collection():
        return compile(signature)


@contextlib.contextmanager
def _without_collection() -> Iterator[None]:
    """Keep Python from looking for cyclic garbage, of which Numba leaves little: it would take a tenth of the time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def address_of(dispatcher: Any, signature: Any) -> int:
    """Compile or load one explicit signature of a dispatcher, and return the address of its machine code."""
    dispatcher.compile(signature)
    result = dispatcher.overloads[signature.args]
    return int(result.library.get_pointer_to_function(result.fndesc.llvm_func_name))
