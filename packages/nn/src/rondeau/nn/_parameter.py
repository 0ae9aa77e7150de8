"""Parameter: a tensor that a module trains."""

from __future__ import annotations

from typing import Any

from rondeau.tensor import Tensor


class Parameter(Tensor):
    """A tensor that, assigned as an attribute of a `Module`, becomes one of its parameters.

    Parameters
    ----------
    data : Tensor or array_like
        The values, shared with the parameter where they are a Tensor or an array.
    requires_grad : bool
        False for one that is kept and saved, and not trained.

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
