"""The checks of a cell's definition: the names of its parts, and the parameters of its step."""

from __future__ import annotations

import inspect
import numbers
import unicodedata
from collections.abc import Callable, Mapping
from typing import Any

from rondeau.kernels.cell.errors import CellError, raise_at_definition
from rondeau.kernels.cell.graph import Graph
from rondeau.kernels.cell.input_forms import KINDS

__all__ = ["arguments_of", "check_all_are_read", "check_kinds", "check_names", "scalars_of"]

_ARGUMENTS = {
    "x": "x (input parts)", "r": "r (recurrent parts)", "s": "s (states)", "p": "p (parameters)", "u": "u (inputs)",
}  # fmt: skip
_COUNTS = {3: "three", 4: "four", 5: "five"}


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


def check_kinds(step: Callable[..., Any], inputs: Mapping[str, str]) -> None:
    """Raise CellError unless named inputs have names that can follow a dot, and each is of a kind that exists."""
    check_names(step, tuple(inputs), "input")
    for name, kind in inputs.items():
        if kind not in KINDS:
            raise_at_definition(
                step,
                f"input {name} must be of the kind {' or '.join(map(repr, KINDS))}, got {kind!r}: a step input has a "
                "number for every step, a sequence input one for all steps of a sequence",
            )


def arguments_of(step: Callable[..., Any], has_params: bool, has_inputs: bool) -> str:
    """Return the letters of the arguments that a step takes, in order: of x, r, s, p and u.

    If the names of the step's parameters are these letters, they determine the order; if none is, the order is that of
    the letters.

    Raises
    ------
    CellError
        If the step does not take these arguments, or only some of its parameters have their names.

    Examples
    --------
    >>> arguments_of(lambda x, r, s, u: x.h + u.dt, False, True)
    'xrsu'
    >>> arguments_of(lambda u, s, r, x: x.h + u.dt, False, True)
    'usrx'
    """
    wanted, names = "xrs" + "p" * has_params + "u" * has_inputs, []
    try:
        signature = inspect.signature(step)
        parameters = signature.parameters.values()
        for index, parameter in enumerate(parameters):
            positional = parameter.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD
            if index >= len("xrs") and positional and _is_number(parameter.default):
                name = parameter.name
                raise_at_definition(
                    step,
                    f"{name} is positional, and so a constant of the step; write "
                    f"`*, {name}={parameter.default!r}` to make it a scalar of the run",
                )
        names = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
        signature.bind(*[None] * len(wanted))
        known = [name for name in names if name in _ARGUMENTS]
        if len(known) == len(names) == len(wanted):
            if sorted(names) != sorted(wanted):
                raise TypeError
            return "".join(names)
    except TypeError:
        listed = ", ".join(_ARGUMENTS[letter] for letter in wanted)
        raise_at_definition(
            step, f"a step takes {_COUNTS[len(wanted)]} arguments: {listed}{_hint(names, wanted)}"
        )
    except ValueError as error:  # a function written in C may have no signature
        raise CellError(f"a step is a Python function of x, r and s, got {step!r}") from error
    if known and len(names) == len(wanted):
        others = ", ".join(name for name in names if name not in known)
        raise_at_definition(
            step,
            f"the step takes {', '.join(names)}: either all of its arguments are named {', '.join(wanted)}, and go by "
            f"name, or none is, and they go by position; rename {others}",
        )
    return wanted


def _hint(names: list[str], wanted: str) -> str:
    """Return what may be missing from the definition of a cell whose step takes other arguments."""
    if "u" in names and "u" not in wanted:
        return (
            '; a step that reads inputs u needs inputs={"name": "step"} or {"name": "sequence"} besides gates'
        )
    if "p" not in wanted and "u" not in wanted:
        return "; a step that reads learned vectors p needs params={...} besides gates"
    return ""


def check_all_are_read(step: Callable[..., Any], graph: Graph) -> None:
    """Raise CellError for a gate, a learned vector or an input on which no new state of the traced step depends.

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
    for what, names, letters in (
        ("gate", graph.gates, "xr"),
        ("parameter", graph.params, "p"),
        ("input", tuple(graph.inputs), "u"),
    ):
        for name in names:
            if read.isdisjoint((letter, name) for letter in letters):
                parts = " or ".join(f"{letter}.{name}" for letter in letters)
                raise_at_definition(
                    step,
                    f"{what} {name} is declared but never read: no new state depends on {parts}; use it, or "
                    "leave it out",
                )
