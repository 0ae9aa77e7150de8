"""JSON files: what a vocabulary, a codec and a stream on disk are described by."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Set
from pathlib import Path
from typing import Any, TypeVar

from ._checks import check_path

Made = TypeVar("Made")


def write_json(path: str | os.PathLike[str], content: Mapping[str, Any]) -> None:
    """Write an object in UTF-8, the same bytes on every system; the file is there whole, or as it was before."""
    check_path(path)
    write_whole(Path(path), json.dumps(content, ensure_ascii=False).encode())


def write_whole(path: Path, content: bytes) -> None:
    """Write a file beside its place, and move it there."""
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        part.write_bytes(content)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def load_json(path: str | os.PathLike[str], fields: Set[str], make: Callable[[dict[str, Any]], Made]) -> Made:
    """Return what `make` makes of the JSON object of a file.

    Raises
    ------
    ValueError
        If the file is not JSON, is not an object with these fields, or `make` refuses it; the message names the file.
    """
    check_path(path)
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not JSON: {error}") from None
    except RecursionError:
        raise ValueError(f"{path} is not what was written: its JSON is nested too deep") from None
    if not isinstance(content, dict) or content.keys() != fields:
        found = f"{sorted(content)!s:.80}" if isinstance(content, dict) else type(content).__name__
        raise ValueError(f"{path}: expected a JSON object with the fields {sorted(fields)}, got {found}")
    try:
        return make(content)
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"{path} is damaged: {error}") from error
