"""Compiled kernels on disk: a second process starts without compiling.

Numba's own cache is keyed to the file of the function alone: after a change to an intrinsic or to a function that was
inlined it runs stale machine code, a damaged file stops the program, and generated source needs a real file. Here the
key of a kernel is everything that can change its machine code:

* the sources of this package, as they lie on disk, and the versions of Python, NumPy, Numba and LLVM;
* the processor and its features, as Numba compiles for them, and Numba's optimisation settings;
* the function's name, options and signature, and for a generated function its source.

One file holds one compiled signature, beside its SHA-256: what is damaged is deleted and compiled anew. The folder
belongs to the user alone (mode 0700), because reading it runs what it holds.
"""

import contextlib
import functools
import hashlib
import inspect
import os
import pickle
import platform
import re
import stat
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import llvmlite
import numba
import numpy as np
from llvmlite import binding
from numba import types
from numba.core import cgutils, config
from numba.core.caching import NullCache
from numba.core.compiler import CompileResult
from numba.core.serialize import dumps
from numba.extending import intrinsic

from rondeau.kernels import threads

__all__ = [
    "address_of",
    "cache_folder",
    "cached_njit",
    "compiled_once",
    "kernel_njit",
    "need_symbol",
    "provide_symbol",
]

_KEEP_DAYS = 60
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
        The function, of this package or generated.
    source : str
        For a generated function (made by ``exec``, or a closure over generated functions), text that determines it
        and everything generated that it calls. Functions of this package need none: their files are in the key.
    **options
        Options of `numba.njit`, e.g. ``parallel=True``.

    Returns
    -------
    numba.core.dispatcher.Dispatcher
    """
    if function is None:
        return functools.partial(cached_njit, source=source, **options)
    dispatcher = kernel_njit(function, **options)
    if not config.DISABLE_JIT:
        name = f"{function.__module__}.{function.__qualname__}"
        key = f"{name}\n{sorted(options.items())!r}\n{source}"
        dispatcher._cache = _DiskCache(name, key, bool(options.get("parallel")))
    return dispatcher


def address_of(dispatcher: Any, signature: Any) -> int:
    """Compile, or load, one explicit signature of a dispatcher, and give the address of its machine code."""
    dispatcher.compile(signature)
    result = dispatcher.overloads[signature.args]
    return int(result.library.get_pointer_to_function(result.fndesc.llvm_func_name))


_SYMBOL_PREFIX = "rondeau_"
_ELEMENTS = (types.float32, types.float64)
_providers: dict[str, Callable[[], int]] = {}
_needed: set[str] = set()


def provide_symbol(name: str, address: Callable[[], int]) -> None:
    """Offer a compiled function to kernels under a name that begins with ``rondeau_``.

    Parameters
    ----------
    name : str
        The name by which kernels declare and call it.
    address : callable
        Compiles, or loads, the function and gives its address; called once, when the first kernel needs it.
    """
    if not name.startswith(_SYMBOL_PREFIX):
        raise ValueError(f"provide_symbol expected a name that begins with {_SYMBOL_PREFIX!r}, got {name!r}")
    _providers[name] = address


def need_symbol(name: str) -> None:
    """See to it that code which calls the provided function `name` can be linked."""
    if name not in _needed:
        binding.add_symbol(name, _providers[name]())
        _needed.add(name)


def compiled_once(signature_of: Callable[[Any], Any]) -> Callable[[Callable[..., Any]], Any]:
    """Make a function that other kernels call by the name of a symbol: compiled once a dtype, not into each of them.

    Numba compiles a function anew into all that call it, level by level: a product and its packing added a second to
    every kernel that uses them.

    Parameters
    ----------
    signature_of : callable
        Gives the function's signature, without result, for ``types.float32`` and for ``types.float64``. A call goes
        to the one that its arguments fit.

    Returns
    -------
    callable
        A decorator; the decorated function is for compiled code only.
    """

    def decorate(function: Callable[..., Any]) -> Any:
        dispatcher = cached_njit(function)
        signatures = {f"rondeau_{function.__name__.strip('_')}_{e}": signature_of(e) for e in _ELEMENTS}

        for symbol, signature in signatures.items():
            provide_symbol(symbol, functools.partial(address_of, dispatcher, signature))

        def call(typingctx: Any, *given: Any) -> Any:
            def fits(signature: Any) -> bool:
                pairs = zip(given, signature.args, strict=True)
                return all(typingctx.can_convert(ours, theirs) is not None for ours, theirs in pairs)

            fitting = [(symbol, signature) for symbol, signature in signatures.items() if fits(signature)]
            if not fitting:
                return None
            symbol, signature = fitting[0]

            def codegen(context: Any, builder: Any, _: Any, values: Any) -> Any:
                need_symbol(symbol)
                kind = context.call_conv.get_function_type(types.none, signature.args)
                native = cgutils.get_or_insert_function(builder.module, kind, symbol)
                context.call_conv.call_function(builder, native, types.none, signature.args, values)
                return context.get_dummy_value()

            return signature, codegen

        # Numba reads an intrinsic's parameters here, and would take *given for a single tuple.
        context = inspect.Parameter("typingctx", inspect.Parameter.POSITIONAL_OR_KEYWORD)
        parameters = inspect.signature(function).parameters.values()
        call.__signature__ = inspect.Signature([context, *parameters])  # type: ignore[attr-defined]
        return intrinsic(call)

    return decorate


def cache_folder() -> Path:
    """Give the folder of compiled kernels: ``$RONDEAU_CACHE``, or ``rondeau`` in the user's cache folder."""
    if chosen := os.environ.get("RONDEAU_CACHE"):
        return Path(chosen).expanduser() / "kernels"
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local"))
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "rondeau" / "kernels"


