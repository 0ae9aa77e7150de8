"""Windows: their positions on the planes that convolution and pooling take as input."""

from typing import Any, NamedTuple

from numba import types

from rondeau.kernels.checks import check_integer
from rondeau.kernels.errors import ArgumentTypeError

__all__ = ["WINDOW", "Window", "check_window"]

_LARGEST_SIZE = 2**31 - 1
"""A bound that keeps every position that is computed from sizes within 64 bits."""


class Window(NamedTuple):
    """The position of windows on the input: their shape, and the distances between and within them.

    Row i of window p is row ``p * row_stride - top + i * row_dilation`` of the input, and likewise for columns.
    """

    rows: int
    columns: int
    row_stride: int
    column_stride: int
    row_dilation: int
    column_dilation: int
    top: int
    left: int


_FIELDS = (*Window._fields, "P", "Q")
_LEAST = (1, 1, 1, 1, 1, 1, 0, 0, 1, 1)

WINDOW = types.NamedUniTuple(types.intp, len(Window._fields), Window)
"""Numba's type of `Window`."""


def check_window(name: str, window: Any, shape: Any) -> None:
    """Raise an error unless the window is valid, and the numbers P and Q of windows are at least 1.

    Raises
    ------
    TypeError, ValueError
        The message names the function.

    Examples
    --------
    >>> check_window("convolution", Window(2, 2, 1, 0, 1, 1, 0, 0), (3, 3))
    Traceback (most recent call last):
        ...
    rondeau.kernels.errors.ArgumentValueError: convolution: column_stride must be from 1 to 2147483647, got 0
    """
    if not isinstance(window, Window):
        raise ArgumentTypeError(
            f"{name}: window must be a Window of rondeau.kernels.ops.windows, got {type(window).__name__}"
        )
    if not isinstance(shape, tuple | list) or len(shape) != 2:
        raise ArgumentTypeError(f"{name}: shape must be the numbers of windows (P, Q), got {shape!r:.80}")
    for field, number, least in zip(_FIELDS, (*window, *shape), _LEAST, strict=True):
        if type(number) is not int or not least <= number <= _LARGEST_SIZE:
            check_integer(f"{name}: {field}", number, least, _LARGEST_SIZE)
