"""Whether calling a module does what its class in `rondeau.nn` does, and nothing else."""

from __future__ import annotations

from typing import Any

from rondeau.kernels.errors import ArgumentTypeError

from ._module import Module

__all__ = ["check_as_built", "has_forward_hooks", "has_forward_of", "is_as_built"]


def has_forward_hooks(module: Module) -> bool:
    """Return whether hooks of a module see, and may change, what it reads or returns.

    Examples
    --------
    >>> from rondeau import nn
    >>> layer = nn.Linear(3, 2)
    >>> handle = layer.register_forward_hook(lambda module, args, output: 2 * output)
    >>> has_forward_hooks(layer)
    True
    """
    return bool(module._forward_hooks or module._forward_pre_hooks)


def has_forward_of(module: Module, kind: type[Any]) -> bool:
    """Return whether the forward of a module is that of the class `kind`, not one of a subclass or of its own.

    Examples
    --------
    >>> from rondeau import nn
    >>> has_forward_of(nn.LSTM(3, 2), nn.Recurrent), has_forward_of(nn.GRUCell(3, 2), nn.Recurrent)
    (True, False)
    """
    return "forward" not in vars(module) and type(module).forward is kind.forward


def is_as_built(module: Module, kind: type[Any]) -> bool:
    """Return whether calling a module runs the forward of the class `kind`, and no hooks.

    Examples
    --------
    >>> from rondeau import nn
    >>> layer = nn.Linear(3, 2)
    >>> is_as_built(layer, nn.Linear)
    True
    >>> layer.forward = lambda input: 2 * input
    >>> is_as_built(layer, nn.Linear)
    False
    """
    return has_forward_of(module, kind) and not has_forward_hooks(module)


def check_as_built(name: str, module: Module, kind: type[Any]) -> None:
    """Raise a TypeError unless a stepper, which calls no module, does what calling the module would."""
    if not has_forward_of(module, kind):
        raise ArgumentTypeError(
            f"{name}, {type(module).__name__}, has a forward of its own, which a stepper would leave out: step with an "
            f"nn.{kind.__name__}, and do what the forward adds yourself"
        )
    if has_forward_hooks(module):
        raise ArgumentTypeError(
            f"{name}, {type(module).__name__}, has forward hooks, which a stepper would not call: make it of a copy "
            "without them"
        )
