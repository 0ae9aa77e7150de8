"""Products with weights in int8: C[M, N] (+)= A[M, K] @ B[K, N], A and C float32.

Each column of B is rounded to int8 with a scale of its own, and each row of A, when it is used, to int16 with a scale
of its own (`rondeau.kernels.numerics.rounding`). The sums of their products are integers, so no order of adding them
changes anything; they are exact, for a pass of `LARGEST_PASS` numbers fits into int32. Then, in float32,

    C[m, n] (+)= ((scale_A[m] * sum) * scale_B[n])

pass by pass. So a weight is off by half a scale at most, and an element of A by 1/65534 of its row's largest: a row
whose elements are all of one size is off as much as 256 of them times less by its own rounding than by that of the
weights. Rounding A makes the product an integer one, which reads a word of two weights with two instructions, where
dequantising them takes six.

A packed operand is that of `packing`, with words of two numbers (`INT8`) that are neighbours along k, an odd K padded
with a zero; each panel begins with its columns' scales, as long as two rows. The left operand is a flat array of int32:
room for the sums of a tile, then row by row the scale and the words of two int16.
"""

from typing import Any

import numpy as np
from numba import types

from rondeau.kernels.numerics.elements import ELEMENTS, INT8, INT32, Element
from rondeau.kernels.numerics.rounding import (
    int8_scale,
    int16_scale,
    larger_magnitude,
    round_to_int8,
    round_to_int16,
)
from rondeau.kernels.product.microkernel import advance, compute_tile, pointer_as, pointer_to
from rondeau.kernels.product.packed_product import Rows
from rondeau.kernels.product.pairs import words_of
from rondeau.kernels.product.tiles import TILE
from rondeau.kernels.runtime.compiling import linked_njit, shared_njit
from rondeau.kernels.runtime.linking import compiled_once

__all__ = [
    "LARGEST_PASS",
    "as_left_operand",
    "copy_row_of_int8",
    "depth_of_int8",
    "pack_panels_of_int8",
    "product_of_panels_of_int8",
    "size_of_room",
]

_SINGLE = ELEMENTS[np.dtype(np.float32)]
_LANES = _SINGLE.lanes(TILE.vector_bytes)
_WIDTH, _ROWS = TILE.vectors * _LANES, TILE.rows_of_int8

LARGEST_PASS = 512
"""Numbers along k whose products are added as integers: 512 * 32767 * 127 is the last multiple of 512 below 2**31."""

_SCALE_ROWS = 2
"""Rows of a panel that its scales take: a float32 is two words."""

_SUMS = _ROWS * _WIDTH
"""Where the rows of a left operand begin."""


@shared_njit
def depth_of_int8(K: int) -> int:
    """Return the number of rows of a packed (K, N) operand; for Python and for kernels.

    Examples
    --------
    >>> depth_of_int8(5)
    5
    """
    depth: int = words_of(K) + _SCALE_ROWS
    return depth


@shared_njit
def size_of_room(M: int, K: int) -> int:
    """Return the number of int32 that the left operand of M rows of K numbers needs; for Python and for kernels."""
    size: int = _SUMS + M * (1 + words_of(K))
    return size


def _signature_of_rounding(element: Element) -> Any:
    words, numbers = types.CPointer(INT32.storage), types.CPointer(INT8.storage)
    return types.none(types.CPointer(element.storage), types.intp, types.intp, types.intp, words, numbers)


@compiled_once(_signature_of_rounding, (_SINGLE,))
def _round_rows(source, stride, count, K, words, numbers):  # type: ignore[no-untyped-def]
    """Round rows to ``words``, each behind its scale; ``numbers`` points to the same memory."""
    scales, size = pointer_as(words, source), 1 + words_of(K)
    for row in range(count):
        x, target = advance(source, row * stride), advance(numbers, 2 * (row * size + 1))
        largest = np.int32(0)
        for k in range(K):
            largest = larger_magnitude(largest, x[k])
        words[row * size] = largest
        scale = int16_scale(scales[row * size])
        scales[row * size] = scale
        for k in range(K):
            target[k] = round_to_int16(x[k], scale)
        if K % 2:
            target[K] = 0


@linked_njit
def as_left_operand(rows, count, K, room, is_new):  # type: ignore[no-untyped-def]
    """Return ``count`` rows of K numbers, rounded into ``room`` unless they already have been."""
    if is_new:
        _round_rows(
            pointer_to(rows.flat, rows.at), rows.stride, count, K,
            pointer_to(room, _SUMS), pointer_to(room.view(np.int16), 2 * _SUMS),
        )  # fmt: skip
    return Rows(room, _SUMS, 1 + words_of(K))


