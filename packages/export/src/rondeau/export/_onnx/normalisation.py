"""Layer normalisation with its gains and biases in the graph of a cell: what one node of ONNX can take the place of."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from rondeau.export._normalisation import Normalisation, find_normalisations
from rondeau.kernels.cell.graph import Graph

__all__ = ["ScaledNormalisation", "find_scaled_normalisations"]


class ScaledNormalisation(NamedTuple):
    """Values that are normalised jointly, and what is made of them next.

    Attributes
    ----------
    values : tuple of int
        The nodes of what is normalised, over the units of all of them.
    gains, biases : tuple of int or None
        The nodes of the learned vectors, which are constants; None for none.
    results : tuple of int or None
        The node that each value becomes; None for one that the step does not use.
    eps : float
    """

    values: tuple[int, ...]
    gains: tuple[int | None, ...]
    biases: tuple[int | None, ...]
    results: tuple[int | None, ...]
    eps: float


def find_scaled_normalisations(graph: Graph, constants: dict[int, Any]) -> list[ScaledNormalisation]:
    """Return the layer normalisations of a step, with the gains and biases that all values of one have.

    Parameters
    ----------
    graph : Graph
    constants : dict of int to object
        The values that are known; see `fold_constants`.
    """
    users: dict[int, list[int]] = {}
    for index in graph.reach(graph.outputs):
        for arg in set(graph.nodes[index].args):
            users.setdefault(arg, []).append(index)
    return [
        _with_vectors(graph, constants, users, found)
        for found in find_normalisations(graph)
        if found.eps in constants
    ]


def _with_vectors(
    graph: Graph, constants: dict[int, Any], users: dict[int, list[int]], found: Normalisation
) -> ScaledNormalisation:
    def followed(
        ends: tuple[int | None, ...], op: str
    ) -> tuple[tuple[int | None, ...], tuple[int | None, ...]]:
        """Return the constants that the values are multiplied by or shifted by next, and the results, or neither."""
        vectors: list[int | None] = []
        after: list[int | None] = []
        for end in ends:
            if end is None:
                vectors.append(None)
                after.append(None)
                continue
            readers = users.get(end, [])
            node = graph.nodes[readers[0]] if len(readers) == 1 and end not in graph.outputs else None
            if node is None or node.op != op or node.args[0] != end or not is_vector(node.args[1]):
                return (None,) * len(ends), ends
            vectors.append(node.args[1])
            after.append(readers[0])
        return tuple(vectors), tuple(after)

    def is_vector(index: int) -> bool:
        return np.ndim(constants.get(index, 0)) == 1

    gains, ends = followed(found.members, "mul")
    biases, ends = followed(ends, "add")
    return ScaledNormalisation(found.values, gains, biases, ends, float(constants[found.eps]))
