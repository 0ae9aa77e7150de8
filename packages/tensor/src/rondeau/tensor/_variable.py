"""Variable: PyTorch's older name for a tensor that collects gradients."""

from __future__ import annotations

from typing import Any

from rondeau.kernels.errors import ArgumentTypeError
from rondeau.tensor._graph import Recorded, same_memory
from rondeau.tensor._tensor import Tensor


class _OfTensors(type):
    def __instancecheck__(cls, value: object) -> bool:
        return isinstance(value, Tensor)


class Variable(metaclass=_OfTensors):
    """The name before PyTorch 0.4 of a tensor that collects gradients; every Tensor is an instance.

    Parameters
    ----------
    data : Tensor
        Its memory is shared, but not its history.
    requires_grad : bool

    Returns
    -------
    Tensor

    Raises
    ------
    TypeError
        If `data` is not a Tensor, or gradients are required for integers.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> from rondeau.tensor.autograd import Variable
    >>> x = Variable(rt.ones(2), requires_grad=True)
    >>> (x * x).sum().backward()
    >>> x.grad
    tensor([2., 2.])
    """

    def __new__(cls, data: Tensor, requires_grad: bool = False) -> Any:
        if not isinstance(data, Recorded):
            raise ArgumentTypeError(f"Variable data has to be a tensor, but got {type(data).__name__}")
        return same_memory(data).requires_grad_(requires_grad)
