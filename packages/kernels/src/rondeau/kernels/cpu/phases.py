"""The compiled phases of cells: each is compiled or loaded on first use, and kept as long as its cell is alive."""

from __future__ import annotations

import weakref
from typing import Any

import numpy as np
from numba.core.compiler_lock import global_compiler_lock
from numpy.typing import NDArray

from rondeau.kernels.cell.cell import Cell
from rondeau.kernels.cpu.compiled_phase import CompiledPhase
from rondeau.kernels.cpu.emit import emit

__all__ = ["compiled_phases", "source"]

_Key = tuple[str, np.dtype[Any]]
_kept: weakref.WeakKeyDictionary[Cell, dict[_Key, NDArray[np.int64]]] = weakref.WeakKeyDictionary()


def source(cell: Cell, direction: str, dtype: Any) -> str:
    """Return the generated source of a cell's phases, ``"forward"`` or ``"backward"``."""
    return "\n".join(emit(cell.name, direction, cell.schedule, dtype))


def compiled_phases(cell: Cell, direction: str, dtype: np.dtype[Any]) -> NDArray[np.int64]:
    """Return the addresses of a cell's phases; the first call compiles them, or loads them from disk."""
    of_cell = _kept.get(cell)
    phases = None if of_cell is None else of_cell.get((direction, dtype))
    if phases is None:
        with global_compiler_lock:
            of_cell = _kept.setdefault(cell, {})
            phases = of_cell.get((direction, dtype))
            if phases is None:
                sources = emit(cell.name, direction, cell.schedule, dtype)
                addresses = [CompiledPhase(text, dtype).address for text in sources]
                phases = of_cell[direction, dtype] = np.array(addresses, np.int64)
    return phases
