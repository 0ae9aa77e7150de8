"""Max pooling: the largest element of every window."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from rondeau.kernels.ops import pooling as kernels
from rondeau.kernels.ops.windows import Window
from rondeau.tensor import Function, Tensor

from ._checks import check_flags
from ._module import Module
from ._windows import check_planes, half_padding, number_of_windows, per_dimension

_Sizes = int | Sequence[int]


def max_pool2d(
    input: Tensor,
    kernel_size: _Sizes,
    stride: _Sizes | None = None,
    padding: _Sizes = 0,
    dilation: _Sizes = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """Return the largest element of every window; the gradient goes to that element, or the first of equal ones.

    Parameters
    ----------
    input : Tensor
        Shape (N, C, H, W) or (C, H, W); N may be 0.
    kernel_size : int or (int, int)
        Rows and columns of a window.
    stride : int or (int, int), optional
        Step from one window to the next; by default the size of the window, so that windows do not overlap.
    padding : int or (int, int)
        Rows and columns around the input that windows may extend over, at most half a window; their elements are never
        the largest.
    dilation : int or (int, int)
        Distance between neighbouring elements of a window.
    ceil_mode : bool
        Whether to include windows that start on the input, or before it, and extend past its end.
    return_indices : bool
        Whether to return the indices of the largest elements as well.

    Returns
    -------
    Tensor or (Tensor, Tensor)
        Shape (N, C, H', W') or (C, H', W') with H' = (H + 2 padding - dilation (rows - 1) - 1) // stride + 1, the
        quotient rounded up with `ceil_mode`; with `return_indices` also the index of each in its plane, int64,
        W * row + column.

    Raises
    ------
    ValueError
        If a size is invalid, the input is smaller than a window, or a window covers none of the input.
    TypeError
        If the input is not a Tensor of float32 or float64, or a size is not an integer.

    Examples
    --------
    >>> from rondeau import nn, tensor as rt
    >>> x = rt.tensor([[[[1.0, 5.0, 2.0, 0.0], [3.0, 4.0, 8.0, 7.0]]]])
    >>> nn.functional.max_pool2d(x, 2).tolist()
    [[[[5.0, 8.0]]]]
    >>> nn.functional.max_pool2d(x, 2, return_indices=True)[1].tolist()
    [[[[1, 6]]]]
    """
    name = "max_pool2d"
    check_planes(name, input)
    check_flags(f"{name}: ", ceil_mode=ceil_mode, return_indices=return_indices)
    size = per_dimension(f"{name}: kernel_size", kernel_size, 2)
    strides = size if stride is None else per_dimension(f"{name}: stride", stride, 2)
    paddings = per_dimension(f"{name}: padding", padding, 2, 0)
    dilations = per_dimension(f"{name}: dilation", dilation, 2)
    half_padding(name, paddings, size)
    shape = tuple(
        number_of_windows(name, n, p, p, k, s, d, ceil_mode)
        for n, p, k, s, d in zip(input.shape[-2:], paddings, size, strides, dilations, strict=True)
    )
    window = Window(*size, *strides, *dilations, *paddings)
    leading = input.shape[:-2]
    planes = input.reshape((math.prod(leading), *input.shape[-2:]))
    largest, indices = _MaxPooling.apply(planes, window, shape)
    largest = largest.reshape((*leading, *shape))
    if not return_indices:
        return largest
    # A copy: backward reads the indices, and the caller may overwrite them first.
    return largest, indices.clone().reshape((*leading, *shape))


class _MaxPooling(Function):
    """The largest elements of the windows of planes (M, H, W), and their indices."""

    owns_gradients = True

    @staticmethod
    def forward(ctx: Any, planes: Tensor, window: Window, shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        y, ctx.indices = kernels.max_forward(planes._array, window, shape)
        found, at = Tensor(y), Tensor(ctx.indices)
        ctx.mark_non_differentiable(at)
        ctx.shape = planes.shape
        return found, at

    @staticmethod
    def backward(ctx: Any, dy: Tensor, _: Any) -> tuple[Tensor | None, ...]:
        return _Scatter.apply(dy, ctx.indices, ctx.shape), None, None


class _Scatter(Function):
    """Values summed at their indices on planes of zeros."""

    owns_gradients = True

    @staticmethod
    def forward(ctx: Any, values: Tensor, indices: Any, shape: tuple[int, ...]) -> Tensor:
        ctx.indices = indices
        return Tensor(kernels.scatter(values._array, indices, shape))

    @staticmethod
    def backward(ctx: Any, v: Tensor) -> tuple[Tensor | None, ...]:
        return _Gather.apply(v, ctx.indices), None, None


class _Gather(Function):
    """The elements at indices on planes."""

    owns_gradients = True

    @staticmethod
    def forward(ctx: Any, planes: Tensor, indices: Any) -> Tensor:
        ctx.indices, ctx.shape = indices, planes.shape
        return Tensor(kernels.gather(planes._array, indices))

    @staticmethod
    def backward(ctx: Any, dvalues: Tensor) -> tuple[Tensor | None, ...]:
        return _Scatter.apply(dvalues, ctx.indices, ctx.shape), None


class MaxPool2d(Module):
    """The largest element of every window; see `rondeau.nn.functional.max_pool2d`.

    Parameters
    ----------
    kernel_size : int or (int, int)
        Rows and columns of a window.
    stride : int or (int, int), optional
        Step from one window to the next; by default the size of the window.
    padding, dilation : int or (int, int)
        Rows and columns around the input; distance between neighbouring elements of a window.
    return_indices : bool
        Whether to return the indices of the largest elements as well.
    ceil_mode : bool
        Whether to include windows that extend past the end of the input.

    Examples
    --------
    >>> from rondeau import nn, tensor as rt
    >>> nn.MaxPool2d(2, 2)(rt.zeros(64, 6, 28, 28)).shape
    (64, 6, 14, 14)
    """

    def __init__(
        self,
        kernel_size: _Sizes,
        stride: _Sizes | None = None,
        padding: _Sizes = 0,
        dilation: _Sizes = 1,
        return_indices: bool = False,
        ceil_mode: bool = False,
    ) -> None:
        super().__init__()
        check_flags(ceil_mode=ceil_mode, return_indices=return_indices)
        size = per_dimension("kernel_size", kernel_size, 2)
        if stride is not None:
            per_dimension("stride", stride, 2)
        per_dimension("dilation", dilation, 2)
        half_padding("MaxPool2d", per_dimension("padding", padding, 2, 0), size)
        self.kernel_size = kernel_size
        self.stride = kernel_size if stride is None else stride
        self.padding = padding
        self.dilation = dilation
        self.return_indices = return_indices
        self.ceil_mode = ceil_mode

    def forward(self, input: Tensor) -> Any:
        """Apply to an input of shape (N, C, H, W) or (C, H, W)."""
        return max_pool2d(
            input,
            self.kernel_size,
            self.stride,
            self.padding,
            self.dilation,
            self.ceil_mode,
            self.return_indices,
        )

    def extra_repr(self) -> str:
        """Return the configuration for ``repr``."""
        return (
            f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}, "
            f"dilation={self.dilation}, ceil_mode={self.ceil_mode}"
        )
