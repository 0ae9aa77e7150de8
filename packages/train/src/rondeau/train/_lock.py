"""One process at a time writes a run's folder: it holds a lock on a file there, which ends with the process.

The lock is `flock`'s (on Windows, that of one byte), not `lockf`'s, which a process loses when it opens the file again
and closes it. The file tells who holds the lock, for the message alone, and is never deleted or replaced while the
folder exists: two processes could then each lock a file of their own.
"""

import errno
import json
import os
import socket
import sys
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rondeau.kernels.runtime.caller import warn_caller
from rondeau.tensor.files import durable
from rondeau.train._errors import RunError, RunWarning

_TRIES, _PAUSE = 20, 0.05  # seconds: until the process that has just taken the lock has written who it is

NO_LOCKS = {errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS}
"""What file systems without locks answer, as some network ones."""

if sys.platform == "win32":
    import msvcrt

    # Far past the text, for a locked byte cannot be read by others.
    _BYTE = 1 << 30

    def _take(descriptor: int) -> None:
        os.lseek(descriptor, _BYTE, os.SEEK_SET)
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except PermissionError as error:
            raise BlockingIOError(error.errno, error.strerror) from None

    def wait_for(descriptor: int) -> None:
        """Lock an open file once no other process holds it."""
        while True:
            try:
                return _take(descriptor)
            except BlockingIOError:
                time.sleep(_PAUSE)

else:
    import fcntl

    def _take(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def wait_for(descriptor: int) -> None:
        """Lock an open file once no other process holds it."""
        fcntl.flock(descriptor, fcntl.LOCK_EX)


class FolderLock:
    """The right to write a folder, held by at most one process.

    Parameters
    ----------
    path : Path
        The file that is locked, in the folder that is written; `acquire` makes both where they are not there.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     first, second = (FolderLock(Path(folder, "rondeau.lock")) for _ in range(2))
    ...     first.acquire()
    ...     try:
    ...         second.acquire()
    ...     except RunError as error:
    ...         print(str(error).partition(" is being written ")[2].partition(" since ")[0])
    ...     first.release()
    by this process
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor: int | None = None

    def __reduce__(self) -> Any:
        # A copy holds nothing: there is one descriptor, which one object closes.
        return FolderLock, (self.path,)

    @property
    def is_held(self) -> bool:
        """Return whether this process holds the lock by this object."""
        return self._descriptor is not None

    def acquire(self) -> None:
        """Take the lock, and write down who holds it.

        Where the file system has no locks, say so and go on without.

        Raises
        ------
        RunError
            If it is held already; the message names the process and its host.
        """
        if not self.try_acquire():
            raise RunError(
                f"{self.path.parent} is being written {_holder(self.path)}; wait until it has ended, end it, or choose "
                "another folder"
            )

    def try_acquire(self) -> bool:
        """Do what `acquire` does, or return False where the lock is held already."""
        while True:
            durable.make_folder(self.path.parent)
            descriptor = durable.open_to_rewrite(self.path)
            try:
                if not self._lock(descriptor):
                    durable.close(descriptor)
                    return False
                if is_file_at(self.path, descriptor):
                    durable.rewrite(self.path, descriptor, _describe_this_process())
                    break
            except BaseException:
                durable.close(descriptor)
                raise
            # The folder was removed and made again between the two calls: the lock is on a file that is gone.
            durable.close(descriptor)
        self._descriptor = descriptor
        self._if_forgotten = weakref.finalize(self, os.close, descriptor)
        _HELD.add(self)
        return True

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the lock for as long as the context lasts, unless it is held already."""
        if self.is_held:
            yield
            return
        self.acquire()
        try:
            yield
        finally:
            self.release()

    def release(self) -> None:
        """Give the lock back; its file stays."""
        if self._descriptor is not None:
            descriptor, self._descriptor = self._descriptor, None
            self._if_forgotten.detach()
            _HELD.discard(self)
            durable.close(descriptor)

    def _lock(self, descriptor: int) -> bool:
        try:
            _take(descriptor)
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise
            warn_caller(
                f"{self.path.parent} cannot be locked ({error.strerror}): start no second process that writes there",
                RunWarning,
            )
        return True


def is_file_at(path: Path, descriptor: int) -> bool:
    """Return whether an open file is still the one that a path names."""
    try:
        named = path.stat()
    except FileNotFoundError:
        return False
    return os.path.samestat(named, os.fstat(descriptor))


def _describe_this_process() -> bytes:
    now = time.strftime("%Y-%m-%d %H:%M:%S %z")
    return (json.dumps({"host": socket.gethostname(), "process": os.getpid(), "since": now}) + "\n").encode()


def _holder(path: Path) -> str:
    """Say who holds a lock that is taken.

    For a moment its file may tell of an earlier holder, or of none: it is not read at once.
    """
    for _ in range(_TRIES):
        time.sleep(_PAUSE)
        try:
            who = json.loads(durable.read_file(path))
            host, process, since = str(who["host"]), int(who["process"]), str(who["since"])
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            continue
        is_here = host == socket.gethostname()
        if (is_here and _has_ended(process)) or not (host + since).isprintable():
            continue
        if is_here and process == os.getpid():
            return f"by this process since {since}"
        return f"by process {process} on {host} since {since}"
    return "by another process"


def _has_ended(process: int) -> bool:
    """Return whether there is no such process on this host any more, where that can be asked."""
    if sys.platform == "win32" or not 0 < process < 1 << 31:
        return False
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    except OSError:  # it is another user's
        return False
    return False


_HELD: "weakref.WeakSet[FolderLock]" = weakref.WeakSet()


def _forget_in_child() -> None:
    # A forked child shares the descriptor, and would keep the lock alive when its parent has ended.
    for lock in list(_HELD):
        lock.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_in_child)
