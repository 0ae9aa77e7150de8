"""Average pooling: the mean of every window."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from rondeau.kernels.errors import ArgumentValueError
from rondeau.kernels.ops import pooling as kernels
from rondeau.kernels.ops.windows import Window
from rondeau.kernels.runtime.devices import library_of
from rondeau.tensor import Function, Tensor

from ._checks import check_flags, check_integer, check_sizes
from ._module import Module
from ._windows import check_planes, check_result, half_padding, number_of_windows, per_dimension

_Sizes = int | Sequence[int]


def avg_pool2d(
    input: Tensor,
    kernel_size: _Sizes,
    stride: _Sizes | None = None,
    padding: _Sizes = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Tensor:
    """Return the mean of every window.

    Parameters
    ----------
    input : Tensor
        Shape (N, C, H, W) or (C, H, W); N may be 0.
    kernel_size : int or (int, int)
        Rows and columns of a window.
    stride : int or (int, int), optional
        Step from one window to the next; by default the size of the window, so that windows do not overlap.
    padding : int or (int, int)
        Rows and columns of zeros around the input, at most half a window.
    ceil_mode : bool
        Whether to include windows that start on the input, or before it, and extend past its end.
    count_include_pad : bool
        Whether means include the zeros of the padding; positions beyond the padding never count.
    divisor_override : int, optional
        Divisor of the sums, instead of the number of elements.

    Returns
    -------
    Tensor
        Shape (N, C, H', W') or (C, H', W') with H' = (H + 2 padding - rows) // stride + 1, the quotient rounded up
        with `ceil_mode`.

    Raises
    ------
    ValueError
        If a size is invalid, or the input is smaller than a window.
    TypeError
        If the input is not a Tensor of float32 or float64, or a size is not an integer.

    Examples
    --------
    >>> from rondeau import nn, tensor as rt
    >>> nn.functional.avg_pool2d(rt.tensor([[[[1.0, 5.0, 2.0, 0.0], [3.0, 3.0, 8.0, 6.0]]]]), 2).tolist()
    [[[[3.0, 4.0]]]]
    """
    name = "avg_pool2d"
    check_planes(name, input)
    check_flags(f"{name}: ", ceil_mode=ceil_mode, count_include_pad=count_include_pad)
    size = per_dimension(f"{name}: kernel_size", kernel_size, 2)
    strides = size if stride is None else per_dimension(f"{name}: stride", stride, 2)
    paddings = per_dimension(f"{name}: padding", padding, 2, 0)
    half_padding(name, paddings, size)
    _check_divisor(divisor_override)
    shape = tuple(
        number_of_windows(name, n, p, p, k, s, 1, ceil_mode)
        for n, p, k, s in zip(input.shape[-2:], paddings, size, strides, strict=True)
    )
    window = Window(*size, *strides, 1, 1, *paddings)  # type: ignore[call-arg]
    return _averaged(
        input,
        kernels.regions_of(
            input.shape[-2:],
            window,
            shape,
            count_include_pad,
            divisor_override,
            input.dtype,
            library_of(input._array),
        ),
    )


def adaptive_avg_pool2d(input: Tensor, output_size: int | Sequence[int | None] | None) -> Tensor:
    """Return the means of windows that divide the input evenly into the requested number of rows and columns.

    Window i of P on H rows is rows floor(i H / P) to ceil((i + 1) H / P) - 1, and likewise for columns.

    Parameters
    ----------
    input : Tensor
        Shape (N, C, H, W) or (C, H, W); N may be 0.
    output_size : int, None, or a pair of them
        P and Q; one integer is used for both, and None keeps the size of the input.

    Returns
    -------
    Tensor
        Shape (N, C, P, Q) or (C, P, Q).

    Raises
    ------
    ValueError
        If shapes do not match.
    TypeError
        If the input is not a Tensor of float32 or float64, or a size is not an integer.

    Examples
    --------
    >>> from rondeau import nn, tensor as rt
    >>> x = rt.arange(6, dtype="float32").reshape(1, 2, 3)
    >>> nn.functional.adaptive_avg_pool2d(x, (1, 2)).tolist()
    [[[2.0, 3.0]]]
    """
    check_planes("adaptive_avg_pool2d", input)
    sizes = zip(input.shape[-2:], _output_sizes(output_size), strict=True)
    shape = tuple(n if number is None else number for n, number in sizes)
    check_result("adaptive_avg_pool2d", (*input.shape[:-2], *shape))
    return _averaged(
        input, kernels.even_regions(input.shape[-2:], shape, input.dtype, library_of(input._array))
    )


def _check_divisor(divisor: Any) -> None:
    if divisor is None:
        return
    check_integer("divisor_override", divisor)
    if divisor == 0:
        raise ArgumentValueError("divisor_override must not be zero")
    check_sizes(divisor_override=abs(divisor))


def _output_sizes(output_size: Any) -> tuple[int | None, ...]:
    sizes = tuple(output_size) if isinstance(output_size, tuple | list) else (output_size, output_size)
    if len(sizes) != 2:
        raise ArgumentValueError(f"output_size must be one integer or None, or two, got {output_size!r:.80}")
    for size in sizes:
        if size is not None:
            check_sizes(0, output_size=size)
    return sizes


def _averaged(input: Tensor, regions: kernels.Regions) -> Tensor:
    leading = input.shape[:-2]
    planes = input.reshape((math.prod(leading), *input.shape[-2:]))
    y: Tensor = _Average.apply(planes, regions)
    return y.reshape((*leading, *regions.divisor.shape))


class _Average(Function):
    """The means of regions of planes (M, H, W)."""

    owns_gradients = True

    @staticmethod
    def forward(ctx: Any, planes: Tensor, regions: kernels.Regions) -> Tensor:
        ctx.regions = regions
        return Tensor(kernels.average_forward(planes._array, regions))

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        return _AverageGradient.apply(dy, ctx.regions), None


class _AverageGradient(Function):
    """The adjoint of `_Average`."""

    owns_gradients = True

    @staticmethod
    def forward(ctx: Any, dy: Tensor, regions: kernels.Regions) -> Tensor:
        ctx.regions = regions
        return Tensor(kernels.average_backward(dy._array, regions))

    @staticmethod
    def backward(ctx: Any, v: Tensor) -> tuple[Tensor | None, ...]:
        return _Average.apply(v, ctx.regions), None


class AvgPool2d(Module):
    """The mean of every window; see `rondeau.nn.functional.avg_pool2d`.

    Parameters
    ----------
    kernel_size : int or (int, int)
        Rows and columns of a window.
    stride : int or (int, int), optional
        Step from one window to the next; by default the size of the window.
    padding : int or (int, int)
        Rows and columns of zeros around the input.
    ceil_mode : bool
        Whether to include windows that extend past the end of the input.
    count_include_pad : bool
        Whether means include the zeros of the padding.
    divisor_override : int, optional
        Divisor of the sums, instead of the number of elements.

    Examples
    --------
    >>> from rondeau import nn, tensor as rt
    >>> nn.AvgPool2d(2, 2)(rt.zeros(64, 6, 28, 28)).shape
    (64, 6, 14, 14)
    """

    def __init__(
        self,
        kernel_size: _Sizes,
        stride: _Sizes | None = None,
        padding: _Sizes = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
    ) -> None:
        super().__init__()
        check_flags(ceil_mode=ceil_mode, count_include_pad=count_include_pad)
        size = per_dimension("kernel_size", kernel_size, 2)
        if stride is not None:
            per_dimension("stride", stride, 2)
        half_padding("AvgPool2d", per_dimension("padding", padding, 2, 0), size)
        _check_divisor(divisor_override)
        self.kernel_size = kernel_size
        self.stride = kernel_size if stride is None else stride
        self.padding = padding
        self.ceil_mode = ceil_mode
        self.count_include_pad = count_include_pad
        self.divisor_override = divisor_override

    def forward(self, input: Tensor) -> Tensor:
        """Apply to an input of shape (N, C, H, W) or (C, H, W)."""
        return avg_pool2d(
            input,
            self.kernel_size,
            self.stride,
            self.padding,
            self.ceil_mode,
            self.count_include_pad,
            self.divisor_override,
        )

    def extra_repr(self) -> str:
        """Return the configuration for ``repr``."""
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class AdaptiveAvgPool2d(Module):
    """Means of windows that divide the input evenly; see `rondeau.nn.functional.adaptive_avg_pool2d`.

    Parameters
    ----------
    output_size : int, None, or a pair of them
        Rows and columns of the output; one integer is used for both, and None keeps the size of the input.

    Examples
    --------
    >>> from rondeau import nn, tensor as rt
    >>> nn.AdaptiveAvgPool2d((1, None))(rt.zeros(64, 16, 5, 7)).shape
    (64, 16, 1, 7)
    """

    def __init__(self, output_size: int | Sequence[int | None] | None) -> None:
        super().__init__()
        _output_sizes(output_size)
        self.output_size = output_size

    def forward(self, input: Tensor) -> Tensor:
        """Apply to an input of shape (N, C, H, W) or (C, H, W)."""
        return adaptive_avg_pool2d(input, self.output_size)

    def extra_repr(self) -> str:
        """Return the configuration for ``repr``."""
        return f"output_size={self.output_size}"
