"""Results as they are kept: beside the command that made them, its paths by their last names."""

import json
import sys
from pathlib import Path
from typing import Any


def record(file: Path, tool: str, arguments: list[str] | None, *paths: Path, **results: Any) -> None:
    """Write `results` as JSON, and the command: `arguments`, by default those of this process."""
    short = {str(path): path.name for path in (*paths, file)}
    words = [str(word) for word in (arguments or sys.argv[1:])]
    command = " ".join([f"python -m tools.{tool}", *(short.get(word, word) for word in words)])
    file.write_text(json.dumps({"command": command, **results}, indent=1) + "\n", encoding="utf-8")
