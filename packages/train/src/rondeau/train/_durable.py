"""Writing files so that a kill or a power cut at any moment leaves the old content or the new, never a part."""

import os
from pathlib import Path


def write_file(path: Path, content: bytes) -> None:
    """Write a new file and wait until it is on the disk."""
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Wait until the names in `folder` are on the disk; where folders cannot be synced (Windows), do nothing."""
    if hasattr(os, "O_DIRECTORY"):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def replace_file(path: Path, content: bytes) -> None:
    """Write `content` beside `path` and put it in its place in one step."""
    beside = path.with_name(f".{path.name}.writing")
    write_file(beside, content)
    os.replace(beside, path)
    sync_folder(path.parent)
