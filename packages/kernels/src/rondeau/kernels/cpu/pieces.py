"""Pieces: matrices packed once so that any number of threads can share their columns.

Columns are divided into *pieces*, each as wide as one panel of the product. A matrix whose columns are `parts` runs of
`width`, like the slots of S gates, is packed piece by piece, and within a piece part by part. So one packing serves any
number of threads: each takes a run of pieces, and reads their memory in order. A row of a panel is a row of the matrix,
so the row of an id can be found in it too.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from numba.extending import register_jitable

from rondeau.kernels.product import Rows, pack, packed_size, product_rows
from rondeau.kernels.product.tiles import TILE
from rondeau.kernels.runtime.compiling import kernel_njit

__all__ = ["Pieces", "columns_of_piece", "gather_pieces", "multiply_pieces", "pack_pieces"]

_VECTORS, _BYTES = TILE.vectors, TILE.vector_bytes


class Pieces(NamedTuple):
    """A packed matrix (K, parts * width)."""

    packed: Any
    """The flat array that contains it."""
    at: Any
    """The index of its first element."""
    K: Any
    parts: Any
    width: Any


@register_jitable
def columns_of_piece(itemsize: int) -> int:
    """Return the number of columns of a piece for numbers of `itemsize` bytes; for Python and for kernels."""
    columns: int = _VECTORS * (_BYTES // itemsize)
    return columns


@kernel_njit
def pack_pieces(weight, parts, packed, packed_at):  # type: ignore[no-untyped-def]
    """Pack the transpose of ``weight`` (parts * width, K)."""
    K, width, piece = weight.shape[1], weight.shape[0] // parts, columns_of_piece(weight.itemsize)
    flat = weight.reshape(-1)
    for low in range(0, width, piece):
        columns = min(piece, width - low)
        for part in range(parts):
            at = packed_at + packed_size(K, parts * low) + part * packed_size(K, columns)
            pack(flat, (part * width + low) * K, 1, K, K, columns, packed, at)


@kernel_njit
def multiply_pieces(a, count, matrix, first, last, out, out_at, accumulate):  # type: ignore[no-untyped-def]
    """Fill, or add to, the columns of pieces ``first`` to ``last - 1`` of ``out`` (count, parts * width).

    ``a`` is the left operand, `Rows` (count, K); ``out`` is flat, and the result starts at ``out_at``.
    """
    K, parts, width = matrix.K, matrix.parts, matrix.width
    piece = columns_of_piece(out.itemsize)
    for low in range(first * piece, min(width, last * piece), piece):
        columns = min(piece, width - low)
        for part in range(parts):
            at = matrix.at + packed_size(K, parts * low) + part * packed_size(K, columns)
            result = Rows(out, out_at + part * width + low, parts * width)
            product_rows(a, count, K, matrix.packed, at, columns, result, accumulate)


@kernel_njit
def gather_pieces(ids, matrix, first, last, out):  # type: ignore[no-untyped-def]
    """Copy the rows at ``ids`` of the packed matrix: the products of one-hot rows with it."""
    K, parts, width, packed = matrix.K, matrix.parts, matrix.width, matrix.packed
    lanes, piece = _BYTES // packed.itemsize, columns_of_piece(packed.itemsize)
    for low in range(first * piece, min(width, last * piece), piece):
        columns = min(piece, width - low)
        whole = (columns + lanes - 1) // lanes * lanes
        for part in range(parts):
            at = matrix.at + packed_size(K, parts * low) + part * packed_size(K, columns)
            for row in range(ids.size):
                source, target = at + ids[row] * whole, (row * parts + part) * width + low
                for j in range(columns):
                    out[target + j] = packed[source + j]
