"""Derivatives of a step whose units meet in the recurrent matrices alone, as in most cells: from the derived graph.

Unit i of every new state then depends on unit i of the gates' input and recurrent parts and of the old states. One
evaluation of the derived backward gives all these derivatives, and the rest is products with the matrices: H times less
work than one backward pass for each number of the new state.

Notation: N rows, H hidden units, G gates, R of them with a recurrent matrix, K states, I inputs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from rondeau.kernels.cell.derive import Derivative, derive
from rondeau.kernels.cell.graph import Rank
from rondeau.kernels.cell.operations import OPERATIONS
from rondeau.kernels.sequence import Cell, Settings, Weights, complete_settings

from ._arrays import Array

__all__ = ["ElementwiseStep", "is_elementwise"]

_Name = tuple[str, str]


def is_elementwise(cell: Cell, weights: Weights) -> bool:
    """Return whether units of a step meet in the recurrent matrices of the old first state alone.

    They also meet in sums over the units, as in layer normalisation, in matrices applied to values of the step, and in
    a projection.
    """
    graph = cell.graph
    reached = graph.reach(graph.outputs)
    meets = any(graph.nodes[index].op == "product" or graph.rank(index) == Rank.ROW for index in reached)
    return not meets and weights.weight_hr is None


class ElementwiseStep(NamedTuple):
    """The derivatives of one layer's step, for a cell that is elementwise.

    Attributes
    ----------
    cell : Cell
    derivative : Derivative
        The graph of its forward and backward.
    inputs : mapping
        The values of the graph's inputs that are the same for all rows: scalars and learned vectors.
    weight_ih : ndarray, shape (G, H, I)
    weight_hh : ndarray, shape (R, H, H)
        The whole matrices; those of heads are block-diagonal.
    bias_ih, bias_hh : ndarray, shape (G * H,) and (R * H,)
    """

    cell: Cell
    derivative: Derivative
    inputs: Mapping[_Name, Any]
    weight_ih: Array
    weight_hh: Array
    bias_ih: Array
    bias_hh: Array

    @classmethod
    def of(cls, cell: Cell, weights: Weights, settings: Settings) -> ElementwiseStep:
        """Return the derivatives of a layer with these weights, of float64."""
        G, R = len(cell.gates), len(cell.recurrent)
        H = weights.weight_ih.shape[0] // G
        # NumPy scalars: they divide by zero and negate comparisons as arrays do, unlike Python's numbers.
        scalars = complete_settings(cell, settings).scalars
        inputs: dict[_Name, Any] = {name: np.float64(value) for name, value in scalars.items()}
        inputs |= {("p", name): vector for name, vector in zip(cell.params, weights.params, strict=True)}
        inputs["width", "H"] = float(H)
        # `check_noiseless` has made sure that no result depends on the noise.
        inputs |= dict.fromkeys(cell.graph.draws, 0.0)
        return cls(
            cell,
            derive(cell.graph),
            inputs,
            weights.weight_ih.reshape(G, H, -1),
            np.zeros((0, H, H)) if R == 0 else _whole(weights.weight_hh.reshape(R, H, -1)),
            np.zeros(G * H) if weights.bias_ih is None else weights.bias_ih,
            np.zeros(R * H) if weights.bias_hh is None else weights.bias_hh,
        )

    def derivatives(
        self, x: Array, states: tuple[Array, ...], named: tuple[Array, ...], *, by_input: bool
    ) -> tuple[Array, Array | None]:
        """Return the derivatives of the new states (N, S), S = K*H: by the old (N, S, S), by the input (N, S, I)."""
        cell, H, K, N = self.cell, self.weight_ih.shape[1], len(self.cell.states), len(x)
        by_state = np.zeros((N, K, H, K, H))
        by_x = np.empty((N, K, H, x.shape[1])) if by_input else None
        units = np.arange(H)
        for k, adjoints in enumerate(self._adjoints(x, states, named)):

            def of_all(kind: str, names: tuple[str, ...], adjoints: Mapping[_Name, Any] = adjoints) -> Array:
                """Return the adjoints (H, N, .) of inputs of one kind, zero for those that the state does not read."""
                found = np.empty((H, N, len(names)))
                for i, name in enumerate(names):
                    found[:, :, i] = np.broadcast_to(adjoints.get((kind, name), 0.0), (N, H)).T
                return found

            recurrent = of_all("r", cell.recurrent) @ self.weight_hh.transpose(1, 0, 2)
            by_state[:, k, :, 0] = recurrent.transpose(1, 0, 2)
            by_state[:, k, units, :, units] += of_all("s", cell.states)
            if by_x is not None:
                by_x[:, k] = (of_all("x", cell.gates) @ self.weight_ih.transpose(1, 0, 2)).transpose(1, 0, 2)
        return by_state.reshape(N, K * H, K * H), None if by_x is None else by_x.reshape(N, K * H, -1)

    def _adjoints(
        self, x: Array, states: tuple[Array, ...], named: tuple[Array, ...]
    ) -> list[dict[_Name, Any]]:
        """Return for each new state the adjoint of every input of the step, given an adjoint of 1 of that state."""
        cell, graph, H = self.cell, self.derivative.graph, self.weight_ih.shape[1]
        x_parts = x @ self.weight_ih.reshape(-1, x.shape[1]).T + self.bias_ih
        r_parts = states[0] @ self.weight_hh.reshape(-1, H).T + self.bias_hh
        given = dict(self.inputs)
        given |= {("x", gate): x_parts[:, g * H : (g + 1) * H] for g, gate in enumerate(cell.gates)}
        given |= {("r", gate): r_parts[:, g * H : (g + 1) * H] for g, gate in enumerate(cell.recurrent)}
        given |= {("s", name): state for name, state in zip(cell.states, states, strict=True)}
        given |= {("u", name): u for name, u in zip(cell.inputs, named, strict=True)}
        values = self._evaluated(graph.outputs, given, {})
        found = []
        for of_state in cell.states:
            given |= {("d", name): np.float64(name == of_state) for name in cell.states}
            evaluated = self._evaluated(tuple(self.derivative.adjoints.values()), given, values)
            found.append({name: evaluated[index] for name, index in self.derivative.adjoints.items()})
        return found

    def _evaluated(
        self, roots: tuple[int, ...], given: Mapping[_Name, Any], known: Mapping[int, Any]
    ) -> dict[int, Any]:
        """Return the values of nodes and of what they depend on, from the inputs and the values that are known."""
        graph, values = self.derivative.graph, dict(known)
        with np.errstate(all="ignore"):  # overflow shows in the result
            for index in graph.reach(roots, frozenset(known)):
                node = graph.nodes[index]
                if index in values:
                    continue
                if node.op == "const":
                    values[index] = node.value
                elif node.op == "input":
                    values[index] = given[node.value]
                else:
                    values[index] = OPERATIONS[node.op].function(*(values[arg] for arg in node.args))
        return values


def _whole(matrices: Array) -> Array:
    """Return matrices (R, H, H) from their diagonal blocks (R, H, H / heads)."""
    R, H, width = matrices.shape
    whole = np.zeros((R, H, H // width, width))
    units = np.arange(H)
    whole[:, units, units // width] = matrices
    return whole.reshape(R, H, H)
