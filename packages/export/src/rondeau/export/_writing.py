"""What an export leaves behind: its files, written whole or not at all."""

from __future__ import annotations

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
    """Write files to a folder, each under its name only when it is complete.

    Raises
    ------
    FileExistsError
        If one of them exists, unless `overwrite`; nothing is then written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = tuple(folder / name for name in contents)
    for path in paths:
        if path.exists() and not overwrite:
            raise FileExistsError(f"{path} exists: pass overwrite=True to replace it, or another folder")
    for path, content in zip(paths, contents.values(), strict=True):
        data = content.encode() if isinstance(content, str) else content
        with tempfile.NamedTemporaryFile(dir=folder, prefix=f".{path.name}.", delete=False) as file:
            try:
                file.write(data)
                file.close()
                os.chmod(file.name, 0o666 & ~_umask())
                os.replace(file.name, path)
            except BaseException:
                os.unlink(file.name)
                raise
    return paths


def _umask() -> int:
    """Return the process's mask of permissions; it can only be read by setting it."""
    mask = os.umask(0o022)
    os.umask(mask)
    return mask
