"""What is raised where a step cannot be traced: errors that name the line of the step and show it."""

from __future__ import annotations

import linecache
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any, NoReturn

__all__ = ["CellError", "raise_at_definition", "raise_at_user_line"]

# Where a step's call may have led when it fails; its own line is the one before.
_CALLED = (__name__.rpartition(".")[0], "rondeau.tensor", "rondeau.nn.functional", "numpy")


class CellError(Exception):
    """A step that cannot be traced. The message names the file and line of the step and shows it."""


def raise_at_user_line(message: str) -> NoReturn:
    """Raise a `CellError` that names and shows the line of the step that is running now."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_globals.get("__name__", "").startswith(_CALLED):
        frame = frame.f_back
    if frame is None:
        raise CellError(message) from None
    line = _describe_line(frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_name)
    raise CellError(f"{line}\n{message}") from None


def raise_at_definition(step: Callable[..., Any], message: str) -> NoReturn:
    """Raise a `CellError` that names and shows the line where a step is defined."""
    code = getattr(step, "__code__", None)
    line = (
        f"in {step!r}"
        if code is None
        else _describe_line(code.co_filename, code.co_firstlineno, code.co_name)
    )
    raise CellError(f"{line}\n{message}") from None


def _describe_line(filename: str, line: int, function: str) -> str:
    text = linecache.getline(filename, line).strip()
    return f'File "{filename}", line {line}, in {function}' + (f"\n    {text}" if text else "")
