"""`CellError`, raised when a step cannot be traced, and the functions that raise it with the step's own line."""

from __future__ import annotations

import ast
import itertools
import linecache
import sys
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, NoReturn

__all__ = ["CellError", "called_on_tensors", "raise_at_definition", "raise_at_user_line"]

# Modules whose functions take Tensors, and which no step can use.
_OF_TENSORS = ("rondeau.tensor", "rondeau.nn._", "rondeau.nn.functional")
# Modules whose frames are skipped in a traceback, to find the step's own line.
_CALLED = (__name__.rpartition(".")[0], *_OF_TENSORS, "numpy")


class CellError(Exception):
    """A step that cannot be traced. The message names the file and line of the step and shows it.

    Examples
    --------
    >>> from rondeau.kernels.sequence import Cell
    >>> try:
    ...     Cell(lambda x, r, s: x.h + r.h if s.h > 0 else s.h, ("h",), ("h",), "wrong")
    ... except CellError as error:
    ...     print(str(error).splitlines()[-1][:29])
    a symbol has no truth value (
    """


def raise_at_user_line(message: str) -> NoReturn:
    """Raise a `CellError` that names and shows the line of the running step."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and _module(frame).startswith(_CALLED):
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


def called_on_tensors(error: Exception) -> tuple[str, str | None] | None:
    """Return where a step called the function of Tensors that raised `error`, or None if none did.

    Returns
    -------
    line : str
        The file, line and text of the call in the step.
    name : str or None
        The function as the step spells it, for example ``"rt.tanh"``; None for an operator on a Tensor.
    """
    trail: list[TracebackType] = []
    link = error.__traceback__
    while link is not None:
        trail.append(link)
        link = link.tb_next
    own = max(
        (i for i, link in enumerate(trail) if not _module(link.tb_frame).startswith(_CALLED)), default=-1
    )
    if own + 1 >= len(trail) or not _module(trail[own + 1].tb_frame).startswith(_OF_TENSORS):
        return None
    code = trail[own].tb_frame.f_code
    line = _describe_line(code.co_filename, trail[own].tb_lineno, code.co_name)
    return line, _name_of_called(trail[own])


def _name_of_called(link: TracebackType) -> str | None:
    """Return the function that the user's source calls here, as it is spelled there."""
    code = link.tb_frame.f_code
    positions = next(itertools.islice(code.co_positions(), link.tb_lasti // 2, None), (None,) * 4)
    first, last, start, end = positions
    if first is None or last is None or start is None or end is None:  # python -X no_debug_ranges
        return "a function of Tensors"
    lines = [linecache.getline(code.co_filename, number).encode() for number in range(first, last + 1)]
    lines[-1] = lines[-1][:end]  # the end first: both may be the same line
    lines[0] = lines[0][start:]
    segment = b"".join(lines)
    try:
        written = ast.parse(b"(" + segment + b")", mode="eval").body
    except SyntaxError:  # the file has changed since it was imported
        return "a function of Tensors"
    if not segment:  # the source is not available, as in a console
        return "a function of Tensors"
    return ast.unparse(written.func) if isinstance(written, ast.Call) else None


def _module(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", ""))


def _describe_line(filename: str, line: int, function: str) -> str:
    text = linecache.getline(filename, line).strip()
    return f'File "{filename}", line {line}, in {function}' + (f"\n    {text}" if text else "")
