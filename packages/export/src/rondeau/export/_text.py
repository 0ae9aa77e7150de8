"""Text of a model's as it stands in the files of every format: its licence, and names that are not too long."""

from __future__ import annotations

__all__ = ["LICENCE", "shortened"]

LICENCE = "SPDX-License-Identifier: 0BSD (of this code; the weights belong to whoever trained them)"

_LONGEST = 100


def shortened(name: str) -> str:
    """Return a name, or the beginning of one that is long.

    Examples
    --------
    >>> shortened("encoder.0"), len(shortened(1000 * "x"))
    ('encoder.0', 100)
    """
    return name if len(name) <= _LONGEST else f"{name[: _LONGEST - 3]}..."
