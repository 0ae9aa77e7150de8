"""Which values of a step have a dimension for the rows of a batch."""

from __future__ import annotations

from rondeau.kernels.cell.graph import Graph

__all__ = ["has_rows"]


def has_rows(graph: Graph, index: int) -> bool:
    """Return whether a value has a dimension for the rows of a batch: not if it is made of learned vectors alone."""
    nodes = [graph.nodes[n] for n in graph.reach([index])]
    return any(
        node.op == "product" or (node.op == "input" and node.value[0] not in ("p", "k", "rate", "width"))
        for node in nodes
    )
