"""Text that is safe inside a Python file."""

from __future__ import annotations

import re

from rondeau.export._text import shortened

__all__ = ["comment", "identifier"]


def comment(text: str) -> str:
    r"""Return a name as it may stand in a comment: on one line, with what cannot be printed as an escape.

    Examples
    --------
    >>> print(comment("a\nimport os"))
    'a\nimport os'
    """
    short = shortened(text)
    return short if short.isprintable() else ascii(short)


def identifier(name: str, taken: set[str]) -> str:
    """Return a name of ASCII for a function, as near to this one as may be, that is not among the taken ones.

    Examples
    --------
    >>> identifier("my cell", set()), identifier("lstm", {"lstm"}), identifier("ψ", set())
    ('my_cell', 'lstm_2', 'step')
    """
    plain = re.sub(r"[^A-Za-z0-9]+", "_", shortened(name)).strip("_").lower()
    base = plain if plain.isidentifier() else "step"
    found, number = base, 2
    while found in taken:
        found, number = f"{base}_{number}", number + 1
    return found
