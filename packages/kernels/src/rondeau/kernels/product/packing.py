"""Packing of the right operand of a product, B (K, N), into the order in which the microkernel reads it.

Panels of W columns, one after the other; within a panel, rows of W values in order of k:

    packed[p * K * W + k * W + j] = B[k, p * W + j]

The last panel is rounded up to whole vectors and padded with zeros. So `packed_size(K, N)` elements hold any operand of
float32 or float64, and one k of a panel takes `vectors` whole loads.

L and W are those of `rondeau.kernels.product.product`.
"""

from typing import Any

from numba import types

from rondeau.kernels.numerics.elements import ELEMENTS, FORMATS, Element
from rondeau.kernels.product.matrix import Matrix, matrix_type, part
from rondeau.kernels.product.microkernel import advance, pointer_to
from rondeau.kernels.product.tiles import TILE
from rondeau.kernels.product.transpose import transpose_square
from rondeau.kernels.runtime.compiling import linked_njit, shared_njit
from rondeau.kernels.runtime.linking import compiled_once

__all__ = ["num_panels", "pack", "pack_matrix", "pack_panel", "pack_panels", "packed_size"]

_VECTORS, _BYTES = TILE.vectors, TILE.vector_bytes
_WIDEST = max(element.lanes(_BYTES) for element in ELEMENTS.values())


@shared_njit
def packed_size(K: int, N: int) -> int:
    """Return the number of elements of a packed (K, N) operand; for Python and for kernels.

    Examples
    --------
    >>> packed_size(10, 64)
    640
    """
    return K * ((N + _WIDEST - 1) // _WIDEST * _WIDEST)


@linked_njit
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
    return types.none(matrix_type(element), size, size, size, size, pointer)


@compiled_once(_signature_of_a_panel, FORMATS)
def pack_panel(b: Any, K: Any, columns: Any, lanes: Any, width: Any, packed: Any) -> Any:
    """Pack one panel of `columns` columns of the matrix `b` into rows of `width` values at pointer `packed`."""
    whole_columns = columns - columns % lanes if b.row == 1 else 0
    whole_depth = K - K % lanes
    for j in range(0, whole_columns, lanes):
        for k in range(0, whole_depth, lanes):
            transpose_square(part(b, k, j).at, b.column, advance(packed, k * width + j), width)
    for k in range(K):
        row, target = part(b, k, 0).at, advance(packed, k * width)
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
    return types.none(matrix_type(element), types.intp, types.intp, types.intp, pointer)


@compiled_once(_signature_of_packing, FORMATS)
def pack_matrix(b: Any, K: Any, N: Any, lanes: Any, packed: Any) -> Any:
    """Pack the (K, N) matrix `b` to pointer `packed`, panel by panel."""
    width = _VECTORS * lanes
    for first in range(0, N, width):
        columns = min(width, N - first)
        whole = (columns + lanes - 1) // lanes * lanes
        pack_panel(part(b, 0, first), K, columns, lanes, whole, advance(packed, first * K))


@linked_njit
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
    source = part(Matrix(pointer_to(b, b_at), k_stride, n_stride), 0, start)
    pack_matrix(source, K, stop - start, lanes, pointer_to(packed, packed_at + start * K))


@linked_njit
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
    source = Matrix(pointer_to(b, b_at), k_stride, n_stride)
    pack_matrix(source, K, N, _BYTES // b.itemsize, pointer_to(packed, packed_at))
