"""From which source files the compiled code of a module can come: its own, and those of what it imports.

A kernel calls functions and reads constants that its module defines or imports, and so on from there. What a module
imports inside a function or for type checking alone brings nothing into its kernels: the imports that count stand at
the beginning of a line.
"""

from __future__ import annotations

import functools
import hashlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path

__all__ = ["digest_of_sources", "imported_names"]

_IMPORT = re.compile(r"^(?:from|import)\s+(rondeau[\w.]*)(?:\s+import\s+(\([^)]*\)|.*))?", re.MULTILINE)


@functools.cache
def digest_of_sources(module: str) -> str:
    """Hash the sources that a module's compiled code can come from; all of this package where the module has no file.

    Parameters
    ----------
    module : str
        The name of a loaded module, or of none.

    Returns
    -------
    str
        In hexadecimal digits.

    Raises
    ------
    OSError
        If a source cannot be read, or there is none, as in an installation of bytecode alone.
    """
    package = Path(__file__).parents[1]
    files = _files_of(module) or {path.as_posix(): path for path in package.rglob("*.py")}
    if not files:
        raise OSError(f"{package} holds no sources, by which an edit would be noticed")
    digest = hashlib.sha256()
    for name, path in sorted(files.items()):
        content = path.read_bytes()
        digest.update(f"\n{name} {len(content)}\n".encode())
        digest.update(content)
    return digest.hexdigest()


def imported_names(source: str) -> Iterator[str]:
    """Yield the names of what a module imports of the library's, modules and what is in them alike.

    Examples
    --------
    >>> list(imported_names("from rondeau.kernels.runtime import threads"))
    ['rondeau.kernels.runtime', 'rondeau.kernels.runtime.threads']
    """
    for module, names in _IMPORT.findall(source):
        yield module
        yield from (f"{module}.{name}" for name in re.findall(r"\w+", names))


def _files_of(module: str) -> dict[str, Path]:
    """Return the file of a module and of every module of the library's that it imports, directly or not."""
    files: dict[str, Path] = {}
    pending = [module]
    while pending:
        name = pending.pop()
        path = Path(getattr(sys.modules.get(name), "__file__", None) or "")
        if name not in files and path.suffix == ".py" and path.is_file():
            files[name] = path
            pending.extend(imported_names(path.read_text(encoding="utf-8", errors="replace")))
    return files
