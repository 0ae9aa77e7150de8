"""Trace: call a cell's step once with symbols, and record what it computes as a graph.

A step is scalar Python code for one hidden unit, ``step(x, r, s)``: ``x.k`` is gate k's input part, ``r.k`` its
recurrent part and ``s.name`` a state before the step; it returns the new states. Further arguments are ``p``, which
holds learned vectors, and ``u``, the named inputs; keyword-only arguments are scalars of the run, and ``r.k(value)``
applies gate k's recurrent matrix to a value instead of the first state. Symbols overload arithmetic and comparisons;
`rondeau.kernels.cell.cell_math` has the functions. The trace sees a single path through the step, so whatever would
need an actual number (``if``, ``len``, ``math.tanh``) raises an error that shows the user's line.
"""

from __future__ import annotations

import numbers
import re
import sys
from collections.abc import Callable, Mapping
from types import FrameType, MappingProxyType
from typing import Any

from rondeau.kernels.cell.errors import CellError, called_on_tensors, raise_at_definition
from rondeau.kernels.cell.graph import Graph
from rondeau.kernels.cell.input_forms import InputForms
from rondeau.kernels.cell.operations import OPERATIONS
from rondeau.kernels.cell.regularisers import Regularisers, recurrent_parts, zone_out
from rondeau.kernels.cell.signature import arguments_of, check_kinds, check_names, scalars_of
from rondeau.kernels.cell.symbols import (
    Inputs,
    Symbol,
    constant_symbol,
    input_symbol,
    suggest_function,
    tracing,
)

__all__ = ["trace"]


def trace(
    step: Callable[..., Any],
    gates: tuple[str, ...],
    states: tuple[str, ...],
    params: tuple[str, ...] = (),
    regularisers: Regularisers = Regularisers(),  # noqa: B008 - an immutable default
    inputs: Mapping[str, str] = MappingProxyType({}),
    forms: InputForms = InputForms(),  # noqa: B008 - an immutable default
) -> Graph:
    """Call ``step`` once with symbols and return the graph of what it computes.

    Parameters
    ----------
    step : callable
        ``step(x, r, s)``, returning the new states in the order of ``states``: a tuple, or one value for one state.
        With ``params`` it also takes ``p``, and with ``inputs`` ``u``; see `arguments_of`. Keyword-only arguments are
        scalars of the run; see `scalars_of`.
    gates, states, params : tuple of str
        Names of the gates, of the states, and of the learned vectors.
    regularisers : Regularisers, optional
        The regularisers to add to the step.
    inputs : mapping of str to str, optional
        The names of the inputs besides x, and the kind of each, ``"step"`` or ``"sequence"``.
    forms : InputForms, optional
        The forms in which they are given.

    Returns
    -------
    Graph

    Raises
    ------
    CellError
        If the step does anything that cannot be recorded; the message shows the user's line.

    Examples
    --------
    >>> from rondeau.kernels.cell import cell_math as m
    >>> print(trace(lambda x, r, s: m.tanh(x.h + r.h), ("h",), ("h",)))
    %0 = input x.h
    %1 = input r.h
    %3 = add %0 %1
    %4 = tanh %3
    new h = %4
    """
    check_names(step, gates, "gate")
    check_names(step, states, "state")
    if params:
        check_names(step, params, "parameter")
    if inputs:
        check_kinds(step, inputs)
    scalars = scalars_of(step)
    letters = arguments_of(step, bool(params), bool(inputs))
    graph = Graph(tuple(gates), tuple(states), tuple(params), inputs, forms)
    parts = {
        "x": Inputs("x", "gate", {gate: input_symbol(graph, "x", gate) for gate in gates}),
        "r": Inputs("r", "gate", recurrent_parts(graph, regularisers.dropout)),
        "s": Inputs("s", "state", {state: input_symbol(graph, "s", state) for state in states}),
        "p": Inputs("p", "parameter", {param: input_symbol(graph, "p", param) for param in params}),
        "u": Inputs("u", "input", {name: input_symbol(graph, "u", name) for name in inputs}),
    }
    given = {scalar: input_symbol(graph, "k", scalar) for scalar in scalars}
    try:
        with tracing(graph):
            results, variables = _call_and_keep_variables(step, tuple(parts[k] for k in letters), given)
    except Exception as error:
        _blame_tensors(error)
        raise
    if results is None:
        raise_at_definition(
            step,
            f"the step returns nothing: end it with `return` and the new state of {', '.join(states)}",
        )
    results = results if isinstance(results, tuple) else (results,)
    if len(results) != len(states):
        raise_at_definition(
            step,
            f"the step returned {_count(len(results), 'value')}, but the cell has {_count(len(states), 'state')} "
            f"({', '.join(states)}): return one value per state, in that order",
        )
    outputs = []
    for state, result in zip(states, results, strict=True):
        symbol = _new_state(step, graph, state, result)
        if state in regularisers.zoneout:
            symbol = zone_out(graph, state, symbol, regularisers.expected)
        outputs.append(symbol.index)
    graph.outputs = tuple(outputs)
    _check_products(step, graph)
    for name, value in variables.items():
        if isinstance(value, Symbol) and value.graph is graph and graph.nodes[value.index].op in OPERATIONS:
            graph.labels.setdefault(value.index, name)
    return graph


