"""The reference: a cell over a sequence, node by node, in the simplest correct way.

It is the definition that every target is tested against. Because it is written over a namespace of functions, it also
runs on anything that supports NumPy's operators: `rondeau.nn` runs it on Tensors, whose recorded graph then has
derivatives of any order.
"""

from __future__ import annotations

from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any

import numpy as np

from rondeau.kernels.cell.cell import Cell
from rondeau.kernels.cell.graph import DISTRIBUTIONS, Graph, Rank
from rondeau.kernels.cell.operations import OPERATIONS, Operation
from rondeau.kernels.numerics import noise, philox
from rondeau.kernels.recurrent.layout import Layout
from rondeau.kernels.recurrent.records import Run, Settings, Weights
from rondeau.kernels.recurrent.substreams import NOISE, RECURRENT_DROPOUT

__all__ = ["FUNCTIONS", "NUMPY", "on_numbers", "run"]

#: The operations that a namespace of functions must provide by name, besides ``sum``, ``cat`` and ``constant``.
FUNCTIONS = tuple(
    name for name, operation in OPERATIONS.items() if not operation.is_operator and name != "sum"
)

#: The functions of the language on NumPy arrays; ``cat`` concatenates a list of arrays by rows, ``constant`` converts a
#: NumPy array to the namespace's own kind of array, on the device of another one, and ``sum`` sums over the last
#: dimension and keeps it.
NUMPY = SimpleNamespace(
    **{name: OPERATIONS[name].function for name in (*FUNCTIONS, "sum")},
    cat=np.concatenate,
    constant=lambda array, like: array,
)


def run(
    settled: Run,
    functions: Any,
    x: Any,
    weights: Weights,
    initial: tuple[Any, ...],
    inputs: tuple[Any, ...] = (),
) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """Run a cell over a ragged batch, step by step.

    Parameters
    ----------
    settled : Run
        Its settings must have a value for every scalar of the cell. Recomputation and truncation do not affect the
        results of forward, and are ignored.
    functions : namespace
        `NUMPY`, or a namespace with the same names for its own arrays.
    x : array of (N, I), or int64 ids of (N,)
        Ids stand for one-hot rows.
    weights : Weights
    initial : tuple of array
        The states before the first step, (B, P) the first and (B, H) the others.
    inputs : tuple of array
        The named inputs: (N, H) or (N, 1) of a step, (B, H) or (B, 1) of a sequence.

    Returns
    -------
    every : tuple of array, (N, P) and (N, H)
        Each state after every step.
    final : tuple of array
        Each state after each row's own last step.
    """
    cell, layout, reverse, settings = settled.cell, settled.layout, settled.reverse, settled.settings
    sizes, starts = layout.batch_sizes, layout.starts
    if not sizes.size:
        return tuple(state[:0] for state in initial), initial
    step = _Step(cell, functions, weights, settings, layout)
    states = tuple(initial)
    outputs: list[Any] = [None] * len(sizes)
    ended: list[tuple[Any, ...]] = []  # states of the rows that end at each step, in step order
    for t in reversed(range(len(sizes))) if reverse else range(len(sizes)):
        rows, here = int(sizes[t]), slice(int(starts[t]), int(starts[t] + sizes[t]))
        if reverse:
            joining = int(sizes[t + 1]) if t + 1 < len(sizes) else 0
            if joining == 0:
                states = tuple(state[:rows] for state in initial)
            elif joining < rows:
                states = tuple(
                    functions.cat([state, start[joining:rows]])
                    for state, start in zip(states, initial, strict=True)
                )
        elif rows < states[0].shape[0]:
            ended.append(tuple(state[rows:] for state in states))
            states = tuple(state[:rows] for state in states)
        states = step(x[here], states, t, _inputs_of_step(cell, inputs, here, rows))
        outputs[t] = states
    if ended:
        states = tuple(
            functions.cat([state, *(e[i] for e in reversed(ended))]) for i, state in enumerate(states)
        )
    return tuple(functions.cat(list(every)) for every in zip(*outputs, strict=True)), states


def _inputs_of_step(
    cell: Cell, inputs: tuple[Any, ...], here: slice, rows: int
) -> dict[tuple[str, str], Any]:
    """Return the named inputs of a step's rows."""
    return {
        ("u", name): array[here] if kind == "step" else array[:rows]
        for (name, kind), array in zip(cell.inputs.items(), inputs, strict=True)
    }


def on_numbers(operation: Operation, operands: Iterable[float | bool]) -> float | bool:
    """Apply an operation to numbers of the run, which the functions of an array library may not take.

    The results are those of arrays: a division by zero gives an infinity or NaN, and ``~`` negates a truth value.

    Examples
    --------
    >>> on_numbers(OPERATIONS["div"], [1.0, 0.0])
    inf
    """
    with np.errstate(all="ignore"):
        value: float | bool = operation.function(*[np.asarray(x)[()] for x in operands]).item()
    return value


