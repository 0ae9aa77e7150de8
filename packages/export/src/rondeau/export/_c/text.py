"""Text that is safe inside C: comments, string constants, arrays of numbers."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from rondeau.export._text import shortened

__all__ = ["LONGEST_STRING", "array", "characters", "comment", "indented", "literal", "string"]


_PLAIN = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 .,;:!-_+*/=()[]{}<>"
"""The bytes that stand for themselves in a string constant; no backslash, quote or part of a trigraph."""

LONGEST_STRING = 4095
"""The bytes of a string constant that every compiler of C99 takes."""


def comment(text: str) -> str:
    """Return a name as it may stand in a comment: letters and digits of ASCII and a few signs, no end of the comment.

    Examples
    --------
    >>> comment("encoder.0 */ #include")
    'encoder.0 __ _include'
    """
    return re.sub(r"[^A-Za-z0-9_.,: ()\-]", "_", shortened(text))


def string(text: bytes) -> str:
    r"""Return a string constant, every byte of which but plain letters, digits and a few signs is written in octal.

    Examples
    --------
    >>> print(string(b'a"b'), string("é?".encode()))
    "a\042b" "\303\251\077"
    """
    octal = "".join(chr(byte) if byte in _PLAIN else f"\\{byte:03o}" for byte in text)
    return f'"{octal}"'


def characters(declaration: str, text: bytes) -> str:
    r"""Return the definition of an array of characters that ends with a zero, of any length.

    Examples
    --------
    >>> print(characters("static const char a[]", b"ab"))
    static const char a[] = {
        '\141', '\142', 0
    };
    """
    texts = [*(f"'\\{byte:03o}'" for byte in text), "0"]
    return _definition(declaration, texts)


def literal(number: Any) -> str:
    """Return a float32 as a constant of C, which has the same value.

    Examples
    --------
    >>> literal(0.1), literal(-2.0), literal(float("inf")), literal(1e30)
    ('0.1f', '-2.0f', 'INFINITY', '1e+30f')
    """
    with np.errstate(over="ignore"):
        single = np.float32(number)
    if np.isnan(single):
        return "NAN"
    if np.isinf(single):
        return "INFINITY" if single > 0 else "-INFINITY"
    text = str(single)
    return f"{text}f" if re.search(r"[.e]", text) else f"{text}.0f"


def array(declaration: str, numbers: Iterable[Any], is_float: bool = True) -> str:
    """Return the definition of an array, eight numbers a line.

    Examples
    --------
    >>> print(array("static const float a[2]", [0.5, 1]))
    static const float a[2] = {
        0.5f, 1.0f
    };
    """
    return _definition(declaration, [literal(number) if is_float else str(int(number)) for number in numbers])


def _definition(declaration: str, texts: Sequence[str]) -> str:
    lines = [", ".join(texts[first : first + 8]) for first in range(0, len(texts), 8)]
    return f"{declaration} = {{\n    " + ",\n    ".join(lines) + "\n};"


def indented(lines: Sequence[str]) -> list[str]:
    """Return lines inside braces."""
    return [f"    {line}" if line else line for line in lines]
