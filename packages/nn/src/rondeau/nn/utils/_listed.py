"""The argument of this package's functions that is one tensor or several."""

from __future__ import annotations

from collections.abc import Iterable

from rondeau.kernels.errors import ArgumentTypeError
from rondeau.tensor import Tensor

from .._checks import checked_list
from .._module import Module


def listed(name: str, tensors: Tensor | Iterable[Tensor]) -> list[Tensor]:
    """Return one tensor or an iterable of them as a list.

    Raises
    ------
    TypeError
        If it is neither; the message begins with the name of the argument.

    Examples
    --------
    >>> listed("parameters", 3.0)
    Traceback (most recent call last):
        ...
    rondeau.kernels.errors.ArgumentTypeError: parameters must be an iterable of Tensors, got float
    """
    if isinstance(tensors, Module):
        raise ArgumentTypeError(
            f"{name} must be an iterable of Tensors, got the module {type(tensors).__name__}; give its parameters, "
            "as module.parameters()"
        )
    return [tensors] if isinstance(tensors, Tensor) else checked_list(name, tensors, Tensor, "Tensors")
