"""Compiled kernels on disk: a second process starts without compiling.

Numba's own cache is keyed to the file of the function alone: after a change to an intrinsic or to a function that was
inlined it runs stale machine code, a damaged file stops the program, and generated source needs a real file. Here the
key of a kernel is everything that can change its machine code:

* the sources that its module's compiled code can come from, see `rondeau.kernels.sources`, as they lie on disk;
* the versions of Python, NumPy, Numba and LLVM;
* the processor and its features, as Numba compiles for them, and Numba's optimisation settings;
* the function's name, options and signature, and for a generated function its source.

One file holds one compiled signature, beside its SHA-256: what is damaged is deleted and compiled anew. The folder
belongs to the user alone (mode 0700), because reading it runs what it holds.
"""

import contextlib
import functools
import hashlib
import os
import pickle
import platform
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
from numba.core import config
from numba.core.caching import NullCache
from numba.core.compiler import CompileResult
from numba.core.serialize import dumps

from rondeau.kernels.linking import need_symbol, needed_symbols
from rondeau.kernels.sources import digest_of_sources

__all__ = ["DiskCache", "cache_folder"]

_KEEP_DAYS = 60


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


class DiskCache(NullCache):  # type: ignore[misc]
    """What Numba's dispatcher asks for a compiled signature before it compiles, and gives it to afterwards.

    Parameters
    ----------
    module, name : str
        Where the function is defined, ``"generated"`` for nowhere, and what it is called there.
    key : str
        What else determines it, beside its signature and the sources of its module.
    before : callable, optional
        Called before the function is compiled or loaded.
    """

    def __init__(self, module: str, name: str, key: str, before: Callable[[], None] | None = None) -> None:
        self._module, self._name, self._key, self._before = module, name, key, before

    @property
    def cache_path(self) -> str:
        """The folder, for Numba's statistics."""
        return str(cache_folder())

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """Return a compiled signature; None where it is not there, or damaged."""
        if self._before is not None:
            self._before()
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
        """Keep a compiled signature."""
        folder = _usable_folder(cache_folder())
        if folder is None or data.library.has_dynamic_globals:
            return
        path = self._path(folder, sig, data.codegen)
        payload = dumps((needed_symbols(data.library.get_llvm_str()), data._reduce()))
        if not path.parent.exists():
            path.parent.mkdir(mode=0o700, exist_ok=True)
            _forget_old(folder)
        _write_whole(path, hashlib.sha256(payload).digest() + payload)

    def _path(self, folder: Path, sig: Any, codegen: Any) -> Path:
        name = f"{self._module}.{self._name}"
        key = hashlib.sha256(f"{name}\n{self._key}\n{sig}".encode()).hexdigest()
        return folder / _environment(codegen.magic_tuple(), self._module) / f"{name}-{key[:24]}.bin"


@functools.cache
def _environment(target: tuple[str, str, str], module: str) -> str:
    """Hash what the kernels of a module have in common; `target` names triple, processor and features."""
    settings = (
        config.OPT,
        config.BOUNDSCHECK,
        config.DEBUGINFO_DEFAULT,
        config.LOOP_VECTORIZE,
        config.SLP_VECTORIZE,
    )
    versions = (sys.version, platform.machine(), np.__version__, numba.__version__, llvmlite.__version__)
    content = repr((target, settings, versions, digest_of_sources(module)))
    return hashlib.sha256(content.encode()).hexdigest()[:24]


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
