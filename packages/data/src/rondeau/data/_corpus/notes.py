"""What the building of a corpus notes down to go on later: JSON files that hold their own SHA-256."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Set
from pathlib import Path
from typing import Any, TypeVar

from .._json import load_json, write_whole

Made = TypeVar("Made")


def write_note(path: Path, content: Mapping[str, Any]) -> None:
    """Write a note; the file is there whole, or as it was before."""
    text = json.dumps(content, ensure_ascii=False)
    write_whole(path, f'{{"note": {text}, "sha256": "{_sha256(text)}"}}'.encode())


def read_note(path: Path, fields: Set[str], make: Callable[[dict[str, Any]], Made]) -> Made:
    """Return what `make` makes of a note.

    Raises
    ------
    ValueError
        If it is not what was written, or not an object with these fields.
    """

    def checked(content: dict[str, Any]) -> Made:
        note = content["note"]
        is_whole = _sha256(json.dumps(note, ensure_ascii=False)) == content["sha256"]
        if not is_whole or not isinstance(note, dict) or note.keys() != fields:
            raise ValueError(
                "its SHA-256 is not the one that it holds; remove what was built, and build it again"
            )
        return make(note)

    return load_json(path, {"note", "sha256"}, checked)


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
