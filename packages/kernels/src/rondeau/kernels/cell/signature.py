"""The checks of a cell's definition: the names of its parts, and the parameters of its step."""

from __future__ import annotations

import inspect
import numbers
import unicodedata
from collections.abc import Callable
from typing import Any

from rondeau.kernels.cell.errors import CellError, raise_at_definition
from rondeau.kernels.cell.graph import Graph

__all__ = ["check_all_are_read", "check_names", "check_signature", "scalars_of"]


def scalars_of(step: Callable[..., Any]) -> dict[str, float]:
    """Return the scalars of a step and their defaults: its keyword-only parameters.

    Examples
    --------
    >>> scalars_of(lambda x, r, s, *, leak=0.5: (1 - leak) * s.h + leak * x.h)
    {'leak': 0.5}
    """
    try:
        parameters = inspect.signature(step).parameters.values()
    except (TypeError, ValueError):
        return {}
    scalars = {}
    for parameter in parameters:
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY:
            if not _is_number(parameter.default):
                raise_at_definition(
                    step,
                    f"the scalar {parameter.name} needs a number as its default, "
                    f"as in *, {parameter.name}=0.5",
                )
            scalars[parameter.name] = float(parameter.default)
    return scalars


def _is_number(value: object) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def check_names(step: Callable[..., Any], names: tuple[str, ...], what: str) -> None:
    """Raise CellError for names that cannot be attributes of a step's arguments; ``what`` is what they name."""
    if not isinstance(names, tuple | list) or not names:
        raise_at_definition(step, f'{what}s must be a tuple of names, as in ("h",), not {names!r}')
    for name in names:
        if not isinstance(name, str) or not name.isidentifier() or name.startswith("_"):
            raise_at_definition(step, f"{what} {name!r} is not a name that can follow a dot")
        if unicodedata.normalize("NFKC", name) != name:
            raise_at_definition(
                step,
                f"{what} {name!r} is read by Python as {unicodedata.normalize('NFKC', name)!r}: use that name",
            )
    if len(set(names)) != len(names):
        raise_at_definition(step, f"{what}s must differ, got {', '.join(names)}")


def check_signature(step: Callable[..., Any], params: tuple[str, ...]) -> None:
    """Raise CellError unless a step takes the arguments of a cell with these learned vectors."""
    arguments = "x (input parts), r (recurrent parts), s (states)"
    count, wanted = (
        (4, f"four arguments: {arguments}, p (parameters)")
        if params
        else (3, f"three arguments: {arguments}")
    )
    try:
        parameters = inspect.signature(step).parameters.values()
        for index, parameter in enumerate(parameters):
            positional = parameter.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD
            if index >= len("xrs") and positional and _is_number(parameter.default):
                name = parameter.name
                raise_at_definition(
                    step,
                    f"{name} is positional, and so a constant of the step; write "
                    f"`*, {name}={parameter.default!r}` to make it a scalar of the run",
                )
        inspect.signature(step).bind(*[None] * count)
    except TypeError:
        hint = "" if params else "; a step that reads learned vectors p needs params={...} besides gates"
        raise_at_definition(step, f"a step takes {wanted}{hint}")
    except ValueError as error:  # a function written in C may have no signature
        raise CellError(f"a step is a Python function of x, r and s, got {step!r}") from error


def check_all_are_read(step: Callable[..., Any], graph: Graph) -> None:
    """Raise CellError for a gate or a learned vector on which no new state of the traced step depends.

    Such a cell can be run, but its layers would have weights that nothing reads: most likely a mistake.

    Raises
    ------
    CellError
        The message names the parts that should have been read.
    """
    nodes = [graph.nodes[index] for index in graph.reach(graph.outputs)]
    read = {node.value for node in nodes if node.op == "input"} | {
        ("r", gate) for gate in graph.recurrent_parts
    }
    for what, names, letters in (("gate", graph.gates, "xr"), ("parameter", graph.params, "p")):
        for name in names:
            if read.isdisjoint((letter, name) for letter in letters):
                parts = " or ".join(f"{letter}.{name}" for letter in letters)
                raise_at_definition(
                    step,
                    f"{what} {name} is declared but never read: no new state depends on {parts}; use it, or "
                    "leave it out",
                )
