"""The disk cache of compiled kernels, so that a second process starts without compiling.

Numba's own cache is keyed only to the file of the function: after a change to an intrinsic or to an inlined function it
runs stale machine code, a damaged file stops the program, and generated source needs a real file. Here the key of a
kernel is everything that can change its machine code:

* the sources on disk that its module's compiled code can come from, see `rondeau.kernels.runtime.sources`;
* the versions of Python, NumPy, Numba and LLVM;
* the processor and its features, as Numba compiles for them, and Numba's optimisation settings; for a GPU its compute
  capability and the versions of CUDA;
* the function's name, options and signature, and the source of a generated function.

`DiskCache` has these rules; what of a compiled signature is kept, and how it comes back to life, is the matter of
`rondeau.kernels.runtime.function_cache` and `rondeau.kernels.cuda.kernel_cache`.

One file holds one compiled signature: a SHA-256 hash, then the hashed content, which is the key and the pickled machine
code. A file that is damaged, or was made for another key, is compiled again and replaced.

**Threat model.** Loading a kernel means running what its file holds, with the rights of the user. The attacker is
another user of the machine, not root, who knows every key and hash and may write to any folder above the cache: to a
shared folder that RONDEAU_CACHE names, or to one of its parents, even between two loads. No file format helps against
this; what helps is to know who can have written the bytes. So every load opens the folder and the file and checks their
descriptors (see `private_folder`), and trust is never remembered. The mode of an existing file or folder is never
changed, and nothing is written to a folder that is not trusted. Such an attacker can still swap the folder for another
one that the user or root owns: either another cache of theirs, in which each file names the key that it was made for,
or one that holds kernels from an untrusted archive, which the user unpacked there under these very names. Only a parent
folder that no other user may write to prevents the latter, as in the default location in the user's home.

**A cache that cannot be used only costs time.** No home folder, a full disk, an unreadable file, a folder that is not
trusted: every OSError here leads to one warning per process, and a compilation. A full cache that cannot be written to
is still read.
"""

import functools
import hashlib
import os
import platform
import re
import sys
from abc import abstractmethod
from pathlib import Path
from typing import Any

import llvmlite
import numba
import numpy as np
from numba.core import config
from numba.core.caching import NullCache

from rondeau.kernels.runtime.caller import warn_caller
from rondeau.kernels.runtime.compiling_notice import announce_compiling
from rondeau.kernels.runtime.private_folder import PrivateFolder
from rondeau.kernels.runtime.sources import digest_of_sources

__all__ = ["DiskCache", "cache_folder"]

_KEEP_DAYS = 60
_HASH_SIZE = 32


def cache_folder() -> Path:
    """Return the folder of compiled kernels: ``kernels`` in ``$RONDEAU_CACHE``, or in ``rondeau`` in the user's cache.

    The user's cache is ``%LOCALAPPDATA%`` on Windows, ``~/Library/Caches`` on macOS, and elsewhere
    ``$XDG_CACHE_HOME``, or ``~/.cache`` if that is unset or not an absolute path, as the XDG specification requires.

    Raises
    ------
    OSError
        If it would be in the home folder, and the system knows of none.

    Examples
    --------
    >>> cache_folder().name
    'kernels'
    """
    try:
        if chosen := os.environ.get("RONDEAU_CACHE"):
            return Path(chosen).expanduser() / "kernels"
        if sys.platform == "win32":
            base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
        elif sys.platform == "darwin":
            base = Path.home() / "Library" / "Caches"
        else:
            base = Path(os.environ.get("XDG_CACHE_HOME", ""))
            if not base.is_absolute():
                base = Path.home() / ".cache"
    except RuntimeError as error:  # raised by Path.home and expanduser
        raise OSError(f"no home folder is known: {error}") from error
    return base / "rondeau" / "kernels"


