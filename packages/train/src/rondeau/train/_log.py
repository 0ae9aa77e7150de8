"""A text file that only grows, but for a resume, which cuts it back to where it was at a checkpoint."""

import hashlib
from pathlib import Path
from typing import Any

from rondeau.tensor.files import durable


class Log:
    r"""A text file to append to, which knows the SHA-256 of what it holds.

    Parameters
    ----------
    path : Path
        Made by the first `append`.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     log = Log(Path(folder) / "log.txt")
    ...     log.append("one\n")
    ...     there = log.fingerprint()
    ...     log.append("two\n")
    ...     log.cut(there["bytes"])
    ...     log.read(), log.fingerprint() == there
    (b'one\n', True)
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._size = 0
        self._hash: Any = None  # of what is in the file; None: not read yet

    def append(self, text: str) -> None:
        """Write at the end, and wait until it is on the disk."""
        content = text.encode()
        self._take_stock()
        durable.append_file(self.path, content)
        self._size += len(content)
        self._hash.update(content)

    def cut(self, size: int) -> None:
        """Drop what comes after the first `size` bytes."""
        content = self.read()
        if len(content) > size:
            durable.cut_file(self.path, size)
        self._size, self._hash = min(size, len(content)), hashlib.sha256(content[:size])

    def remove(self) -> None:
        """Remove the file, where there is one."""
        durable.remove_file(self.path)
        self._hash = None

    def read(self) -> bytes:
        """Return all that it holds; nothing where there is no file."""
        try:
            return durable.read_file(self.path)
        except FileNotFoundError:
            return b""

    def fingerprint(self) -> dict[str, Any]:
        """Return what `fingerprint` does, without reading the file again."""
        self._take_stock()
        return {"bytes": self._size, "sha256": self._hash.hexdigest()}

    def _take_stock(self) -> None:
        if self._hash is None:
            content = self.read()
            self._size, self._hash = len(content), hashlib.sha256(content)


def fingerprint(content: bytes) -> dict[str, Any]:
    """Return what a checkpoint keeps of a file beside it: its size in bytes and its SHA-256.

    Examples
    --------
    >>> fingerprint(b"")["bytes"]
    0
    """
    return {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
