"""A folder whose files only the user, or root, can have written.

On POSIX systems the folder and its files are opened without following symbolic links, and the check is made on the
descriptor that is then read from: who owns it, and that neither its group nor others may write to it. No path is
trusted twice, so it makes no difference who may rename or replace the folders above. Whoever can write to a folder
decides what its files hold, and whoever owns a folder or file can change its mode.

A group that may write is refused even if the user is its only member. This module creates folders with mode 0700 and
files with 0600 under any umask, so nothing of its own is ever group-writable, even in homes with umask 002; and there
is no way to tell whether a group is private, since its members are spread over passwd and group databases that need not
list them all. The group's write bit also stands for every user to whom a POSIX access control list gives write access.

The checks do not cover the access control lists of NFSv4 and macOS, or anything that root does.

On Windows Python cannot open files relative to a folder and knows no owners: there the folder is used as it is, and
only its access control list protects it. In a user's %LOCALAPPDATA% only that user, SYSTEM and administrators may
write; a folder elsewhere needs a list like that from whoever chooses it.
"""

import contextlib
import os
import secrets
import stat
import time
from pathlib import Path
from types import TracebackType

__all__ = ["PrivateFolder"]

_BY_DESCRIPTOR = os.open in os.supports_dir_fd  # POSIX
_BINARY = getattr(os, "O_BINARY", 0)  # Windows
_DAY = 86400.0


class PrivateFolder:
    """An open folder that only the user, or root, can write to; a context manager that closes it.

    Parameters
    ----------
    path : Path
    create : bool
        Create the folder and its parents if they are missing. Existing folders are left as they are.

    Raises
    ------
    PermissionError
        If the folder is a symbolic link, belongs to another user, or others may write to it.
    OSError
        If it cannot be opened or created.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as parent, PrivateFolder(Path(parent) / "mine", create=True) as folder:
    ...     folder.replace("name", b"content")
    ...     folder.read("name")
    b'content'
    """

    def __init__(self, path: Path, *, create: bool = False) -> None:
        self._path = path
        self._descriptor: int | None = None
        if create:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
        if _BY_DESCRIPTOR:
            self._descriptor = _open_folder(path)
        elif not path.is_dir():
            raise FileNotFoundError(f"there is no folder {path}")

    def __enter__(self) -> "PrivateFolder":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)

    def read(self, name: str) -> bytes:
        """Return the content of a file.

        Raises
        ------
        PermissionError
            If the file belongs to another user, or others may write to it.
        OSError
            If it does not exist, is not a regular file, or cannot be read.
        """
        descriptor = self._open(name, os.O_RDONLY)
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise OSError(f"{self._path / name} is not a regular file")
            if self._descriptor is not None:
                _check_private(self._path / name, status)
            with open(descriptor, "rb", closefd=False) as file:
                return file.read()
        finally:
            os.close(descriptor)

    def replace(self, name: str, content: bytes) -> None:
        """Write a file atomically: a reader sees either all of it or the previous file.

        Raises
        ------
        OSError
            If it cannot be written; in that case nothing is left behind.
        """
        temporary = f"{name}.{secrets.token_hex(8)}.tmp"
        descriptor = self._open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        try:
            with open(descriptor, "wb") as file:
                file.write(content)
            os.replace(
                self._entry(temporary),
                self._entry(name),
                src_dir_fd=self._descriptor,
                dst_dir_fd=self._descriptor,
            )
        except BaseException:  # Ctrl-C as well
            with contextlib.suppress(OSError):
                os.unlink(self._entry(temporary), dir_fd=self._descriptor)
            raise

    def remove_unused(self, days: float) -> None:
        """Delete the files that have been neither read nor written for `days` days, as far as the system records it.

        Raises
        ------
        OSError
            If the folder cannot be listed. A file that cannot be deleted is kept.
        """
        oldest = time.time() - days * _DAY
        for name in os.listdir(self._path if self._descriptor is None else self._descriptor):
            with contextlib.suppress(OSError):
                status = os.stat(self._entry(name), dir_fd=self._descriptor, follow_symlinks=False)
                if stat.S_ISREG(status.st_mode) and max(status.st_atime, status.st_mtime) < oldest:
                    os.unlink(self._entry(name), dir_fd=self._descriptor)

    def _open(self, name: str, flags: int) -> int:
        if self._descriptor is not None:
            flags |= os.O_NOFOLLOW | os.O_NONBLOCK  # nonblocking: opening a FIFO would wait for its writer
        return os.open(self._entry(name), flags | _BINARY, 0o600, dir_fd=self._descriptor)

    def _entry(self, name: str) -> str:
        """Return the path of a file for a call that takes the folder's descriptor, or none on Windows."""
        return str(self._path / name) if self._descriptor is None else name


def _open_folder(path: Path) -> int:
    """Open and check a folder on a POSIX system."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError as error:
        if path.is_symlink():
            raise PermissionError(
                f"{path} is a symbolic link, and is not followed; name the folder itself"
            ) from error
        raise
    try:
        _check_private(path, os.fstat(descriptor))
    except PermissionError:
        os.close(descriptor)
        raise
    return descriptor


def _check_private(path: Path, status: os.stat_result) -> None:
    """Raise PermissionError unless only the user, or root, can have written the file or folder with this status."""
    if status.st_uid not in (os.geteuid(), 0):
        raise PermissionError(f"{path} belongs to another user (id {status.st_uid})")
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        mode = stat.S_IMODE(status.st_mode)
        raise PermissionError(
            f"others may write to {path} (mode {mode:o}); take that from them with: chmod go-w"
        )