class DiskCache(NullCache):  # type: ignore[misc]
    """The cache of one dispatcher: Numba loads a compiled signature from it, or saves it there after compiling.

    Parameters
    ----------
    module, name : str
        The module where the function is defined, or ``"generated"``, and its name there.
    key : str
        Anything that determines the function besides its signature and the sources of its module.
    others : tuple of str
        Modules that its code can come from besides, although its own does not import them.
    """

    def __init__(self, module: str, name: str, key: str, others: tuple[str, ...] = ()) -> None:
        self._module, self._name, self._key, self._others = module, name, key, others

    @abstractmethod
    def _reduced(self, compiled: Any) -> bytes | None:
        """Return the bytes of a compiled signature, or None if it cannot be kept."""

    @abstractmethod
    def _rebuilt(self, payload: bytes, target_context: Any) -> Any:
        """Return the compiled signature that has these bytes; they are known to be the user's own."""

    @property
    def cache_path(self) -> str:
        """The folder, for Numba's statistics; empty if there is none."""
        try:
            return str(cache_folder())
        except OSError:
            return ""

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """Return a compiled signature, or None, so that Numba compiles it, if it is missing, damaged or not trusted."""
        payload = self._read(sig, target_context.codegen())
        if payload is None:
            announce_compiling()
            return None
        return self._rebuilt(payload, target_context)

    def save_overload(self, sig: Any, data: Any) -> None:
        """Save a compiled signature."""
        payload = self._reduced(data)
        if payload is None:
            return
        try:
            key = self._key_of(sig, data.codegen)
            content = key + payload
            with PrivateFolder(cache_folder(), create=True) as folder:
                folder.replace(self._file_name(key), hashlib.sha256(content).digest() + content)
            _forget_unused(cache_folder())
        except OSError as error:
            _warn_once(error)

    def _read(self, sig: Any, codegen: Any) -> bytes | None:
        """Return the saved bytes of a signature, or None if there are none that can be used."""
        try:
            key = self._key_of(sig, codegen)
            with PrivateFolder(cache_folder()) as folder:
                file = folder.read(self._file_name(key))
        except FileNotFoundError:
            return None
        except OSError as error:
            _warn_once(error)
            return None
        digest, content = file[:_HASH_SIZE], file[_HASH_SIZE:]
        if hashlib.sha256(content).digest() != digest or content[:_HASH_SIZE] != key:
            return None
        return content[_HASH_SIZE:]

    def _key_of(self, sig: Any, codegen: Any) -> bytes:
        environment = _environment(codegen.magic_tuple(), self._module, *self._others)
        return hashlib.sha256(
            f"{environment}\n{self._module}.{self._name}\n{self._key}\n{sig}".encode()
        ).digest()

    def _file_name(self, key: bytes) -> str:
        readable = re.sub(r"[^\w.]", "_", f"{self._module}.{self._name}", flags=re.ASCII)[-80:]
        return f"{readable}-{key.hex()[:32]}.bin"


@functools.cache
def _environment(target: tuple[Any, ...], *modules: str) -> str:
    """Hash the part of the key that kernels from the same modules share.

    The target is triple, processor and features; of a GPU the version of CUDA and the compute capability.
    """
    settings = (
        config.OPT,
        config.BOUNDSCHECK,
        config.DEBUGINFO_DEFAULT,
        config.LOOP_VECTORIZE,
        config.SLP_VECTORIZE,
    )
    versions = (sys.version, platform.machine(), np.__version__, numba.__version__, llvmlite.__version__)
    content = repr((target, settings, versions, [digest_of_sources(module) for module in modules]))
    return hashlib.sha256(content.encode()).hexdigest()


@functools.cache
def _forget_unused(path: Path) -> None:
    """Delete the kernels that have not been loaded for `_KEEP_DAYS` days, once per process."""
    with PrivateFolder(path) as folder:
        folder.remove_unused(_KEEP_DAYS)


class _Warning:
    given = False


def _warn_once(error: OSError) -> None:
    """Warn, once per process, that kernels are compiled that should have been loaded or saved."""
    if _Warning.given:
        return
    _Warning.given = True
    warn_caller(
        f"the cache of compiled kernels cannot be used ({error}): they are compiled again in each process. "
        "Set RONDEAU_CACHE to a folder of your own.",
        RuntimeWarning,
    )
