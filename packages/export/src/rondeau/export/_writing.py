"""What an export leaves behind: its files, written whole or not at all."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

__all__ = ["Exported", "write_files"]


class Exported(NamedTuple):
    """An exported model.

    Attributes
    ----------
    files : tuple of Path
    weight_bytes : int
        What the weights take in memory.
    state_bytes : int
        What a sequence takes: its state, and the room that a step works in.

    Examples
    --------
    >>> from rondeau import export, nn
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     exported = export.to_numpy(nn.GRU(3, 4), folder)
    >>> exported.weight_bytes, exported.state_bytes
    (448, 16)
    """

    files: tuple[Path, ...]
    weight_bytes: int
    state_bytes: int


def write_files(folder: Path, contents: Mapping[str, str | bytes], overwrite: bool) -> tuple[Path, ...]:
    """Write files to a folder: none under its name before all of them are written.

    Raises
    ------
    FileExistsError
        If one of them exists, unless `overwrite`; nothing is then written.
    OSError
        If the folder is a file, or one of the files a folder; or as the system says. Files that were there are then as
        they were.
    """
    if folder.exists() and not folder.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, "a file is where the folder should be", str(folder))
    paths = tuple(folder / name for name in contents)
    for path in paths:
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, "a folder is where the file should be", str(path))
        if os.path.lexists(path) and not overwrite:
            raise FileExistsError(f"{path} exists: pass overwrite=True to replace it, or another folder")
    folder.mkdir(parents=True, exist_ok=True)
    mode, written = 0o666 & ~_umask(), list[str]()
    try:
        for path, content in zip(paths, contents.values(), strict=True):
            with tempfile.NamedTemporaryFile(dir=folder, prefix=f".{path.name}.", delete=False) as file:
                written.append(file.name)
                file.write(content.encode() if isinstance(content, str) else content)
            os.chmod(file.name, mode)
        for path in paths:
            os.replace(written[0], path)
            del written[0]
    except OSError as error:
        if error.filename is None:
            error.filename = str(folder)  # a full disk does not say which
        raise
    finally:
        for name in written:
            os.unlink(name)
    return paths


def _umask() -> int:
    """Return the process's mask of permissions; it can only be read by setting it."""
    mask = os.umask(0o022)
    os.umask(mask)
    return mask
