"""Matrices in memory, as the kernels of the product see them."""

from typing import Any, NamedTuple

from numba import types

from rondeau.kernels.numerics.elements import Element
from rondeau.kernels.product.microkernel import advance, pointer_to
from rondeau.kernels.runtime.compiling import linked_njit

__all__ = ["Matrix", "matrix_of", "matrix_type", "part", "whole_elements"]


class Matrix(NamedTuple):
    """A matrix in memory, as the kernels see it."""

    at: Any
    """Pointer to its first element."""
    row: Any
    """Elements between rows."""
    column: Any
    """Elements between columns."""


def matrix_type(element: Element) -> Any:
    """Return Numba's type of a matrix."""
    return types.NamedTuple([types.CPointer(element.storage), types.intp, types.intp], Matrix)


@linked_njit
def matrix_of(array: Any) -> Any:
    """Return a 2-D array as a `Matrix`."""
    return Matrix(
        pointer_to(array, 0), array.strides[0] // array.itemsize, array.strides[1] // array.itemsize
    )


@linked_njit
def part(matrix: Any, row: Any, column: Any) -> Any:
    """Return the submatrix that starts at a row and a column."""
    return Matrix(advance(matrix.at, row * matrix.row + column * matrix.column), matrix.row, matrix.column)


@linked_njit
def whole_elements(array: Any) -> Any:
    """Return whether strides and address of a 2-D array are whole elements; in structured arrays they may not be."""
    size = array.itemsize
    return array.strides[0] % size == 0 and array.strides[1] % size == 0 and array.ctypes.data % size == 0
