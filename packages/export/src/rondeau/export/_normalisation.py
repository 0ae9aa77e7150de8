"""Layer normalisation in the graph of a step, where it is a dozen operations: found, to be written as one."""

from __future__ import annotations

import math
from typing import NamedTuple

from rondeau.kernels.cell.graph import Graph

__all__ = ["Normalisation", "find_normalisations"]


class Normalisation(NamedTuple):
    """Values that `cell_math.layer_norm` normalises jointly.

    Attributes
    ----------
    values : tuple of int
        The nodes of what is normalised, over the units of all of them.
    members : tuple of int or None
        The node that each becomes, before any gain and bias; None for one that nothing reads.
    eps : int
        The node of what is added to the variance.
    """

    values: tuple[int, ...]
    members: tuple[int | None, ...]
    eps: int


def find_normalisations(graph: Graph) -> list[Normalisation]:
    """Return the layer normalisations of a step.

    Parameters
    ----------
    graph : Graph

    Returns
    -------
    list of Normalisation

    Examples
    --------
    >>> from rondeau import nn
    >>> [len(found.values) for found in find_normalisations(nn.cells.lstm_layer_norm.graph)]
    [4, 4, 1]
    """
    live = graph.reach(graph.outputs)
    products: dict[tuple[int, ...], list[int]] = {}
    for index in live:
        if graph.nodes[index].op == "mul":
            products.setdefault(graph.nodes[index].args, []).append(index)
    found = []
    for scale in live:
        parts = _parts(graph, scale)
        if parts is None:
            continue
        values, centred, eps = parts
        members = [products.get((value, scale), []) for value in centred]
        if any(members) and all(len(nodes) < 2 for nodes in members):
            found.append(Normalisation(values, tuple(nodes[0] if nodes else None for nodes in members), eps))
    return found


def _parts(graph: Graph, scale: int) -> tuple[tuple[int, ...], tuple[int, ...], int] | None:
    """Return values, centred values and eps if a node is ``where(variance < inf, 1 / sqrt(variance + eps), nan)``."""
    is_finite, inverse, otherwise = _operands(graph, scale, "where", 3)
    one, root = _operands(graph, inverse, "div", 2)
    variance, eps = _operands(graph, _operands(graph, root, "sqrt", 1)[0], "add", 2)
    below, limit = _operands(graph, is_finite, "lt", 2)
    if variance < 0 or below != variance:
        return None
    if (_number(graph, limit), _number(graph, one)) != (math.inf, 1) or not math.isnan(
        _number(graph, otherwise)
    ):
        return None
    squares = _terms_of_mean(graph, variance)
    centred = tuple(_operands(graph, square, "mul", 2)[0] for square in squares)
    pairs = [_operands(graph, value, "sub", 2) for value in centred]
    values = tuple(value for value, _ in pairs)
    if not pairs or min(values) < 0 or len({mean for _, mean in pairs}) > 1:
        return None
    if any(_operands(graph, s, "mul", 2) != (c, c) for s, c in zip(squares, centred, strict=True)):
        return None
    return (values, centred, eps) if _terms_of_mean(graph, pairs[0][1]) == values else None


def _operands(graph: Graph, index: int, op: str, count: int) -> tuple[int, ...]:
    """Return the operands of a node if it is this operation, and -1 for each if it is not."""
    is_it = index >= 0 and graph.nodes[index].op == op and len(graph.nodes[index].args) == count
    return graph.nodes[index].args if is_it else (-1,) * count


def _number(graph: Graph, index: int) -> float:
    """Return the number that a node is, or 0 if it is none."""
    node = graph.nodes[index]
    return float(node.value) if node.op == "const" else 0.0


def _terms_of_mean(graph: Graph, index: int) -> tuple[int, ...]:
    """Return the values whose mean over the units of all of them a node is; none if it is no mean."""
    total, count = _operands(graph, index, "div", 2)
    factor, width = _operands(graph, count, "mul", 2)
    if factor < 0 or graph.nodes[width].value != ("width", "H"):
        return ()
    (value,) = _operands(graph, total, "sum", 1)
    terms: list[int] = []
    for _ in range(int(_number(graph, factor)) - 1):
        value, last = _operands(graph, value, "add", 2)
        terms.append(last)
    return () if value < 0 or not _number(graph, factor) else (value, *reversed(terms))
