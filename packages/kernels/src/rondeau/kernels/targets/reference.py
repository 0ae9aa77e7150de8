"""The reference: a cell over a sequence, node by node, in the plainest way that is right.

It is the definition that every other target is tested against, and, because it is written over a namespace of
functions, it also runs on anything that offers NumPy's operators: `rondeau.nn` runs it on Tensors, whose
recorded graph then has derivatives of any order.
"""

from __future__ import annotations

import operator
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np

from rondeau.kernels.cell import cell_math
from rondeau.kernels.cell.trace import Graph

if TYPE_CHECKING:
    from rondeau.kernels.sequence import Cell, Layout, Weights

__all__ = ["NUMPY", "run", "step"]

#: The functions of the language on NumPy arrays, and ``cat``, which joins a list of arrays by rows.
NUMPY = SimpleNamespace(**{name: getattr(cell_math, name) for name in cell_math.__all__}, cat=np.concatenate)

OPERATORS = {
    "add": operator.add, "sub": operator.sub, "mul": operator.mul, "div": operator.truediv, "neg": operator.neg,
    "lt": operator.lt, "le": operator.le, "gt": operator.gt, "ge": operator.ge, "eq": operator.eq,
    "ne": operator.ne, "and": operator.and_, "or": operator.or_, "not": operator.invert,
}  # fmt: skip


def run(
    cell: Cell,
    functions: Any,
    layout: Layout,
    x: Any,
    weights: Weights,
    initial: tuple[Any, ...],
    *,
    reverse: bool = False,
) -> tuple[Any, tuple[Any, ...]]:
    """Run a cell over a ragged batch, step by step.

    Parameters
    ----------
    cell : Cell
    functions : namespace
        `NUMPY`, or anything with the same names on arrays of its own: the functions of
        `rondeau.kernels.cell.cell_math`, and ``cat(list of arrays)`` along the rows.
    layout : Layout
    x : array of (N, I), or int64 ids of (N,)
        Ids stand for one-hot rows.
    weights : Weights
    initial : tuple of array
        The states before the first step, (B, P) the first and (B, H) the others.
    reverse : bool
        Run from each row's last step to its first.

    Returns
    -------
    output : array of (N, P)
        The first state after every step.
    final : tuple of array
        Each state after each row's own last step.
    """
    sizes, starts = layout.batch_sizes, layout.starts
    if not sizes.size:
        return initial[0][:0], initial
    states = tuple(initial)
    outputs: list[Any] = [None] * len(sizes)
    ended: list[tuple[Any, ...]] = []  # states of the rows that end at each step, in the order of the steps
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
        states = step(cell.graph, functions, x[here], weights, states)
        outputs[t] = states[0]
    if ended:
        states = tuple(
            functions.cat([state, *(e[i] for e in reversed(ended))]) for i, state in enumerate(states)
        )
    return functions.cat(outputs), states


def step(graph: Graph, functions: Any, x: Any, weights: Weights, states: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return the states after one step of ``x`` (n, I) from the states before it (n, H)."""
    columns = len(graph.gates)
    one_hot = len(x.shape) == 1
    x_part = weights.weight_ih.T[x] if one_hot else x @ weights.weight_ih.T
    r_part = states[0] @ weights.weight_hh.T
    if weights.bias_ih is not None:
        x_part = x_part + weights.bias_ih
    if weights.bias_hh is not None:
        r_part = r_part + weights.bias_hh
    H = weights.weight_hh.shape[0] // columns
    given = {("s", name): state for name, state in zip(graph.states, states, strict=True)}
    for k, gate in enumerate(graph.gates):
        given["x", gate] = x_part[:, k * H : (k + 1) * H]
        given["r", gate] = r_part[:, k * H : (k + 1) * H]
    new = evaluate(graph, functions, given)
    # A state that is a constant gets the shape of the others.
    new = tuple(0.0 * x_part[:, :H] + value if isinstance(value, float) else value for value in new)
    if weights.weight_hr is not None:
        new = (new[0] @ weights.weight_hr.T, *new[1:])
    return new


def evaluate(graph: Graph, functions: Any, given: dict[tuple[str, str], Any]) -> tuple[Any, ...]:
    """Compute the outputs of a graph node by node."""
    values: dict[int, Any] = {}
    for index in graph.reach(graph.outputs):
        node = graph.nodes[index]
        if node.op == "input":
            values[index] = given[node.value]
        elif node.op == "const":
            values[index] = node.value
        else:
            function: Any = OPERATORS.get(node.op) or getattr(functions, node.op)
            values[index] = function(*(values[arg] for arg in node.args))
    return tuple(values[index] for index in graph.outputs)
