"""Convolution of sequences and planes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from numpy.typing import DTypeLike

from rondeau.kernels.errors import ArgumentTypeError, ArgumentValueError
from rondeau.kernels.ops import convolution as kernels
from rondeau.kernels.ops.windows import Window
from rondeau.tensor import Function, Tensor, empty

from . import init
from ._checks import check_flags, check_sizes, check_tensor
from ._module import Module
from ._padding import PADDING_MODES, padded
from ._parameter import Parameter
from ._windows import check_planes, check_result, number_of_windows, per_dimension

_Sizes = int | Sequence[int]


def conv1d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: _Sizes = 1,
    padding: _Sizes | str = 0,
    dilation: _Sizes = 1,
    groups: int = 1,
) -> Tensor:
    """Slide windows over sequences: each output is a weighted sum of its window, over all channels.

    Parameters
    ----------
    input : Tensor
        Shape (N, C, L) or (C, L); N may be 0.
    weight : Tensor
        Shape (F, C / groups, K).
    bias : Tensor, optional
        Shape (F,).
    stride : int or (int,)
        Step from one window to the next.
    padding : int, (int,), "valid" or "same"
        Zeros at either end; "valid" means none, and "same" as many as keep L unchanged.
    dilation : int or (int,)
        Distance between neighbouring elements of a window.
    groups : int
        Number of groups into which the channels of input and output are divided; each output sees only its own group.

    Returns
    -------
    Tensor
        Shape (N, F, L') or (F, L') with L' = (L + 2 padding - dilation (K - 1) - 1) // stride + 1.

    Raises
    ------
    ValueError
        If shapes do not match, an option is invalid, or the input is smaller than a window.
    TypeError
        If dtypes do not match, or an argument has the wrong type.

    Examples
    --------
    >>> from rondeau import nn, tensor as rt
    >>> x, w = rt.tensor([[[1.0, 2.0, 4.0, 8.0]]]), rt.tensor([[[-1.0, 1.0]]])
    >>> nn.functional.conv1d(x, w).tolist()
    [[[1.0, 2.0, 4.0]]]
    """
    return _convolve("conv1d", 1, input, weight, bias, stride, padding, dilation, groups, "zeros")


def conv2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: _Sizes = 1,
    padding: _Sizes | str = 0,
    dilation: _Sizes = 1,
    groups: int = 1,
) -> Tensor:
    """Slide windows over planes: each output is a weighted sum of its window, over all channels.

    Parameters
    ----------
    input : Tensor
        Shape (N, C, H, W) or (C, H, W); N may be 0.
    weight : Tensor
        Shape (F, C / groups, rows, columns).
    bias : Tensor, optional
        Shape (F,).
    stride : int or (int, int)
        Step from one window to the next.
    padding : int, (int, int), "valid" or "same"
        Zeros on every side; "valid" means none, and "same" as many as keep H and W unchanged.
    dilation : int or (int, int)
        Distance between neighbouring elements of a window.
    groups : int
        Number of groups into which the channels of input and output are divided; each output sees only its own group.

    Returns
    -------
    Tensor
        Shape (N, F, H', W') or (F, H', W') with H' = (H + 2 padding - dilation (rows - 1) - 1) // stride + 1.

    Raises
    ------
    ValueError
        If shapes do not match, an option is invalid, or the input is smaller than a window.
    TypeError
        If dtypes do not match, or an argument has the wrong type.

    Examples
    --------
    >>> from rondeau import nn, tensor as rt
    >>> x = rt.arange(9, dtype="float32").reshape(1, 1, 3, 3)
    >>> nn.functional.conv2d(x, rt.ones(1, 1, 2, 2)).tolist()
    [[[[8.0, 12.0], [20.0, 24.0]]]]
    """
    return _convolve("conv2d", 2, input, weight, bias, stride, padding, dilation, groups, "zeros")


_SHAPES = {1: "(N, C, L) or (C, L)", 2: "(N, C, H, W) or (C, H, W)"}


def _convolve(
    name: str,
    dimensions: int,
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: _Sizes,
    padding: _Sizes | str,
    dilation: _Sizes,
    groups: int,
    mode: str,
) -> Tensor:
    check_planes(name, input, _SHAPES[dimensions])
    _check_weight(name, dimensions, input, weight, bias, groups)
    strides = per_dimension(f"{name}: stride", stride, dimensions)
    dilations = per_dimension(f"{name}: dilation", dilation, dimensions)
    size = tuple(weight.shape[2:])
    sides = _padding_of(f"{name}: padding", padding, size, strides, dilations)
    x = input if input.ndim == dimensions + 2 else input.unsqueeze(0)
    if mode != "zeros":
        for axis, (before, after) in enumerate(sides):
            x = padded(x, 2 + axis, before, after, mode)
        sides = ((0, 0),) * dimensions
    if dimensions == 1:  # a plane of one row
        size, strides, dilations, sides = (1, *size), (1, *strides), (1, *dilations), ((0, 0), *sides)
        x, weight = x.unsqueeze(2), weight.unsqueeze(2)
    shape = tuple(
        number_of_windows(name, n, *side, k, s, d)
        for n, side, k, s, d in zip(x.shape[2:], sides, size, strides, dilations, strict=True)
    )
    check_result(name, (x.shape[0], weight.shape[0], *shape))
    window = Window(*size, *strides, *dilations, sides[0][0], sides[1][0])  # type: ignore[call-arg]
    y: Tensor = _Convolution.apply(x, weight, bias, window, shape, groups)
    if dimensions == 1:
        y = y.squeeze(2)
    return y if input.ndim == dimensions + 2 else y.squeeze(0)


def _check_weight(
    name: str, dimensions: int, input: Tensor, weight: Tensor, bias: Tensor | None, groups: int
) -> None:
    check_tensor(f"{name}: weight", weight)
    check_sizes(groups=groups)
    if weight.ndim != dimensions + 2 or 0 in weight.shape:
        form = "(F, C / groups, K)" if dimensions == 1 else "(F, C / groups, rows, columns)"
        raise ArgumentValueError(
            f"{name}: weight must have shape {form}, each at least 1, got {tuple(weight.shape)}"
        )
    out_channels, of_group = weight.shape[:2]
    channels = input.shape[-dimensions - 1]
    if out_channels % groups or channels != of_group * groups:
        raise ArgumentValueError(
            f"{name}: weight of shape {tuple(weight.shape)} and groups={groups} go with an input of "
            f"{of_group * groups} channels and a multiple of {groups} channels out, but the input of shape "
            f"{tuple(input.shape)} has {channels} channels and the weight gives {out_channels}"
        )
    if weight.dtype != input.dtype:
        raise ArgumentTypeError(
            f"{name}: input is {input.dtype} and weight is {weight.dtype}; use "
            "input.to(weight.dtype) or module.to(input.dtype)"
        )
    if bias is None:
        return
    check_tensor(f"{name}: bias", bias)
    if bias.shape != (out_channels,):
        raise ArgumentValueError(f"{name}: bias must have shape ({out_channels},), got {tuple(bias.shape)}")
    if bias.dtype != weight.dtype:
        raise ArgumentTypeError(f"{name}: bias is {bias.dtype} and weight is {weight.dtype}; convert one")


def _padding_of(
    name: str,
    padding: _Sizes | str,
    size: tuple[int, ...],
    strides: tuple[int, ...],
    dilations: tuple[int, ...],
) -> tuple[tuple[int, int], ...]:
    """Return the padding before and after each dimension."""
    if isinstance(padding, str):
        if padding not in ("valid", "same"):
            raise ArgumentValueError(f'{name} must be "valid", "same" or integers, got {padding!r}')
        if padding == "valid":
            return ((0, 0),) * len(size)
        if any(stride != 1 for stride in strides):
            raise ArgumentValueError(
                f'{name} "same" keeps the size unchanged, which a stride of {strides} cannot: use 1'
            )
        totals = [d * (k - 1) for k, d in zip(size, dilations, strict=True)]
        return tuple((total // 2, total - total // 2) for total in totals)
    return tuple((p, p) for p in per_dimension(name, padding, len(size), 0))


# The three are each other's derivatives, since each is linear in two arguments. With v the gradient of their result:
#   y  = Convolution(x, w)            dx = InputGradient(v, w)      dw = WeightGradient(v, x)
#   dx = InputGradient(dy, w)         ddy = Convolution(v, w)       dw = WeightGradient(dy, v)
#   dw = WeightGradient(dy, x)        ddy = Convolution(x, v)       dx = InputGradient(dy, v)


class _Convolution(Function):
    """y from x, weights and bias; `rondeau.kernels.ops.convolution` states the equations."""

    owns_gradients = True

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        window: Window,
        shape: tuple[int, ...],
        groups: int,
    ) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.geometry = (window, groups)
        b = None if bias is None else bias._array
        return Tensor(kernels.forward(x._array, weight._array, b, window, shape, groups))

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        of_x, of_weight, of_bias, *_ = ctx.needs_input_grad
        window, groups = ctx.geometry
        return (
            _InputGradient.apply(dy, weight, window, x.shape, groups) if of_x else None,
            _WeightGradient.apply(dy, x, window, weight.shape, groups) if of_weight else None,
            dy.sum((0, 2, 3)) if of_bias else None,
            None,
            None,
            None,
        )


class _InputGradient(Function):
    """dx from dy and the weights."""

    owns_gradients = True

    @staticmethod
    def forward(
        ctx: Any, dy: Tensor, weight: Tensor, window: Window, shape: tuple[int, ...], groups: int
    ) -> Tensor:
        ctx.save_for_backward(dy, weight)
        ctx.geometry = (window, groups)
        return Tensor(kernels.backward_input(dy._array, weight._array, window, shape, groups))

    @staticmethod
    def backward(ctx: Any, v: Tensor) -> tuple[Tensor | None, ...]:
        dy, weight = ctx.saved_tensors
        of_dy, of_weight, *_ = ctx.needs_input_grad
        window, groups = ctx.geometry
        return (
            _Convolution.apply(v, weight, None, window, dy.shape[2:], groups) if of_dy else None,
            _WeightGradient.apply(dy, v, window, weight.shape, groups) if of_weight else None,
            None,
            None,
            None,
        )


class _WeightGradient(Function):
    """dw from dy and x."""

    owns_gradients = True

    @staticmethod
    def forward(
        ctx: Any, dy: Tensor, x: Tensor, window: Window, shape: tuple[int, ...], groups: int
    ) -> Tensor:
        ctx.save_for_backward(dy, x)
        ctx.geometry = (window, groups)
        return Tensor(kernels.backward_weight(dy._array, x._array, window, shape, groups))

    @staticmethod
    def backward(ctx: Any, v: Tensor) -> tuple[Tensor | None, ...]:
        dy, x = ctx.saved_tensors
        of_dy, of_x, *_ = ctx.needs_input_grad
        window, groups = ctx.geometry
        return (
            _Convolution.apply(x, v, None, window, dy.shape[2:], groups) if of_dy else None,
            _InputGradient.apply(dy, v, window, x.shape, groups) if of_x else None,
            None,
            None,
            None,
        )


class _ConvolutionLayer(Module):
    """Base class of the layers that slide windows over one or two dimensions, as `_dimensions` tells."""

    _dimensions: int
    weight: Parameter
    bias: Parameter | None

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: _Sizes,
        stride: _Sizes = 1,
        padding: _Sizes | str = 0,
        dilation: _Sizes = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        device: Any = None,
        dtype: DTypeLike | None = None,
    ) -> None:
        super().__init__()
        number = self._dimensions
        check_flags(bias=bias)
        check_sizes(in_channels=in_channels, out_channels=out_channels, groups=groups)
        if in_channels % groups or out_channels % groups:
            raise ArgumentValueError(
                f"groups={groups} must divide in_channels={in_channels} and out_channels={out_channels}"
            )
        if padding_mode not in PADDING_MODES:
            raise ArgumentValueError(f"padding_mode must be one of {PADDING_MODES}, got {padding_mode!r}")
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.kernel_size = per_dimension("kernel_size", kernel_size, number)
        self.stride = per_dimension("stride", stride, number)
        self.dilation = per_dimension("dilation", dilation, number)
        _padding_of("padding", padding, self.kernel_size, self.stride, self.dilation)
        self.padding = padding if isinstance(padding, str) else per_dimension("padding", padding, number, 0)
        self.groups = groups
        self.padding_mode = padding_mode
        shape = (out_channels, in_channels // groups, *self.kernel_size)
        self.weight = Parameter(empty(*shape, dtype=dtype, device=device))
        self.register_parameter(
            "bias", Parameter(empty(out_channels, dtype=dtype, device=device)) if bias else None
        )
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new initial values."""
        init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        if self.bias is not None:
            bound = 1.0 / math.sqrt(math.prod(self.weight.shape[1:]))
            init.uniform_(self.bias, -bound, bound)

    def forward(self, input: Tensor) -> Tensor:
        """Apply to a batch of samples, or to one without the batch dimension; see `rondeau.nn.functional`."""
        return _convolve(
            f"conv{self._dimensions}d",
            self._dimensions,
            input,
            self.weight,
            self.bias,
            self.stride,
            self.padding,
            self.dilation,
            self.groups,
            self.padding_mode,
        )

    def extra_repr(self) -> str:
        """Return the configuration for ``repr``: the options that differ from the defaults."""
        number = self._dimensions
        parts = [f"{self.in_channels}, {self.out_channels}"]
        parts += [f"kernel_size={self.kernel_size}, stride={self.stride}"]
        if self.padding != (0,) * number:
            parts.append(f"padding={self.padding}")
        if self.dilation != (1,) * number:
            parts.append(f"dilation={self.dilation}")
        if self.groups != 1:
            parts.append(f"groups={self.groups}")
        if self.bias is None:
            parts.append("bias=False")
        if self.padding_mode != "zeros":
            parts.append(f"padding_mode={self.padding_mode}")
        return ", ".join(parts)


