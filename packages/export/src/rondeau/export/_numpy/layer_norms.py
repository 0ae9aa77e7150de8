"""Finds layer normalisation in the graph of a step, where it is a dozen operations."""

from __future__ import annotations

import math
from typing import NamedTuple

from rondeau.export._numpy.rows import has_rows
from rondeau.kernels.cell.graph import Graph, Rank

__all__ = ["LayerNormOfStep", "find_layer_norms"]


class LayerNormOfStep(NamedTuple):
    """The normalisation that a value comes from.

    Attributes
    ----------
    values : tuple of int
        The values that are normalised together.
    members : tuple of int
        What becomes of each, in the same order; -1 for one that nothing reads.
    eps : float
    """

    values: tuple[int, ...]
    members: tuple[int, ...]
    eps: float


def find_layer_norms(graph: Graph) -> dict[int, LayerNormOfStep]:
    """Return the values that come out of `cell_math.layer_norm`, before any gain and bias, and what they are of.

    Parameters
    ----------
    graph : Graph

    Returns
    -------
    dict of int to LayerNormOfStep

    Examples
    --------
    >>> from rondeau import nn
    >>> found = find_layer_norms(nn.cells.lstm_layer_norm.graph)
    >>> sorted({len(norm.values) for norm in found.values()}), len(found)
    ([1, 4], 9)
    """
    found: dict[int, LayerNormOfStep] = {}
    live = graph.reach(graph.outputs)
    for scale in live:
        taken = _parts(graph, scale)
        if taken is None:
            continue
        values, centred, eps = taken
        members = tuple(
            next((n for n in live if graph.nodes[n][:2] == ("mul", (value, scale))), -1) for value in centred
        )
        norm = LayerNormOfStep(values, members, eps)
        found |= dict.fromkeys([member for member in members if member >= 0], norm)
    return found


def _parts(graph: Graph, scale: int) -> tuple[tuple[int, ...], tuple[int, ...], float] | None:
    """Return values, centred values and eps if a node is ``where(variance < inf, 1 / sqrt(variance + eps), nan)``."""
    nodes = graph.nodes
    is_finite, inverse, _ = _operands(graph, scale, "where", 3)
    root = _operands(graph, inverse, "div", 2)[1]
    variance, eps = _operands(graph, _operands(graph, root, "sqrt", 1)[0], "add", 2)
    below, limit = _operands(graph, is_finite, "lt", 2)
    if variance < 0 or below != variance or nodes[limit].value != math.inf or nodes[eps].op != "const":
        return None
    squares = _terms_of_mean(graph, variance)
    centred = tuple(_operands(graph, square, "mul", 2)[0] for square in squares)
    pairs = [_operands(graph, value, "sub", 2) for value in centred]
    values = tuple(value for value, _ in pairs)
    if not pairs or min(values) < 0 or len({mean for _, mean in pairs}) > 1:
        return None
    if any(_operands(graph, s, "mul", 2) != (c, c) for s, c in zip(squares, centred, strict=True)):
        return None
    is_whole = _terms_of_mean(graph, pairs[0][1]) == values and all(
        graph.rank(value) == Rank.UNIT and has_rows(graph, value) for value in values
    )
    return (values, centred, float(nodes[eps].value)) if is_whole else None


def _operands(graph: Graph, index: int, op: str, count: int) -> tuple[int, ...]:
    """Return the operands of a node if it is this operation, and -1 for each if it is not."""
    is_it = index >= 0 and graph.nodes[index].op == op and len(graph.nodes[index].args) == count
    return graph.nodes[index].args if is_it else (-1,) * count


def _terms_of_mean(graph: Graph, index: int) -> tuple[int, ...]:
    """Return the values whose mean over the units of all of them a node is; none if it is not a mean."""
    total, count = _operands(graph, index, "div", 2)
    factor, width = _operands(graph, count, "mul", 2)
    if factor < 0 or graph.nodes[factor].op != "const" or graph.nodes[width].value != ("width", "H"):
        return ()
    (value,) = _operands(graph, total, "sum", 1)
    terms: list[int] = []
    for _ in range(int(graph.nodes[factor].value) - 1):
        value, last = _operands(graph, value, "add", 2)
        terms.append(last)
    return () if value < 0 else (value, *reversed(terms))
