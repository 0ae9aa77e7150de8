"""How a module finds an attribute that is computed from its parameters rather than stored."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

from rondeau.tensor import Tensor, float32_matmul_precision

__all__ = ["PARAMETRIZATIONS", "ComputedAttribute", "computed_attribute", "computed_names", "in_evaluation"]

PARAMETRIZATIONS = "parametrizations"
"""PyTorch's name for the submodule whose members compute attributes of the module that it belongs to."""


class ComputedAttribute(ABC):
    """What stands under the name of an attribute in a module's `parametrizations`."""

    @abstractmethod
    def value(self) -> Tensor:
        """Return the value of the attribute."""

    @abstractmethod
    def value_in_evaluation(self) -> Tensor:
        """Return the value that the attribute has in evaluation, whatever the mode; it is not recorded."""

    @abstractmethod
    def assign(self, value: Any) -> None:
        """Change what the attribute is computed from so that it has this value."""


def computed_attribute(state: Mapping[str, Any], name: str) -> ComputedAttribute | None:
    """Return what computes an attribute of a module, whose ``__dict__`` is `state`, or None if it is not computed."""
    group = state.get("_modules", {}).get(PARAMETRIZATIONS)
    found = None if group is None else group._modules.get(name)
    return found if isinstance(found, ComputedAttribute) else None


def computed_names(module: Any) -> list[str]:
    """Return the names of the attributes of a module that are computed."""
    group = module._modules.get(PARAMETRIZATIONS)
    members = {} if group is None else group._modules
    return [name for name, member in members.items() if isinstance(member, ComputedAttribute)]


def in_evaluation(module: Any, name: str) -> Any:
    """Return an attribute of a module as it is in evaluation, at the precision "highest", whatever the module is in."""
    computed = computed_attribute(module.__dict__, name)
    if computed is None:
        return getattr(module, name)
    with float32_matmul_precision("highest"):
        return computed.value_in_evaluation()
