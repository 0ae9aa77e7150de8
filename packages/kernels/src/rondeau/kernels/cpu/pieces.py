"""Pieces: matrices packed once so that any number of threads can share their columns.

Columns are divided into *pieces*, each as wide as one panel of the product. A matrix whose columns are `parts` runs of
`width`, like the slots of S gates, is packed piece by piece, and within a piece part by part. So one packing serves any
number of threads: each takes a run of pieces, and reads their memory in order. A row of a panel is a row of the matrix,
so the row of an id can be found in it too.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from rondeau.kernels.product import num_panels, packed_size
from rondeau.kernels.product.matrix import Matrix, part
from rondeau.kernels.product.microkernel import advance, pointer_to
from rondeau.kernels.product.operands import (
    copy_packed_row,
    depth_of,
    left_operand,
    multiply_panels,
    pack_panels_of,
)
from rondeau.kernels.product.packed_product import matrix_of_rows
from rondeau.kernels.product.tiles import TILE
from rondeau.kernels.runtime.compiling import linked_njit, shared_njit

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


@shared_njit
def columns_of_piece(itemsize: int) -> int:
    """Return the number of columns of a piece for numbers of `itemsize` bytes; for Python and for kernels."""
    columns: int = _VECTORS * (_BYTES // itemsize)
    return columns


@linked_njit
def pack_pieces(weight, parts, packed, packed_at):  # type: ignore[no-untyped-def]
    """Pack the transpose of ``weight`` (parts * width, K)."""
    K, width, piece = weight.shape[1], weight.shape[0] // parts, columns_of_piece(weight.itemsize)
    depth, flat = depth_of(packed, K), weight.reshape(-1)
    for low in range(0, width, piece):
        columns = min(piece, width - low)
        for place in range(parts):
            at = packed_at + packed_size(depth, parts * low) + place * packed_size(depth, columns)
            pack_panels_of(
                flat, (place * width + low) * K, 1, K, K, columns, packed, at, 0, num_panels(flat, columns)
            )


@linked_njit
def multiply_pieces(a, count, matrix, first, last, out, out_at, accumulate, room):  # type: ignore[no-untyped-def]
    """Fill, or add to, the columns of pieces ``first`` to ``last - 1`` of ``out`` (count, parts * width).

    ``a`` is the left operand, `Rows` (count, K); ``out`` is flat, and the result starts at ``out_at``; ``room`` is the
    memory that `left_operand` needs.
    """
    parts, width, depth = matrix.parts, matrix.width, depth_of(matrix.packed, matrix.K)
    piece, lanes = columns_of_piece(out.itemsize), _BYTES // out.itemsize
    left, panels = (
        matrix_of_rows(left_operand(a, count, matrix.K, room, True)),
        pointer_to(matrix.packed, matrix.at),
    )
    results = Matrix(pointer_to(out, out_at), parts * width, 1)
    for low in range(first * piece, min(width, last * piece), piece):
        columns = min(piece, width - low)
        for place in range(parts):
            panel = advance(panels, packed_size(depth, parts * low) + place * packed_size(depth, columns))
            result = part(results, 0, place * width + low)
            multiply_panels(left, count, depth, panel, columns, lanes, result, accumulate)


@linked_njit
def gather_pieces(ids, matrix, first, last, out):  # type: ignore[no-untyped-def]
    """Copy the rows at ``ids`` of the packed matrix to flat ``out``: the products of one-hot rows with it."""
    parts, width, packed = matrix.parts, matrix.width, matrix.packed
    depth, piece = depth_of(packed, matrix.K), columns_of_piece(out.itemsize)
    for low in range(first * piece, min(width, last * piece), piece):
        columns = min(piece, width - low)
        for place in range(parts):
            at = matrix.at + packed_size(depth, parts * low) + place * packed_size(depth, columns)
            for row in range(ids.size):
                copy_packed_row(packed, at, columns, ids[row], out, (row * parts + place) * width + low)
