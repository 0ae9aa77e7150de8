"""The matrix product of the library: C[M, N] (+)= A[M, K] @ B[K, N].

**The same bits, always.** Each element of C is one chain of fused multiply-adds over ascending k, which starts from 0
or, when accumulating, from C. No tile, blocking, M, N or number of threads changes that chain: threads divide the rows
or the columns among themselves, never K.

Notation
--------
M, N, K : the rows of A and C, the columns of B and C, and the dimension that is summed over.
L : lanes, the elements of a vector register.
W : ``TILE.vectors * L``, the columns of a panel.

Packed B
--------
Panels of W columns, one after the other; within a panel, rows of W values in order of k:

    packed[p * K * W + k * W + j] = B[k, p * W + j]

The last panel is rounded up to whole vectors and padded with zeros. So `packed_size(K, N)` elements hold any operand of
float32 or float64, and one k of a panel takes `vectors` whole loads.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numba import prange, types
from numba.extending import register_jitable
from numpy.typing import NDArray

from rondeau.kernels.checks import are_of_device, check_one_device
from rondeau.kernels.errors import ArgumentTypeError, ArgumentValueError
from rondeau.kernels.numerics.elements import ELEMENTS, Element
from rondeau.kernels.product import arrays
from rondeau.kernels.product.microkernel import advance, compute_tile, pointer_to
from rondeau.kernels.product.tiles import TILE
from rondeau.kernels.product.transpose import transpose_square
from rondeau.kernels.runtime import buffers, threads
from rondeau.kernels.runtime.compiling import cached_njit, kernel_njit
from rondeau.kernels.runtime.devices import is_array, is_writeable
from rondeau.kernels.runtime.linking import compiled_once

__all__ = [
    "Rows",
    "matmul",
    "multiply_into",
    "num_panels",
    "pack",
    "pack_panels",
    "packed_size",
    "product_rows",
]

_ROWS, _VECTORS, _BYTES = TILE.rows, TILE.vectors, TILE.vector_bytes
_WIDEST = max(element.lanes(_BYTES) for element in ELEMENTS.values())

DEPTH_BLOCK = 512
"""Steps of k in one pass, so that a panel of float32 (128 KiB with 16 lanes) stays in the second-level cache."""
COLUMN_BLOCK = 256
"""Columns of B that are packed at a time; a multiple of every panel's width."""
ROW_BLOCK = 240
"""Rows of A that are multiplied with a packed block of B at a time; a multiple of every tile's rows."""
PACK_A_FROM = 128 if TILE.vector_bytes < 64 else 2**62
"""The number of columns of C from which an A with strided k is packed first. Narrow panels read A more often: with AVX2
code, packing raised 0.72 of the peak to 0.85; with AVX-512, whose panels are 64 columns wide, it costs 3 %."""
_SMALL = 2**13
"""Elements below which the buffer pool costs more than it saves: malloc reuses such small blocks itself."""


class Rows(NamedTuple):
    """Rows of a matrix inside a flat contiguous array: element (m, k) is ``flat[at + m * stride + k]``.

    Examples
    --------
    >>> import numpy as np
    >>> Rows(np.arange(6.0), at=3, stride=3).flat[3]
    np.float64(3.0)
    """

    flat: Any
    """A flat contiguous array of float32 or float64."""
    at: Any
    """The index of the first element."""
    stride: Any
    """Elements between rows."""


class _Matrix(NamedTuple):
    """A matrix in memory, as the kernels see it."""

    at: Any
    """Pointer to its first element."""
    row: Any
    """Elements between rows."""
    column: Any
    """Elements between columns."""


def _matrix_type(element: Element) -> Any:
    """Return Numba's type of a matrix."""
    return types.NamedTuple([types.CPointer(element.storage), types.intp, types.intp], _Matrix)


@kernel_njit
def _matrix(array: Any) -> Any:
    """Return a 2-D array as a `_Matrix`."""
    return _Matrix(
        pointer_to(array, 0), array.strides[0] // array.itemsize, array.strides[1] // array.itemsize
    )


@kernel_njit
def _part(matrix: Any, row: Any, column: Any) -> Any:
    """Return the submatrix that starts at a row and a column."""
    return _Matrix(advance(matrix.at, row * matrix.row + column * matrix.column), matrix.row, matrix.column)


