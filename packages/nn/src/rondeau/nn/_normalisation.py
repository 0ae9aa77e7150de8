"""Layer normalisation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from numpy.typing import DTypeLike

from rondeau.kernels.errors import ArgumentTypeError, ArgumentValueError
from rondeau.kernels.ops import layer_norm as kernels
from rondeau.tensor import Function, Tensor, ones, zeros

from . import init
from ._checks import check_epsilon, check_fits, check_flags, check_sizes, check_tensor
from ._module import Module
from ._parameter import Parameter


def layer_norm(
    input: Tensor,
    normalized_shape: int | Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """Normalise the last dimensions to mean 0 and variance 1, then scale and shift (Ba et al. 2016, eq. 4).

    y = (x - mean) / sqrt(var + eps) * weight + bias, with the variance over n, not n - 1.

    Parameters
    ----------
    input : Tensor
        Shape ``(..., *normalized_shape)``.
    normalized_shape : int or sequence of int
        The last dimensions, over which mean and variance are computed jointly.
    weight, bias : Tensor, optional
        Of shape normalized_shape.
    eps : float
        Added to the variance.

    Returns
    -------
    Tensor
        The shape of `input`.

    Raises
    ------
    ValueError
        If the shapes do not match, or eps is negative, infinite or NaN.
    TypeError
        If the dtypes differ, or are neither float32 nor float64; or if an argument has the wrong type.

    Examples
    --------
    >>> from rondeau import nn, tensor as rt
    >>> nn.functional.layer_norm(rt.tensor([1.0, 3.0]), 2, eps=0.0).tolist()
    [-1.0, 1.0]
    """
    shape = _as_shape(normalized_shape)
    check_epsilon("layer_norm: eps", eps)
    check_tensor("layer_norm: input", input)
    if not shape or tuple(input.shape[-len(shape) :]) != shape:
        raise ArgumentValueError(
            f"layer_norm: input of shape {tuple(input.shape)} must end in normalized_shape={shape}, "
            "which must not be empty"
        )
    if input.dtype.char not in "fd":
        raise ArgumentTypeError(
            f"layer_norm: input must be float32 or float64, got {input.dtype}; use input.float()"
        )
    check_fits("layer_norm: eps", eps, input.dtype)
    for name, tensor in (("weight", weight), ("bias", bias)):
        if tensor is None:
            continue
        check_tensor(f"layer_norm: {name}", tensor)
        if tuple(tensor.shape) != shape:
            raise ArgumentValueError(f"layer_norm: {name} must have shape {shape}, got {tuple(tensor.shape)}")
        if tensor.dtype != input.dtype:
            raise ArgumentTypeError(
                f"layer_norm: input is {input.dtype} and {name} is {tensor.dtype}; convert one"
            )
    height, width = math.prod(input.shape[: -len(shape)]), math.prod(shape)
    rows: Tensor = _LayerNorm.apply(
        input.reshape(height, width),
        None if weight is None else weight.reshape(width),
        None if bias is None else bias.reshape(width),
        float(eps),
    )
    return rows.reshape(input.shape)


def _as_shape(normalized_shape: int | Sequence[int]) -> tuple[int, ...]:
    sizes = tuple(normalized_shape) if isinstance(normalized_shape, tuple | list) else (normalized_shape,)
    for size in sizes:
        check_sizes(0, normalized_shape=size)
    return sizes


class _LayerNorm(Function):
    """The normalised rows of a matrix; `rondeau.kernels.ops.layer_norm` states the equations."""

    owns_gradients = True

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float) -> Tensor:
        y, ctx.saved = kernels.forward(
            x._array, None if weight is None else weight._array, None if bias is None else bias._array, eps
        )
        ctx.save_for_backward(x, weight)
        ctx.eps = eps
        return Tensor(y)

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        of_x, of_weight, of_bias, _ = ctx.needs_input_grad
        if ctx.create_graph:
            centred = x - x.mean(1, keepdim=True)
            rstd = ((centred * centred).mean(1, keepdim=True) + ctx.eps) ** -0.5
            z = centred * rstd
            h = dy if weight is None else dy * weight
            return (
                rstd * (h - h.mean(1, keepdim=True) - z * (h * z).mean(1, keepdim=True)) if of_x else None,
                (dy * z).sum(0) if of_weight else None,
                dy.sum(0) if of_bias else None,
                None,
            )
        dw = db = None
        if of_weight or of_bias:
            dw, db = kernels.backward_parameters(dy._array, ctx.saved)
        return (
            Tensor(kernels.backward_input(dy._array, ctx.saved)) if of_x else None,
            Tensor(dw) if of_weight else None,
            Tensor(db) if of_bias else None,
            None,
        )


class LayerNorm(Module):
    """Normalise the last dimensions of the input to mean 0 and variance 1, then scale and shift.

    Parameters
    ----------
    normalized_shape : int or sequence of int
        The last dimensions of the input.
    eps : float
        Added to the variance.
    elementwise_affine : bool
        Whether there is a weight, and a bias if `bias`.
    bias : bool
        Whether there is a bias.
    device, dtype : optional
        Device and dtype of the parameters; float32 by default.

    Attributes
    ----------
    weight : Parameter or None
        Of shape normalized_shape, initially ones.
    bias : Parameter or None
        Of shape normalized_shape, initially zeros.

    Examples
    --------
    >>> from rondeau import nn, tensor as rt
    >>> nn.LayerNorm(10)(rt.zeros(20, 5, 10)).shape
    (20, 5, 10)
    """

    weight: Parameter | None
    bias: Parameter | None

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
        device: Any = None,
        dtype: DTypeLike | None = None,
    ) -> None:
        super().__init__()
        self.normalized_shape = _as_shape(normalized_shape)
        check_epsilon("eps", eps)
        check_flags(elementwise_affine=elementwise_affine, bias=bias)
        self.eps = eps
        self.elementwise_affine = elementwise_affine
        shape = self.normalized_shape
        with_bias = elementwise_affine and bias
        self.register_parameter(
            "weight", Parameter(ones(shape, dtype=dtype, device=device)) if elementwise_affine else None
        )
        self.register_parameter(
            "bias", Parameter(zeros(shape, dtype=dtype, device=device)) if with_bias else None
        )

    def reset_parameters(self) -> None:
        """Set the weight to ones and the bias to zeros."""
        if self.weight is not None:
            init.ones_(self.weight)
        if self.bias is not None:
            init.zeros_(self.bias)

    def forward(self, input: Tensor) -> Tensor:
        """Apply to an input of shape ``(..., *normalized_shape)``."""
        return layer_norm(input, self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        """Return the configuration for ``repr``."""
        return f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}"
