"""The arguments of a call, by the parameters that CuPy declares."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

from .interface import VERSION


class Given(NamedTuple):
    """The arguments that a call gives: those without a default first, as NumPy may name them otherwise."""

    positional: list[Any]
    keywords: dict[str, Any]


def bind(name: str, parameters: str) -> Callable[..., Given]:
    """Return a function that sorts the arguments of a call of ``name``.

    Parameters
    ----------
    name : str
    parameters : str
        As in a definition; an entry of `interface`.

    Returns
    -------
    callable
        It raises TypeError for arguments that do not fit the parameters.
    """
    signature = inspect.signature(eval(f"lambda {parameters}: None"))  # parsed by Python itself

    def arguments(*args: Any, **kwargs: Any) -> Given:
        try:
            bound = signature.bind(*args, **kwargs).arguments
        except TypeError as error:
            raise TypeError(f"{name}: {error}; CuPy {VERSION} has {name}({parameters})") from None
        given = Given([], {})
        for key, value in bound.items():
            kind, default = signature.parameters[key].kind, signature.parameters[key].default
            if kind is inspect.Parameter.VAR_POSITIONAL:
                given.positional.extend(value)
            elif kind is inspect.Parameter.VAR_KEYWORD:
                given.keywords.update(value)
            elif default is inspect.Parameter.empty:
                given.positional.append(value)
            else:
                given.keywords[key] = value
        return given

    return arguments
