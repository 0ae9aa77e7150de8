"""Products whose operands are rounded to bfloat16: C[M, N] (+)= A[M, K] @ B[K, N], all of them float32 in memory.

An operand is rounded, to nearest even, into *words* of two numbers that are neighbours along k (`PAIRS`); an odd K is
padded with a zero. The words are then an operand of the product like any other, half as deep: packed in the same
panels and multiplied by the same loops, and the bits of C depend on nothing but the order of k.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic
from numpy.typing import NDArray

from rondeau.kernels.numerics.elements import ELEMENTS, PAIRS, Element
from rondeau.kernels.numerics.rounding import round_to_bfloat16, write_round_to_bfloat16
from rondeau.kernels.product.bfloat16 import rounds_operands
from rondeau.kernels.product.blocked import ROW_BLOCK
from rondeau.kernels.product.matrix import Matrix, matrix_type, part
from rondeau.kernels.product.microkernel import advance, pointer_to
from rondeau.kernels.product.packed_product import DEPTH_BLOCK, multiply_packed
from rondeau.kernels.product.packing import pack_matrix, packed_size
from rondeau.kernels.product.tiles import TILE
from rondeau.kernels.runtime.compiling import linked_njit, shared_njit
from rondeau.kernels.runtime.linking import compiled_once
from rondeau.kernels.runtime.precision import CHOSEN
from rondeau.kernels.runtime.signatures import array_type, compiled_per_dtype

__all__ = [
    "as_left_operand",
    "block_size",
    "multiply_pairs",
    "pack_panels_of_pairs",
    "packed_dtype",
    "round_rows",
    "words_of",
]

_VECTORS, _BYTES = TILE.vectors, TILE.vector_bytes
_LANES = PAIRS.lanes(_BYTES)

COLUMN_BLOCK = 1024
"""Columns of B that are packed at a time, a multiple of every panel's width: A is rounded once for each block."""

_SINGLE = (ELEMENTS[np.dtype(np.float32)],)


