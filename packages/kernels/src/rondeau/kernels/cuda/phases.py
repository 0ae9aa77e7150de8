"""The compiled kernels of cells: each is compiled on first use, and kept as long as its cell is alive."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

import numpy as np

from rondeau.kernels.cell.cell import Cell
from rondeau.kernels.cuda import compiler
from rondeau.kernels.cuda.emit import emit

__all__ = ["compiled_kernels", "kept", "source"]

T = TypeVar("T")

_kept: weakref.WeakKeyDictionary[Cell, dict[Hashable, Any]] = weakref.WeakKeyDictionary()
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

    def compile_phases() -> list[Any]:
        phases = emit(cell.name, direction, cell.schedule, dtype, incoming, projected)
        return [compiler.Kernel(phase, dtype) for phase in phases]

    return kept(cell, (direction, dtype, incoming, projected), compile_phases)


def kept(cell: Cell, key: Hashable, compile_kernels: Callable[[], T]) -> T:
    """Return what `compile_kernels` makes of a cell, which is called once for a key.

    Tests put another class in the place of `compiler.Kernel`; what each has made is kept apart.
    """
    key = compiler.Kernel, key
    with _lock:
        of_cell = _kept.setdefault(cell, {})
        if key not in of_cell:
            of_cell[key] = compile_kernels()
        return of_cell[key]  # type: ignore[no-any-return]
