"""Checks of the windows of convolution and pooling: their sizes, and the number that fits on an input."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from typing import Any

from rondeau.kernels.errors import ArgumentTypeError, ArgumentValueError
from rondeau.tensor import Tensor

from ._checks import check_sizes, check_tensor

__all__ = ["check_planes", "check_result", "half_padding", "number_of_windows", "per_dimension"]


def per_dimension(name: str, value: int | Sequence[int], number: int, least: int = 1) -> tuple[int, ...]:
    """Return one size for each of `number` dimensions, from a single size or one for each.

    Raises
    ------
    TypeError
        If a size is not an integer.
    ValueError
        If there is a different number of sizes, or one is out of range.

    Examples
    --------
    >>> per_dimension("stride", 3, 2)
    (3, 3)
    >>> per_dimension("stride", (1, 0), 2)
    Traceback (most recent call last):
        ...
    rondeau.kernels.errors.ArgumentValueError: stride must be greater than zero, got 0
    """
    sizes: tuple[Any, ...] = tuple(value) if isinstance(value, tuple | list) else (value,) * number
    if len(sizes) != number:
        one_each = "one integer" if number == 1 else f"one integer or {number}"
        raise ArgumentValueError(f"{name} must be {one_each}, got {value!r:.80}")
    for size in sizes:
        check_sizes(least, **{name: size})
    return tuple(int(size) for size in sizes)


def number_of_windows(
    name: str,
    size: int,
    before: int,
    after: int,
    window: int,
    stride: int,
    dilation: int,
    ceil_mode: bool = False,
) -> int:
    """Return the number of windows that fit on `size` positions with padding `before` and `after` them.

    With `ceil_mode` this includes a window that extends past the end, unless it starts in the padding `after`.

    Raises
    ------
    ValueError
        If no window fits.

    Examples
    --------
    >>> number_of_windows("conv1d", 7, 0, 0, window=2, stride=2, dilation=1)
    3
    >>> number_of_windows("max_pool2d", 7, 0, 0, window=2, stride=2, dilation=1, ceil_mode=True)
    4
    """
    extent = dilation * (window - 1) + 1
    room = size + before + after - extent
    number = (-(-room // stride) if ceil_mode else room // stride) + 1
    if ceil_mode and (number - 1) * stride >= size + before:
        number -= 1
    if number < 1:
        padded = f"{size}" if before == after == 0 else f"{before} + {size} + {after} with padding"
        raise ArgumentValueError(
            f"{name}: the window is {extent} wide and the input {padded}, so none fits; pad the input, or use a "
            "smaller window or dilation"
        )
    return number


def half_padding(name: str, padding: tuple[int, ...], window: tuple[int, ...]) -> None:
    """Raise ValueError for padding of more than half a window, whatever the dilation, as PyTorch does.

    Raises
    ------
    ValueError
        The message has the sizes.

    Examples
    --------
    >>> half_padding("max_pool2d", (2, 2), (3, 3))
    Traceback (most recent call last):
        ...
    rondeau.kernels.errors.ArgumentValueError: max_pool2d: padding must be at most half of the window (3, 3), got ...
    """
    if any(p > size // 2 for p, size in zip(padding, window, strict=True)):
        raise ArgumentValueError(
            f"{name}: padding must be at most half of the window {window}, got {padding}"
        )


def check_planes(name: str, input: Any, shape: str = "(N, C, H, W) or (C, H, W)") -> Tensor:
    """Return the input if it is a floating-point Tensor of that shape, with elements unless N is 0.

    Raises
    ------
    TypeError
        If it is not a Tensor of float32 or float64.
    ValueError
        If it has the wrong number of dimensions, or a dimension other than N is 0.
    """
    check_tensor(f"{name}: input", input)
    dimensions = shape.split(" or ")[0].count(",") + 1
    if input.ndim not in (dimensions, dimensions - 1):
        raise ArgumentValueError(f"{name}: input must have shape {shape}, got {tuple(input.shape)}")
    if math.prod(input.shape[1 - dimensions :]) == 0:
        raise ArgumentValueError(
            f"{name}: input of shape {tuple(input.shape)} must have elements; only N, the samples, may be 0"
        )
    if input.dtype.char not in "fd":
        raise ArgumentTypeError(
            f"{name}: input must be float32 or float64, got {input.dtype}; use input.float()"
        )
    checked: Tensor = input
    return checked


def check_result(name: str, shape: Sequence[int]) -> None:
    """Raise ValueError for a result too large for any memory, even without samples: NumPy counts 0 of them as 1.

    Raises
    ------
    ValueError
        The message has the shape.

    Examples
    --------
    >>> check_result("conv2d", (0, 4, 2**63))
    Traceback (most recent call last):
        ...
    rondeau.kernels.errors.ArgumentValueError: conv2d: the result would have shape (0, 4, 9223372036854775808), ...
    """
    if 8 * math.prod(max(size, 1) for size in shape) > sys.maxsize:
        raise ArgumentValueError(
            f"{name}: the result would have shape {tuple(shape)}, too large for any memory; use less padding or "
            "smaller sizes"
        )