def packed_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the dtype of packed operands for numbers of a dtype, at the present precision of products."""
    return PAIRS.dtype if CHOSEN and dtype == np.float32 and rounds_operands() else dtype


@shared_njit
def words_of(K: int) -> int:
    """Return the number of words of K numbers; for Python and for kernels.

    Examples
    --------
    >>> words_of(5)
    3
    """
    return (K + 1) // 2


def _load(builder: ir.IRBuilder, at: Any, count: int) -> Any:
    vector = ir.VectorType(at.type.pointee, count).as_pointer()
    return builder.load(builder.bitcast(at, vector), align=PAIRS.bytes)


def _store(builder: ir.IRBuilder, words: Any, at: Any) -> None:
    builder.store(words, builder.bitcast(at, words.type.as_pointer()), align=PAIRS.bytes)


# Loops over `_word` would be vectorised too, but not where rows follow one another backwards in memory, as they do in
# the gradients of weights: LLVM checks for all rows at once that they do not overlap the words, and expects them to
# ascend.


@intrinsic
def _round_run(typingctx: Any, source: Any, target: Any) -> Any:
    """Round 2 L contiguous numbers to L words."""

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, arguments: list[Any]) -> Any:
        source, target = arguments
        halves = write_round_to_bfloat16(builder, _load(builder, source, 2 * _LANES))
        _store(builder, builder.bitcast(halves, ir.VectorType(PAIRS.llvm, _LANES)), target)
        return context.get_dummy_value()

    return types.void(source, target), codegen


@intrinsic
def _round_rows(typingctx: Any, first: Any, second: Any, target: Any) -> Any:
    """Round L numbers of two rows to L words."""

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, arguments: list[Any]) -> Any:
        *rows, target = arguments
        words = ir.VectorType(PAIRS.llvm, _LANES)
        low, high = (
            builder.zext(write_round_to_bfloat16(builder, _load(builder, row, _LANES)), words) for row in rows
        )
        shifted = builder.shl(high, ir.Constant(words, [16] * _LANES))
        _store(builder, builder.or_(low, shifted), target)
        return context.get_dummy_value()

    return types.void(first, second, target), codegen


@linked_njit
def _word(first: Any, second: Any) -> Any:
    low, high = np.uint32(round_to_bfloat16(first)), np.uint32(round_to_bfloat16(second))
    return low | (high << np.uint32(16))


def _signature_of_rounding(element: Element) -> Any:
    return types.none(matrix_type(element), types.intp, types.intp, types.CPointer(PAIRS.storage))


@compiled_once(_signature_of_rounding, _SINGLE)
def _round(source: Any, R: Any, K: Any, words: Any) -> Any:
    """Round R rows of K numbers to pointer `words`, in the layout of what `_round_to_words` returns."""
    whole, zero = K // 2, np.float32(0)
    if source.column == 1:
        for r in range(R):
            row, target = part(source, r, 0).at, advance(words, r * words_of(K))
            vectors = whole - whole % _LANES
            for k in range(0, vectors, _LANES):
                _round_run(advance(row, 2 * k), advance(target, k))
            for k in range(vectors, whole):
                target[k] = _word(row[2 * k], row[2 * k + 1])
            if 2 * whole < K:
                target[whole] = _word(row[K - 1], zero)
        return
    for k in range(words_of(K)):
        first, second = part(source, 0, 2 * k).at, part(source, 0, min(2 * k + 1, K - 1)).at
        target = advance(words, k * R)
        if 2 * k + 1 == K:
            for r in range(R):
                target[r] = _word(first[r * source.row], zero)
        elif source.row == 1:
            vectors = R - R % _LANES
            for r in range(0, vectors, _LANES):
                _round_rows(advance(first, r), advance(second, r), advance(target, r))
            for r in range(vectors, R):
                target[r] = _word(first[r], second[r])
        else:
            for r in range(R):
                target[r] = _word(first[r * source.row], second[r * source.row])


@linked_njit
def _round_to_words(source: Any, R: Any, K: Any, words: Any) -> Any:
    """Round R rows of K numbers of a matrix, and return the matrix of their words.

    Parameters
    ----------
    source : Matrix of float32
    R, K : int
    words : pointer to uint32
        Receives ``R * words_of(K)`` words, row by row if that is how the numbers lie, otherwise column by column.
    """
    _round(source, R, K, words)
    if source.column == 1:
        return Matrix(words, words_of(K), 1)
    return Matrix(words, 1, R)


@linked_njit
def _transposed(matrix: Any) -> Any:
    return Matrix(matrix.at, matrix.column, matrix.row)


@linked_njit
def round_rows(rows: Any, count: Any, K: Any, words: Any) -> Any:
    """Round ``count`` rows of K numbers into the flat array `words`, row by row."""
    source = Matrix(pointer_to(rows.flat, rows.at), rows.stride, 1)
    _round(source, count, K, pointer_to(words, 0))


@compiled_per_dtype(lambda element: types.void(array_type(element.dtype, 2), array_type(PAIRS.dtype, 2)))
def _round_matrix(source, words):  # type: ignore[no-untyped-def]
    _round(Matrix(pointer_to(source, 0), source.shape[1], 1), *source.shape, pointer_to(words, 0))


def as_left_operand(matrix: NDArray[Any], packed: np.dtype[Any]) -> NDArray[Any]:
    """Return a C-contiguous matrix as the left operand of products with packed operands of a dtype.

    Parameters
    ----------
    matrix : ndarray of float32 or float64, shape (M, K)
    packed : dtype
        As `packed_dtype` gives it.

    Returns
    -------
    ndarray, shape (M, K) or (M, words_of(K))

    Examples
    --------
    >>> as_left_operand(np.ones((1, 3), np.float32), PAIRS.dtype)
    array([[1065369472,      16256]], dtype=uint32)
    """
    if packed != PAIRS.dtype:
        return matrix
    words = np.empty((len(matrix), words_of(matrix.shape[1])), packed)
    _round_matrix[matrix.dtype](matrix, words)
    return words


@linked_njit
def _pack_pairs(b: Any, K: Any, N: Any, scratch: Any, packed: Any) -> Any:
    """Round and pack a (K, N) matrix to pointer `packed`; `scratch` points to room for ``words_of(K) * N`` words."""
    words = _transposed(_round_to_words(_transposed(b), N, K, scratch))
    pack_matrix(words, words_of(K), N, _LANES, packed)


@linked_njit
def pack_panels_of_pairs(
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
    """Round and pack panels `first` to `last - 1` of a (K, N) operand, as `pack_panels` does without rounding."""
    width = _VECTORS * _LANES
    scratch = np.empty(words_of(K) * width, np.uint32)
    source = Matrix(pointer_to(b, b_at), k_stride, n_stride)
    for column in range(first * width, min(N, last * width), width):
        panel = pointer_to(packed, packed_at + column * words_of(K))
        columns = min(width, N - column)
        _pack_pairs(part(source, 0, column), K, columns, pointer_to(scratch, 0), panel)


@shared_njit
def block_size(M: int, N: int, K: int) -> int:
    """Return the number of words that `multiply_pairs` needs; for Python and for kernels."""
    depth, columns = min(words_of(K), DEPTH_BLOCK), min(N, COLUMN_BLOCK)
    size: int = packed_size(depth, columns) + depth * max(min(M, ROW_BLOCK), columns)
    return size


def _signature(element: Element) -> Any:
    pointer, matrix, size = types.CPointer(PAIRS.storage), matrix_type(element), types.intp
    return types.none(matrix, matrix, matrix, size, size, size, size, pointer, types.boolean)


@compiled_once(_signature, _SINGLE)
def multiply_pairs(
    a: Any, b: Any, c: Any, M: Any, N: Any, K: Any, lanes: Any, workspace: Any, accumulate: Any
) -> Any:
    """Compute C[M, N] (+)= A[M, K] @ B[K, N] for matrices, rounding and packing them block by block."""
    for k in range(0, max(K, 1), 2 * DEPTH_BLOCK):
        depth = min(2 * DEPTH_BLOCK, K - k)
        for n in range(0, N, COLUMN_BLOCK):
            columns = min(COLUMN_BLOCK, N - n)
            scratch = advance(workspace, packed_size(words_of(depth), columns))
            _pack_pairs(part(b, k, n), depth, columns, scratch, workspace)
            for m in range(0, M, ROW_BLOCK):
                rows = min(ROW_BLOCK, M - m)
                left = _round_to_words(part(a, m, k), rows, depth, scratch)
                multiply_packed(
                    left, rows, words_of(depth), workspace, columns, lanes, part(c, m, n), accumulate or k > 0
                )
