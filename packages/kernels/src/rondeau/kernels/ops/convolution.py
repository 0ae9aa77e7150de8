"""Two-dimensional convolution and its two gradients, through the packed matrix product.

Notation: N samples, C channels in, F filters or channels out, G groups; H, W rows and columns of the input, P, Q of the
output; k = (channel of the group, row, column of the window) numbers the K terms of one output; l = (p, q).

    y[n, f, l] = b[f] + sum over k of w[f, k] u[k, l],   u[k, l] the input at position k of window l, or 0

All three are products with the matrix u of a sample, or with its transpose. It is K / C times as large as the sample,
so it is never stored as a whole: a share gathers the columns that it multiplies next, in the layout of the packed
product, into a workspace that stays in the second-level cache.

**The same bits for any number of threads.** An element of y is one chain over ascending k; an element of dw is one
chain over ascending (n, l) for each run of samples, and the number of runs depends only on the shapes; an element of dx
belongs to one share.
"""

import math
from typing import Any

import numpy as np
from numba import types
from numpy.typing import NDArray

from rondeau.kernels.checks import (
    are_of_device,
    check_array,
    check_integer,
    checked_array,
    checked_floats,
    in_row_order,
)
from rondeau.kernels.errors import ArgumentTypeError, ArgumentValueError
from rondeau.kernels.numerics.elements import Element
from rondeau.kernels.ops.arrays import convolution as arrays
from rondeau.kernels.ops.sums import total
from rondeau.kernels.ops.windows import WINDOW, Window, check_window
from rondeau.kernels.product import Rows, num_panels, packed_size, product_rows
from rondeau.kernels.product.microkernel import advance, pointer_to
from rondeau.kernels.product.operands import (
    depth_of,
    left_operand,
    pack_panels_of,
    panel_of,
    room_for_operand,
)
from rondeau.kernels.product.pairs import as_left_operand, packed_dtype
from rondeau.kernels.product.tiles import TILE
from rondeau.kernels.runtime import buffers, threads
from rondeau.kernels.runtime.compiling import linked_njit, shared_njit
from rondeau.kernels.runtime.linking import compiled_once
from rondeau.kernels.runtime.shares import bounds_of_share, run_shares
from rondeau.kernels.runtime.signatures import array_type, compiled_per_dtype

__all__ = ["backward_input", "backward_weight", "forward", "sample_runs"]

_VECTORS, _BYTES = TILE.vectors, TILE.vector_bytes

COLUMNS = 64
"""Columns l whose gradients are added to dx at a time: a multiple of every panel's width, so that the order of addition
does not depend on the tile."""
DEPTH = 512
"""Columns l over which `backward_weight` sums at a time."""
ROWS = 128
"""The least number of rows k in one piece of `backward_weight`, if there are that many."""
MAX_RUNS = 16
"""The largest number of runs of samples that `backward_weight` sums separately, as pieces of work for threads."""
MAX_PARTIAL = 2**20
"""The largest number of elements in the partial sums of those runs."""


@linked_njit
def _within(start: Any, step: Any, run: Any, W: Any) -> Any:
    """Return the bounds of the range of m below `run` for which start + m * step is in [0, W)."""
    if step == 1:  # avoid a division, which would take as long as copying a short row
        low, end = -start, W - start
    else:
        low, end = (step - 1 - start) // step, (W - start + step - 1) // step
    low = min(run, max(0, low))
    return low, min(run, max(low, end))


def _signature_of_gathering(element: Element) -> Any:
    size, pointer = types.intp, types.CPointer(element.storage)
    return types.none(pointer, size, size, size, WINDOW, size, size, size, pointer, size)


@compiled_once(_signature_of_gathering)
def _gather(
    x: Any, C: Any, H: Any, W: Any, window: Any, Q: Any, first: Any, columns: Any, target: Any, width: Any
) -> Any:
    """Write u[k, first + j] to target[k * width + j] for j below `columns`, and 0 for j up to `width`."""
    first_p = first // Q
    first_q = first - first_p * Q
    for c in range(C):
        for i in range(window.rows):
            for j in range(window.columns):
                p, q, done = first_p, first_q, 0
                while done < columns:
                    run = min(Q - q, columns - done)
                    row = p * window.row_stride - window.top + i * window.row_dilation
                    start = q * window.column_stride - window.left + j * window.column_dilation
                    into = advance(target, done)
                    low, high = 0, 0
                    if 0 <= row < H:
                        step = window.column_stride
                        low, high = _within(start, step, run, W)
                        source = advance(x, (c * H + row) * W + start)
                        if step == 1:
                            for m in range(low, high):
                                into[m] = source[m]
                        else:
                            for m in range(low, high):
                                into[m] = source[m * step]
                    for m in range(low):
                        into[m] = 0
                    for m in range(high, run):
                        into[m] = 0
                    done += run
                    p += 1
                    q = 0
                for m in range(columns, width):
                    target[m] = 0
                target = advance(target, width)


