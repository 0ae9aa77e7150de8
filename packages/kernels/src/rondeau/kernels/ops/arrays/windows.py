"""The elements of windows on planes, and their adjoint, for convolution and pooling."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from rondeau.kernels.ops.windows import Window

__all__ = ["cropped", "fold", "unfold"]


def cropped(window: Window, shape: tuple[int, ...], plane: tuple[int, ...]) -> Window:
    """Return windows without the rows and columns that are outside of the plane in all of them.

    Examples
    --------
    >>> cropped(Window(9, 9, 1, 1, 1, 1, 4, 4), (1, 2), (3, 3))
    Window(rows=3, columns=4, row_stride=1, column_stride=1, row_dilation=1, column_dilation=1, top=0, left=1)
    """
    rows, top = _cropped(window.rows, window.row_stride, window.row_dilation, window.top, shape[0], plane[0])
    columns, left = _cropped(
        window.columns, window.column_stride, window.column_dilation, window.left, shape[1], plane[1]
    )
    return window._replace(rows=rows, columns=columns, top=top, left=left)


def _cropped(length: int, stride: int, dilation: int, before: int, number: int, size: int) -> tuple[int, int]:
    """Return the length and the padding of what is left of one dimension of the windows."""
    first = max(0, -(((number - 1) * stride - before) // dilation))
    last = min(length - 1, (size - 1 + before) // dilation)
    return last + 1 - first, before - first * dilation


def unfold(planes: Any, window: Window, shape: tuple[int, ...], outside: float) -> Any:
    """Return the elements of every window.

    Parameters
    ----------
    planes : array of shape (..., H, W)
    window : Window
    shape : (int, int)
        P and Q.
    outside : float
        The value of positions outside of the plane.

    Returns
    -------
    array of shape (..., rows, columns, P, Q)

    Examples
    --------
    >>> unfold(np.array([[1.0, 2.0, 4.0]]), Window(1, 2, 1, 1, 1, 1, 0, 0), (1, 2), 0.0).tolist()
    [[[[1.0, 2.0]], [[2.0, 4.0]]]]
    """
    whole = (*planes.shape[:-2], window.rows, window.columns, *shape)
    found = np.full_like(planes, outside, order="C", shape=whole)
    for of_windows, of_plane in _overlaps(window, shape, planes.shape):
        found[..., *of_windows] = planes[..., *of_plane]
    return found


def fold(elements: Any, window: Window, shape: tuple[int, ...]) -> Any:
    """Return planes with the sum of what the elements of windows there hold: the adjoint of `unfold`.

    Parameters
    ----------
    elements : array of shape (..., rows, columns, P, Q)
    window : Window
    shape : (int, int)
        H and W.

    Returns
    -------
    array of shape (..., H, W)

    Examples
    --------
    >>> fold(np.array([[[[1.0, 2.0]], [[3.0, 4.0]]]]), Window(1, 2, 1, 1, 1, 1, 0, 0), (1, 3)).tolist()
    [[1.0, 5.0, 4.0]]
    """
    planes = np.zeros_like(elements, order="C", shape=(*elements.shape[:-4], *shape))
    for of_windows, of_plane in _overlaps(window, elements.shape, shape):
        planes[..., *of_plane] += elements[..., *of_windows]
    return planes


def _overlaps(
    window: Window, shape: tuple[int, ...], plane: tuple[int, ...]
) -> Iterator[tuple[tuple[Any, ...], tuple[slice, slice]]]:
    """Yield, for each position in a window, which windows have it on the plane, and where on the plane that is."""
    (P, Q), (H, W) = shape[-2:], plane[-2:]
    for i in range(window.rows):
        p, rows = _overlap(i * window.row_dilation - window.top, window.row_stride, P, H)
        for j in range(window.columns):
            q, columns = _overlap(j * window.column_dilation - window.left, window.column_stride, Q, W)
            yield (i, j, p, q), (rows, columns)


def _overlap(start: int, stride: int, number: int, size: int) -> tuple[slice, slice]:
    """Return for which m below `number` the position start + m * stride is on the input, and those positions."""
    low = min(number, max(0, -(start // stride)))
    high = min(number, max(low, (size - 1 - start) // stride + 1))
    first = start + low * stride
    return slice(low, high), slice(first, first + (high - low) * stride, stride) if high > low else slice(0)
