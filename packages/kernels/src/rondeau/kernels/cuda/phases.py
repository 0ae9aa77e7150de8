"""The compiled kernels of cells: each is compiled on first use, and kept as long as its cell is alive."""

from __future__ import annotations

import threading
import weakref
from typing import Any

import numpy as np

from rondeau.kernels.cell.cell import Cell
from rondeau.kernels.cuda import compiler
from rondeau.kernels.cuda.emit import emit

__all__ = ["compiled_kernels", "source"]

_kept: weakref.WeakKeyDictionary[Cell, dict[Any, list[Any]]] = weakref.WeakKeyDictionary()
_lock = threading.RLock()


def source(cell: Cell, direction: str, dtype: Any) -> str:
    """Return the generated source of a cell's kernels, ``"forward"`` or ``"backward"``."""
    incoming = frozenset(cell.states[:1])
    return "\n".join(k.source for k in emit(cell.name, direction, cell.schedule, dtype, incoming))


def compiled_kernels(
    cell: Cell,
    direction: str,
    dtype: np.dtype[Any],
    incoming: frozenset[str] = frozenset(),
    projected: bool = False,
) -> list[Any]:
    """Return the kernels of a cell's phases; the first call compiles them. The arguments are those of `emit`."""
    make = compiler.Kernel  # tests put another in its place
    key = make, direction, dtype, incoming, projected
    with _lock:
        of_cell = _kept.setdefault(cell, {})
        if key not in of_cell:
            phases = emit(cell.name, direction, cell.schedule, dtype, incoming, projected)
            of_cell[key] = [make(phase, dtype) for phase in phases]
        return of_cell[key]
