"""Checks of the arguments of the ready-made parametrisations: the weight to replace, and its dimension."""

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


def check_dim(dim: int, weight: Tensor) -> None:
    """Raise an error unless `dim` is a dimension of the weight, which may be counted from the end.

    Raises
    ------
    TypeError
        If it is not an integer.
    ValueError
        If the weight does not have it.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> check_dim(2, rt.zeros(3, 2))
    Traceback (most recent call last):
        ...
    rondeau.kernels.errors.ArgumentValueError: dim must be from -2 to 1 for a weight of shape (3, 2), got 2
    """
    if isinstance(dim, bool) or not isinstance(dim, int):
        raise ArgumentTypeError(f"dim must be an integer or None, got {dim!r}")
    if not -weight.ndim <= dim < weight.ndim:
        raise ArgumentValueError(
            f"dim must be from {-weight.ndim} to {weight.ndim - 1} for a weight of shape {weight.shape}, got {dim}"
        )
