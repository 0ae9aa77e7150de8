"""Linear: the product with a weight matrix, plus a bias."""

from __future__ import annotations

import math
from typing import Any

from numpy.typing import DTypeLike

from rondeau.kernels import product
from rondeau.kernels.errors import ArgumentTypeError, ArgumentValueError
from rondeau.kernels.ops.sums import total
from rondeau.tensor import Function, Tensor, empty

from . import init
from ._checks import check_devices, check_flags, check_sizes, check_tensor
from ._module import Module
from ._parameter import Parameter


def linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return ``input @ weight.T + bias`` as one node of the graph.

    Parameters
    ----------
    input : Tensor
        Shape (..., in).
    weight : Tensor
        Shape (out, in).
    bias : Tensor, optional
        Shape (out,).

    Returns
    -------
    Tensor
        Shape (..., out).

    Raises
    ------
    ValueError
        If the shapes do not match.
    TypeError
        If an argument is not a Tensor, or the dtypes differ or are not floating-point.

    Examples
    --------
    >>> from rondeau import nn, tensor as rt
    >>> nn.functional.linear(rt.ones(1, 2), rt.tensor([[1.0, 2.0]]), rt.tensor([0.5])).tolist()
    [[3.5]]
    """
    checked_sizes("linear", input, weight, bias)
    result: Tensor = _Affine.apply(input, weight, bias)
    return result


def checked_sizes(
    function: str, input: Tensor, weight: Tensor, bias: Tensor | None, prefix: str = ""
) -> tuple[int, int]:
    """Return the numbers of outputs and inputs of a linear layer, after checking its tensors.

    Parameters
    ----------
    function : str
        The beginning of messages.
    input, weight, bias : Tensor
        As for `linear`.
    prefix : str
        What the names of weight and bias begin with in the function.

    Raises
    ------
    ValueError, TypeError
        As `linear` does.
    """
    of_weight, of_bias = f"{prefix}weight", f"{prefix}bias"
    check_tensor(f"{function}: input", input)
    check_tensor(f"{function}: {of_weight}", weight)
    if bias is not None:
        check_tensor(f"{function}: {of_bias}", bias)
    x, w = input._array.shape, weight._array.shape
    if len(w) != 2:
        raise ArgumentValueError(f"{function}: {of_weight} must have shape (out, in), got {w}")
    out_features, in_features = w
    if not x or x[-1] != in_features:
        raise ArgumentValueError(
            f"{function}: input of shape {x} must have {in_features} as its last dimension, "
            f"because the {of_weight} has shape {w}"
        )
    if bias is not None and bias._array.shape != (out_features,):
        raise ArgumentValueError(
            f"{function}: {of_bias} must have shape ({out_features},), got {tuple(bias.shape)}"
        )
    dtype = weight._array.dtype
    for name, tensor in (("input", input), (of_bias, bias)):
        if tensor is not None and tensor._array.dtype != dtype:
            raise ArgumentTypeError(
                f"{function}: {name} is {tensor.dtype} and {of_weight} is {dtype}; use "
                f"{name}.to({of_weight}.dtype) or module.to({name}.dtype)"
            )
    check_devices(function, **{"input": input, of_weight: weight, of_bias: bias})
    return out_features, in_features


class _Affine(Function):
    """Y = X W^T + b for the rows X of an input; dX = dY W, dW = dY^T X, db = the sum of dY's rows."""

    owns_gradients = True

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        X, W = _rows(x._array), weight._array
        Y = product.matmul(X, W.T) if bias is None else product.affine(X, W, bias._array)
        return Tensor(Y.reshape(*x._array.shape[:-1], len(W)))

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        of_x, of_weight, of_bias = ctx.needs_input_grad
        if ctx.create_graph:
            rows = _rows(dy)
            return (
                (rows @ weight).reshape(x.shape) if of_x else None,
                rows.T @ _rows(x) if of_weight else None,
                rows.sum(0) if of_bias else None,
            )
        g = _rows(dy._array)
        return (
            Tensor(product.matmul(g, weight._array).reshape(x._array.shape)) if of_x else None,
            Tensor(product.matmul(g.T, _rows(x._array))) if of_weight else None,
            Tensor(total(g, 0)) if of_bias else None,
        )


def _rows(x: Any) -> Any:
    """Return an array or a tensor (..., K) as a matrix of its rows."""
    return x if x.ndim == 2 else x.reshape((math.prod(x.shape[:-1]), x.shape[-1]))


class Linear(Module):
    """y = x W^T + b.

    Parameters
    ----------
    in_features, out_features : int
        Sizes of the last dimension of input and output.
    bias : bool
        Whether there is a bias b.
    device, dtype : optional
        Device and dtype of the parameters; float32 by default.

    Attributes
    ----------
    weight : Parameter
        Shape (out_features, in_features).
    bias : Parameter or None
        Shape (out_features,). Both are initially drawn from U(-1/sqrt(in_features), 1/sqrt(in_features)), as in
        PyTorch.

    Raises
    ------
    TypeError
        If a size is not an integer.
    ValueError
        If a size is negative.

    Examples
    --------
    >>> from rondeau import nn, tensor as rt
    >>> layer = nn.Linear(20, 30)
    >>> layer(rt.zeros(7, 128, 20)).shape
    (7, 128, 30)
    """

    weight: Parameter
    bias: Parameter | None

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        device: Any = None,
        dtype: DTypeLike | None = None,
    ) -> None:
        super().__init__()
        check_sizes(0, in_features=in_features, out_features=out_features)
        check_flags(bias=bias)
        self.in_features = in_features
        self.out_features = out_features
        self.weight = Parameter(empty(out_features, in_features, dtype=dtype, device=device))
        self.register_parameter(
            "bias", Parameter(empty(out_features, dtype=dtype, device=device)) if bias else None
        )
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new initial values."""
        bound = 1.0 / math.sqrt(self.in_features) if self.in_features else 0.0
        init.uniform_(self.weight, -bound, bound)
        if self.bias is not None:
            init.uniform_(self.bias, -bound, bound)

    def forward(self, input: Tensor) -> Tensor:
        """Apply to an input of shape (..., in_features); the result has shape (..., out_features)."""
        return linear(input, self.weight, self.bias)

    def extra_repr(self) -> str:
        """Return the configuration for ``repr``."""
        return (
            f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"
        )