@compiled_once(_signature_of_gathering)
def _scatter(
    x: Any, C: Any, H: Any, W: Any, window: Any, Q: Any, first: Any, columns: Any, source: Any, width: Any
) -> Any:
    """Add source[k * width + j] to the input element of u[k, first + j]: the adjoint of `_gather`."""
    first_p = first // Q
    first_q = first - first_p * Q
    for c in range(C):
        for i in range(window.rows):
            for j in range(window.columns):
                p, q, done = first_p, first_q, 0
                while done < columns:
                    run = min(Q - q, columns - done)
                    row = p * window.row_stride - window.top + i * window.row_dilation
                    start = q * window.column_stride - window.left + j * window.column_dilation
                    if 0 <= row < H:
                        step = window.column_stride
                        low, high = _within(start, step, run, W)
                        onto, values = advance(x, (c * H + row) * W + start), advance(source, done)
                        if step == 1:
                            for m in range(low, high):
                                onto[m] += values[m]
                        else:
                            for m in range(low, high):
                                onto[m * step] += values[m]
                    done += run
                    p += 1
                    q = 0
                source = advance(source, width)


@shared_njit
def _panel_width(itemsize: int) -> int:
    width: int = _VECTORS * (_BYTES // itemsize)
    return width


def _signature_of_forward(element: Element) -> Any:
    planes, flat = array_type(element.sums.dtype, 4), array_type(element.sums.dtype, 1)
    operand = array_type(element.dtype, 2)
    return types.void(planes, operand, flat, WINDOW, planes, types.intp, flat, types.intp)


@linked_njit
def _forward_share(x, w, b, window, y, groups, workspace, share, shares):  # type: ignore[no-untyped-def]
    N, C, H, W = x.shape
    F, P, Q = y.shape[1:]
    L, Cg, Fg = P * Q, C // groups, F // groups
    K = Cg * window.rows * window.columns
    width, lanes = _panel_width(x.itemsize), _BYTES // x.itemsize
    panels = (L + width - 1) // width
    items = N * groups * panels
    weights, out, depth = w.reshape(w.size), y.reshape(y.size), w.shape[1]
    at = workspace.size // shares * share
    room = room_for_operand(weights, width, K)
    first_item, last_item = bounds_of_share(items, share, shares)
    for item in range(first_item, last_item):
        n, rest = item // (groups * panels), item % (groups * panels)
        g, first = rest // panels, rest % panels * width
        columns = min(width, L - first)
        whole = (columns + lanes - 1) // lanes * lanes
        _gather(
            pointer_to(x, (n * C + g * Cg) * H * W), Cg, H, W, window, Q, first, columns,
            pointer_to(workspace, at), whole,
        )  # fmt: skip
        y_at = (n * F + g * Fg) * L + first
        if b.size > 0:
            for f in range(Fg):
                start = y_at + f * L
                out[start : start + columns] = b[g * Fg + f]
        left, result = Rows(weights, g * Fg * depth, depth), Rows(out, y_at, L)
        panel, panel_at = panel_of(workspace, at, K, columns, whole, room)
        product_rows(left, Fg, depth, panel, panel_at, columns, result, b.size > 0)


@compiled_per_dtype(_signature_of_forward)
def _forward(x, w, b, window, y, groups, workspace, shares):  # type: ignore[no-untyped-def]
    """Write y; `workspace` has `_forward_workspace` elements for each share, and b may be empty.

    The rows of w are a left operand.
    """
    run_shares(_forward_share, (x, w, b, window, y, groups, workspace), shares)


def _forward_workspace(K: int) -> int:
    size: int = packed_size(K, COLUMNS)
    return size


def forward(
    x: Any, weight: Any, bias: Any, window: Window, shape: tuple[int, ...], groups: int
) -> NDArray[Any]:
    """Compute y from x.

    Parameters
    ----------
    x : ndarray of float32 or float64, shape (N, C, H, W)
        The input, with any strides, like all arrays here; it is 0 outside its bounds.
    weight : ndarray of shape (F, C / G, rows, columns)
        w, of the dtype of `x`.
    bias : ndarray of shape (F,), or None
        b, the initial value of the sums; None for 0.
    window : Window
        Its rows and columns are those of the weight.
    shape : (int, int)
        P and Q.
    groups : int
        G; channel f sums only over the channels of its group.

    Returns
    -------
    ndarray of shape (N, F, P, Q)

    Raises
    ------
    TypeError
        If an argument has the wrong type or dtype.
    ValueError
        If shapes do not match, or a number is out of range.

    Examples
    --------
    >>> window = Window(1, 2, 1, 1, 1, 1, 0, 0)
    >>> forward(np.array([[[[1.0, 2.0, 4.0]]]]), np.array([[[[-1.0, 1.0]]]]), None, window, (1, 2), 1)
    array([[[[1., 2.]]]])
    """
    x = checked_floats("convolution: x", x, "(N, C, H, W)")
    weight = _checked_weight(weight, window, shape, groups, x.dtype)
    F = weight.shape[0]
    _check_channels(x.shape, weight.shape, groups)
    b = np.empty(0, x.dtype) if bias is None else checked_array("convolution: bias", bias, (F,), x.dtype)
    if are_of_device("convolution", x=x, weight=weight, bias=bias):
        return arrays.forward(x, weight, bias, window, shape, groups)  # type: ignore[no-any-return]
    y = buffers.empty((x.shape[0], F, *shape), x.dtype)
    shares = _shares(y, weight.shape)
    workspace = buffers.empty(shares * _forward_workspace(weight[0].size), x.dtype)
    packed = packed_dtype(x.dtype)
    w = as_left_operand(weight.reshape(F, -1), packed)
    threads.launch(_forward[packed], x, w, b, window, y, groups, workspace, shares, shares=shares)
    return y


def _signature_of_backward_input(element: Element) -> Any:
    planes, numbers = array_type(element.sums.dtype, 4), array_type(element.sums.dtype, 1)
    operand, packed = array_type(element.dtype, 2), array_type(element.dtype, 1)
    return types.void(planes, operand, WINDOW, planes, types.intp, packed, numbers, types.intp)


@linked_njit
def _backward_input_share(dy, transposed, window, dx, groups, packed, sums, share, shares):  # type: ignore[no-untyped-def]
    N, C, H, W = dx.shape
    F, P, Q = dy.shape[1:]
    K, depth = transposed.shape[0] // groups, transposed.shape[1]
    L, Cg, Fg = P * Q, C // groups, F // groups
    items = N * groups
    weights, gradient, planes = transposed.reshape(transposed.size), dy.reshape(dy.size), dx.reshape(dx.size)
    at, sums_at = packed.size // shares * share, sums.size // shares * share
    first_item, last_item = bounds_of_share(items, share, shares)
    for item in range(first_item, last_item):
        n, g = item // groups, item % groups
        x_at = (n * C + g * Cg) * H * W
        planes[x_at : x_at + Cg * H * W] = 0
        for first in range(0, L, COLUMNS):
            columns = min(COLUMNS, L - first)
            pack_panels_of(
                gradient,
                (n * F + g * Fg) * L + first,
                L,
                1,
                Fg,
                columns,
                packed,
                at,
                0,
                num_panels(packed, columns),
            )
            left, result = Rows(weights, g * K * depth, depth), Rows(sums, sums_at, COLUMNS)
            product_rows(left, K, depth, packed, at, columns, result, False)
            _scatter(
                pointer_to(planes, x_at),
                Cg,
                H,
                W,
                window,
                Q,
                first,
                columns,
                pointer_to(sums, sums_at),
                COLUMNS,
            )


@compiled_per_dtype(_signature_of_backward_input)
def _backward_input(dy, transposed, window, dx, groups, packed, sums, shares):  # type: ignore[no-untyped-def]
    """Write dx; `transposed`, (G K, F / G), holds the weights of each group, transposed, as a left operand.

    Each share has ``packed_size(F / G, COLUMNS)`` elements of `packed` and ``K * COLUMNS`` of `sums`.
    """
    run_shares(_backward_input_share, (dy, transposed, window, dx, groups, packed, sums), shares)


def backward_input(dy: Any, weight: Any, window: Window, shape: tuple[int, ...], groups: int) -> NDArray[Any]:
    """Compute dx, for each element of x the sum of w[f, k] dy[n, f, l] over all u[k, l] that read it.

    Parameters
    ----------
    dy : ndarray of shape (N, F, P, Q)
        The gradient of the output.
    weight, window, groups
        As for `forward`.
    shape : (int, int, int, int)
        The shape of x, (N, C, H, W).

    Returns
    -------
    ndarray of shape (N, C, H, W)

    Raises
    ------
    TypeError, ValueError
        As for `forward`.

    Examples
    --------
    >>> window = Window(1, 2, 1, 1, 1, 1, 0, 0)
    >>> backward_input(np.array([[[[1.0, 3.0]]]]), np.array([[[[-1.0, 1.0]]]]), window, (1, 1, 1, 3), 1)
    array([[[[-1., -2.,  3.]]]])
    """
    dy = checked_floats("convolution: dy", dy, "(N, F, P, Q)")
    weight = _checked_weight(weight, window, dy.shape[2:], groups, dy.dtype)
    F = weight.shape[0]
    _check_channels(shape, weight.shape, groups)
    _check_outputs(dy.shape, shape, F)
    if are_of_device("convolution", dy=dy, weight=weight):
        return arrays.backward_input(dy, weight, window, shape, groups)  # type: ignore[no-any-return]
    of_group, K = F // groups, weight[0].size
    transposed = np.ascontiguousarray(weight.reshape(groups, of_group, K).transpose(0, 2, 1))
    dx = buffers.empty(shape, dy.dtype)
    shares, operands = _shares(dy, weight.shape), packed_dtype(dy.dtype)
    threads.launch(
        _backward_input[operands], dy, as_left_operand(transposed.reshape(groups * K, of_group), operands), window,
        dx, groups, buffers.empty(shares * packed_size(of_group, COLUMNS), operands),
        buffers.empty(shares * K * COLUMNS, dy.dtype), shares, shares=shares,
    )  # fmt: skip
    return dx


@shared_njit
def _channels_at_a_time(window: Any, C: int) -> int:
    positions = window.rows * window.columns
    channels: int = min(C, (ROWS + positions - 1) // positions)
    return channels


def _signature_of_backward_weight(element: Element) -> Any:
    planes, numbers = array_type(element.sums.dtype, 4), array_type(element.sums.dtype, 1)
    packed = array_type(element.dtype, 1)
    return types.void(planes, planes, WINDOW, planes, packed, numbers, types.intp)


@linked_njit
def _backward_weight_share(dy, x, window, partial, packed, gathered, share, shares):  # type: ignore[no-untyped-def]
    N, C, H, W = x.shape
    F, P, Q = dy.shape[1:]
    runs, groups, K, Fg = partial.shape
    L, Cg = P * Q, C // groups
    positions, at_a_time = window.rows * window.columns, _channels_at_a_time(window, Cg)
    pieces = (Cg + at_a_time - 1) // at_a_time
    items = runs * groups * pieces
    gradient, sums = dy.reshape(dy.size), partial.reshape(partial.size)
    at, columns_at = packed.size // shares * share, gathered.size // shares * share
    room = room_for_operand(packed, at_a_time * positions, DEPTH)
    first_item, last_item = bounds_of_share(items, share, shares)
    for item in range(first_item, last_item):
        run, rest = item // (groups * pieces), item % (groups * pieces)
        g, c = rest // pieces, rest % pieces * at_a_time
        channels = min(at_a_time, Cg - c)
        sums_at = ((run * groups + g) * K + c * positions) * Fg
        first_sample = run * N // runs
        for n in range(first_sample, (run + 1) * N // runs):
            for first in range(0, L, DEPTH):
                depth = min(DEPTH, L - first)
                _gather(
                    pointer_to(x, (n * C + g * Cg + c) * H * W), channels, H, W, window, Q, first, depth,
                    pointer_to(gathered, columns_at), depth,
                )  # fmt: skip
                pack_panels_of(
                    gradient,
                    (n * F + g * Fg) * L + first,
                    1,
                    L,
                    depth,
                    Fg,
                    packed,
                    at,
                    0,
                    num_panels(packed, Fg),
                )
                count, more = channels * positions, n > first_sample or first > 0
                left = left_operand(Rows(gathered, columns_at, depth), count, depth, room, True)
                result = Rows(sums, sums_at, Fg)
                product_rows(left, count, depth_of(packed, depth), packed, at, Fg, result, more)


@compiled_per_dtype(_signature_of_backward_weight)
def _backward_weight(dy, x, window, partial, packed, gathered, shares):  # type: ignore[no-untyped-def]
    """Write `partial`, (R, G, K, F / G): the transpose of dw, summed over each of R runs of samples.

    Each share has ``packed_size(DEPTH, F / G)`` elements of `packed`, and `_gathered_size` of `gathered`.
    """
    run_shares(_backward_weight_share, (dy, x, window, partial, packed, gathered), shares)


def _gathered_size(window: Window, C: int) -> int:
    """Return the numbers that a share of `_backward_weight` gathers, with C / G channels in."""
    size: int = _channels_at_a_time(window, C) * window.rows * window.columns * DEPTH
    return size


def sample_runs(N: int, weights: int) -> int:
    """Return the number of runs of samples whose weight gradients are summed separately."""
    return max(1, min(N, MAX_RUNS, MAX_PARTIAL // max(1, weights)))


def backward_weight(dy: Any, x: Any, window: Window, shape: tuple[int, ...], groups: int) -> NDArray[Any]:
    """Compute dw, the sum of dy[n, f, l] u[k, l] over l and the samples.

    Parameters
    ----------
    dy : ndarray of shape (N, F, P, Q)
        The gradient of the output.
    x : ndarray of shape (N, C, H, W)
        The input.
    window, groups
        As for `forward`.
    shape : (int, int, int, int)
        The shape of the weight, (F, C / G, rows, columns).

    Returns
    -------
    ndarray of that shape

    Raises
    ------
    TypeError, ValueError
        As for `forward`.

    Examples
    --------
    >>> window = Window(1, 2, 1, 1, 1, 1, 0, 0)
    >>> backward_weight(np.array([[[[1.0, 3.0]]]]), np.array([[[[1.0, 2.0, 4.0]]]]), window, (1, 1, 1, 2), 1)
    array([[[[ 7., 14.]]]])
    """
    dy = checked_floats("convolution: dy", dy, "(N, F, P, Q)")
    x = checked_floats("convolution: x", x, "(N, C, H, W)")
    if x.dtype != dy.dtype:
        raise ArgumentTypeError(f"convolution: x must be {dy.dtype}, like dy, got {x.dtype}; convert one")
    check_window("convolution", window, dy.shape[2:])
    _check_weight_shape(shape, window, groups)
    _check_channels(x.shape, shape, groups)
    _check_outputs(dy.shape, x.shape, shape[0])
    of_device = are_of_device("convolution", dy=dy, x=x)
    if dy.size == 0:
        return np.zeros_like(dy, order="C", shape=shape)
    if of_device:
        return arrays.backward_weight(dy, x, window, shape, groups)  # type: ignore[no-any-return]
    of_group = shape[0] // groups
    runs = sample_runs(len(dy), math.prod(shape))
    partial = buffers.empty((runs, groups, math.prod(shape[1:]), of_group), dy.dtype)
    shares, operands = _shares(dy, shape), packed_dtype(dy.dtype)
    threads.launch(
        _backward_weight[operands], dy, x, window, partial,
        buffers.empty(shares * packed_size(DEPTH, of_group), operands),
        buffers.empty(shares * _gathered_size(window, shape[1]), dy.dtype), shares, shares=shares,
    )  # fmt: skip
    return np.ascontiguousarray(total(partial, 0).transpose(0, 2, 1)).reshape(shape)


def _shares(y: NDArray[Any], weight: tuple[int, ...]) -> int:
    """Return the number of threads worth waking: an element of y is a sum over the weights of one channel."""
    return threads.shares_of(y.size * math.prod(weight[1:]))


def _checked_weight(
    weight: Any, window: Window, shape: Any, groups: int, dtype: np.dtype[Any]
) -> NDArray[Any]:
    """Return the weight in C order, after checking that it matches the windows."""
    check_array("convolution: weight", weight)
    if weight.dtype != dtype:
        raise ArgumentTypeError(f"convolution: weight must be {dtype}, got {weight.dtype}; convert one")
    check_window("convolution", window, shape)
    _check_weight_shape(weight.shape, window, groups)
    return in_row_order(weight)


def _check_weight_shape(shape: Any, window: Window, groups: int) -> None:
    check_integer("convolution: groups", groups, 1, 2**31 - 1)
    if len(shape) != 4 or shape[2:] != window[:2] or 0 in shape or shape[0] % groups:
        raise ArgumentValueError(
            f"convolution: weight must have shape (F, C / groups, {window.rows}, {window.columns}), F a multiple of "
            f"groups={groups}, got {shape}"
        )


def _check_channels(x: tuple[int, ...], weight: tuple[int, ...], groups: int) -> None:
    if len(x) != 4 or x[1] != weight[1] * groups:
        raise ArgumentValueError(
            f"convolution: x must have shape (N, {weight[1] * groups}, H, W) for {groups} groups and a weight of shape "
            f"{weight}, got {x}"
        )


def _check_outputs(dy: tuple[int, ...], x: tuple[int, ...], F: int) -> None:
    if dy[:2] != (x[0], F):
        raise ArgumentValueError(f"convolution: dy must have shape ({x[0]}, {F}, P, Q), got {dy}")
