"""The files of a corpus's tokens as they are written, in steps that go on where they were interrupted."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from .._stream import shard_name
from .manifest import FileRecord
from .notes import read_note, write_note

SAVE_EVERY = 16
"""Pieces between notes of what is on the disk."""

_PIECES = 64
"""Of a file, as long as the files are few."""
_MOST_FILES = 256
"""Each mapped file takes a descriptor of the process."""

_COUNTERS = ("done", "train_tokens", "in_shard")


class Shards:
    """The files of tokens as they are written, and the note of what is on the disk.

    Parameters
    ----------
    folder : Path
    note : Path
    itemsize : int
        Bytes of a token.
    parts, train : int
        How many parts of the text there are, and how many of them to train on.
    """

    def __init__(self, folder: Path, note: Path, itemsize: int, parts: int, train: int) -> None:
        self.folder, self.note, self.itemsize, self.train = folder, note, itemsize, train
        self.parts = parts
        self.per_shard = max(_PIECES, -(-parts // _MOST_FILES))
        self.done = self.train_tokens = self.in_shard = 0
        self.files: dict[str, FileRecord] = {}
        size, sha256 = 0, hashlib.sha256().hexdigest()
        if note.exists():
            begun = read_note(note, {*_COUNTERS, "unfinished", "files"}, dict)
            self.done, self.train_tokens, self.in_shard = (begun[name] for name in _COUNTERS)
            size, sha256 = begun["unfinished"]
            self.files = {name: FileRecord(*record) for name, record in begun["files"].items()}
        self._open(size)
        if self._digest.hexdigest() != sha256:
            self._file.close()
            raise ValueError(
                f"{self._path} is not what was written; remove what was built, and build it again"
            )

    @property
    def lengths(self) -> list[int]:
        """Return the tokens of each file."""
        return [record.size // self.itemsize for record in self.files.values()]

    def append(self, content: bytes) -> None:
        """Write the tokens of the next part."""
        self._file.write(content)
        self._digest.update(content)
        self._size += len(content)
        self.done += 1
        self.in_shard += 1
        if self.done <= self.train:
            self.train_tokens += len(content) // self.itemsize
        is_full = self._size > 0 and (self.in_shard >= self.per_shard or self.done == self.parts)
        if is_full or self.done % SAVE_EVERY == 0:
            self._file.flush()
            os.fsync(self._file.fileno())
            if is_full:
                self._file.close()
                self.files[self._path.name] = FileRecord(self._size, self._digest.hexdigest())
                self.in_shard = 0
                self._open(0)
            counters = {name: getattr(self, name) for name in _COUNTERS}
            unfinished = FileRecord(self._size, self._digest.hexdigest())
            write_note(self.note, {**counters, "unfinished": unfinished, "files": self.files})

    def close(self) -> None:
        """Close the file that is written, and remove it where it is empty."""
        self._file.close()
        if not self._size:
            self._path.unlink(missing_ok=True)

    def _open(self, size: int) -> None:
        """Go on after the first bytes of the next file, which are on the disk."""
        self._path = self.folder / shard_name(len(self.files))
        self._path.touch()
        self._file = self._path.open("r+b")
        self._file.truncate(size)
        self._digest, self._size = hashlib.sha256(), size
        while block := self._file.read(1 << 20):
            self._digest.update(block)
