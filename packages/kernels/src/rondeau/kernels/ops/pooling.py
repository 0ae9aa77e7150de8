"""The largest element and the average of windows on planes, and their adjoints.

Notation: M planes (samples times channels); H, W rows and columns of the input, P, Q of the output.
One thread computes a plane from its first element to its last, so the bits are the same for any number of threads.
"""

import functools
import math
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
from numba import types
from numpy.typing import NDArray

from rondeau.kernels.checks import (
    are_of_device,
    check_array,
    check_integer,
    checked_array,
    checked_floats,
    checked_indices,
    in_row_order,
)
from rondeau.kernels.errors import ArgumentTypeError, ArgumentValueError
from rondeau.kernels.numerics.elements import Element
from rondeau.kernels.ops.arrays import pooling as arrays
from rondeau.kernels.ops.windows import WINDOW, Window, check_window
from rondeau.kernels.runtime import buffers, threads
from rondeau.kernels.runtime.compiling import linked_njit
from rondeau.kernels.runtime.devices import is_of_device
from rondeau.kernels.runtime.shares import indices_of_share, run_shares
from rondeau.kernels.runtime.signatures import INDICES, TABLE, array_type, compiled_per_dtype, record_type

__all__ = [
    "Regions",
    "average_backward",
    "average_forward",
    "even_regions",
    "gather",
    "max_forward",
    "regions_of",
    "scatter",
]

_PER_COMPARISON = 8
"""The cost of one element in a search for the largest of a window, or of one that is moved, in multiply-adds."""
_PER_ADDITION = 4
"""The cost of one element of a window that is averaged, in multiply-adds."""


