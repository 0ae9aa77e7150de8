"""Derive: reverse-mode differentiation of a step's graph, in the language of the graph itself.

Each operation declares its rule, which is elementwise. Where a value per unit is computed from one per row, `derive`
sums the adjoint over the units.
"""

from __future__ import annotations

from typing import NamedTuple

from rondeau.kernels.cell import cell_math
from rondeau.kernels.cell.graph import Graph, Rank
from rondeau.kernels.cell.operations import OPERATIONS
from rondeau.kernels.cell.symbols import Symbol, apply, input_symbol

__all__ = ["Derivative", "derive"]


class Derivative(NamedTuple):
    """The graph of a step's forward and backward, and the adjoint of every input that the step reads.

    ``adjoints`` maps an input such as ``("x", "gate")`` to the node of its adjoint; ``("r", gate)`` may be a product.
    Inputs of kind ``"d"`` are the adjoints of the new states. Inputs of kind ``"back"`` are what the products
    contribute to the adjoints of their operands; each is named after the node of its operand.
    """

    graph: Graph
    adjoints: dict[tuple[str, str], int]


def derive(graph: Graph) -> Derivative:
    """Return the graph extended by its backward: the adjoint of every input, given the adjoints of the new states.

    Examples
    --------
    >>> from rondeau.kernels.cell.trace import trace
    >>> graph, adjoints = derive(trace(lambda x, r, s: x.h * s.h, ("h",), ("h",)))
    >>> [graph.nodes[i] for i in graph.nodes[adjoints["x", "h"]].args]
    [Node(op='input', args=(), value=('d', 'h')), Node(op='input', args=(), value=('s', 'h'))]
    """
    graph = graph.copy()
    varying = _depend_on_inputs(graph)
    adjoint: dict[int, Symbol] = {}
    sent_back: set[int] = set()

    def accumulate(index: int, term: Symbol | None) -> None:
        if term is not None and index in varying:
            adjoint[index] = adjoint[index] + term if index in adjoint else term

    for state, index in zip(graph.states, graph.outputs, strict=True):
        d = input_symbol(graph, "d", state)
        # A new state may be one number for all units, whose adjoint is the sum of theirs.
        accumulate(index, d if graph.rank(index) == Rank.UNIT else _sum_over_units(graph, d))
    reached = graph.reach(graph.outputs)
    for index in reached:
        if graph.nodes[index].op == "product":
            (value,) = graph.nodes[index].args
            if value in varying and value not in sent_back:
                sent_back.add(value)
                accumulate(value, input_symbol(graph, "back", str(value)))
    for index in reversed(reached):
        node = graph.nodes[index]
        operation = OPERATIONS.get(node.op)
        if index in adjoint and operation is not None and operation.rule is not None:
            operands = [Symbol(graph, arg) for arg in node.args]
            terms = operation.rule(cell_math, adjoint[index], Symbol(graph, index), *operands)
            for arg, term in zip(node.args, terms, strict=True):
                if term is not None and graph.rank(arg) < graph.rank(index) == Rank.UNIT:
                    term = _sum_over_units(graph, term)
                accumulate(arg, term)
    adjoints = {}
    for index, d in adjoint.items():
        node = graph.nodes[index]
        if node.op == "product":
            adjoints["r", node.value] = d.index
        elif node.op == "input":
            adjoints[node.value] = d.index
    return Derivative(graph, adjoints)


def _sum_over_units(graph: Graph, term: Symbol) -> Symbol:
    """Return the sum of a term over the units of a row, whether it varies with the unit or not."""
    if graph.rank(term.index) == Rank.UNIT:
        return apply(graph, "sum", term)
    return term * input_symbol(graph, "width", "H")


def _depend_on_inputs(graph: Graph) -> set[int]:
    """Return the nodes that depend differentiably on an input that has a gradient."""
    varying: set[int] = set()
    for index, node in enumerate(graph.nodes):
        has_gradient = node.op == "product" or (node.op == "input" and _has_gradient(graph, *node.value))
        if has_gradient or (not graph.is_truth(index) and not varying.isdisjoint(node.args)):
            varying.add(index)
    return varying


def _has_gradient(graph: Graph, kind: str, name: str) -> bool:
    """Return whether an input has a gradient that is needed."""
    return kind in ("x", "r", "s", "p") or (kind == "u" and name not in graph.forms.constants)
