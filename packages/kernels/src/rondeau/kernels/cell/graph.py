"""The graph of a step: what it computes, as operations on inputs, constants and earlier values."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from rondeau.kernels.cell.input_forms import InputForms
from rondeau.kernels.cell.operations import OPERATIONS

__all__ = ["DISTRIBUTIONS", "Graph", "Node", "Rank"]

DISTRIBUTIONS = ("normal", "uniform")
"""The distributions of the noise of a step, which are the kinds of its inputs."""


class Rank(enum.IntEnum):
    """How many numbers make up a value."""

    CALL = 0
    """One number for the whole run: a constant or a scalar of the run."""
    ROW = 1
    """One number per batch row, such as a sum over the hidden units, or an input that is the same for all units."""
    UNIT = 2
    """One number per batch row and hidden unit."""


class Node(NamedTuple):
    """One value of a graph: an operation on earlier nodes, a constant, an input, or a recurrent product.

    ``op`` is a key of `OPERATIONS`, ``"const"`` (``value`` is a float), ``"input"`` (``value`` is a pair such as
    ``("x", "gate")``) or ``"product"`` (gate ``value``'s recurrent matrix and bias, applied to the one argument);
    ``args`` are indices of earlier nodes.

    Inputs are ``("x", gate)``, ``("r", gate)``, ``("s", state)``, ``("p", parameter)``, the named inputs ``("u",
    name)``, ``("k", scalar)``, the zoneout rate ``("rate", state)`` and its number drawn from [0, 1) ``("zoneout",
    state)``, the noise of the step ``("normal", number)`` and ``("uniform", number)``, numbered in the order of the
    calls, the mask of recurrent dropout ``("mask", "h")``, and the number of hidden units ``("width", "H")``.
    """

    op: str
    args: tuple[int, ...] = ()
    value: Any = None


class Graph:
    """The values that a step computes, each after its operands.

    Equal values are recorded once, so a subexpression that is written twice is computed once.

    Attributes
    ----------
    gates, states, params : tuple of str
    inputs : mapping of str to str
        The names of the inputs besides x, and the kind of each, ``"step"`` or ``"sequence"``.
    forms : InputForms
    nodes : list of Node
    outputs : tuple of int
        The node of each new state.
    labels : dict
        Maps a node to the name of the step's variable that held it, to make the generated source readable.
    """

    def __init__(
        self,
        gates: tuple[str, ...],
        states: tuple[str, ...],
        params: tuple[str, ...] = (),
        inputs: Mapping[str, str] = MappingProxyType({}),
        forms: InputForms = InputForms(),  # noqa: B008 - an immutable default
    ) -> None:
        self.gates = gates
        self.states = states
        self.params = params
        self.inputs = inputs
        self.forms = forms
        self.nodes: list[Node] = []
        self.outputs: tuple[int, ...] = ()
        self.labels: dict[int, str] = {}
        self._index: dict[tuple[str, tuple[int, ...], str], int] = {}
        self._ranks: list[Rank] = []

    def add(self, op: str, args: tuple[int, ...] = (), value: Any = None) -> int:
        """Record a node unless an equal one exists, and return its index."""
        key = op, args, repr(value)  # repr: 0.0 == -0.0, but they are different constants
        index = self._index.get(key)
        if index is None:
            index = self._index[key] = len(self.nodes)
            self.nodes.append(Node(op, args, value))
            self._ranks.append(self._rank(op, args, value))
        return index

    def rank(self, index: int) -> Rank:
        """Return how many numbers make up the value of a node."""
        return self._ranks[index]

    def _rank(self, op: str, args: tuple[int, ...], value: Any) -> Rank:
        if op == "sum":
            return Rank.ROW
        if op == "const" or (op == "input" and value[0] in ("k", "rate", "width")):
            return Rank.CALL
        if op == "input" and value[0] == "u" and value[1] in self.forms.numbers:
            return Rank.ROW
        if op in ("input", "product"):
            return Rank.UNIT
        return max(self._ranks[arg] for arg in args)

    def is_truth(self, index: int) -> bool:
        """Return whether a node is a truth value: a comparison, or a combination of comparisons."""
        operation = OPERATIONS.get(self.nodes[index].op)
        return operation is not None and operation.gives_truth

    def copy(self) -> Graph:
        """Return a graph with the same nodes, which can grow on its own."""
        other = Graph(self.gates, self.states, self.params, self.inputs, self.forms)
        other.nodes, other.outputs = list(self.nodes), self.outputs
        other.labels, other._index = dict(self.labels), dict(self._index)
        other._ranks = list(self._ranks)
        return other

    def find(self, kind: str, name: str, among: Iterable[int] | None = None) -> int | None:
        """Return the node of an input, or None if the graph does not have it."""
        indices = range(len(self.nodes)) if among is None else among
        return next(
            (i for i in indices if self.nodes[i].op == "input" and self.nodes[i].value == (kind, name)), None
        )

    @property
    def draws(self) -> list[tuple[str, str]]:
        """The noise of the step: its inputs ``("normal", number)`` and ``("uniform", number)``, in order."""
        values = [node.value for node in self.nodes if node.op == "input"]
        return [value for value in values if value[0] in DISTRIBUTIONS]

    @property
    def recurrent_parts(self) -> dict[str, int]:
        """The node of each recurrent part that the step reads, by gate, in the order of the gates."""
        parts = {}
        for index in self.reach(self.outputs):
            node = self.nodes[index]
            if node.op == "product":
                parts[node.value] = index
            elif node.op == "input" and node.value[0] == "r":
                parts[node.value[1]] = index
        return {gate: parts[gate] for gate in self.gates if gate in parts}

    def reach(self, roots: tuple[int, ...] | list[int], known: frozenset[int] = frozenset()) -> list[int]:
        """Return, in order, ``roots`` and every node that they depend on, stopping at the nodes of ``known``."""
        needed, pending = set(), list(roots)
        while pending:
            index = pending.pop()
            if index not in needed:
                needed.add(index)
                if index not in known:
                    pending.extend(self.nodes[index].args)
        return sorted(needed)

    def __str__(self) -> str:
        lines = []
        for index in self.reach(self.outputs):
            op, args, value = self.nodes[index]
            words = [op, *(f"%{a}" for a in args)]
            if op == "input":
                words.append(".".join(value))
            elif value is not None:
                words.insert(1, str(value))
            lines.append(f"%{index} = {' '.join(words)}")
        lines += [f"new {state} = %{index}" for state, index in zip(self.states, self.outputs, strict=True)]
        return "\n".join(lines)
