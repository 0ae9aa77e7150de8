"""`Saved`: the values that a forward passes to its backward."""

from __future__ import annotations

from typing import Any

from rondeau.kernels.cell.cell import Cell
from rondeau.kernels.errors import ArgumentTypeError, ArgumentValueError

__all__ = ["Saved", "refusal"]


class Saved:
    """What a forward of a cell saved for backward, until a backward with ``consume=True`` spends it.

    Parameters
    ----------
    cell : Cell
    values : object
    """

    __slots__ = ("cell", "values")

    def __init__(self, cell: Cell, values: Any) -> None:
        self.cell = cell
        self.values: Any = values  # None once they are spent


def refusal(cell: Cell, saved: Any) -> Exception:
    """Return the error for what a backward of a cell was given in the place of what forward saved and nothing spent."""
    if not isinstance(saved, Saved):
        got = type(saved).__name__
    elif saved.values is None:
        return ArgumentValueError(
            "backward was called with consume=True before, which spends what forward saved; omit consume to call it "
            "again"
        )
    else:
        got = f"that of cell {saved.cell.name}"
    return ArgumentTypeError(
        f"backward: saved must be what forward returned for cell {cell.name} with save=True, got {got}"
    )
