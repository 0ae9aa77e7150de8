"""Parameter: a tensor that a module trains."""

from __future__ import annotations

from typing import Any

from rondeau.tensor import Tensor
from rondeau.tensor.files import structure


class Parameter(Tensor):
    """A tensor that becomes a parameter of a `Module` when it is assigned as an attribute.

    Parameters
    ----------
    data : Tensor or array_like
        The values; a Tensor or an array shares its memory with the parameter.
    requires_grad : bool
        False for a parameter that is saved but not trained.

    Examples
    --------
    >>> from rondeau import nn, tensor as rt
    >>> nn.Parameter(rt.zeros(2)).requires_grad
    True
    """

    __slots__ = ()

    def __init__(self, data: Any, requires_grad: bool = True) -> None:
        super().__init__(data, requires_grad=requires_grad)

    def __repr__(self) -> str:
        return f"Parameter containing:\n{super().__repr__()}"


structure.register("$parameter", Parameter)
