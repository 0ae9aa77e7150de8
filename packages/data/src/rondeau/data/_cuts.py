"""Where a text may be cut without cutting a token."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

_LONGEST_WORD = 100  # characters; a longer run without white space may be cut anywhere


class CutRule(NamedTuple):
    """Where a long text may be cut into pieces whose tokens, one after the other, are those of the whole.

    Attributes
    ----------
    within_line : re.Pattern of bytes or None
        A long line may be cut after each match; None: only line ends will do.
    tokens_with_line_ends : callable or None
        ``tokens_with_line_ends(text)``: where each token begins and ends that has a line end in it, from the first to
        the last and as far as the text shows. None: no token reaches from one line into the next.
    """

    within_line: re.Pattern[bytes] | None = None
    tokens_with_line_ends: Callable[[str], list[tuple[int, int]]] | None = None


def back_to_white_space(before: str) -> int:
    r"""Return how far to move a cut back, so that it divides no word.

    Parameters
    ----------
    before : str
        The text up to and with the character behind the cut; its last 101 characters are looked at.

    Returns
    -------
    int
        Characters from the cut back to the nearest space or line end; 0 where there is none near.

    Examples
    --------
    >>> back_to_white_space("to be or no"), back_to_white_space("to be or "), back_to_white_space("tobe")
    (2, 0, 0)
    """
    before = before[-_LONGEST_WORD - 1 :]
    space = max(before.rfind(" "), before.rfind("\n"))
    return len(before) - 1 - space if space >= 0 else 0
