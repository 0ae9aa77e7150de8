"""Whether calling a module does what its class in `rondeau.nn` does, and nothing else."""

from __future__ import annotations

from typing import Any

from rondeau.kernels.errors import ArgumentTypeError

from ._module import Module

__all__ = ["check_as_built", "has_forward_hooks", "is_as_built"]


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
    return _has_forward_of(module, kind) and not has_forward_hooks(module)


def check_as_built(name: str, module: Module, kind: type[Any]) -> None:
    """Raise a TypeError unless a stepper, which calls no module, does what calling the module would."""
    if not _has_forward_of(module, kind):
        raise ArgumentTypeError(
            f"{name}, {type(module).__name__}, has a forward of its own, which a stepper would leave out: step with an "
            f"nn.{kind.__name__}, and do what the forward adds yourself"
        )
    if has_forward_hooks(module):
        raise ArgumentTypeError(
            f"{name}, {type(module).__name__}, has forward hooks, which a stepper would not call: make it of a copy "
            "without them"
        )


def _has_forward_of(module: Module, kind: type[Any]) -> bool:
    return "forward" not in vars(module) and type(module).forward is kind.forward
