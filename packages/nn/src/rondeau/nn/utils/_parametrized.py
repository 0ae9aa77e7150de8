"""The weight that a parametrisation is to replace."""

from __future__ import annotations

from rondeau.kernels.errors import ArgumentTypeError, ArgumentValueError
from rondeau.tensor import Tensor

from .._checks import kind_of
from .._module import Module


def weight_of(module: Module, name: str) -> Tensor:
    """Return the weight of this name.

    Raises
    ------
    TypeError
        If `module` is not a module.
    ValueError
        If it has no tensor of this name.

    Examples
    --------
    >>> from rondeau import nn
    >>> weight_of(nn.Linear(3, 2), "wieght")
    Traceback (most recent call last):
        ...
    rondeau.kernels.errors.ArgumentValueError: Linear has no parameter or buffer named 'wieght'
    """
    if not isinstance(module, Module):
        raise ArgumentTypeError(f"module must be an nn.Module, got {kind_of(module)}")
    weight = getattr(module, name, None) if isinstance(name, str) else None
    if not isinstance(weight, Tensor):
        raise ArgumentValueError(f"{type(module).__name__} has no parameter or buffer named {name!r}")
    return weight