@linked_njit
def pack_panels_of_int8(b, b_at, k_stride, n_stride, K, N, packed, packed_at, first, last):  # type: ignore[no-untyped-def]
    """Round and pack panels ``first`` to ``last - 1`` of a (K, N) operand, as `pack_panels` does without rounding."""
    depth = depth_of_int8(K)
    numbers, scales, largest = packed.view(np.int8), packed.view(np.float32), packed.view(np.int32)
    for low in range(first * _WIDTH, min(N, last * _WIDTH), _WIDTH):
        columns = min(_WIDTH, N - low)
        whole = (columns + _LANES - 1) // _LANES * _LANES
        panel = packed_at + low * depth
        packed[panel : panel + depth * whole] = 0
        for j in range(columns):
            column, of_column = b_at + (low + j) * n_stride, panel // 2 + j
            for k in range(K):
                largest[of_column] = larger_magnitude(largest[of_column], b[column + k * k_stride])
            scale = int8_scale(scales[of_column])
            scales[of_column] = scale
            for k in range(K):
                word = panel + (_SCALE_ROWS + k // 2) * whole + j
                numbers[2 * word + k % 2] = round_to_int8(b[column + k * k_stride], scale)


def _signature_of_a_panel(element: Element) -> Any:
    words, integers, size = types.CPointer(INT8.storage), types.CPointer(INT32.storage), types.intp
    numbers = types.CPointer(element.storage)
    return types.none(
        integers, size, size, size, words, size, integers, numbers, size, types.boolean
    )  # fmt: skip


@compiled_once(_signature_of_a_panel, (_SINGLE,))
def _multiply_panel(a, a_stride, M, words, panel, columns, sums, c, c_stride, accumulate):  # type: ignore[no-untyped-def]
    """Multiply rows at pointer ``a``, which begin with their scales, by one panel; ``sums`` has room for a tile."""
    vectors = (columns + _LANES - 1) // _LANES
    whole, scales, scales_of_rows = vectors * _LANES, pointer_as(panel, c), pointer_as(a, c)
    for row in range(0, M, _ROWS):
        rows = min(_ROWS, M - row)
        for word in range(0, max(words, 1), LARGEST_PASS // 2):
            compute_tile(
                rows, vectors, advance(a, row * a_stride + 1 + word), a_stride, 1,
                advance(panel, (_SCALE_ROWS + word) * whole), whole, sums, whole, min(LARGEST_PASS // 2, words - word),
                _LANES, False,
            )  # fmt: skip
            for m in range(row, row + rows):
                scale, results = scales_of_rows[m * a_stride], advance(c, m * c_stride)
                of_row = advance(sums, (m - row) * whole)
                if accumulate or word > 0:
                    for j in range(columns):
                        results[j] += scale * np.float32(of_row[j]) * scales[j]
                else:
                    for j in range(columns):
                        results[j] = scale * np.float32(of_row[j]) * scales[j]


@linked_njit
def product_of_panels_of_int8(a, M, depth, panels, N, c, accumulate):  # type: ignore[no-untyped-def]
    """Compute C[M, N] (+)= A[M, K] @ B[K, N], as `product_of_panels` does.

    Parameters
    ----------
    a : Matrix of int32
        The rows that `as_left_operand` gives, with the room before them.
    M, depth : int
        The rows of A, and `depth_of_int8` of K.
    panels : pointer to int16
        The packed operand.
    N : int
    c : Matrix of float32
    accumulate : bool
    """
    for low in range(0, N, _WIDTH):
        _multiply_panel(
            a.at, a.row, M, depth - _SCALE_ROWS, advance(panels, low * depth), min(_WIDTH, N - low),
            advance(a.at, -_SUMS), advance(c.at, low), c.row, accumulate,
        )  # fmt: skip


@linked_njit
def copy_row_of_int8(packed, panel, columns, k, out, out_at):  # type: ignore[no-untyped-def]
    """Copy row k of the panel at ``panel``, dequantised."""
    whole, words = (columns + _LANES - 1) // _LANES * _LANES, pointer_to(packed, panel)
    scales, row = pointer_as(words, pointer_to(out, 0)), advance(words, (_SCALE_ROWS + k // 2) * whole)
    if k % 2:
        for j in range(columns):
            out[out_at + j] = scales[j] * np.float32(row[j] >> 8)
    else:
        for j in range(columns):
            out[out_at + j] = scales[j] * np.float32(np.int8(row[j]))
