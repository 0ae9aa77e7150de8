"""Two-dimensional convolution and its two gradients, through the packed matrix product.

Legend: N samples, C channels in, F filters or channels out, G groups; H, W rows and columns of the input, P, Q of the
output; k = (channel of the group, row, column of the window) counts what one output sums over, K of them; l = (p, q).

    y[n, f, l] = b[f] + sum over k of w[f, k] u[k, l],   u[k, l] the input that position k of the window l lies on, or 0

All three are products with the matrix u of a sample, or of its transpose. It is K / C times as large as the sample, so
it is never there as a whole: a share gathers the columns that it multiplies next, in the layout of the packed product,
into a workspace that stays in the second-level cache.

**The same bits for any number of threads.** An element of y is one chain over ascending k; of dw one over ascending
(n, l) for each of a number of runs of samples that depends on the shapes alone; an element of dx belongs to one share.
"""

from typing import Any, NamedTuple

from numba import prange, types
from numba.extending import register_jitable

from rondeau.kernels.numerics.elements import Element
from rondeau.kernels.product.microkernel import advance, pointer_to
from rondeau.kernels.product.product import Rows, pack, packed_size, product_rows
from rondeau.kernels.product.tiles import TILE
from rondeau.kernels.runtime.compiling import cached_njit, kernel_njit
from rondeau.kernels.runtime.linking import compiled_once

__all__ = [
    "Window",
    "backward_input",
    "backward_input_workspace",
    "backward_weight",
    "backward_weight_workspace",
    "forward",
    "forward_workspace",
    "sample_runs",
]

_VECTORS, _BYTES = TILE.vectors, TILE.vector_bytes

COLUMNS = 64
"""Columns l whose gradients are added to dx at a time: a multiple of every panel's width, so that the order in which
they are added does not depend on the tile."""
DEPTH = 512
"""Columns l over which `backward_weight` sums at a time."""
ROWS = 128
"""Rows k, at least, that one piece of `backward_weight` takes where there are as many."""
MAX_RUNS = 16
"""Runs of samples, at most, that `backward_weight` sums apart: pieces of work for threads."""
MAX_PARTIAL = 2**20
"""Elements of the partial sums of those runs, at most."""


class Window(NamedTuple):
    """Where the windows lie on the input: their shape, and the distances between and within them.

    Row i of window p is row ``p * row_stride - top + i * row_dilation`` of the input, and so are the columns.
    """

    rows: int
    columns: int
    row_stride: int
    column_stride: int
    row_dilation: int
    column_dilation: int
    top: int
    left: int


_WINDOW = types.NamedUniTuple(types.intp, len(Window._fields), Window)


@kernel_njit
def _within(start: Any, step: Any, run: Any, W: Any) -> Any:
    """Give the first m, and the one after the last below `run`, for which start + m * step is in [0, W)."""
    if step == 1:  # without a division, which would take as long as copying a short row
        low, end = -start, W - start
    else:
        low, end = (step - 1 - start) // step, (W - start + step - 1) // step
    low = min(run, max(0, low))
    return low, min(run, max(low, end))


def _signature_of_gathering(element: Element) -> Any:
    size, pointer = types.intp, types.CPointer(element.storage)
    return types.none(pointer, size, size, size, _WINDOW, size, size, size, pointer, size)


@compiled_once(_signature_of_gathering)
def _gather(
    x: Any, C: Any, H: Any, W: Any, window: Any, Q: Any, first: Any, columns: Any, target: Any, width: Any
) -> Any:
    """Write u[k, first + j] to target[k * width + j] for j below `columns`, and 0 up to `width`."""
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
    """Add source[k * width + j] to the input element that u[k, first + j] is: the adjoint of `_gather`."""
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


