"""The source files that the compiled code of a module can come from: its own, and those of the modules it imports.

A kernel calls functions and reads constants that its module defines or imports, and so on recursively. Imports inside a
function or only for type checking bring nothing into a kernel: the imports that matter start in the first column.
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
    """Hash the sources that a module's compiled code can come from; all of this package if the module has no file.

    Parameters
    ----------
    module : str
        The name of a module; it need not exist.

    Returns
    -------
    str
        The hash, in hexadecimal digits.

    Raises
    ------
    OSError
        If a source cannot be read, or there is none, as in an installation of bytecode only.
    """
    package = Path(__file__).parents[1]
    files = _files_of(module) or {path.as_posix(): path for path in package.rglob("*.py")}
    if not files:
        raise OSError(f"{package} holds no sources, without which an edit would go unnoticed")
    digest = hashlib.sha256()
    for name, path in sorted(files.items()):
        content = path.read_bytes()
        digest.update(f"\n{name} {len(content)}\n".encode())
        digest.update(content)
    return digest.hexdigest()


def imported_names(source: str) -> Iterator[str]:
    """Yield the names that a module imports from the library: those of modules and of objects in them.

    Examples
    --------
    >>> list(imported_names("from rondeau.kernels.runtime import threads"))
    ['rondeau.kernels.runtime', 'rondeau.kernels.runtime.threads']
    """
    for module, names in _IMPORT.findall(source):
        yield module
        yield from (f"{module}.{name}" for name in re.findall(r"\w+", names))


def _files_of(module: str) -> dict[str, Path]:
    """Return the files of a module and of every module of the library that it imports, directly or indirectly."""
    files: dict[str, Path] = {}
    pending = [module]
    while pending:
        name = pending.pop()
        path = Path(getattr(sys.modules.get(name), "__file__", None) or "")
        if name not in files and path.suffix == ".py" and path.is_file():
            files[name] = path
            pending.extend(imported_names(path.read_text(encoding="utf-8", errors="replace")))
    return files
