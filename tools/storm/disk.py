"""A disk that fails: it stands for `os` in `rondeau.tensor.files.durable`, through which a run reads and writes."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal

from rondeau.tensor.files import durable

CALLS = ("open", "write", "fsync", "ftruncate", "replace", "mkdir", "unlink", "rmdir")
"""What is counted: each of them changes the disk, or opens a file."""

How = Literal["kill", "power", "fail", "full"]


class KilledError(BaseException):
    """Stands for the end of the process: nothing that runs after it reaches the disk."""


class FaultyDisk:
    """Counts file calls, and lets one of them go wrong.

    Parameters
    ----------
    at : int or None
        The number of the call that goes wrong, from 0; None: none does.
    how : {"kill", "power", "fail", "full"}
        The process ends before the call, a write being half done; or the power goes, and what was written and not
        synced is lost too; or the call fails, once, with EIO; or the disk is full from there on: whatever needs space
        fails with ENOSPC, a write after its first half.

    Attributes
    ----------
    calls : list of str
        What was called so far.
    reached : str or None
        The call that went wrong.
    """

    def __init__(self, at: int | None = None, how: How = "kill") -> None:
        self.at, self.how = at, how
        self.calls: list[str] = []
        self.reached: str | None = None
        self._open: dict[int, str] = {}
        self._synced: dict[str, int] = {}  # path -> how many of its bytes outlast the power

    def __getattr__(self, name: str) -> Any:
        real = getattr(os, name)
        if name in CALLS:
            return lambda *arguments: self._call(name, real, *arguments)
        return (lambda *arguments: self._plain(name, real, *arguments)) if callable(real) else real

    def _call(self, name: str, real: Callable[..., Any], *arguments: Any) -> Any:
        self.calls.append(name)
        if self.at is not None and len(self.calls) > self.at:
            self._go_wrong(name, real, *arguments)
        return self._plain(name, real, *arguments)

    def _plain(self, name: str, real: Callable[..., Any], *arguments: Any) -> Any:
        if self.how in ("kill", "power") and self.reached is not None:
            raise KilledError
        result = real(*arguments)
        if name == "open":
            path = self._open[result] = os.fspath(arguments[0])
            if path not in self._synced or arguments[1] & os.O_TRUNC:
                self._synced[path] = os.path.getsize(path)
        elif name == "close":
            self._open.pop(arguments[0])
        elif name in ("fsync", "ftruncate"):
            path, size = self._open[arguments[0]], os.fstat(arguments[0]).st_size
            self._synced[path] = size if name == "fsync" else min(size, self._synced[path])
        elif name == "replace":
            old, new = map(os.fspath, arguments)
            below = {path: size for path, size in self._synced.items() if _is_in(path, old)}
            others = {
                path: size
                for path, size in self._synced.items()
                if not (_is_in(path, old) or _is_in(path, new))
            }
            self._synced = others | {new + path.removeprefix(old): size for path, size in below.items()}
        return result

    def _go_wrong(self, name: str, real: Callable[..., Any], *arguments: Any) -> None:
        half = (arguments[0], arguments[1][: len(arguments[1]) // 2]) if name == "write" else None
        is_first = self.reached is None
        if self.how in ("kill", "power"):
            if is_first and half is not None:
                real(*half)
            self.reached = self.reached or name
            raise KilledError
        if self.how == "fail" and is_first:
            self.reached = name
            raise OSError(errno.EIO, os.strerror(errno.EIO), *_paths(name, arguments))
        if self.how == "full" and _needs_space(name, arguments):
            self.reached = name
            if half is not None:
                real(*half)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), *_paths(name, arguments))

    def end(self) -> None:
        """Do what the system does when a process ends: close its files, which gives its locks back."""
        for descriptor in self._open:
            os.close(descriptor)
        self._open.clear()
        if self.how == "power" and self.reached is not None:
            for path, size in self._synced.items():
                if os.path.isfile(path) and os.path.getsize(path) > size:
                    os.truncate(path, size)


@contextmanager
def installed(disk: FaultyDisk) -> Iterator[FaultyDisk]:
    """Let a run use `disk`."""
    names = vars(durable)
    names["os"] = disk
    try:
        yield disk
    finally:
        names["os"] = os
        disk.end()


def _is_in(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder + os.sep)


def _paths(name: str, arguments: tuple[Any, ...]) -> tuple[str, ...]:
    return () if name in ("write", "fsync", "ftruncate") else (os.fspath(arguments[0]),)


def _needs_space(name: str, arguments: tuple[Any, ...]) -> bool:
    creates = name == "open" and arguments[1] & os.O_CREAT and not os.path.exists(arguments[0])
    return name in ("write", "mkdir") or bool(creates)