class _Step:
    """One step of a cell: from ``x`` (n, I) and the states before it, (n, H) each, the states after it."""

    def __init__(
        self, cell: Cell, functions: Any, weights: Weights, settings: Settings, layout: Layout
    ) -> None:
        self._cell, self._functions, self._weights, self._settings = cell, functions, weights, settings
        self._layout = layout
        self._gates = len(cell.gates)
        self._H = weights.weight_ih.shape[0] // self._gates
        self._matrices = self._blocks_as_matrix() if cell.recurrent else None

    def __call__(
        self, x: Any, states: tuple[Any, ...], t: int, inputs: dict[tuple[str, str], Any]
    ) -> tuple[Any, ...]:
        cell, weights, H = self._cell, self._weights, self._H
        one_hot = len(x.shape) == 1
        x_part = weights.weight_ih.T[x] if one_hot else x @ weights.weight_ih.T
        if weights.bias_ih is not None:
            x_part = x_part + weights.bias_ih
        given = {("x", gate): x_part[:, k * H : (k + 1) * H] for k, gate in enumerate(cell.gates)}
        given |= {("s", name): state for name, state in zip(cell.states, states, strict=True)}
        given |= {("p", name): vector for name, vector in zip(cell.params, weights.params, strict=True)}
        given |= inputs
        given |= dict(self._settings.scalars)
        given["width", "H"] = float(H)
        first = states[0]
        if weights.weight_hr is not None and self._settings.feature_dropout > 0:
            first = first * self._mask(
                self._settings.feature_dropout, first.shape[0], first.shape[1], first.dtype
            )
        new = self._evaluate(cell.graph, given, first, t)
        # A value that is the same for all units gets the shape of the others.
        new = tuple(0.0 * x_part[:, :H] + value for value in new)
        if weights.weight_hr is not None:
            new = (new[0] @ weights.weight_hr.T, *new[1:])
        return new

    def _evaluate(
        self, graph: Graph, given: dict[tuple[str, str], Any], first: Any, t: int
    ) -> tuple[Any, ...]:
        """Compute the outputs of a graph node by node."""
        values: dict[int, Any] = {}
        for index in graph.reach(graph.outputs):
            node = graph.nodes[index]
            if node.op == "const":
                values[index] = node.value
            elif node.op == "product":
                values[index] = self._multiply(node.value, values[node.args[0]])
            elif node.op == "input":
                kind, name = node.value
                if kind == "r":
                    values[index] = self._multiply(name, first)
                elif kind in ("zoneout", "mask", *DISTRIBUTIONS):
                    values[index] = self._draw(kind, name, t, first.shape[0], first.dtype)
                else:
                    values[index] = given[node.value]
            else:
                operation = OPERATIONS[node.op]
                operands = [values[arg] for arg in node.args]
                if graph.rank(index) == Rank.CALL:
                    values[index] = on_numbers(operation, operands)
                elif operation.is_operator:
                    values[index] = operation.function(*operands)
                else:
                    values[index] = getattr(self._functions, node.op)(*operands)
        return tuple(values[index] for index in graph.outputs)

    def _multiply(self, gate: str, value: Any) -> Any:
        """Apply a gate's recurrent matrix and bias."""
        k, H = self._cell.recurrent.index(gate), self._H
        rows = slice(k * H, (k + 1) * H)
        product = value @ self._matrices[rows].T  # type: ignore[index]
        return product if self._weights.bias_hh is None else product + self._weights.bias_hh[rows]

    def _blocks_as_matrix(self) -> Any:
        """Return the full recurrent matrices, one below the other, from their diagonal blocks."""
        weight, heads, H = self._weights.weight_hh, self._settings.num_heads, self._H
        if heads == 1:
            return weight
        repeated = self._functions.cat([weight.T] * heads).T
        head_of_row = np.arange(weight.shape[0]) % H // (H // heads)
        head_of_column = np.arange(H) // (H // heads)
        own = (head_of_row[:, None] == head_of_column).astype(weight.dtype)
        return repeated * self._constant(own)

    def _constant(self, array: Any) -> Any:
        """Return an array of NumPy's as one beside the weights."""
        return self._functions.constant(array, self._weights.weight_ih)

    def _draw(self, kind: str, name: str, t: int, rows: int, dtype: Any) -> Any:
        """Return the random numbers of a step, or the mask of recurrent dropout."""
        settings, layout = self._settings, self._layout
        if kind == "mask":
            return self._mask(settings.dropout, rows, self._H, dtype)
        position = layout.first_steps[:rows, None] + t, layout.origins[:rows, None], np.arange(self._H)
        if kind == "zoneout":
            substream = settings.substream + self._cell.states.index(name)
            drawn = philox.uniforms(settings.key, substream, *position)
        else:
            draw = noise.normals if kind == "normal" else noise.uniforms
            drawn = draw(settings.key, settings.substream + NOISE + int(name), *position)
        return self._constant(drawn.astype(dtype))

    def _mask(self, rate: float, rows: int, width: int, dtype: Any) -> Any:
        """Return the mask of recurrent dropout."""
        settings, origins, units = self._settings, self._layout.origins[:rows, None], np.arange(width)
        substream = settings.substream + RECURRENT_DROPOUT
        uniforms = philox.uniforms(settings.key, substream, philox.CONSTANT_OVER_TIME, origins, units)
        drawn = np.where(uniforms >= rate, 1 / (1 - rate) if rate < 1 else 0.0, 0.0)
        return self._constant(drawn.astype(dtype))