@register_jitable
def packed_size(K: int, N: int) -> int:
    """Return the number of elements of a packed (K, N) operand; for Python and for kernels.

    Examples
    --------
    >>> packed_size(10, 64)
    640
    """
    return K * ((N + _WIDEST - 1) // _WIDEST * _WIDEST)


@kernel_njit
def num_panels(b: Any, N: Any) -> Any:
    """Return the number of panels of an operand with N columns and the dtype of the array `b`.

    A panel is as wide as this processor's tile; see `rondeau.kernels.product.tiles`.

    Examples
    --------
    >>> import numpy as np
    >>> num_panels(np.ones(4), 1)
    1
    """
    width = _VECTORS * (_BYTES // b.itemsize)
    return (N + width - 1) // width


def _signature_of_a_panel(element: Element) -> Any:
    size, pointer = types.intp, types.CPointer(element.storage)
    return types.none(_matrix_type(element), size, size, size, size, pointer)


@compiled_once(_signature_of_a_panel)
def _pack_panel(b: Any, K: Any, columns: Any, lanes: Any, width: Any, packed: Any) -> Any:
    """Pack one panel of `columns` columns of the matrix `b` into rows of `width` values at pointer `packed`."""
    whole_columns = columns - columns % lanes if b.row == 1 else 0
    whole_depth = K - K % lanes
    for j in range(0, whole_columns, lanes):
        for k in range(0, whole_depth, lanes):
            transpose_square(_part(b, k, j).at, b.column, advance(packed, k * width + j), width)
    for k in range(K):
        row, target = _part(b, k, 0).at, advance(packed, k * width)
        first = whole_columns if k < whole_depth else 0
        if b.column == 1:
            for j in range(first, columns):
                target[j] = row[j]
        else:
            for j in range(first, columns):
                target[j] = row[j * b.column]
        for j in range(columns, width):
            target[j] = 0


def _signature_of_packing(element: Element) -> Any:
    pointer = types.CPointer(element.storage)
    return types.none(_matrix_type(element), types.intp, types.intp, types.intp, pointer)


@compiled_once(_signature_of_packing)
def _pack_panels(b: Any, K: Any, N: Any, lanes: Any, packed: Any) -> Any:
    """Pack the (K, N) matrix `b` to pointer `packed`, panel by panel."""
    width = _VECTORS * lanes
    for first in range(0, N, width):
        columns = min(width, N - first)
        whole = (columns + lanes - 1) // lanes * lanes
        _pack_panel(_part(b, 0, first), K, columns, lanes, whole, advance(packed, first * K))


@kernel_njit
def pack_panels(
    b: Any,
    b_at: Any,
    k_stride: Any,
    n_stride: Any,
    K: Any,
    N: Any,
    packed: Any,
    packed_at: Any,
    first: Any,
    last: Any,
) -> Any:
    """Pack panels `first` to `last - 1` of a (K, N) operand: one share of `pack`.

    Examples
    --------
    >>> import numpy as np
    >>> b, whole, shared = np.arange(6.0), np.zeros(packed_size(3, 2)), np.zeros(packed_size(3, 2))
    >>> pack(b, 0, 2, 1, 3, 2, whole, 0)
    >>> pack_panels(b, 0, 2, 1, 3, 2, shared, 0, 0, num_panels(b, 2))
    >>> np.array_equal(whole, shared)
    True
    """
    lanes = _BYTES // b.itemsize
    width = _VECTORS * lanes
    start, stop = min(N, first * width), min(N, last * width)
    source = _part(_Matrix(pointer_to(b, b_at), k_stride, n_stride), 0, start)
    _pack_panels(source, K, stop - start, lanes, pointer_to(packed, packed_at + start * K))


@kernel_njit
def pack(b: Any, b_at: Any, k_stride: Any, n_stride: Any, K: Any, N: Any, packed: Any, packed_at: Any) -> Any:
    """Pack a (K, N) operand; serial, for use inside kernels.

    Parameters
    ----------
    b : flat contiguous array of float32 or float64
        Element (k, n) of the operand is ``b[b_at + k * k_stride + n * n_stride]``: strides (1, K) pack a weight of
        shape (N, K) as its transpose, and (N, 1) one of shape (K, N) as it is.
    b_at : int
        The index of the operand's first element.
    k_stride, n_stride : int
        Strides in elements; they may be negative.
    K, N : int
        The shape of the operand.
    packed : flat contiguous array of the same dtype
        Receives ``packed_size(K, N)`` elements.
    packed_at : int
        The index of the first of them.

    Examples
    --------
    See `product_rows`.

    >>> import numpy as np
    >>> weight, packed = np.arange(6.0), np.empty(packed_size(3, 2))
    >>> pack(weight, 0, 1, 3, 3, 2, packed, 0)  # of shape (N=2, K=3), as its transpose
    """
    source = _Matrix(pointer_to(b, b_at), k_stride, n_stride)
    _pack_panels(source, K, N, _BYTES // b.itemsize, pointer_to(packed, packed_at))


def _signature_of_product(element: Element) -> Any:
    pointer, matrix, size = types.CPointer(element.storage), _matrix_type(element), types.intp
    return types.none(matrix, size, size, pointer, size, size, matrix, types.boolean)


@compiled_once(_signature_of_product)
def _multiply_packed(a: Any, M: Any, K: Any, packed: Any, N: Any, lanes: Any, c: Any, accumulate: Any) -> Any:
    """Compute C[M, N] (+)= A[M, K] @ B[K, N] for matrices `a` and `c`, with the panels of B at pointer `packed`."""
    width = _VECTORS * lanes
    tiles = (M + _ROWS - 1) // _ROWS
    for first in range(0, N, width):
        columns = min(width, N - first)
        vectors = (columns + lanes - 1) // lanes
        valid = columns - (vectors - 1) * lanes
        panel = advance(packed, first * K)
        row = 0
        for tile in range(tiles):
            # Rows are divided evenly: a thin tile has too few chains to hide the latency.
            rows = (M - row + tiles - tile - 1) // (tiles - tile)
            left, result = _part(a, row, 0), _part(c, row, first)
            compute_tile(
                rows, vectors, left.at, left.row, left.column, panel, vectors * lanes,
                result.at, result.row, K, valid, accumulate,
            )  # fmt: skip
            row += rows


@kernel_njit
def product_rows(a: Any, M: Any, K: Any, packed: Any, packed_at: Any, N: Any, c: Any, accumulate: Any) -> Any:
    """Compute C[M, N] (+)= A[M, K] @ B[K, N] with B packed; serial and free of allocation, for use inside `prange`.

    Parameters
    ----------
    a : Rows
        A.
    M, K : int
        The shape of A; either may be 0.
    packed, packed_at : flat contiguous array of the same dtype, int
        The array that `pack` wrote the whole (K, N) operand to, and the index where it starts.
    N : int
        The columns of B and C.
    c : Rows
        C, of the same dtype; no other element of its array is read or written.
    accumulate : bool
        Whether each chain starts from C rather than from 0.

    Examples
    --------
    >>> import numpy as np
    >>> a, b, c = np.arange(6.0).reshape(2, 3), np.arange(6.0).reshape(3, 2), np.empty((2, 2))
    >>> packed = np.empty(packed_size(3, 2))
    >>> pack(b.ravel(), 0, 2, 1, 3, 2, packed, 0)
    >>> product_rows(Rows(a.ravel(), 0, 3), 2, 3, packed, 0, 2, Rows(c.ravel(), 0, 2), False)
    >>> np.array_equal(c, a @ b)
    True
    """
    lanes = _BYTES // packed.itemsize
    width = _VECTORS * lanes
    left = _Matrix(pointer_to(a.flat, a.at), a.stride, 1)
    result = _Matrix(pointer_to(c.flat, c.at), c.stride, 1)
    for first in range(0, N, width):
        columns = min(width, N - first)
        whole = (columns + lanes - 1) // lanes * lanes
        for k in range(0, max(K, 1), DEPTH_BLOCK):
            panel = pointer_to(packed, packed_at + first * K + k * whole)
            _multiply_packed(
                _part(left, 0, k), M, min(DEPTH_BLOCK, K - k), panel, columns, lanes,
                _part(result, 0, first), accumulate or k > 0,
            )  # fmt: skip


def _signature_of_any_product(element: Element) -> Any:
    pointer, matrix, size = types.CPointer(element.storage), _matrix_type(element), types.intp
    return types.none(matrix, matrix, matrix, size, size, size, size, pointer, types.boolean)


@compiled_once(_signature_of_any_product)
def _multiply(
    a: Any, b: Any, c: Any, M: Any, N: Any, K: Any, lanes: Any, workspace: Any, accumulate: Any
) -> Any:
    """Compute C[M, N] (+)= A[M, K] @ B[K, N] for matrices, packing B block by block at pointer `workspace`."""
    for k in range(0, max(K, 1), DEPTH_BLOCK):
        depth = min(DEPTH_BLOCK, K - k)
        for n in range(0, N, COLUMN_BLOCK):
            columns = min(COLUMN_BLOCK, N - n)
            _pack_panels(_part(b, k, n), depth, columns, lanes, workspace)
            for m in range(0, M, ROW_BLOCK):
                rows = min(ROW_BLOCK, M - m)
                left = _part(a, m, k)
                if a.column != 1 and N >= PACK_A_FROM:
                    packed_rows = advance(workspace, packed_size(depth, COLUMN_BLOCK))
                    _pack_panel(left, rows, depth, lanes, depth, packed_rows)
                    left = _Matrix(packed_rows, depth, 1)
                _multiply_packed(
                    left, rows, depth, workspace, columns, lanes, _part(c, m, n), accumulate or k > 0
                )


@kernel_njit
def _whole_elements(array: Any) -> Any:
    """Return whether strides and address of a 2-D array are whole elements; in structured arrays they may not be."""
    size = array.itemsize
    return array.strides[0] % size == 0 and array.strides[1] % size == 0 and array.ctypes.data % size == 0


@kernel_njit
def _multiply_share(a: Any, b: Any, c: Any, workspace: Any, accumulate: Any, share: Any, shares: Any) -> Any:
    """Compute one share of C: whole tiles of rows if C is taller than wide, otherwise whole panels of columns."""
    M, N = c.shape
    lanes = _BYTES // a.itemsize
    width = _VECTORS * lanes
    tiles, panels = (M + _ROWS - 1) // _ROWS, (N + width - 1) // width
    row, last_row, column, last_column = 0, M, 0, N
    if tiles * _ROWS >= panels * width:
        row, last_row = share * tiles // shares * _ROWS, min(M, (share + 1) * tiles // shares * _ROWS)
    else:
        column, last_column = share * panels // shares * width, min(N, (share + 1) * panels // shares * width)
    _multiply(
        _part(_matrix(a), row, 0), _part(_matrix(b), 0, column), _part(_matrix(c), row, column),
        last_row - row, last_column - column, a.shape[1], lanes,
        pointer_to(workspace, workspace.size // shares * share), accumulate,
    )  # fmt: skip


@register_jitable
def _block_size(N: int, K: int) -> int:
    """Return the number of elements that one share packs at a time."""
    depth = min(K, DEPTH_BLOCK)
    columns, rows = (COLUMN_BLOCK, ROW_BLOCK) if N >= PACK_A_FROM else (min(N, COLUMN_BLOCK), 0)
    size: int = packed_size(depth, columns) + depth * rows
    return size


@cached_njit(parallel=True)
def _multiply_shares(a: Any, b: Any, c: Any, workspace: Any, accumulate: Any, shares: Any) -> Any:
    """Compute C (+)= A @ B, or do nothing and return False if a stride is not a whole number of elements.

    `workspace` holds `_block_size` elements for each share; with one share it may be empty.
    """
    if not (_whole_elements(a) and _whole_elements(b) and _whole_elements(c)):
        return False
    if shares == 1:  # on the calling thread, without waking the pool
        block = workspace if workspace.size > 0 else np.empty(_block_size(c.shape[1], a.shape[1]), a.dtype)
        _multiply_share(a, b, c, block, accumulate, shares - 1, shares)
    else:
        for share in prange(shares):
            _multiply_share(a, b, c, workspace, accumulate, np.intp(share), shares)
    return True


class _Product:
    """The product of one dtype, compiled or loaded on first use."""

    def __init__(self, element: Element) -> None:
        self._number = element.storage
        self.nothing = np.empty(0, element.dtype)

    @functools.cached_property
    def entry(self) -> Callable[..., bool]:
        """The entry point of `_multiply_shares`, for its one signature."""
        matrix, flat = types.Array(self._number, 2, "A"), types.Array(self._number, 1, "C")
        signature = types.boolean(matrix, matrix, matrix, flat, types.boolean, types.intp)
        entry: Callable[..., bool] = _multiply_shares.compile(signature)
        return entry

    def compute(self, c: NDArray[Any], a: NDArray[Any], b: NDArray[Any], accumulate: bool) -> None:
        """Compute C (+)= A @ B; C has unit stride along columns and shares no memory with A or B."""
        (M, N), K = c.shape, a.shape[1]
        shares = threads.shares_of(M * N * K)
        if shares > 1:
            shares = min(shares, max(M, N) // _ROWS + 1)  # a share needs a tile or a panel
        if shares == 1:
            workspace = self.nothing if N * K < _SMALL else buffers.empty(_block_size(N, K), c.dtype)
            done = self.entry(a, b, c, workspace, accumulate, 1)
        else:
            workspace = buffers.empty(shares * _block_size(N, K), c.dtype)
            done = threads.launch(self.entry, a, b, c, workspace, accumulate, shares)
        if not done:  # fields of structured arrays, whose strides need not be whole elements
            whole = np.array(c, order="C")
            self.compute(whole, np.array(a, order="C"), np.array(b, order="C"), accumulate)
            c[...] = whole


_PRODUCTS = {dtype: _Product(element) for dtype, element in ELEMENTS.items()}


def matmul(
    a: NDArray[Any], b: NDArray[Any], *, out: NDArray[Any] | None = None, accumulate: bool = False
) -> NDArray[Any]:
    """Multiply two matrices, with the same bits for any number of threads; on a GPU by cuBLAS.

    ``C[m, n] = fma(A[m, K-1], B[K-1, n], ... fma(A[m, 0], B[0, n], C0))`` where ``C0`` is 0 or, when accumulating, the
    old ``C[m, n]``.

    Parameters
    ----------
    a : ndarray of float32 or float64, shape (M, K)
        Any strides.
    b : ndarray of the same dtype, shape (K, N)
        Any strides.
    out : ndarray of the same dtype, shape (M, N), optional
        Receives the result; any strides, and it may overlap `a` and `b`. By default a new array.
    accumulate : bool, default False
        Add to `out` instead of overwriting it.

    Returns
    -------
    ndarray, shape (M, N)
        `out`, or a new C-contiguous array.

    Raises
    ------
    TypeError
        If an operand is not an array of float32 or float64, or the dtypes differ.
    ValueError
        If the shapes do not fit, if `out` is read-only, or if `accumulate` comes without `out`.

    Examples
    --------
    >>> import numpy as np
    >>> matmul(np.eye(2) * 3, np.ones((2, 3)))
    array([[3., 3., 3.],
           [3., 3., 3.]])
    """
    # The common case in the fewest steps: anything that is not plainly valid goes to `_check`.
    if type(a) is not np.ndarray or type(b) is not np.ndarray or a.ndim != 2 or b.ndim != 2:
        _check(a, b)
        if are_of_device("matmul", a=a, b=b, out=out):
            _check_out(a, b, out, accumulate)
            return arrays.matmul(a, b, out, accumulate)  # type: ignore[no-any-return]
    (M, K), (rows, N) = a.shape, b.shape
    dtype = a.dtype
    if dtype not in _PRODUCTS or rows != K or b.dtype is not dtype:
        _check(a, b)
    if out is None:
        if accumulate:
            _check_out(a, b, out, accumulate)
        out = np.empty((M, N), dtype) if M * N < _SMALL else buffers.empty((M, N), dtype)
        shared = False
    else:
        _check_out(a, b, out, accumulate)
        shared = np.may_share_memory(out, a) or np.may_share_memory(out, b)
    if shared:
        target = np.array(out, order="C") if accumulate else buffers.empty((M, N), dtype)
        multiply_into(target, a, b, accumulate)
        out[...] = target
    else:
        multiply_into(out, a, b, accumulate)
    return out


def multiply_into(out: NDArray[Any], a: NDArray[Any], b: NDArray[Any], accumulate: bool = False) -> None:
    """Do as `matmul` does, but without checks, for a caller whose operands and `out` are known to match.

    Parameters
    ----------
    out : ndarray of float32 or float64, shape (M, N)
        Receives the result; any strides. It must share no memory with `a` and `b`.
    a, b : ndarray of the same dtype, shapes (M, K) and (K, N)
        Any strides.
    accumulate : bool, default False
        Add to `out` instead of overwriting it.

    Examples
    --------
    >>> import numpy as np
    >>> out = np.ones((2, 3))
    >>> multiply_into(out, np.eye(2) * 3, np.ones((2, 3)), accumulate=True)
    >>> out
    array([[4., 4., 4.],
           [4., 4., 4.]])
    """
    (M, K), N = a.shape, b.shape[1]
    product = _PRODUCTS[out.dtype]
    if out.strides[0] == out.itemsize != out.strides[1]:
        # Multiply the transposes, which gives the same bits: a * b and b * a are the same number.
        multiply_into(out.T, b.T, a.T, accumulate)
    elif K >= DEPTH_BLOCK and M and N and _better_transposed(a, M, N):
        target = np.array(out.T, order="C") if accumulate else buffers.empty((N, M), out.dtype)
        multiply_into(target, b.T, a.T, accumulate)
        out[...] = target.T
    elif out.strides[1] != out.itemsize:
        target = np.array(out, order="C") if accumulate else buffers.empty((M, N), out.dtype)
        product.compute(target, a, b, accumulate)
        out[...] = target
    else:
        product.compute(out, a, b, accumulate)


def _better_transposed(a: NDArray[Any], M: int, N: int) -> bool:
    """Return whether C^T = B^T A^T is faster: C's columns fill vectors better than its rows, and A packs as it is.

    An example is the gradient of an input weight with 65 inputs: C is (G*H, 65) and A is stored as (T*B, G*H).
    """
    lanes = _BYTES // a.itemsize
    filled, filled_transposed = N / (-N % lanes + N), M / (-M % lanes + M)
    return a.strides[0] == a.itemsize and filled_transposed > 1.2 * filled


def _check(a: Any, b: Any) -> None:
    """Raise an error unless two operands can be multiplied."""
    for name, operand in (("a", a), ("b", b)):
        if not is_array(operand) or operand.ndim != 2:
            shape = f"{operand.ndim}-D array" if is_array(operand) else type(operand).__name__
            raise ArgumentTypeError(f"matmul: {name} must be a 2-D ndarray, got a {shape}")
    if a.dtype not in _PRODUCTS or a.dtype != b.dtype:
        raise ArgumentTypeError(
            f"matmul: a and b must both be float32 or both float64, got {a.dtype} and {b.dtype}; convert with astype"
        )
    if a.shape[1] != b.shape[0]:
        raise ArgumentValueError(
            f"matmul: a and b must have shapes (M, K) and (K, N), got {a.shape} and {b.shape}: {a.shape[1]} "
            f"columns of a against {b.shape[0]} rows of b"
        )


def _check_out(a: Any, b: Any, out: Any, accumulate: bool) -> None:
    """Raise an error unless `out` can hold the product, or is None and need not."""
    if out is None:
        if accumulate:
            raise ArgumentValueError(
                "matmul: out must be the array to add to where accumulate=True, got None"
            )
        return
    if type(out) is not np.ndarray:
        if not is_array(out):
            raise ArgumentTypeError(f"matmul: out must be an ndarray, got {type(out).__name__}")
        check_one_device("matmul", a=a, out=out)
    shape = (a.shape[0], b.shape[1])
    if out.dtype != a.dtype:
        raise ArgumentTypeError(f"matmul: out must be {a.dtype}, as its operands, got {out.dtype}")
    if out.shape != shape:
        raise ArgumentValueError(f"matmul: out must have shape {shape}, got {out.shape}")
    if not is_writeable(out):
        raise ArgumentValueError("matmul: out must be writable, got a read-only array")
