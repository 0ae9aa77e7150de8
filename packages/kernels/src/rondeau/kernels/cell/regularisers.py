"""Regularisers that a trace adds to a step: recurrent dropout and zoneout."""

from __future__ import annotations

from typing import NamedTuple

from rondeau.kernels.cell.graph import Graph
from rondeau.kernels.cell.symbols import RecurrentPart, Symbol, apply, input_symbol

__all__ = ["Regularisers", "recurrent_parts", "zone_out"]


class Regularisers(NamedTuple):
    """The regularisers that a trace adds to a step; their rates are scalars of the run.

    Attributes
    ----------
    dropout : bool
        Multiply the operand of the recurrent matrices by a mask that is constant over time
        (Gal, Ghahramani, "A theoretically grounded application of dropout in recurrent neural networks", 2016).
    zoneout : tuple of str
        The states whose units keep their old values at random (Krueger et al., "Zoneout", 2017).
    expected : bool
        Replace zoneout by its expectation, ``rate * old + (1 - rate) * new``, as in evaluation.

    Examples
    --------
    >>> Regularisers(zoneout=("h",))
    Regularisers(dropout=False, zoneout=('h',), expected=False)
    """

    dropout: bool = False
    zoneout: tuple[str, ...] = ()
    expected: bool = False


def recurrent_parts(graph: Graph, dropout: bool) -> dict[str, RecurrentPart]:
    """Return ``r.k`` for every gate; with recurrent dropout, the product with the masked first state."""
    if not dropout:
        return {
            gate: RecurrentPart(graph, input_symbol(graph, "r", gate).index, gate, None)
            for gate in graph.gates
        }
    keep = input_symbol(graph, "mask", "h")
    masked = input_symbol(graph, "s", graph.states[0]) * keep
    return {
        gate: RecurrentPart(graph, graph.add("product", (masked.index,), gate), gate, keep)
        for gate in graph.gates
    }


def zone_out(graph: Graph, state: str, new: Symbol, expected: bool) -> Symbol:
    """Return the new state after zoneout: some units keep their old values, or `expected` gives the mean."""
    old, rate = input_symbol(graph, "s", state), input_symbol(graph, "rate", state)
    if expected:
        return rate * old + (1 - rate) * new
    return apply(graph, "where", input_symbol(graph, "zoneout", state) < rate, old, new)
