"""Learned initial states: their parameters, and the states that sequences begin with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from numpy.typing import DTypeLike

from rondeau import tensor as rt
from rondeau.kernels.errors import ArgumentValueError
from rondeau.kernels.sequence import Cell
from rondeau.tensor import Tensor

from .._module import Module
from .._parameter import Parameter

__all__ = ["expanded", "register_initial_states"]

Vectors = tuple[Tensor, ...]


def register_initial_states(
    module: Module, cell: Cell, widths: Sequence[int], suffix: str, device: Any, dtype: DTypeLike | None
) -> list[str]:
    """Register a vector of zeros for each state of one layer and direction; return their names.

    Raises
    ------
    ValueError
        If the cell has a learned vector of the same name.
    """
    names = [f"initial_{state}" for state in cell.states]
    for name, width in zip(names, widths, strict=True):
        if name in cell.params:
            raise ArgumentValueError(
                f"learn_initial_state=True needs the name {name}, which is a learned vector of cell {cell.name}: "
                "rename that vector"
            )
        setattr(module, name + suffix, Parameter(rt.zeros(width, dtype=dtype, device=device)))
    return [name + suffix for name in names]


def expanded(vectors: Vectors, leading: tuple[int, ...]) -> Vectors:
    """Return the states of a batch, of shape `leading` and W, whose sequences all begin with the same vectors (W,).

    Each vector's gradient is the sum over the sequences, in an order that depends only on their number.
    """
    return tuple([vector.expand(*leading, vector.shape[0]) for vector in vectors])
