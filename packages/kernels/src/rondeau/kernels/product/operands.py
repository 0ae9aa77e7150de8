"""Operands for the products of kernels: numbers as they are, or rounded to pairs of bfloat16, or weights to int8.

Each function here is for compiled code. It compiles to one of two or three, by the dtype of the memory that receives an
operand, or has received one.

depth_of(packed, K)
    The depth of a product with packed weights whose sums have K terms.
room_for_operand(packed, count, K)
    The memory that `left_operand` needs for ``count`` rows of K numbers.
left_operand(rows, count, K, room, is_new)
    Rows of K numbers as the left operand of a product. They are rounded unless they already have been, which is so if
    they are not new.
pack_panels_of(b, b_at, k_stride, n_stride, K, N, packed, packed_at, first, last)
    Pack panels ``first`` to ``last - 1`` of a (K, N) operand; see `pack_panels`.
panel_of(numbers, at, K, columns, width, room)
    A panel of K rows of ``width`` numbers, of which some columns are valid, as a packed operand: an array and an index.
multiply_panels(a, M, K, panels, N, lanes, c, accumulate)
    The product of a left operand and of panels at a pointer; see `product_of_panels`.
copy_packed_row(packed, panel, columns, k, out, out_at)
    Copy row k of the columns that are packed as one panel, which begins at index ``panel``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba.extending import overload

from rondeau.kernels.numerics.elements import INT8, INT32, PAIRS
from rondeau.kernels.product import int8
from rondeau.kernels.product.packed_product import Rows, product_of_panels
from rondeau.kernels.product.packing import pack_panels
from rondeau.kernels.product.pairs import pack_panels_of_pairs, round_rows, words_of
from rondeau.kernels.product.tiles import TILE
from rondeau.kernels.runtime.compiling import LINKED

__all__ = [
    "by_operand",
    "copy_packed_row",
    "depth_of",
    "left_operand",
    "multiply_panels",
    "pack_panels_of",
    "panel_of",
    "room_for_operand",
]

_BYTES = TILE.vector_bytes


def by_operand(
    memory: int,
    of_numbers: Callable[..., Any],
    of_pairs: Callable[..., Any],
    of_int8: Callable[..., Any] | None = None,
) -> Any:
    """Return a function that compiles to one of several with the same parameters.

    Parameters
    ----------
    memory : int
        Which argument has the dtype that decides: an array, or a pointer.
    of_numbers, of_pairs, of_int8 : function
        Not compiled yet. Weights in int8 need one where they are used.
    """
    choices = {PAIRS.storage: of_pairs, INT8.storage: of_int8, INT32.storage: of_int8}

    def stub(*arguments: Any) -> Any:
        raise NotImplementedError("for compiled code only")

    @overload(stub, strict=False, jit_options={"forceinline": True, "error_model": "numpy", **LINKED})
    def choose(*arguments: Any) -> Any:
        return choices.get(arguments[memory].dtype, of_numbers)

    return stub


def _round_if_new(rows, count, K, room, is_new):  # type: ignore[no-untyped-def]
    if is_new:
        round_rows(rows, count, K, room)
    return Rows(room, 0, words_of(K))


def _packed_panel(numbers, at, K, columns, width, room):  # type: ignore[no-untyped-def]
    pack_panels_of_pairs(numbers, at, width, 1, K, columns, room, 0, 0, 1)
    return room, 0


depth_of = by_operand(
    0, lambda packed, K: K, lambda packed, K: words_of(K), lambda packed, K: int8.depth_of_int8(K)
)
room_for_operand = by_operand(
    0,
    lambda packed, count, K: packed[:0],
    lambda packed, count, K: np.empty(count * words_of(K), packed.dtype),
)
left_operand = by_operand(
    3,
    lambda rows, count, K, room, is_new: rows,
    _round_if_new,
    lambda rows, count, K, room, is_new: int8.as_left_operand(rows, count, K, room, is_new),
)
pack_panels_of = by_operand(
    6,
    lambda b, b_at, k_stride, n_stride, K, N, packed, packed_at, first, last: pack_panels(
        b, b_at, k_stride, n_stride, K, N, packed, packed_at, first, last
    ),
    lambda b, b_at, k_stride, n_stride, K, N, packed, packed_at, first, last: pack_panels_of_pairs(
        b, b_at, k_stride, n_stride, K, N, packed, packed_at, first, last
    ),
    lambda b, b_at, k_stride, n_stride, K, N, packed, packed_at, first, last: int8.pack_panels_of_int8(
        b, b_at, k_stride, n_stride, K, N, packed, packed_at, first, last
    ),
)
panel_of = by_operand(5, lambda numbers, at, K, columns, width, room: (numbers, at), _packed_panel)


def _multiply_panels(a, M, K, panels, N, lanes, c, accumulate):  # type: ignore[no-untyped-def]
    product_of_panels(a, M, K, panels, N, lanes, c, accumulate)


def _copy_row(packed, panel, columns, k, out, out_at):  # type: ignore[no-untyped-def]
    lanes = _BYTES // packed.itemsize
    source = panel + k * ((columns + lanes - 1) // lanes * lanes)
    for j in range(columns):
        out[out_at + j] = packed[source + j]


multiply_panels = by_operand(
    3,
    _multiply_panels,
    _multiply_panels,
    lambda a, M, K, panels, N, lanes, c, accumulate: int8.product_of_panels_of_int8(
        a, M, K, panels, N, c, accumulate
    ),
)
copy_packed_row = by_operand(
    0,
    _copy_row,
    _copy_row,
    lambda packed, panel, columns, k, out, out_at: int8.copy_row_of_int8(
        packed, panel, columns, k, out, out_at
    ),
)
