"""Text that is safe inside C: comments, string constants, arrays of numbers."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

from rondeau.export._c.layer import literal

__all__ = ["array", "comment", "indented", "string"]


def comment(text: str) -> str:
    """Return a name as it may stand in a comment: letters and digits of ASCII and a few signs, no end of the comment.

    Examples
    --------
    >>> comment("encoder.0 */ #include")
    'encoder.0 __ _include'
    """
    return re.sub(r"[^A-Za-z0-9_.,: ()\-]", "_", text)


def string(text: str) -> str:
    r"""Return a string constant, every byte of which but plain letters, digits and a few signs is written in octal.

    Examples
    --------
    >>> print(string('a"b'), string("é?"))
    "a\042b" "\303\251\077"
    """
    plain = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 .,;:!-_+*/=()[]{}<>"
    octal = "".join(chr(byte) if byte in plain else f"\\{byte:03o}" for byte in text.encode())
    return f'"{octal}"'


def array(declaration: str, numbers: Iterable[Any], is_float: bool = True) -> str:
    """Return the definition of an array, eight numbers a line.

    Examples
    --------
    >>> print(array("static const float a[2]", [0.5, 1]))
    static const float a[2] = {
        0.5f, 1.0f
    };
    """
    texts = [literal(number) if is_float else str(int(number)) for number in numbers]
    lines = [", ".join(texts[first : first + 8]) for first in range(0, len(texts), 8)]
    return f"{declaration} = {{\n    " + ",\n    ".join(lines) + "\n};"


def indented(lines: Sequence[str]) -> str:
    """Return lines inside a function's braces."""
    return "\n".join(f"    {line}" if line else line for line in lines)
