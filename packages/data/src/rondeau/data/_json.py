"""JSON files: what a vocabulary, a codec and a stream on disk are described by."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Set
from pathlib import Path
from typing import Any

from ._checks import check_path


def write_json(path: str | os.PathLike[str], content: Mapping[str, Any]) -> None:
    """Write an object in UTF-8, the same bytes on every system."""
    check_path(path)
    Path(path).write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8", newline="\n")


def read_json(path: str | os.PathLike[str], fields: Set[str]) -> dict[str, Any]:
    """Return the JSON object of a file after checking that it has the given fields.

    Raises
    ------
    ValueError
        If the file is not JSON, or is no object with these fields; the message names the file.
    """
    check_path(path)
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not JSON: {error}") from None
    if not isinstance(content, dict) or content.keys() != fields:
        found = sorted(content) if isinstance(content, dict) else type(content).__name__
        raise ValueError(f"{path}: expected a JSON object with the fields {sorted(fields)}, got {found}")
    return content
