"""What a block can be put around by decorating it: a function whose work ends when its call does."""

from __future__ import annotations

import inspect
from typing import Any

from rondeau.kernels.errors import ArgumentTypeError

__all__ = ["check_decorated"]


def check_decorated(block: str, function: Any) -> None:
    """Raise a TypeError unless a block around the call of a function is one around its work.

    A generator or a coroutine begins to work after its call, and the objects of a class are used after theirs.

    Parameters
    ----------
    block : str
        How the block is written, as ``no_grad()``.
    function : object
        What is decorated.

    Examples
    --------
    >>> check_decorated("no_grad()", abs)
    >>> check_decorated("no_grad()", 3)
    Traceback (most recent call last):
        ...
    rondeau.kernels.errors.ArgumentTypeError: no_grad cannot decorate an object of type int: it decorates functions
    """
    name = block.partition("(")[0]
    if isinstance(function, type):
        raise ArgumentTypeError(
            f"{name} cannot decorate a class, {function.__name__}: decorate its methods, such as forward"
        )
    if not callable(function):
        raise ArgumentTypeError(
            f"{name} cannot decorate an object of type {type(function).__name__}: it decorates functions"
        )
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise ArgumentTypeError(
            f"{name} cannot decorate a generator: it would leak into the caller between items; use `with {block}:` "
            f"around the work inside {function.__name__}"
        )
    if inspect.iscoroutinefunction(function):
        raise ArgumentTypeError(
            f"{name} cannot decorate a coroutine: it would leak into other tasks while this one waits; use "
            f"`with {block}:` around the work inside {function.__name__}, with no await in it"
        )
