"""What a cell is defined by, before its step runs: the names of its parts, and the step's own parameters."""

from __future__ import annotations

import inspect
import numbers
import unicodedata
from collections.abc import Callable
from typing import Any

from rondeau.kernels.cell.errors import CellError, raise_at_definition

__all__ = ["check_names", "check_signature", "scalars_of"]


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
            default = parameter.default
            if isinstance(default, bool) or not isinstance(default, numbers.Real):
                raise_at_definition(
                    step,
                    f"the scalar {parameter.name} needs a number as its default, "
                    f"as in *, {parameter.name}=0.5",
                )
            scalars[parameter.name] = float(default)
    return scalars


def check_names(step: Callable[..., Any], names: tuple[str, ...], what: str) -> None:
    """Refuse names that cannot be attributes of a step's arguments; ``what`` says of what they are."""
    if not isinstance(names, tuple | list) or not names:
        raise_at_definition(step, f'{what}s must be a tuple of names, as in ("h",), not {names!r}')
    for name in names:
        if not isinstance(name, str) or not name.isidentifier() or name.startswith("_"):
            raise_at_definition(step, f"{what} {name!r} is not a name that can follow a dot")
        if unicodedata.normalize("NFKC", name) != name:
            raise_at_definition(
                step,
                f"{what} {name!r} is read by Python as {unicodedata.normalize('NFKC', name)!r}: name it so",
            )
    if len(set(names)) != len(names):
        raise_at_definition(step, f"{what}s must differ, got {', '.join(names)}")


def check_signature(step: Callable[..., Any], params: tuple[str, ...]) -> None:
    """Refuse a step that does not take the arguments of a cell with these learned vectors."""
    arguments = "x (input parts), r (recurrent parts), s (states)"
    count, wanted = (
        (4, f"four arguments: {arguments}, p (parameters)")
        if params
        else (3, f"three arguments: {arguments}")
    )
    try:
        inspect.signature(step).bind(*[None] * count)
    except TypeError:
        hint = "" if params else "; one that reads learned vectors p needs params={...} beside its gates"
        raise_at_definition(step, f"a step takes {wanted}{hint}")
    except ValueError as error:  # what is written in C may have no signature
        raise CellError(f"a step is a Python function of x, r and s, got {step!r}") from error