class Conv1d(_ConvolutionLayer):
    """Windows over sequences; see `rondeau.nn.functional.conv1d`.

    Parameters
    ----------
    in_channels, out_channels : int
        Channels of input and output.
    kernel_size : int or (int,)
        The number of elements of a window.
    stride, dilation : int or (int,)
        Step from one window to the next; distance between neighbouring elements of a window.
    padding : int, (int,), "valid" or "same"
        Elements added at either end of the input.
    groups : int
        Number of groups into which the channels are divided; it must divide both numbers.
    bias : bool
        Whether there is a bias.
    padding_mode : {"zeros", "reflect", "replicate", "circular"}
        What the input is padded with: zeros, or its own elements mirrored, repeated from the edge, or wrapped around.
    device, dtype : optional
        Device and dtype of the parameters; float32 by default.

    Attributes
    ----------
    weight : Parameter
        Shape (out_channels, in_channels / groups, K).
    bias : Parameter or None
        Shape (out_channels,). Both are initially drawn from U(-b, b), b = 1 / sqrt(elements that one output sums over),
        as in PyTorch.

    Examples
    --------
    >>> from rondeau import nn, tensor as rt
    >>> nn.Conv1d(16, 33, 3, stride=2)(rt.zeros(20, 16, 50)).shape
    (20, 33, 24)
    """

    _dimensions = 1


