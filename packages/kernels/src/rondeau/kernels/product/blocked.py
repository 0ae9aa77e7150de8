"""The product of two matrices that packs the right one block by block; serial."""

from typing import Any

from numba import types

from rondeau.kernels.numerics.elements import Element
from rondeau.kernels.product.matrix import Matrix, matrix_type, part
from rondeau.kernels.product.microkernel import advance
from rondeau.kernels.product.packed_product import DEPTH_BLOCK, multiply_packed
from rondeau.kernels.product.packing import pack_matrix, pack_panel, packed_size
from rondeau.kernels.product.tiles import TILE
from rondeau.kernels.runtime.compiling import shared_njit
from rondeau.kernels.runtime.linking import compiled_once

__all__ = ["ROW_BLOCK", "block_size", "multiply_blocks"]

COLUMN_BLOCK = 256
"""Columns of B that are packed at a time; a multiple of every panel's width."""
ROW_BLOCK = 240
"""Rows of A that are multiplied with a packed block of B at a time; a multiple of every tile's rows."""
PACK_A_FROM = 128 if TILE.vector_bytes < 64 else 2**62
"""The number of columns of C from which an A with strided k is packed first. Narrow panels read A more often: with AVX2
code, packing raised 0.72 of the peak to 0.85; with AVX-512, whose panels are 64 columns wide, it costs 3 %."""
STRIDED_DEPTH = 128
"""Steps of k in one pass where an A with strided k is read as it is, as for the gradients of weights: that part of A
then stays in the first-level cache. Shares of the peak in float32, for A stored as (K, M):

=================================== ================== =========
M, K, N                             512 steps          128 steps
=================================== ================== =========
200, 10,000, 32, B a panel (Zen 4)  0.77               0.90
256, 1120, 28 (Zen 5)               0.62 - 0.66        0.70
256, 1120, 256                      0.91               0.92
512, 2500, 512                      0.81 - 0.85        0.87
2048, 2500, 512                     0.81               0.84
=================================== ================== =========
"""


@shared_njit
def is_panel(b: Any, N: int, lanes: int) -> bool:
    """Return whether a matrix with N columns is stored as packing would store it: a panel of whole vectors."""
    return b.column == 1 and b.row == N and TILE.vectors * lanes >= N and N % lanes == 0


def _signature(element: Element) -> Any:
    pointer, matrix, size = types.CPointer(element.storage), matrix_type(element), types.intp
    return types.none(matrix, matrix, matrix, size, size, size, size, pointer, types.boolean)


@compiled_once(_signature)
def multiply_blocks(
    a: Any, b: Any, c: Any, M: Any, N: Any, K: Any, lanes: Any, workspace: Any, accumulate: Any
) -> Any:
    """Compute C[M, N] (+)= A[M, K] @ B[K, N] for matrices, packing B block by block at pointer `workspace`."""
    most = DEPTH_BLOCK if a.column == 1 or N >= PACK_A_FROM else STRIDED_DEPTH
    if is_panel(b, N, lanes):
        for k in range(0, max(K, 1), most):
            depth = min(most, K - k)
            multiply_packed(part(a, 0, k), M, depth, part(b, k, 0).at, N, lanes, c, accumulate or k > 0)
        return
    for k in range(0, max(K, 1), most):
        depth = min(most, K - k)
        for n in range(0, N, COLUMN_BLOCK):
            columns = min(COLUMN_BLOCK, N - n)
            pack_matrix(part(b, k, n), depth, columns, lanes, workspace)
            for m in range(0, M, ROW_BLOCK):
                rows = min(ROW_BLOCK, M - m)
                left = part(a, m, k)
                if a.column != 1 and N >= PACK_A_FROM:
                    packed_rows = advance(workspace, packed_size(depth, COLUMN_BLOCK))
                    pack_panel(left, rows, depth, lanes, depth, packed_rows)
                    left = Matrix(packed_rows, depth, 1)
                multiply_packed(
                    left, rows, depth, workspace, columns, lanes, part(c, m, n), accumulate or k > 0
                )


@shared_njit
def block_size(M: int, N: int, K: int) -> int:
    """Return the number of elements that `multiply_blocks` needs; for Python and for kernels."""
    depth = min(K, DEPTH_BLOCK)
    columns, rows = (COLUMN_BLOCK, ROW_BLOCK) if N >= PACK_A_FROM else (min(N, COLUMN_BLOCK), 0)
    size: int = packed_size(depth, columns) + depth * rows
    return size
