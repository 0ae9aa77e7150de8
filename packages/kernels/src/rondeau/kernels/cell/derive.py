"""Derive: reverse-mode differentiation of a step's graph, in the language of the graph itself.

Each rule gives the adjoint of every operand from ``d``, the adjoint of the result ``y``. At ties and kinks they
are PyTorch's: ``relu'(0) = abs'(0) = 0``; at a tie of `minimum` or `maximum` each operand gets half.

What varies over the units of a row and is computed from one number of that row sums its adjoint over the units:
the rules speak of elements, and `derive` sees to that.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from rondeau.kernels.cell import cell_math as m
from rondeau.kernels.cell.graph import Graph, Rank
from rondeau.kernels.cell.symbols import Symbol, apply, input_symbol

__all__ = ["Derivative", "derive"]

Rule = Callable[..., "tuple[Symbol | None, ...]"]


def _tie(nearer: Symbol, a: Symbol, b: Symbol, d: Symbol) -> Symbol:
    """Return the adjoint of one of two that `minimum` or `maximum` chose from."""
    return m.where(nearer, d, m.where(a == b, 0.5 * d, 0.0))  # type: ignore[no-any-return]


#: operation -> rule(d, y, *operands), one adjoint per operand, None where there is none.
RULES: Mapping[str, Rule] = {
    "add": lambda d, y, a, b: (d, d),
    "sub": lambda d, y, a, b: (d, -d),
    "mul": lambda d, y, a, b: (d * b, d * a),
    "div": lambda d, y, a, b: (d / b, -(d / b) * y),
    "neg": lambda d, y, x: (-d,),
    "abs": lambda d, y, x: (m.where(x > 0, d, m.where(x < 0, -d, 0.0)),),
    "sqrt": lambda d, y, x: (d / (2.0 * y),),
    "exp": lambda d, y, x: (d * y,),
    "log": lambda d, y, x: (d / x,),
    "sigmoid": lambda d, y, x: (d * (y * (1.0 - y)),),
    "tanh": lambda d, y, x: (d * (1.0 - y * y),),
    "relu": lambda d, y, x: (m.where(y <= 0, 0.0, d),),
    "softplus": lambda d, y, x: (d * m.sigmoid(x),),
    "minimum": lambda d, y, a, b: (_tie(a < b, a, b, d), _tie(b < a, a, b, d)),
    "maximum": lambda d, y, a, b: (_tie(a > b, a, b, d), _tie(b > a, a, b, d)),
    "sum": lambda d, y, x: (d,),
    "where": lambda d, y, condition, a, b: (None, m.where(condition, d, 0.0), m.where(condition, 0.0, d)),
}


class Derivative(NamedTuple):
    """The graph of a step's forward and backward, and the adjoint of every input that the step reads.

    ``adjoints`` maps an input such as ``("x", "gate")`` to the node of its adjoint; ``("r", gate)`` may be a product.
    Inputs of kind ``"d"`` are the adjoints of the new states, those of kind ``"back"`` what products send back: the
    adjoint of the value at the node of that name.
    """

    graph: Graph
    adjoints: dict[tuple[str, str], int]


def derive(graph: Graph) -> Derivative:
    """Return the graph extended by its backward: the adjoint of every input, given those of the new states.

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
        accumulate(index, input_symbol(graph, "d", state))
    reached = graph.reach(graph.outputs)
    for index in reached:
        if graph.nodes[index].op == "product":
            (value,) = graph.nodes[index].args
            if value in varying and value not in sent_back:
                sent_back.add(value)
                accumulate(value, input_symbol(graph, "back", str(value)))
    for index in reversed(reached):
        node = graph.nodes[index]
        if index in adjoint and node.op in RULES:
            operands = [Symbol(graph, arg) for arg in node.args]
            terms = RULES[node.op](adjoint[index], Symbol(graph, index), *operands)
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
    """Return the sum of a term over the units of a row, each of which has its own or the same."""
    if graph.rank(term.index) == Rank.UNIT:
        return apply(graph, "sum", term)
    return term * input_symbol(graph, "width", "H")


def _depend_on_inputs(graph: Graph) -> set[int]:
    """Return the nodes that something with a gradient reaches by a path with a derivative."""
    varying: set[int] = set()
    for index, node in enumerate(graph.nodes):
        learned = node.op == "product" or (node.op == "input" and node.value[0] in ("x", "r", "s", "p"))
        if learned or (not graph.is_truth(index) and not varying.isdisjoint(node.args)):
            varying.add(index)
    return varying
