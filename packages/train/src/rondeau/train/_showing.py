r"""Text on a terminal: control characters are shown, not sent.

A corpus, a vocabulary or a file's name may hold what a terminal takes for a command: to change colours, the window's
title or lines already printed. Where a text is to be read, each such character is written as an escape like ``\x1b``.
"""

import sys

_CONTROLS = {code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0))}
_LINE_ENDS = {ord("\n"): "\\n", ord("\r"): "\\r", ord("\t"): "\\t"}
_IN_TEXT = {code: escape for code, escape in _CONTROLS.items() if code not in (ord("\n"), ord("\t"))}
_IN_LINE = _CONTROLS | _LINE_ENDS


def visible(text: str) -> str:
    r"""Return a text whose control characters, but line ends and tabs, are escapes.

    >>> print(visible("red: \x1b[31m\nnext line"))
    red: \x1b[31m
    next line
    """
    return text.translate(_IN_TEXT)


def one_visible_line(text: str) -> str:
    r"""Return a text whose control characters are escapes, line ends and tabs too.

    >>> print(one_visible_line("two\nlines"))
    two\nlines
    """
    return text.translate(_IN_LINE)


def counted(count: int, noun: str) -> str:
    """Return a number of things.

    >>> counted(1, "second"), counted(1200, "row")
    ('1 second', '1,200 rows')
    """
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def say(text: str = "") -> None:
    """Print a line, or several, that a user is to read."""
    write(visible(text) + "\n")


def write(text: str) -> None:
    """Write to standard output as it is, but for characters that its encoding lacks, which are written as escapes."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    print(text.encode(encoding, "backslashreplace").decode(encoding), end="", flush=True)