class _DiskCache(NullCache):  # type: ignore[misc]
    """What Numba's dispatcher asks for a compiled signature before it compiles, and gives it to afterwards."""

    def __init__(self, name: str, key: str, parallel: bool) -> None:
        self._name, self._key, self._parallel = name, key, parallel

    @property
    def cache_path(self) -> str:
        return str(cache_folder())

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        if self._parallel:  # else Numba loads its pool, whether the kernel is compiled or loaded
            threads.start_pool()
        folder = _usable_folder(cache_folder())
        if folder is None:
            return None
        target_context.refresh()
        path = self._path(folder, sig, target_context.codegen())
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return None
        digest, payload = content[:32], content[32:]
        if hashlib.sha256(payload).digest() != digest:
            path.unlink(missing_ok=True)
            return None
        symbols, reduced = pickle.loads(payload)
        for symbol in symbols:
            need_symbol(symbol)
        return CompileResult._rebuild(target_context, *reduced)

    def save_overload(self, sig: Any, data: Any) -> None:
        folder = _usable_folder(cache_folder())
        if folder is None or data.library.has_dynamic_globals:
            return
        path = self._path(folder, sig, data.codegen)
        symbols = re.findall(
            rf"^declare [^@]*@({_SYMBOL_PREFIX}\w+)", data.library.get_llvm_str(), re.MULTILINE
        )
        payload = dumps((symbols, data._reduce()))
        if not path.parent.exists():
            path.parent.mkdir(mode=0o700, exist_ok=True)
            _forget_old(folder)
        _write_whole(path, hashlib.sha256(payload).digest() + payload)

    def _path(self, folder: Path, sig: Any, codegen: Any) -> Path:
        key = hashlib.sha256(f"{self._key}\n{sig}".encode()).hexdigest()
        return folder / _environment(codegen.magic_tuple()) / f"{self._name}-{key[:24]}.bin"


@functools.cache
def _environment(target: tuple[str, str, str]) -> str:
    """Hash what all kernels of this process have in common; `target` names triple, processor and features."""
    digest = hashlib.sha256()
    settings = (
        config.OPT,
        config.BOUNDSCHECK,
        config.DEBUGINFO_DEFAULT,
        config.LOOP_VECTORIZE,
        config.SLP_VECTORIZE,
    )
    versions = (sys.version, platform.machine(), np.__version__, numba.__version__, llvmlite.__version__)
    digest.update(repr((target, settings, versions)).encode())
    package = Path(__file__).parent
    for path in sorted(package.rglob("*.py")):
        digest.update(f"\n{path.relative_to(package).as_posix()}\n".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:24]


@functools.cache
def _usable_folder(folder: Path) -> Path | None:
    """Make the folder, private to the user; None, with one warning, where that cannot be."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if hasattr(os, "getuid"):
            status = folder.stat()
            if status.st_uid != os.getuid():
                raise PermissionError(f"{folder} belongs to another user")
            if stat.S_IMODE(status.st_mode) & 0o077:
                folder.chmod(0o700)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        warnings.warn(
            f"compiled kernels cannot be kept in {folder} ({error}): they are compiled anew in each process. "
            "Set RONDEAU_CACHE to a writable folder of your own.",
            RuntimeWarning,
            stacklevel=2,
        )
        return None
    return folder


def _write_whole(path: Path, content: bytes) -> None:
    """Write a file so that a reader sees all of it or none; a full disk costs a compilation later, not the run."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(content)
        os.replace(temporary, path)
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink()


def _forget_old(folder: Path) -> None:
    """Delete kernels of sources and versions that nobody has compiled for in `_KEEP_DAYS` days."""
    oldest = time.time() - _KEEP_DAYS * 86400
    for kind in folder.iterdir():
        with contextlib.suppress(OSError):
            if kind.is_dir() and kind.stat().st_mtime < oldest:
                for path in kind.iterdir():
                    path.unlink()
                kind.rmdir()