@register_jitable
def _panel_width(itemsize: int) -> int:
    width: int = _VECTORS * (_BYTES // itemsize)
    return width


def forward_workspace(K: int) -> int:
    """Give the elements that one share of `forward` takes."""
    size: int = packed_size(K, COLUMNS)
    return size


@cached_njit(parallel=True)
def forward(x, w, b, window, y, groups, workspace, shares):  # type: ignore[no-untyped-def]
    """Compute y from x.

    Parameters
    ----------
    x : ndarray of shape (N, C, H, W)
        In row order, as all arrays here.
    w : ndarray of shape (F, C / G, rows, columns)
        Weights.
    b : ndarray of shape (F,) or (0,)
        What the sums start at; without elements at 0.
    window : Window
        Every window lies within the input and its padding: the rows and columns beside the input are 0.
    y : ndarray of shape (N, F, P, Q)
        Written.
    groups : int
        G: channel f sums over the channels of its group alone.
    workspace : ndarray
        `forward_workspace` elements for each share.
    shares : int
        In how many the work is cut.
    """
    N, C, H, W = x.shape
    F, P, Q = y.shape[1:]
    L, Cg, Fg = P * Q, C // groups, F // groups
    K = Cg * window.rows * window.columns
    width, lanes = _panel_width(x.itemsize), _BYTES // x.itemsize
    panels = (L + width - 1) // width
    items = N * groups * panels
    weights, out = w.reshape(w.size), y.reshape(y.size)
    for share in prange(shares):
        at = workspace.size // shares * share
        for item in range(share * items // shares, (share + 1) * items // shares):
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
            left, result = Rows(weights, g * Fg * K, K), Rows(out, y_at, L)
            product_rows(left, Fg, K, workspace, at, columns, result, b.size > 0)


def backward_input_workspace(F: int, K: int) -> int:
    """Give the elements that one share of `backward_input` takes, for F / G channels out."""
    size: int = packed_size(F, COLUMNS) + K * COLUMNS
    return size


@cached_njit(parallel=True)
def backward_input(dy, transposed, window, dx, workspace, shares):  # type: ignore[no-untyped-def]
    """Compute dx, the sum of w[f, k] dy[n, f, l] over all u[k, l] that an element of x is.

    Parameters
    ----------
    dy : ndarray of shape (N, F, P, Q)
        Gradient of the output.
    transposed : ndarray of shape (G, K, F / G)
        The weights of each group, transposed.
    window : Window
        As in `forward`.
    dx : ndarray of shape (N, C, H, W)
        Written.
    workspace : ndarray
        `backward_input_workspace` elements for each share.
    shares : int
        In how many the work is cut.
    """
    N, C, H, W = dx.shape
    F, P, Q = dy.shape[1:]
    groups, K, Fg = transposed.shape
    L, Cg = P * Q, C // groups
    items = N * groups
    weights, gradient, planes = transposed.reshape(transposed.size), dy.reshape(dy.size), dx.reshape(dx.size)
    for share in prange(shares):
        at = workspace.size // shares * share
        sums_at = at + packed_size(Fg, COLUMNS)
        for item in range(share * items // shares, (share + 1) * items // shares):
            n, g = item // groups, item % groups
            x_at = (n * C + g * Cg) * H * W
            planes[x_at : x_at + Cg * H * W] = 0
            for first in range(0, L, COLUMNS):
                columns = min(COLUMNS, L - first)
                pack(gradient, (n * F + g * Fg) * L + first, L, 1, Fg, columns, workspace, at)
                left, result = Rows(weights, g * K * Fg, Fg), Rows(workspace, sums_at, COLUMNS)
                product_rows(left, K, Fg, workspace, at, columns, result, False)
                _scatter(
                    pointer_to(planes, x_at), Cg, H, W, window, Q, first, columns,
                    pointer_to(workspace, sums_at), COLUMNS,
                )  # fmt: skip


def sample_runs(N: int, weights: int) -> int:
    """Give the number of runs of samples whose gradients of the weights are summed apart."""
    return max(1, min(N, MAX_RUNS, MAX_PARTIAL // max(1, weights)))


@register_jitable
def _channels_at_a_time(window: Any, C: int) -> int:
    positions = window.rows * window.columns
    channels: int = min(C, (ROWS + positions - 1) // positions)
    return channels


def backward_weight_workspace(window: Window, C: int, F: int) -> int:
    """Give the elements that one share of `backward_weight` takes, for C / G channels in and F / G out."""
    K = _channels_at_a_time(window, C) * window.rows * window.columns
    size: int = packed_size(DEPTH, F) + K * DEPTH
    return size


@cached_njit(parallel=True)
def backward_weight(dy, x, window, partial, workspace, shares):  # type: ignore[no-untyped-def]
    """Compute dw transposed, the sum of dy[n, f, l] u[k, l] over l and the samples of each run.

    Parameters
    ----------
    dy : ndarray of shape (N, F, P, Q)
        Gradient of the output; N, P and Q at least 1.
    x : ndarray of shape (N, C, H, W)
        Input.
    window : Window
        As in `forward`.
    partial : ndarray of shape (R, G, K, F / G)
        Written: the sums of R runs of samples, as `sample_runs` gives.
    workspace : ndarray
        `backward_weight_workspace` elements for each share.
    shares : int
        In how many the work is cut.
    """
    N, C, H, W = x.shape
    F, P, Q = dy.shape[1:]
    runs, groups, K, Fg = partial.shape
    L, Cg = P * Q, C // groups
    positions, at_a_time = window.rows * window.columns, _channels_at_a_time(window, Cg)
    pieces = (Cg + at_a_time - 1) // at_a_time
    items = runs * groups * pieces
    gradient, sums = dy.reshape(dy.size), partial.reshape(partial.size)
    for share in prange(shares):
        at = workspace.size // shares * share
        columns_at = at + packed_size(DEPTH, Fg)
        for item in range(share * items // shares, (share + 1) * items // shares):
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
                        pointer_to(workspace, columns_at), depth,
                    )  # fmt: skip
                    pack(gradient, (n * F + g * Fg) * L + first, 1, L, depth, Fg, workspace, at)
                    left, result = Rows(workspace, columns_at, depth), Rows(sums, sums_at, Fg)
                    more = n > first_sample or first > 0
                    product_rows(left, channels * positions, depth, workspace, at, Fg, result, more)