def _blame_tensors(error: Exception) -> None:
    """Raise a `CellError` that names the function of Tensors in which a step failed, if it failed in one."""
    found = called_on_tensors(error)
    if found is None:
        return
    line, name = found
    if name is None:
        message = (
            "a step takes symbols and numbers, not Tensors; arrays and learned vectors cannot be captured"
        )
    else:
        last = re.findall(r"\w+", name)[-1]
        message = f"{name} cannot take a symbol; {suggest_function(last.lower())}"
    raise CellError(f"{line}\n{message}") from error


def _new_state(step: Callable[..., Any], graph: Graph, state: str, result: object) -> Symbol:
    """Return the value that a step returned for a state as a symbol, or raise CellError."""
    if isinstance(result, numbers.Real) and not isinstance(result, bool):
        return constant_symbol(graph, result)
    if not isinstance(result, Symbol):
        raise_at_definition(
            step,
            f"the new state {state} must be a symbol or a number, but the step returned {type(result).__name__}",
        )
    if result.graph is not graph or graph.is_truth(result.index):
        what = "a comparison" if result.graph is graph else "a symbol kept from an earlier call"
        raise_at_definition(step, f"the new state {state} must be a number, not {what}")
    return result


def _call_and_keep_variables(
    step: Callable[..., Any], arguments: tuple[Inputs, ...], scalars: dict[str, Symbol]
) -> tuple[Any, dict[str, Any]]:
    """Call the step and return its result and its local variables, whose names the generated source uses."""
    code = getattr(step, "__code__", None)
    if code is None or sys.getprofile() is not None:  # a profiler is running: do without the names
        return step(*arguments, **scalars), {}
    variables: dict[str, Any] = {}

    def watch(frame: FrameType, event: str, _: object) -> None:
        if event == "return" and frame.f_code is code:
            variables.update(frame.f_locals)

    sys.setprofile(watch)
    try:
        return step(*arguments, **scalars), variables
    finally:
        sys.setprofile(None)


def _check_products(step: Callable[..., Any], graph: Graph) -> None:
    """Raise CellError if a recurrent matrix is used twice: its product is computed once per step."""
    seen: set[str] = set()
    for index in graph.reach(graph.outputs):
        node = graph.nodes[index]
        if node.op == "product" or (node.op == "input" and node.value[0] == "r"):
            gate = node.value if node.op == "product" else node.value[1]
            if gate in seen:
                raise_at_definition(
                    step,
                    f"r.{gate} is applied to two values, but a recurrent matrix takes only one: "
                    "give the cell another gate",
                )
            seen.add(gate)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")
