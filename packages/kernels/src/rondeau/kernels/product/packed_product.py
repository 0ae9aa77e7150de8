"""The product with a packed operand: C[M, N] (+)= A[M, K] @ B[K, N], as loops over the tiles of the microkernel."""

from typing import Any, NamedTuple

from numba import types

from rondeau.kernels.numerics.elements import FORMATS, Element
from rondeau.kernels.product.matrix import Matrix, matrix_type, part
from rondeau.kernels.product.microkernel import advance, compute_tile, pointer_to
from rondeau.kernels.product.tiles import TILE
from rondeau.kernels.runtime.compiling import linked_njit
from rondeau.kernels.runtime.linking import compiled_once

__all__ = ["DEPTH_BLOCK", "Rows", "matrix_of_rows", "multiply_packed", "product_of_panels", "product_rows"]

_ROWS, _VECTORS, _BYTES = TILE.rows, TILE.vectors, TILE.vector_bytes

DEPTH_BLOCK = 512
"""Steps of k in one pass, so that a panel of float32 (128 KiB with 16 lanes) stays in the second-level cache."""


class Rows(NamedTuple):
    """Rows of a matrix inside a flat contiguous array: element (m, k) is ``flat[at + m * stride + k]``.

    Examples
    --------
    >>> import numpy as np
    >>> Rows(np.arange(6.0), at=3, stride=3).flat[3]
    np.float64(3.0)
    """

    flat: Any
    """A flat contiguous array of numbers of one of the `FORMATS`."""
    at: Any
    """The index of the first element."""
    stride: Any
    """Elements between rows."""


def _signature_of_product(element: Element) -> Any:
    pointer, matrix, size = types.CPointer(element.storage), matrix_type(element), types.intp
    return types.none(matrix, size, size, pointer, size, size, matrix_type(element.sums), types.boolean)


@compiled_once(_signature_of_product, FORMATS)
def multiply_packed(a: Any, M: Any, K: Any, packed: Any, N: Any, lanes: Any, c: Any, accumulate: Any) -> Any:
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
            left, result = part(a, row, 0), part(c, row, first)
            compute_tile(
                rows, vectors, left.at, left.row, left.column, panel, vectors * lanes,
                result.at, result.row, K, valid, accumulate,
            )  # fmt: skip
            row += rows


@linked_njit
def matrix_of_rows(rows: Any) -> Any:
    """Return rows as a matrix; the caller keeps their array alive."""
    return Matrix(pointer_to(rows.flat, rows.at), rows.stride, 1)


@linked_njit
def product_of_panels(
    a: Any, M: Any, K: Any, packed: Any, N: Any, lanes: Any, c: Any, accumulate: Any
) -> Any:
    """Compute what `product_rows` does for matrices `a` and `c`, with the panels of B at pointer `packed`.

    Loops over many products call it with pointers: Numba counts references to every array that such a loop touches.
    """
    width = _VECTORS * lanes
    for first in range(0, N, width):
        columns = min(width, N - first)
        whole = (columns + lanes - 1) // lanes * lanes
        for k in range(0, max(K, 1), DEPTH_BLOCK):
            multiply_packed(
                part(a, 0, k), M, min(DEPTH_BLOCK, K - k), advance(packed, first * K + k * whole), columns, lanes,
                part(c, 0, first), accumulate or k > 0,
            )  # fmt: skip


@linked_njit
def product_rows(a: Any, M: Any, K: Any, packed: Any, packed_at: Any, N: Any, c: Any, accumulate: Any) -> Any:
    """Compute C[M, N] (+)= A[M, K] @ B[K, N] with B packed; serial and free of allocation, for use inside kernels.

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
    >>> from rondeau.kernels.product import pack, packed_size
    >>> a, b, c = np.arange(6.0).reshape(2, 3), np.arange(6.0).reshape(3, 2), np.empty((2, 2))
    >>> packed = np.empty(packed_size(3, 2))
    >>> pack(b.ravel(), 0, 2, 1, 3, 2, packed, 0)
    >>> product_rows(Rows(a.ravel(), 0, 3), 2, 3, packed, 0, 2, Rows(c.ravel(), 0, 2), False)
    >>> np.array_equal(c, a @ b)
    True
    """
    lanes = _BYTES // packed.itemsize
    panels = pointer_to(packed, packed_at)
    product_of_panels(matrix_of_rows(a), M, K, panels, N, lanes, matrix_of_rows(c), accumulate)
