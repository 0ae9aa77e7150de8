"""Changing files so that a kill or a power cut at any moment leaves the old content or the new, never a part.

Whatever a run reads or writes goes through here, and from here through `os` alone: a test that lets each of these calls
fail, or end the process, has tried every moment of a run (``python -m tools.storm``).
"""

import errno
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_BINARY = getattr(os, "O_BINARY", 0)  # Windows would translate line ends
_NO_WAITING = getattr(os, "O_NONBLOCK", 0)  # of no effect on files


class NotAFileError(IsADirectoryError):
    """A pipe, a socket or a device stands in the place of a file; treated as a folder that stands there."""


def read_file(path: Path) -> bytes:
    """Return the whole content of a file.

    Raises
    ------
    NotAFileError
        For anything else: a pipe would be waited for, and a device may have no end.
    """
    with _opened_file(path) as descriptor:
        parts = []
        while part := os.read(descriptor, 1 << 24):
            parts.append(part)
        return b"".join(parts)


def read_start(path: Path, count: int) -> tuple[bytes, int]:
    """Return the first `count` bytes of a file, or all where it has fewer, and how many bytes it has.

    Raises
    ------
    NotAFileError
        As `read_file`.
    """
    with _opened_file(path) as descriptor:
        return os.read(descriptor, count), os.fstat(descriptor).st_size


def write_file(path: Path, content: bytes) -> None:
    """Write a new file and wait until it is on the disk."""
    _write(path, os.O_TRUNC, content)


def append_file(path: Path, content: bytes) -> None:
    """Write at the end of a file, which is made where it is not there, and wait until it is on the disk."""
    is_new = not path.exists()
    _write(path, os.O_APPEND, content)
    if is_new:
        sync_folder(path.parent)


def replace_file(path: Path, content: bytes) -> None:
    """Write `content` beside `path` and put it in its place in one step."""
    beside = unfinished(path)
    write_file(beside, content)
    rename(beside, path)


def save_file(path: Path, content: bytes) -> None:
    """Write `content` where a user asks for it, in one step.

    As `open` would, this follows links, keeps the mode of a file that is there, and writes into a pipe or a device
    rather than over it. Others may save under the same name meanwhile: the last one stays, whole.

    Raises
    ------
    IsADirectoryError, FileNotFoundError
        If a folder has that name, or there is no folder for it.
    """
    path = Path(os.path.realpath(path))
    mode = path.stat().st_mode if path.exists() else None
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not path.parent.is_dir():
        kind = errno.ENOTDIR if path.parent.exists() else errno.ENOENT
        raise OSError(kind, os.strerror(kind), str(path.parent))
    if mode is not None and not stat.S_ISREG(mode):
        with _opened(path, os.O_WRONLY) as descriptor:
            _write_all(descriptor, content)
        return
    beside = path.with_name(f".{secrets.token_hex(8)}.writing")
    try:
        with _opened(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL) as descriptor:
            if mode is not None:  # before there is anything to read
                os.chmod(beside, stat.S_IMODE(mode))
            _write_all(descriptor, content)
            os.fsync(descriptor)
        rename(beside, path)
    except BaseException:
        remove_file(beside)
        raise


def unfinished(path: Path) -> Path:
    """Return where a file or folder is written before it gets its name; left behind by a kill, it may be removed."""
    return path.with_name(f".{path.name}.writing")


def cut_file(path: Path, size: int) -> None:
    """Drop what comes after the first `size` bytes of a file."""
    with _opened(path, os.O_WRONLY) as descriptor:
        os.ftruncate(descriptor, size)
        os.fsync(descriptor)


def open_to_rewrite(path: Path) -> int:
    """Return the descriptor of a file that `rewrite` changes in its place; it is made where it is not there."""
    return os.open(path, os.O_RDWR | os.O_CREAT | _BINARY, 0o666)


def rewrite(path: Path, descriptor: int, content: bytes) -> None:
    """Replace what the open file of a path holds, without a new file: a kill meanwhile leaves a part."""
    with _named(path):
        os.lseek(descriptor, 0, os.SEEK_SET)
        os.ftruncate(descriptor, 0)
        _write_all(descriptor, content)


def close(descriptor: int) -> None:
    """Close what `open_to_rewrite` opened."""
    os.close(descriptor)


def make_folder(path: Path) -> None:
    """Make a folder with those above it, and wait until their names are on the disk."""
    if path.is_dir():
        return
    if not path.parent.exists():
        make_folder(path.parent)
    try:
        os.mkdir(path)
    except FileExistsError:
        if not path.is_dir():  # another process may have made it meanwhile
            raise
    sync_folder(path.parent)


def rename(old: Path, new: Path) -> None:
    """Give a file or folder another name in one step; a file of that name is replaced."""
    os.replace(old, new)
    sync_folder(new.parent)


def remove_file(path: Path) -> None:
    """Remove a file, where there is one."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        return


def remove_folder_if_empty(path: Path) -> None:
    """Remove a folder that holds nothing."""
    try:
        os.rmdir(path)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOENT):  # POSIX allows the first two
            raise


def sync_folder(folder: Path) -> None:
    """Wait until the names in `folder` are on the disk; where folders cannot be synced (Windows), do nothing."""
    if hasattr(os, "O_DIRECTORY"):
        with _opened(folder, os.O_RDONLY | os.O_DIRECTORY) as descriptor:
            os.fsync(descriptor)


@contextmanager
def _opened(path: Path, how: int) -> Iterator[int]:
    descriptor = os.open(path, how | _BINARY, 0o666)
    try:
        with _named(path):
            yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def _opened_file(path: Path) -> Iterator[int]:
    with _opened(path, os.O_RDONLY | _NO_WAITING) as descriptor:
        if not stat.S_ISREG(mode := os.fstat(descriptor).st_mode) and not stat.S_ISDIR(mode):
            raise NotAFileError(errno.EISDIR, "Is not a file")
        yield descriptor


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Name a file in what goes wrong with its descriptor, of which the system says no more."""
    try:
        yield
    except OSError as error:
        error.filename = str(path)
        raise


def _write(path: Path, how: int, content: bytes) -> None:
    with _opened(path, os.O_WRONLY | os.O_CREAT | how) as descriptor:
        _write_all(descriptor, content)
        os.fsync(descriptor)


def _write_all(descriptor: int, content: bytes) -> None:
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(descriptor, rest) :]  # may write less, as on a disk that is nearly full
