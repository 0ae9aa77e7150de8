"""Checks of arguments that several formats have: the name of the files, and the texts of ids."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from rondeau.export._description import Description
from rondeau.export._errors import ExportError

__all__ = ["check_identifier", "check_tokens"]


def check_identifier(name: Any) -> None:
    """Raise unless a name may begin those of a program.

    Raises
    ------
    ExportError
    """
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]{0,30}", name):
        raise ExportError(
            f"name must be a letter followed by at most 30 letters, digits and underscores of ASCII, got {name!r:.80}"
        )


def check_tokens(tokens: Sequence[str] | None, description: Description) -> None:
    """Raise unless there is a text for each id that a model reads, or none are given.

    Raises
    ------
    ExportError
    """
    if tokens is None:
        return
    if not description.takes_ids:
        raise ExportError("tokens are the texts of ids, and this model reads numbers: leave them out")
    if isinstance(tokens, str) or not isinstance(tokens, Sequence):
        raise ExportError(f"tokens must be a list of texts, got {type(tokens).__name__}")
    if len(tokens) != description.inputs:
        raise ExportError(
            f"tokens must have one text for each of {description.inputs} ids, got {len(tokens)}"
        )
    for k, token in enumerate(tokens):
        if not isinstance(token, str):
            raise ExportError(f"tokens must be texts, and that of id {k} is of type {type(token).__name__}")
