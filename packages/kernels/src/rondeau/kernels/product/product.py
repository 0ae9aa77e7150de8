"""The matrix product of the library: C[M, N] (+)= A[M, K] @ B[K, N].

**The same bits, always.** Each element of C is one chain of fused multiply-adds over ascending k, which starts from 0
or, when accumulating, from C. No tile, blocking, M, N or number of threads changes that chain: threads divide the rows
or the columns among themselves, never K.

Notation
--------
M, N, K : the rows of A and C, the columns of B and C, and the dimension that is summed over.
L : lanes, the elements of a vector register.
W : ``TILE.vectors * L``, the columns of a panel.
"""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from numba import types
from numpy.typing import NDArray

from rondeau.kernels.checks import are_of_device, check_one_device
from rondeau.kernels.errors import ArgumentTypeError, ArgumentValueError
from rondeau.kernels.numerics.elements import ELEMENTS, PAIRS, Element
from rondeau.kernels.product import arrays, pairs
from rondeau.kernels.product.bfloat16 import rounds_operands
from rondeau.kernels.product.blocked import block_size, is_panel, multiply_blocks
from rondeau.kernels.product.matrix import Matrix, matrix_of, part, whole_elements
from rondeau.kernels.product.microkernel import pointer_to
from rondeau.kernels.product.operands import by_operand
from rondeau.kernels.product.packed_product import DEPTH_BLOCK
from rondeau.kernels.product.tiles import TILE
from rondeau.kernels.runtime import buffers, threads
from rondeau.kernels.runtime.compiling import cached_njit, linked_njit
from rondeau.kernels.runtime.devices import is_array, is_writeable
from rondeau.kernels.runtime.precision import CHOSEN
from rondeau.kernels.runtime.shares import run_shares

__all__ = ["affine", "matmul", "multiply_into", "multiply_serially"]

_ROWS, _VECTORS, _BYTES = TILE.rows, TILE.vectors, TILE.vector_bytes
_SMALL = 2**13
"""Elements below which the buffer pool costs more than it saves: malloc reuses such small blocks itself."""


_size_of_block = by_operand(
    0,
    lambda workspace, M, N, K: block_size(M, N, K),
    lambda workspace, M, N, K: pairs.block_size(M, N, K),
)
"""The room that a share needs in its workspace, which decides whether operands are rounded; for compiled code."""

_multiply = by_operand(
    0,
    lambda workspace, a, b, c, M, N, K, lanes, accumulate: multiply_blocks(
        a, b, c, M, N, K, lanes, workspace, accumulate
    ),
    lambda workspace, a, b, c, M, N, K, lanes, accumulate: pairs.multiply_pairs(
        a, b, c, M, N, K, lanes, workspace, accumulate
    ),
)
"""Compute C[M, N] (+)= A[M, K] @ B[K, N] for matrices, given a pointer to the workspace; for compiled code."""


@linked_njit
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
        pointer_to(workspace, workspace.size // shares * share),
        part(matrix_of(a), row, 0), part(matrix_of(b), 0, column), part(matrix_of(c), row, column),
        last_row - row, last_column - column, a.shape[1], lanes, accumulate,
    )  # fmt: skip


@linked_njit
def multiply_serially(a: Any, b: Any, c: Any, accumulate: Any, operand: Any) -> Any:
    """Compute C (+)= A @ B for arrays whose strides are whole elements, C's rows contiguous; for use inside kernels.

    ``operand`` is an array of the dtype of packed operands: as theirs, or of words if they are to be rounded.
    """
    M, N = c.shape
    workspace = np.empty(_size_of_block(operand, M, N, a.shape[1]), operand.dtype)
    lanes = _BYTES // a.itemsize
    _multiply(
        pointer_to(workspace, 0), matrix_of(a), matrix_of(b), matrix_of(c), M, N, a.shape[1], lanes, accumulate
    )  # fmt: skip


@cached_njit
def _multiply_shares(a: Any, b: Any, c: Any, workspace: Any, accumulate: Any, shares: Any) -> Any:
    """Compute C (+)= A @ B, or do nothing and return False if a stride is not a whole number of elements.

    `workspace` has room for the block of each share; with one share it may be empty.
    """
    if not (whole_elements(a) and whole_elements(b) and whole_elements(c)):
        return False
    block = workspace
    if workspace.size == 0:
        block = np.empty(_size_of_block(workspace, c.shape[0], c.shape[1], a.shape[1]), workspace.dtype)
    run_shares(_multiply_share, (a, b, c, block, accumulate), shares)
    return True


class _Product:
    """The product of numbers of one format, with operands of another or the same, compiled or loaded on first use."""

    def __init__(
        self, number: Element, operand: Element, size_of_block: Callable[[int, int, int], int]
    ) -> None:
        self._number, self._operand, self._size_of_block = number, operand, size_of_block
        self._nothing = np.empty(0, operand.dtype)

    @functools.cached_property
    def entry(self) -> Callable[..., bool]:
        """The entry point of `_multiply_shares`, for its one signature."""
        matrix = types.Array(self._number.storage, 2, "A")
        flat = types.Array(self._operand.storage, 1, "C")
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
            workspace = self._nothing
            if N * K >= _SMALL:
                workspace = buffers.empty(self._room(M, N, K, b), self._operand.dtype)
            done = self.entry(a, b, c, workspace, accumulate, 1)
        else:
            workspace = buffers.empty(shares * self._room(M, N, K, b), self._operand.dtype)
            done = threads.launch(self.entry, a, b, c, workspace, accumulate, shares)
        if not done:  # fields of structured arrays, whose strides need not be whole elements
            whole = np.array(c, order="C")
            self.compute(whole, np.array(a, order="C"), np.array(b, order="C"), accumulate)
            c[...] = whole

    def _room(self, M: int, N: int, K: int, b: NDArray[Any]) -> int:
        """Return the size of a share's workspace: as good as none for a B that `multiply_blocks` reads where it is."""
        if self._operand is self._number:
            row, column = (stride // b.itemsize for stride in b.strides)
            if is_panel(Matrix(None, row, column), N, self._number.lanes(_BYTES)):
                return 1
        return self._size_of_block(M, N, K)


_PRODUCTS = {dtype: _Product(element, element, block_size) for dtype, element in ELEMENTS.items()}
_OF_SINGLE = _PRODUCTS[PAIRS.sums.dtype]
_OF_PAIRS = _Product(PAIRS.sums, PAIRS, pairs.block_size)


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


def affine(x: NDArray[Any], weight: NDArray[Any], bias: NDArray[Any]) -> NDArray[Any]:
    """Return X W^T + b, without checks: the sum of each element starts from its bias.

    Parameters
    ----------
    x : ndarray of float32 or float64, shape (M, K)
        Any strides.
    weight, bias : ndarray of the same dtype, shapes (N, K) and (N,)
        Any strides.

    Returns
    -------
    ndarray, shape (M, N)

    Examples
    --------
    >>> import numpy as np
    >>> affine(np.ones((1, 2)), np.array([[1.0, 2.0]]), np.array([0.5]))
    array([[3.5]])
    """
    y = buffers.empty_like(x, (x.shape[0], weight.shape[0]))
    y[...] = bias
    if type(y) is np.ndarray:
        multiply_into(y, x, weight.T, accumulate=True)
        return y
    return arrays.matmul(x, weight.T, y, True)  # type: ignore[no-any-return]


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
    if CHOSEN and product is _OF_SINGLE and rounds_operands():
        product = _OF_PAIRS
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