class Conv2d(_ConvolutionLayer):
    """Windows over planes (LeCun et al. 1989); see `rondeau.nn.functional.conv2d`.

    Parameters
    ----------
    in_channels, out_channels : int
        Channels of input and output.
    kernel_size : int or (int, int)
        Rows and columns of a window.
    stride, dilation : int or (int, int)
        Step from one window to the next; distance between neighbouring elements of a window.
    padding : int, (int, int), "valid" or "same"
        Rows and columns added on every side of the input.
    groups : int
        Number of groups into which the channels are divided; it must divide both numbers.
    bias : bool
        Whether there is a bias.
    padding_mode : {"zeros", "reflect", "replicate", "circular"}
        What the input is padded with: zeros, or its own elements mirrored, repeated from the edge, or wrapped around.
    device, dtype : optional
        Device and dtype of the parameters; float32 by default.

    Attributes
    ----------
    weight : Parameter
        Shape (out_channels, in_channels / groups, rows, columns).
    bias : Parameter or None
        Shape (out_channels,). Both are initially drawn from U(-b, b), b = 1 / sqrt(elements that one output sums over),
        as in PyTorch.

    Examples
    --------
    >>> from rondeau import nn, tensor as rt
    >>> nn.Conv2d(1, 6, 5, padding=2)(rt.zeros(64, 1, 28, 28)).shape
    (64, 6, 28, 28)
    """

    _dimensions = 2
