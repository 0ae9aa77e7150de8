"""Layer normalisation in the graph of a cell: found, so that one node of ONNX can take its place."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from rondeau.kernels.cell.graph import Graph

__all__ = ["Normalisation", "find_normalisations"]


class Normalisation(NamedTuple):
    """Values that are normalised jointly, as `cell_math.layer_norm` records it.

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


def find_normalisations(graph: Graph, constants: dict[int, Any], width: int) -> list[Normalisation]:
    """Return the layer normalisations of a step.

    Parameters
    ----------
    graph : Graph
    constants : dict of int to object
        The values that are known; see `fold_constants`.
    width : int
        The hidden units.
    """
    finder = _Finder(graph, constants, width)
    live = graph.reach(graph.outputs)
    found = [finder.at(index) for index in live if graph.nodes[index].op == "where"]
    return [one for one in found if one is not None]


class _Finder:
    def __init__(self, graph: Graph, constants: dict[int, Any], width: int) -> None:
        self._graph, self._constants, self._width = graph, constants, width
        self._users: dict[int, list[int]] = {}
        for index in graph.reach(graph.outputs):
            for arg in set(graph.nodes[index].args):
                self._users.setdefault(arg, []).append(index)

    def at(self, scale: int) -> Normalisation | None:
        """Return the normalisation whose ``1 / sqrt(variance + eps)`` is this node, or None if it is none."""
        condition, factor, otherwise = self._graph.nodes[scale].args
        variance_and_limit, root = self._args("lt", condition), self._args("div", factor)
        if not (variance_and_limit and root and self._is_number(otherwise, math.nan)):
            return None
        variance, limit = variance_and_limit
        radicand = self._args("sqrt", root[1])
        shifted = self._args("add", radicand[0]) if radicand else None
        if not (self._is_number(limit, math.inf) and self._is_number(root[0], 1.0) and shifted):
            return None
        if shifted[0] != variance or shifted[1] not in self._constants:
            return None
        squares = self._mean(variance)
        centred = None if squares is None else self._centred(*squares)
        if squares is None or centred is None:
            return None
        values, normal = zip(*centred, strict=True)
        results = [self._product(node, scale) for node in normal]
        if any(len(found) > 1 for found in results) or not any(results):
            return None
        ends = tuple(found[0] if found else None for found in results)
        gains, ends = self._followed(ends, "mul")
        biases, ends = self._followed(ends, "add")
        return Normalisation(values, gains, biases, ends, float(self._constants[shifted[1]]))

    def _args(self, op: str, index: int) -> tuple[int, ...] | None:
        node = self._graph.nodes[index]
        return node.args if node.op == op else None

    def _is_number(self, index: int, number: float) -> bool:
        value = self._constants.get(index, np.zeros(1))
        return np.ndim(value) == 0 and np.array_equal(value, number, equal_nan=True)

    def _mean(self, index: int) -> tuple[int, int] | None:
        """Return what is summed, and over how many values, if a node is ``sum(...) / count``."""
        quotient = self._args("div", index)
        total = self._args("sum", quotient[0]) if quotient else None
        if quotient is None or total is None or quotient[1] not in self._constants:
            return None
        count = float(self._constants[quotient[1]]) / self._width
        return (total[0], int(count)) if count >= 1 and count == int(count) else None

    def _terms(self, index: int, count: int) -> tuple[int, ...] | None:
        """Return the terms of a sum of `count` values."""
        terms: list[int] = []
        for _ in range(count - 1):
            pair = self._args("add", index)
            if pair is None:
                return None
            index = pair[0]
            terms.insert(0, pair[1])
        return (index, *terms)

    def _centred(self, total: int, count: int) -> list[tuple[int, int]] | None:
        """Return the values and the nodes of ``value - mean`` whose squares are summed."""
        found = []
        for square in self._terms(total, count) or ():
            pair = self._args("mul", square)
            difference = self._args("sub", pair[0]) if pair and pair[0] == pair[1] else None
            if pair is None or difference is None:
                return None
            found.append((difference[0], difference[1], pair[0]))
        means = {mean for _, mean, _ in found}
        of_mean = self._mean(means.pop()) if len(means) == 1 else None
        if of_mean is None or of_mean[1] != count:
            return None
        values = tuple(value for value, _, _ in found)
        return [(value, node) for value, _, node in found] if self._terms(*of_mean) == values else None

    def _product(self, centred: int, scale: int) -> list[int]:
        users = self._users.get(centred, [])
        return [user for user in users if self._args("mul", user) == (centred, scale)]

    def _followed(
        self, ends: tuple[int | None, ...], op: str
    ) -> tuple[tuple[int | None, ...], tuple[int | None, ...]]:
        """Return the constants that the values are multiplied by or shifted by next, and the results, or neither."""
        constants: list[int | None] = []
        after: list[int | None] = []
        for end in ends:
            if end is None:
                constants.append(None)
                after.append(None)
                continue
            users = self._users.get(end, [])
            args = self._args(op, users[0]) if len(users) == 1 and end not in self._graph.outputs else None
            if args is None or args[0] != end or np.ndim(self._constants.get(args[1], 0)) != 1:
                return (None,) * len(ends), ends
            constants.append(args[1])
            after.append(users[0])
        return tuple(constants), tuple(after)
