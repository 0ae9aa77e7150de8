"""Linear: the product with a weight matrix, plus a bias."""

from __future__ import annotations

import math
from typing import Any

from numpy.typing import DTypeLike

from rondeau.kernels import product
from rondeau.kernels.errors import ArgumentTypeError, ArgumentValueError
from rondeau.kernels.ops.sums import total
from rondeau.tensor import Tensor, empty
from rondeau.tensor.operations import Op, record

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
    X, W = _rows(input._array), weight._array
    shape = (*input._array.shape[:-1], len(W))
    if bias is None:
        return record(_LINEAR, product.matmul(X, W.T).reshape(shape), (input, weight))
    return record(_AFFINE, product.affine(X, W, bias._array).reshape(shape), (input, weight, bias))


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


def _of_input(g: Any, _out: Any, _x: Any, weight: Any, _bias: Any = None) -> Any:
    """DX = dY W."""
    d_rows = _times(_rows(g), weight)
    return d_rows if g.ndim == 2 else d_rows.reshape((*g.shape[:-1], weight.shape[1]))


def _of_weight(g: Any, _out: Any, x: Any, _weight: Any, _bias: Any = None) -> Any:
    """DW = dY^T X."""
    return _times(_rows(g).T, _rows(x))


def _of_bias(g: Any, _out: Any, _x: Any, _weight: Any, _bias: Any) -> Any:
    """Return db, the sum of dY's rows."""
    return total(_rows(g), 0)


_AFFINE = Op("Affine", _of_input, _of_weight, _of_bias)
"""Y = X W^T + b for the rows X of an input."""
_LINEAR = Op("Affine", _of_input, _of_weight)
"""The same without b."""


def _times(a: Any, b: Any) -> Any:
    """Return the product of two matrices, of arrays or, where it is recorded, of tensors."""
    if isinstance(a, Tensor):
        return a.to(b.dtype) @ b  # a hook, or the user's own code, may have changed the dtype of a gradient
    return product.matmul(a if a.dtype == b.dtype else a.astype(b.dtype), b)


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
