"""Span: where a part of an operand lies, in the arrays of a run."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["Span"]


class Span(NamedTuple):
    """Elements of an operand's row, and where they lie.

    It consists of pieces of equal length; a piece's elements follow one another.

    Attributes
    ----------
    array : str
        A flat array.
    row : str
        The variable that holds the first row of the step.
    stride : int
        The elements from one row to the next.
    first, length : int
        Where in a row it begins, and its elements in all.
    pieces, apart : int
        Their number, and the elements from the beginning of one to that of the next, if there are several.
    offset : str
        A variable to add to where it begins; none if empty.
    """

    array: str
    row: str
    stride: int
    first: int
    length: int
    pieces: int = 1
    apart: int = 0
    offset: str = ""

    @property
    def of_piece(self) -> int:
        """The elements of a piece."""
        return self.length // self.pieces

    def element(self, row: str, begin: int) -> str:
        """Return the index of element y of an operand in a row of the step, if the span begins at element `begin`."""
        index, first = f"({self.row} + {row}) * U({self.stride}) + y", self.first - begin
        if self.pieces > 1:
            gap = self.apart - self.of_piece
            index += f" + y // U({self.of_piece}) * U({gap})"
            first -= begin // self.of_piece * gap
        if first:
            index += f" + U({first})" if first > 0 else f" - U({-first})"
        return f"{index} + {self.offset}" if self.offset else index
