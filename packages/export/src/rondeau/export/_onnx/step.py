"""One step of a recurrent layer of any cell as nodes of ONNX, from the traced graph of the cell."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rondeau.export._description import Layer
from rondeau.export._evaluation import cell_with_forms
from rondeau.export._folding import fold_constants
from rondeau.export._onnx.functions import functions_for
from rondeau.export._onnx.graph import GraphBuilder
from rondeau.export._onnx.normalisation import ScaledNormalisation, find_scaled_normalisations
from rondeau.kernels.cell.graph import DISTRIBUTIONS

__all__ = ["StepGraph"]

Array = NDArray[Any]


class _Value(NamedTuple):
    """The name of a value, and whether it has a number for each row of the batch, and for each unit."""

    name: str
    of_rows: bool
    of_units: bool


class StepGraph:
    """Adds the nodes of one layer's step.

    Parameters
    ----------
    builder : GraphBuilder
    layer : Layer
    prefix : str
        What the names of its values begin with.
    of_ids : bool
        Whether its input is an id, which stands for a one-hot row.
    numbers : frozenset of str
        The named inputs with one number for all units.
    """

    def __init__(
        self, builder: GraphBuilder, layer: Layer, prefix: str, of_ids: bool, numbers: frozenset[str]
    ) -> None:
        self._builder, self._layer, self._prefix = builder, layer, prefix
        self._of_ids, self._numbers = of_ids, numbers
        self._cell = cell_with_forms(layer, numbers)
        self._graph = self._cell.schedule.graph
        self._constants = fold_constants(layer, self._cell, self._graph.outputs)
        self._normalisations = self._by_result()
        self._values: dict[int, _Value] = {}
        self._gates: list[str] = []
        self._wholes: dict[tuple[str, ...], str] = {}

    def add(
        self, x: str, states: list[str], inputs: dict[str, str], draws: dict[tuple[str, str], str]
    ) -> list[str]:
        """Add the nodes of a step, and return the names of the new states.

        Parameters
        ----------
        x : str
            The input (B, I), or ids (B,).
        states : list of str
            The states before the step, (B, P) the first and (B, H) the others.
        inputs : dict of str to str
            By name of the cell's: (B, 1) or (B, H).
        draws : dict
            The random numbers of the step, (B, H), by distribution and number.
        """
        graph, cell = self._graph, self._cell
        given = {
            ("s", name): _Value(value, True, True) for name, value in zip(cell.states, states, strict=True)
        }
        for name, value in inputs.items():
            given["u", name] = _Value(value, True, name not in self._numbers)
        given |= {draw: _Value(value, True, True) for draw, value in draws.items()}
        self._begin(x, states[0])
        order = self._order()
        functions = functions_for({graph.nodes[index].op for index in order if index not in self._constants})
        for index in order:
            if index in self._values:
                continue
            node = graph.nodes[index]
            if index in self._constants:
                self._values[index] = self._constant(index)
            elif index in self._normalisations:
                self._normalise(self._normalisations[index])
            elif node.op == "input" and node.value[0] == "r":
                self._multiply([g for g in cell.recurrent if graph.find("r", g) is not None], states[0])
            elif node.op == "input":
                assert node.value[0] in ("s", "u", *DISTRIBUTIONS)
                self._values[index] = given[node.value]
            elif node.op == "product":
                self._multiply_value(node.args[0])
            else:
                operands = [self._values[arg] for arg in node.args]
                name = functions[node.op](self._builder, self._named(index), *(o.name for o in operands))
                of_units = node.op != "sum" and any(o.of_units for o in operands)
                self._values[index] = _Value(name, any(o.of_rows for o in operands), of_units)
        new = [self._full(index) for index in graph.outputs]
        if self._layer.weights.weight_hr is not None:
            matrix = self._builder.constant(self._layer.weights.weight_hr.T, self._prefixed("weight_hr"))
            new[0] = self._builder.node("MatMul", [new[0], matrix], self._prefixed("projected"))
        return new

    def _order(self) -> list[int]:
        """Return the nodes that are needed, each after its operands; what lies inside a normalisation is not."""
        needed, pending = set[int](), list(self._graph.outputs)
        while pending:
            index = pending.pop()
            if index in needed:
                continue
            needed.add(index)
            if index in self._normalisations:
                pending.extend(self._normalisations[index].values)
            elif index not in self._constants and index not in self._values:
                pending.extend(self._graph.nodes[index].args)
        return sorted(needed)

    def _by_result(self) -> dict[int, ScaledNormalisation]:
        found = find_scaled_normalisations(self._graph, self._constants)
        return {index: one for one in found for index in one.results if index is not None}

    # ---------------------------------------------------------------- products

    def _begin(self, x: str, first: str) -> None:
        """Add the input's product and, where every gate only reads its sum with the recurrent one, that as well."""
        cell, weights, schedule, builder = self._cell, self._layer.weights, self._cell.schedule, self._builder
        operands = schedule.operands
        bias = weights.bias_ih
        is_joint = (
            len(operands) == 1
            and operands[0].node is None
            and schedule.joint == cell.gates
            and self._layer.num_heads == 1
        )
        if is_joint and weights.bias_hh is not None:
            bias = weights.bias_hh if bias is None else bias + weights.bias_hh
        table = weights.weight_ih.T
        if self._of_ids:
            table = table if bias is None else table + bias
            part = builder.node(
                "Gather", [builder.constant(table, self._prefixed("columns")), x], self._prefixed("x")
            )
        else:
            part = self._gemm(
                x, table, None if bias is None else builder.constant(bias, self._prefixed("bias")), "x"
            )
        if is_joint:
            part = self._gemm(first, weights.weight_hh.T, part, "gates")
        self._gates = self._split(part, [f"{'gate' if is_joint else 'x'}_{gate}" for gate in cell.gates])
        for gate, name in zip(cell.gates, self._gates, strict=True):
            leaf = schedule.leaves["x", gate] if is_joint else self._graph.find("x", gate)
            if leaf is not None:
                self._values[leaf] = _Value(name, True, True)

    def _gemm(self, x: str, matrix: Array, added: str | None, name: str) -> str:
        """Add ``x @ matrix + added``."""
        weight = self._builder.constant(matrix, self._prefixed(f"weight_{name}"))
        operands = [x, weight] if added is None else [x, weight, added]
        return self._builder.node("Gemm", operands, self._prefixed(name))

    def _split(self, whole: str, names: list[str]) -> list[str]:
        """Split gates that lie side by side."""
        if len(names) == 1:
            return [whole]
        names = [self._prefixed(name) for name in names]
        parts = self._builder.node("Split", [whole], names, None, axis=-1, num_outputs=len(names))
        self._wholes[tuple(parts)] = whole
        return parts

    def _multiply_value(self, operand: int) -> None:
        """Apply the recurrent matrices of the gates that multiply one value."""
        graph = self._graph
        nodes = [graph.nodes[index] for index in graph.reach(graph.outputs)]
        products = {node.value for node in nodes if node.op == "product" and node.args == (operand,)}
        gates = [gate for gate in self._cell.recurrent if gate in products]
        self._multiply(gates, self._full(operand), operand)

    def _multiply(self, gates: list[str], x: str, operand: int | None = None) -> None:
        """Apply the recurrent matrices and biases of some gates to `x`."""
        weights, H, cell = self._layer.weights, self._layer.hidden, self._cell
        rows = np.concatenate([np.arange(H) + cell.recurrent.index(gate) * H for gate in gates])
        bias = None
        if weights.bias_hh is not None:
            bias = self._builder.constant(weights.bias_hh[rows], self._prefixed(f"bias_{gates[0]}"))
        if self._layer.num_heads == 1:
            part = self._gemm(x, weights.weight_hh[rows].T, bias, f"r_{'_'.join(gates)}")
        else:
            part = self._multiply_heads(weights.weight_hh[rows], x, len(gates))
            if bias is not None:
                part = self._builder.node("Add", [part, bias], self._prefixed("heads_biased"))
        parts = self._split(part, [f"r_{gate}" for gate in gates])
        for gate, name in zip(gates, parts, strict=True):
            op, args = ("input", ()) if operand is None else ("product", (operand,))
            value = ("r", gate) if operand is None else gate
            found = [i for i, node in enumerate(self._graph.nodes) if node == (op, args, value)]
            self._values[found[0]] = _Value(name, True, True)

    def _multiply_heads(self, matrix: Array, x: str, gates: int) -> str:
        """Multiply every head's part of `x` by its own block of each gate."""
        builder, heads, H = self._builder, self._layer.num_heads, self._layer.hidden
        width = H // heads

        def shaped(value: str, *shape: int) -> str:
            sizes = builder.constant(np.array(shape, np.int64), self._prefixed("shape"))
            return builder.node("Reshape", [value, sizes], self._prefixed("heads"))

        def turned(value: str, *order: int) -> str:
            return builder.node("Transpose", [value], self._prefixed("heads"), perm=list(order))

        blocks = matrix.reshape(gates, heads, width, width).transpose(1, 3, 0, 2).reshape(heads, width, -1)
        split = turned(shaped(x, -1, heads, width), 1, 0, 2)
        weight = builder.constant(blocks, self._prefixed("weight_heads"))
        product = builder.node("MatMul", [split, weight], self._prefixed("heads"))
        by_gate = turned(shaped(product, heads, -1, gates, width), 1, 2, 0, 3)
        return shaped(by_gate, -1, gates * H)

    # ---------------------------------------------------------------- values

    def _constant(self, index: int) -> _Value:
        array = np.asarray(self._constants[index])
        if array.dtype != bool:
            array = array.astype(np.float32)
        return _Value(self._builder.constant(array, self._named(index)), False, array.ndim == 1)

    def _full(self, index: int) -> str:
        """Return a value with a number for each row and unit."""
        value = self._values[index]
        if value.of_rows and value.of_units:
            return value.name
        shape = self._builder.node("Shape", [self._gates[0]], self._prefixed("shape"))
        return self._builder.node("Expand", [value.name, shape], self._prefixed("full"))

    def _normalise(self, found: ScaledNormalisation) -> None:
        """Add one layer normalisation over the values of a group side by side."""
        builder, H, count = self._builder, self._layer.hidden, len(found.values)
        values = [self._full(value) for value in found.values]
        whole = self._wholes.get(tuple(values))
        if whole is None:
            whole = values[0]
            if count > 1:
                whole = builder.node("Concat", values, self._prefixed("together"), axis=-1)
        gain = np.concatenate([self._vector(node, H, 1.0) for node in found.gains])
        operands = [whole, builder.constant(gain, self._prefixed("gain"))]
        if any(node is not None for node in found.biases):
            bias = np.concatenate([self._vector(node, H, 0.0) for node in found.biases])
            operands.append(builder.constant(bias, self._prefixed("shift")))
        normal = builder.node(
            "LayerNormalization", operands, self._prefixed("normal"), axis=-1, epsilon=found.eps
        )
        parts = self._split(normal, [f"normal_{k}" for k in range(count)])
        for index, name in zip(found.results, parts, strict=True):
            if index is not None:
                self._values[index] = _Value(name, True, True)

    def _vector(self, node: int | None, width: int, otherwise: float) -> Array:
        return np.full(width, otherwise, np.float32) if node is None else self._constants[node]

    def _named(self, index: int) -> str:
        node = self._graph.nodes[index]
        label = self._graph.labels.get(index) or (
            str(node.value[1]) if node.op == "input" else f"{node.op}_{index}"
        )
        return self._prefixed(label)

    def _prefixed(self, name: str) -> str:
        return f"{self._prefix}_{name}"
