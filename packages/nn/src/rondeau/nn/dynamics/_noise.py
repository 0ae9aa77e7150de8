"""Whether the result of a step depends on the noise that it draws, with the scalars of the run as they are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rondeau.kernels.cell.graph import Graph
from rondeau.kernels.cell.operations import OPERATIONS
from rondeau.kernels.errors import ArgumentValueError
from rondeau.kernels.recurrent.reference import on_numbers
from rondeau.kernels.sequence import Cell, Settings, complete_settings

__all__ = ["check_noiseless", "noise_counts"]


def check_noiseless(cell: Cell, settings: Settings) -> None:
    """Raise ValueError if the step of a cell is random: then it is not a map of the states.

    Raises
    ------
    ValueError
        The message names the scalars of the run, one of which usually is the size of the noise.
    """
    if not cell.draws_noise:
        return
    scalars = complete_settings(cell, settings).scalars
    if noise_counts(cell.graph, scalars):
        sizes = ", ".join(f"{name}={value}" for (kind, name), value in scalars.items() if kind == "k")
        raise ArgumentValueError(
            f"the step of cell {cell.name} draws noise, so it is not a map of its states: set the scalar that "
            "multiplies the noise to zero, as in layer.hyperparameters['noise'] = 0.0; its scalars are "
            f"{sizes or 'none'}"
        )


def noise_counts(graph: Graph, scalars: Mapping[tuple[str, str], float]) -> bool:
    """Return whether a new state depends on noise: it does not if all of it is multiplied by a scalar that is zero.

    Examples
    --------
    >>> from rondeau.kernels.cell import cell_math as m
    >>> cell = Cell(lambda x, r, s, *, noise=0.1: x.h + 2 * noise * m.normal(), ("h",), ("h",), "noisy")
    >>> noise_counts(cell.graph, {("k", "noise"): 0.1}), noise_counts(cell.graph, {("k", "noise"): 0.0})
    (True, False)
    """
    numbers: dict[int, Any] = {}  # the values that are the same for the whole run
    zeros: set[int] = set()
    random: set[int] = set()
    for index in graph.reach(graph.outputs):
        op, args, value = graph.nodes[index]
        if op == "const":
            numbers[index] = value
        elif op == "input" and value in scalars:
            numbers[index] = scalars[value]
        elif op in OPERATIONS and numbers.keys() >= set(args):
            numbers[index] = on_numbers(OPERATIONS[op], [numbers[arg] for arg in args])
        if index in numbers:
            is_zero = numbers[index] == 0
        elif op == "mul":
            is_zero = not zeros.isdisjoint(args)
        elif op == "div":
            is_zero = args[0] in zeros
        else:
            is_zero = op in ("add", "sub", "neg") and zeros.issuperset(args)
        if is_zero:
            zeros.add(index)
        elif value in graph.draws or not random.isdisjoint(args):
            random.add(index)
    return not random.isdisjoint(graph.outputs)
