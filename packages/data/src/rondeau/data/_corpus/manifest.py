"""What describes a corpus of tokens: a JSON file with the SHA-256 of every other file, and of itself."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from .._checks import check_is, checked_integer, checked_number
from .._json import load_json, write_json

MANIFEST = "corpus.json"
VOCABULARY = "vocab.json"
BUILDING = "building"
"""The folder, in that of a corpus, of what is needed until it is built."""

_FORMAT = "rondeau corpus 1"
_BLOCK = 1 << 20


class FileRecord(NamedTuple):
    """What a file must hold."""

    size: int
    sha256: str


class Manifest(NamedTuple):
    """What a corpus of tokens is.

    Attributes
    ----------
    characters : int
        Of the text.
    sha256 : str
        Of the text, in UTF-8 and with one kind of line end: what identifies it.
    train_tokens : int
        Where the held-out part begins.
    held_out : float
        Which fraction of the characters that part is.
    min_freq : int
        Tokens seen less often were made the unknown token.
    bpe_size : int or None
        The size of vocabulary that was asked for, of byte pairs.
    files : mapping
        Size and SHA-256 of each file, by its name.
    """

    characters: int
    sha256: str
    train_tokens: int
    held_out: float
    min_freq: int
    bpe_size: int | None
    files: Mapping[str, FileRecord]

    def save(self, folder: Path) -> None:
        """Write the manifest of a folder, at once or not at all."""
        content = self._asdict() | {"format": _FORMAT, "files": {k: list(v) for k, v in self.files.items()}}
        write_json(folder / MANIFEST, content | {"seal": _seal(content)})

    @classmethod
    def load(cls, folder: Path) -> Manifest:
        """Read the manifest of a folder.

        Raises
        ------
        FileNotFoundError
            If there is none.
        ValueError
            If it is damaged, or not of a corpus.
        """
        return load_json(folder / MANIFEST, {*cls._fields, "format", "seal"}, _checked)


def fingerprint(path: Path) -> FileRecord:
    """Return size and SHA-256 of a file."""
    digest, size = hashlib.sha256(), 0
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
            size += len(block)
    return FileRecord(size, digest.hexdigest())


def check_file(path: Path, record: FileRecord, *, verify: bool = True) -> None:
    """Raise ValueError unless a file is there, as long as it was written, and, if `verify`, with the same bytes."""
    size = path.stat().st_size if path.is_file() else None
    if size != record.size:
        found = "is missing" if size is None else f"holds {size:,} bytes, but {record.size:,} were written"
        raise ValueError(f"{path} {found}; build the corpus again")
    if verify and fingerprint(path) != record:
        raise ValueError(f"{path} is not what was written: its SHA-256 is another; build the corpus again")


def _seal(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _checked(content: dict[str, Any]) -> Manifest:
    if content["format"] != _FORMAT:
        raise ValueError(f"expected the format {_FORMAT!r}, got {content['format']!r:.80}")
    seal = content.pop("seal")
    if seal != _seal(content):
        raise ValueError("its SHA-256 is not the one that it holds")
    del content["format"]
    check_is("sha256", content["sha256"], str)
    check_is("files", content["files"], dict)
    files = {name: _checked_record(name, *record) for name, record in content.pop("files").items()}
    for name in ("characters", "train_tokens", "min_freq"):
        content[name] = checked_integer(name, content[name], 0)
    if content["bpe_size"] is not None:
        content["bpe_size"] = checked_integer("bpe_size", content["bpe_size"], 0)
    content["held_out"] = checked_number("held_out", content["held_out"])
    return Manifest(**content, files=files)


def _checked_record(name: str, size: Any, sha256: Any) -> FileRecord:
    if Path(name).name != name:
        raise ValueError(f"expected the name of a file in its folder, got {name!r:.80}")
    check_is("sha256", sha256, str)
    return FileRecord(checked_integer("size", size, 0), sha256)
