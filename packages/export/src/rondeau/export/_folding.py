"""The values of a step that are the same in every step: what every format computes before it writes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from rondeau.export._description import Layer
from rondeau.kernels.cell.cell import Cell
from rondeau.kernels.cell.graph import Rank
from rondeau.kernels.cell.operations import OPERATIONS
from rondeau.kernels.recurrent.reference import on_numbers

__all__ = ["fold_constants"]


def fold_constants(layer: Layer, cell: Cell, roots: Iterable[int]) -> dict[int, Any]:
    """Compute the values that are constant over a run: numbers, and functions of learned vectors alone.

    Parameters
    ----------
    layer : Layer
    cell : Cell
        That of the layer, for the named inputs in the forms of the export.
    roots : iterable of int
        The nodes of the cell's graph that are needed.

    Returns
    -------
    dict of int to object
        By node: a `numpy.float32`, a truth value, or an array (H,).
    """
    graph = cell.schedule.graph
    params = dict(zip(cell.params, layer.weights.params, strict=True))
    values: dict[int, Any] = {}
    for index in graph.reach(list(roots)):
        node = graph.nodes[index]
        if node.op == "const":
            values[index] = np.float32(node.value)
        elif node.op == "input" and node.value[0] == "width":
            values[index] = np.float32(layer.hidden)
        elif node.op == "input" and node.value[0] in ("k", "rate"):
            values[index] = np.float32(layer.scalars[node.value])
        elif node.op == "input" and node.value[0] == "p":
            values[index] = params[node.value[1]]
        elif node.op in OPERATIONS and all(arg in values for arg in node.args) and node.op != "sum":
            operation, operands = OPERATIONS[node.op], [values[arg] for arg in node.args]
            if graph.rank(index) == Rank.CALL:
                found = on_numbers(operation, operands)
                values[index] = found if isinstance(found, bool) else np.float32(found)
            else:
                with np.errstate(all="ignore"):
                    values[index] = operation.function(*operands)
    return values