@linked_njit
def _inside(start, dilation, count, size):  # type: ignore[no-untyped-def]
    """Return the bounds of the range of i below `count` for which start + i * dilation is in [0, size)."""
    low, high = 0, count
    if start < 0:  # divide only at the edges, where it is needed
        low = min(count, (dilation - 1 - start) // dilation)
    if start + (count - 1) * dilation >= size:
        high = max(low, (size - 1 - start) // dilation + 1)
    return low, high


def _signature_of_max_forward(element: Element) -> Any:
    planes = array_type(element.dtype, 3)
    return types.void(planes, WINDOW, planes, types.Array(types.int64, 3, "C"), types.intp)


@linked_njit
def _max_forward_of_planes(x, window, y, indices, share, shares):  # type: ignore[no-untyped-def]
    M, H, W = x.shape
    P, Q = y.shape[1:]
    for m in indices_of_share(M, share, shares):
        plane = x[m].reshape(H * W)
        for p in range(P):
            row = p * window.row_stride - window.top
            first_i, last_i = _inside(row, window.row_dilation, window.rows, H)
            for q in range(Q):
                column = q * window.column_stride - window.left
                first_j, last_j = _inside(column, window.column_dilation, window.columns, W)
                index = (row + first_i * window.row_dilation) * W + column + first_j * window.column_dilation
                found = plane[index]
                for i in range(first_i, last_i):
                    start = (row + i * window.row_dilation) * W + column
                    for j in range(first_j, last_j):
                        at = start + j * window.column_dilation
                        value = plane[at]
                        # Selected without a branch: processors cannot predict which element is larger.
                        larger = (value > found) | (value != value)
                        found = value if larger else found
                        index = at if larger else index
                y[m, p, q], indices[m, p, q] = found, index


@compiled_per_dtype(_signature_of_max_forward)
def _max_forward(x, window, y, indices, shares):  # type: ignore[no-untyped-def]
    run_shares(_max_forward_of_planes, (x, window, y, indices), shares)


def max_forward(x: Any, window: Window, shape: tuple[int, ...]) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Return the largest element of every window, the first of equal ones; a NaN counts as the largest.

    Parameters
    ----------
    x : ndarray of float32 or float64, shape (M, H, W)
        Planes, any strides.
    window : Window
        Positions outside a plane do not count.
    shape : (int, int)
        P and Q; every window has an element on the plane.

    Returns
    -------
    y : ndarray of shape (M, P, Q)
        The elements.
    indices : ndarray of int64, shape (M, P, Q)
        Their indices, row * W + column.

    Raises
    ------
    TypeError
        If an argument has the wrong type or dtype.
    ValueError
        If a window has no element on the plane, or a number is out of range.

    Examples
    --------
    >>> y, indices = max_forward(np.array([[[1.0, 5.0, 2.0, 8.0]]]), Window(1, 2, 1, 2, 1, 1, 0, 0), (1, 2))
    >>> y.tolist(), indices.tolist()
    ([[[5.0, 8.0]]], [[[1, 3]]])
    """
    x = checked_floats("max pooling: x", x, "(M, H, W)")
    check_window("max pooling", window, shape)
    M, H, W = x.shape
    _check_on_plane(H, window.top, shape[0], window.rows, window.row_stride, window.row_dilation)
    _check_on_plane(W, window.left, shape[1], window.columns, window.column_stride, window.column_dilation)
    if is_of_device(x):
        return arrays.max_forward(x, window, shape)
    y, indices = buffers.empty((M, *shape), x.dtype), buffers.empty((M, *shape), np.int64)
    shares = threads.shares_of(_PER_COMPARISON * y.size * window.rows * window.columns)
    threads.launch(_max_forward[x.dtype], x, window, y, indices, shares, shares=shares)
    return y, indices


def _check_on_plane(size: int, before: int, number: int, window: int, stride: int, dilation: int) -> None:
    """Raise unless each of `number` windows has an element on `size` positions, with padding `before` them."""
    last = (number - 1) * stride - before
    is_good = last < size and before <= (window - 1) * dilation
    if is_good and dilation > size:  # the next element after the padding may be past the input
        is_good = all(first % dilation < size for first in range(-before, min(0, last + 1), stride))
    if not is_good:
        raise ArgumentValueError(
            f"max pooling: with dilation {dilation} and padding {before}, a window of {window} elements has none on an "
            f"input of {size}; use less padding"
        )


def _signature_of_moving(element: Element) -> Any:
    rows = array_type(element.dtype, 2)
    return types.void(rows, TABLE, rows, types.intp)


@linked_njit
def _gather_of_planes(planes, indices, values, share, shares):  # type: ignore[no-untyped-def]
    M, L = values.shape
    for m in indices_of_share(M, share, shares):
        for at in range(L):
            values[m, at] = planes[m, indices[m, at]]


@compiled_per_dtype(_signature_of_moving)
def _gather(planes, indices, values, shares):  # type: ignore[no-untyped-def]
    run_shares(_gather_of_planes, (planes, indices, values), shares)


def gather(planes: Any, indices: Any) -> NDArray[Any]:
    """Return the elements at the indices of every plane.

    Parameters
    ----------
    planes : ndarray of float32 or float64, shape (M, H, W)
        With any strides, like all arrays here.
    indices : ndarray of int64, shape (M, P, Q)
        In [0, H * W), as `max_forward` returns them.

    Returns
    -------
    ndarray of shape (M, P, Q)

    Raises
    ------
    TypeError
        If an argument has the wrong type or dtype.
    ValueError
        If shapes do not match.
    IndexError
        If an index is not on its plane.

    Examples
    --------
    >>> gather(np.array([[[1.0, 2.0, 4.0]]]), np.array([[[2, 0]]]))
    array([[[4., 1.]]])
    """
    planes = checked_floats("max pooling: planes", planes, "(M, H, W)")
    indices = _checked_indices(indices, planes.shape)
    if are_of_device("max pooling", planes=planes, indices=indices):
        return arrays.gather(planes, indices)  # type: ignore[no-any-return]
    values = buffers.empty(indices.shape, planes.dtype)
    _move(_gather, planes, indices, values)
    return values


@linked_njit
def _scatter_of_planes(values, indices, planes, share, shares):  # type: ignore[no-untyped-def]
    M, L = values.shape
    for m in indices_of_share(M, share, shares):
        for at in range(planes.shape[1]):
            planes[m, at] = 0
        for at in range(L):
            planes[m, indices[m, at]] += values[m, at]


@compiled_per_dtype(_signature_of_moving)
def _scatter(values, indices, planes, shares):  # type: ignore[no-untyped-def]
    run_shares(_scatter_of_planes, (values, indices, planes), shares)


def scatter(values: Any, indices: Any, shape: tuple[int, ...]) -> NDArray[Any]:
    """Sum values at the indices of every plane, with 0 elsewhere: the adjoint of `gather`.

    Parameters
    ----------
    values : ndarray of float32 or float64, shape (M, P, Q)
        With any strides, like all arrays here.
    indices : ndarray of int64, shape (M, P, Q)
        In [0, H * W), as `max_forward` returns them.
    shape : (int, int, int)
        M, H and W.

    Returns
    -------
    ndarray of shape (M, H, W)

    Raises
    ------
    TypeError, ValueError, IndexError
        As for `gather`.

    Examples
    --------
    >>> scatter(np.array([[[1.0, 2.0]]]), np.array([[[2, 2]]]), (1, 1, 3))
    array([[[0., 0., 3.]]])
    """
    values = checked_floats("max pooling: values", values, "(M, P, Q)")
    indices = _checked_indices(indices, shape)
    if indices.shape != values.shape:
        raise ArgumentValueError(
            f"max pooling: values must have the shape of their indices, {indices.shape}, got {values.shape}"
        )
    if are_of_device("max pooling", values=values, indices=indices):
        return arrays.scatter(values, indices, shape)  # type: ignore[no-any-return]
    planes = buffers.empty(shape, values.dtype)
    _move(_scatter, values, indices, planes)
    return planes


def _checked_indices(indices: Any, planes: tuple[int, ...]) -> NDArray[np.int64]:
    """Return indices as a kernel needs them, after checking that they are on planes of this shape."""
    check_array("max pooling: indices", indices)
    if indices.dtype != np.int64:
        raise ArgumentTypeError(
            f"max pooling: indices must be int64, got {indices.dtype}; convert them with astype"
        )
    if indices.ndim != 3 or len(indices) != planes[0]:
        raise ArgumentValueError(
            f"max pooling: indices must have shape ({planes[0]}, P, Q), got {indices.shape}"
        )
    size = planes[1] * planes[2]
    return in_row_order(checked_indices(indices, size, lambda wrong: _out_of_range(wrong, size)))


def _out_of_range(wrong: Any, size: int) -> IndexError:
    return IndexError(f"max pooling: index {wrong} is out of range for a plane of {size} elements")


def _move(kernel: Any, read: NDArray[Any], indices: NDArray[np.int64], written: NDArray[Any]) -> None:
    """Launch `_gather` or `_scatter`, for which a plane is a row."""

    def rows(array: NDArray[Any]) -> NDArray[Any]:
        return array.reshape(len(array), math.prod(array.shape[1:]))

    shares = threads.shares_of(_PER_COMPARISON * (read.size + written.size))
    threads.launch(kernel[read.dtype], rows(read), rows(indices), rows(written), shares, shares=shares)


class Regions(NamedTuple):
    """The rectangles of a plane to average; `regions_of` and `even_regions` make them, within the plane."""

    height: int
    """H"""
    width: int
    """W"""
    first_row: NDArray[np.int64]
    """(P,): the first row of each."""
    last_row: NDArray[np.int64]
    """(P,): the row after the last of each."""
    first_column: NDArray[np.int64]
    """(Q,): likewise its columns."""
    last_column: NDArray[np.int64]
    divisor: NDArray[Any]
    """(P, Q): the divisors of their sums, of the dtype and the library of the planes; the other arrays are NumPy's."""
    size: int
    """The elements of all regions of a plane together."""


def _region_type(element: Element) -> Any:
    fields = dict.fromkeys(Regions._fields, INDICES)
    fields |= dict.fromkeys(("height", "width", "size"), types.intp)
    fields["divisor"] = array_type(element.dtype, 2)
    return record_type(Regions, **fields)


@functools.lru_cache(maxsize=64)
def regions_of(
    plane: tuple[int, ...],
    window: Window,
    shape: tuple[int, ...],
    counts_padding: bool,
    divisor: int | None,
    dtype: np.dtype[Any],
    library: ModuleType = np,
) -> Regions:
    """Return the regions that windows without dilation cover.

    Parameters
    ----------
    plane : (int, int)
        H and W.
    window : Window
        Its padding, `top` and `left`, applies to both sides.
    shape : (int, int)
        P and Q.
    counts_padding : bool
        Whether means include the zeros of the padding; positions beyond the padding never count.
    divisor : int or None
        The divisor of the sums; None for the number of elements.
    dtype : dtype
        The dtype of the planes.
    library : module
        The library of the planes, NumPy or CuPy.

    Raises
    ------
    TypeError, ValueError
        If the windows are not of that kind, or a number is out of range.

    Examples
    --------
    >>> found = regions_of((1, 3), Window(1, 2, 1, 2, 1, 1, 0, 1), (1, 2), True, None, np.dtype(np.float64))
    >>> found.first_column.tolist(), found.last_column.tolist(), found.divisor.tolist()
    ([0, 1], [1, 3], [[2.0, 2.0]])
    """
    check_window("average pooling", window, shape)
    rows = _ends(plane[0], window.top, shape[0], window.rows, window.row_stride)
    columns = _ends(plane[1], window.left, shape[1], window.columns, window.column_stride)
    inside, counts = [], []
    for size, (first, last) in zip(plane, (rows, columns), strict=True):
        inside.append((np.maximum(first, 0), np.minimum(last, size)))
        counts.append(last - first if counts_padding else inside[-1][1] - inside[-1][0])
    return _regions(plane, inside, np.multiply.outer(*counts) if divisor is None else divisor, dtype, library)


def _ends(size: int, padding: int, number: int, window: int, stride: int) -> tuple[NDArray[np.int64], Any]:
    """Return where windows begin and end on the input or its padding; the end is exclusive."""
    first = np.arange(number) * stride - padding
    return first, np.minimum(first + window, size + padding)


@functools.lru_cache(maxsize=64)
def even_regions(
    plane: tuple[int, ...], shape: tuple[int, ...], dtype: np.dtype[Any], library: ModuleType = np
) -> Regions:
    """Return regions that divide a plane evenly: region i of P is rows floor(i H / P) to ceil((i + 1) H / P) - 1.

    Parameters
    ----------
    plane : (int, int)
        H and W.
    shape : (int, int)
        P and Q, at least 0.
    dtype : dtype
        The dtype of the planes.
    library : module
        The library of the planes, NumPy or CuPy.

    Raises
    ------
    TypeError, ValueError
        If a number is out of range.

    Examples
    --------
    >>> found = even_regions((1, 3), (1, 2), np.dtype(np.float64))
    >>> found.first_column.tolist(), found.last_column.tolist()
    ([0, 1], [2, 3])
    """
    ends, counts = [], []
    for size, parts in zip(plane, shape, strict=True):
        check_integer("average pooling: number of regions", parts, 0, 2**31 - 1)
        i = np.arange(parts)
        ends.append((i * size // max(parts, 1), -(-(i + 1) * size // max(parts, 1))))
        counts.append(ends[-1][1] - ends[-1][0])
    return _regions(plane, ends, np.multiply.outer(*counts), dtype, library)


def _regions(
    plane: tuple[int, ...],
    ends: list[tuple[Any, Any]],
    divisor: Any,
    dtype: np.dtype[Any],
    library: ModuleType,
) -> Regions:
    """Return regions from the ends of their rows and columns; their arrays are shared by all calls and read-only."""
    (first_row, last_row), (first_column, last_column) = ends
    shape = len(first_row), len(first_column)
    # If a window covers only padding that does not count, the sum is 0, and so is the mean.
    divisors = np.array(np.broadcast_to(np.where(np.equal(divisor, 0), 1, divisor), shape), dtype)
    for array in (first_row, last_row, first_column, last_column, divisors):
        array.flags.writeable = False
    size = int((last_row - first_row).sum()) * int((last_column - first_column).sum())
    ends_of_all = first_row, last_row, first_column, last_column
    return Regions(*plane, *ends_of_all, library.asarray(divisors), size)  # type: ignore[call-arg, arg-type]


def _signature_of_averaging(element: Element) -> Any:
    planes = array_type(element.dtype, 3)
    return types.void(planes, _region_type(element), planes, types.intp)


@linked_njit
def _average_forward_of_planes(x, regions, y, share, shares):  # type: ignore[no-untyped-def]
    first_row, last_row, divisor = regions.first_row, regions.last_row, regions.divisor
    first_column, last_column = regions.first_column, regions.last_column
    P, Q = divisor.shape
    for m in indices_of_share(x.shape[0], share, shares):
        for p in range(P):
            for q in range(Q):
                total = np.float64(0)  # a window may be a whole image
                for row in range(first_row[p], last_row[p]):
                    for column in range(first_column[q], last_column[q]):
                        total += x[m, row, column]
                y[m, p, q] = total / np.float64(divisor[p, q])


@compiled_per_dtype(_signature_of_averaging)
def _average_forward(x, regions, y, shares):  # type: ignore[no-untyped-def]
    run_shares(_average_forward_of_planes, (x, regions, y), shares)


def average_forward(x: Any, regions: Regions) -> NDArray[Any]:
    """Compute the sum of every region, divided by its divisor.

    Parameters
    ----------
    x : ndarray of shape (M, H, W)
        Planes of the dtype of the divisors, any strides.
    regions : Regions

    Returns
    -------
    ndarray of shape (M, P, Q)

    Raises
    ------
    TypeError, ValueError
        If the planes have a different dtype or size than the regions were made for.

    Examples
    --------
    >>> x = np.array([[[1.0, 5.0, 3.0]]])
    >>> average_forward(x, even_regions((1, 3), (1, 2), x.dtype))
    array([[[3., 4.]]])
    """
    x = _checked_planes("x", x, (regions.height, regions.width), regions)
    if are_of_device("average pooling", x=x, regions=regions.divisor):
        return arrays.average_forward(x, regions)  # type: ignore[no-any-return]
    y = buffers.empty((len(x), *regions.divisor.shape), x.dtype)
    shares = _shares(len(x), regions)
    threads.launch(_average_forward[x.dtype], x, regions, y, shares, shares=shares)
    return y


@linked_njit
def _average_backward_of_planes(y, regions, x, share, shares):  # type: ignore[no-untyped-def]
    first_row, last_row, divisor = regions.first_row, regions.last_row, regions.divisor
    first_column, last_column = regions.first_column, regions.last_column
    P, Q = divisor.shape
    for m in indices_of_share(x.shape[0], share, shares):
        for row in range(x.shape[1]):
            for column in range(x.shape[2]):
                x[m, row, column] = 0
        for p in range(P):
            for q in range(Q):
                part = y[m, p, q] / divisor[p, q]
                for row in range(first_row[p], last_row[p]):
                    for column in range(first_column[q], last_column[q]):
                        x[m, row, column] += part


@compiled_per_dtype(_signature_of_averaging)
def _average_backward(y, regions, x, shares):  # type: ignore[no-untyped-def]
    run_shares(_average_backward_of_planes, (y, regions, x), shares)


def average_backward(dy: Any, regions: Regions) -> NDArray[Any]:
    """Add dy / divisor to all elements of each region: the adjoint of `average_forward`.

    Parameters
    ----------
    dy : ndarray of shape (M, P, Q)
        Of the dtype of the divisors, any strides.
    regions : Regions

    Returns
    -------
    ndarray of shape (M, H, W)

    Raises
    ------
    TypeError, ValueError
        If the gradient does not match the dtype of the divisors or the number of regions.

    Examples
    --------
    >>> dy = np.array([[[2.0, 4.0]]])
    >>> average_backward(dy, even_regions((1, 3), (1, 2), dy.dtype))
    array([[[1., 3., 2.]]])
    """
    dy = _checked_planes("dy", dy, regions.divisor.shape, regions)
    if are_of_device("average pooling", dy=dy, regions=regions.divisor):
        return arrays.average_backward(dy, regions)  # type: ignore[no-any-return]
    dx = buffers.empty((len(dy), regions.height, regions.width), dy.dtype)
    shares = _shares(len(dy), regions)
    threads.launch(_average_backward[dy.dtype], dy, regions, dx, shares, shares=shares)
    return dx


def _checked_planes(name: str, planes: Any, shape: tuple[int, ...], regions: Regions) -> NDArray[Any]:
    check_array(f"average pooling: {name}", planes)
    leading = planes.shape[:1]
    return checked_array(f"average pooling: {name}", planes, (*leading, *shape), regions.divisor.dtype)


def _shares(planes: int, regions: Regions) -> int:
    return threads.shares_of(planes * _PER_ADDITION * regions.size)
