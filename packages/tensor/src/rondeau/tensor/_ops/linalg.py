"""Products of matrices and vectors."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from rondeau.kernels import product
from rondeau.kernels.checks import check_one_device
from rondeau.kernels.errors import ArgumentTypeError, ArgumentValueError
from rondeau.tensor._arguments import array_of
from rondeau.tensor._dtypes import float32, float64
from rondeau.tensor._graph import Op, Recorded, record
from rondeau.tensor._ops._operands import as_tensor
from rondeau.tensor._ops.arithmetic import mul
from rondeau.tensor._ops.reduce import sum as reduce_sum
from rondeau.tensor._ops.shape import reshape, unsqueeze

if TYPE_CHECKING:
    from rondeau.tensor._tensor import Tensor


def product_array(a: Any, b: Any) -> Any:
    """Return the matrix product of two arrays of the same type with at least two dimensions; batches are broadcast.

    Floats use the library's own product, whose bits do not depend on the number of threads.
    """
    dtype = a.dtype
    if (dtype is not float32 and dtype is not float64) or type(a) is not np.ndarray:
        return np.matmul(a, b)
    if a.ndim == 2 and b.ndim == 2:
        return product.matmul(a, b)
    batch = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    rows, columns, count = a.shape[-2], b.shape[-1], math.prod(batch)
    left = np.broadcast_to(a, (*batch, *a.shape[-2:])).reshape(count, *a.shape[-2:])
    right = np.broadcast_to(b, (*batch, *b.shape[-2:])).reshape(count, *b.shape[-2:])
    out = np.empty((count, rows, columns), a.dtype)
    for i in range(count):
        product.matmul(left[i], right[i], out=out[i])
    return out.reshape(*batch, rows, columns)


def _times(a: Any, b: Any) -> Any:
    """Return the product of two operands, of which either may be a tensor."""
    if isinstance(a, Recorded) or isinstance(b, Recorded):
        return matmul(a, b)
    return product_array(a, b)


_MATMUL = Op(
    "matmul",
    lambda g, _out, _a, b: _times(g, np.swapaxes(b, -1, -2)),
    lambda g, _out, a, _b: _times(np.swapaxes(a, -1, -2), g),
)


def matmul(a: Any, b: Any) -> Tensor:
    """Return the matrix product; batches are broadcast, and a vector is a row on the left or a column on the right.

    Parameters
    ----------
    a : Tensor or ndarray
        Shape (..., M, K) or (K,).
    b : Tensor or ndarray
        Shape (..., K, N) or (K,).

    Returns
    -------
    Tensor
        Shape (..., M, N), without M or N for a vector. The same bits for any number of threads.

    Raises
    ------
    TypeError
        If the operands' types differ.
    ValueError
        If the shapes do not match.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> rt.matmul(rt.tensor([[1.0, 2.0]]), rt.tensor([[3.0], [4.0]])).tolist()
    [[11.0]]
    """
    if not (isinstance(a, Recorded) and isinstance(b, Recorded)):
        a, b = as_tensor(a), as_tensor(b)
    x, y = a._array, b._array
    if x.dtype != y.dtype:
        raise ArgumentTypeError(
            f"matmul needs operands of one type, got {x.dtype} and {y.dtype}: convert one with .to(...)"
        )
    if type(x) is not type(y):
        check_one_device("matmul", a=x, b=y)
    n, m = x.ndim, y.ndim
    if n == 0 or m == 0 or x.shape[-1] != y.shape[-2 if m > 1 else 0]:
        raise ArgumentValueError(
            f"matmul: shapes {x.shape} and {y.shape} do not fit: the last size of the first must equal "
            "the second to last of the second (its only one for a vector)"
        )
    if n == 2 and m == 2:
        return record(_MATMUL, product_array(x, y), (a, b))
    if n == 1 and m == 1 and x.dtype.char in "fd":
        return reduce_sum(mul(a, b))  # in several chains: a single one would lose digits with its length
    if n == 1:
        return reshape(matmul(unsqueeze(a, 0), b), (*y.shape[:-2], *y.shape[-1:]) if m > 1 else ())
    if m == 1:
        return reshape(matmul(a, unsqueeze(b, 1)), x.shape[:-1])
    if m == 2:  # a batch times one matrix: all rows at once
        return reshape(
            matmul(reshape(a, (-1 if x.size else math.prod(x.shape[:-1]), x.shape[-1])), b),
            (*x.shape[:-1], y.shape[-1]),
        )
    try:
        result = product_array(x, y)
    except ValueError as error:
        raise ArgumentValueError(
            f"matmul: the batches of shapes {x.shape} and {y.shape} do not broadcast"
        ) from error
    recorded = record(_MATMUL, result, (a, b))
    if recorded._node is not None and x.shape[:-2] != y.shape[:-2]:
        recorded._node.shapes = (x.shape, y.shape)
    return recorded


def _checked(name: str, x: Any, ndim: int) -> None:
    shape = array_of(x).shape
    if len(shape) != ndim:
        raise ArgumentValueError(f"{name} needs a tensor of {ndim} dimensions here, got shape {shape}")


def mm(a: Tensor, b: Tensor) -> Tensor:
    """Return the product of two matrices.

    Parameters
    ----------
    a : Tensor
        Shape (M, K).
    b : Tensor
        Shape (K, N).

    Returns
    -------
    Tensor
        Shape (M, N).

    Raises
    ------
    ValueError
        If they are not matrices, or their shapes do not match.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> rt.mm(rt.eye(2), rt.tensor([[1.0], [2.0]])).tolist()
    [[1.0], [2.0]]
    """
    _checked("mm", a, 2)
    _checked("mm", b, 2)
    return matmul(a, b)


def bmm(a: Tensor, b: Tensor) -> Tensor:
    """Return the products of two batches of matrices.

    Parameters
    ----------
    a : Tensor
        Shape (B, M, K).
    b : Tensor
        Shape (B, K, N).

    Returns
    -------
    Tensor
        Shape (B, M, N).

    Raises
    ------
    ValueError
        If they are not batches of matrices, or their shapes do not match.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> rt.bmm(rt.ones(2, 1, 3), rt.ones(2, 3, 1)).tolist()
    [[[3.0]], [[3.0]]]
    """
    _checked("bmm", a, 3)
    _checked("bmm", b, 3)
    if a._array.shape[0] != b._array.shape[0]:
        raise ArgumentValueError(f"bmm needs equal batches, got shapes {a._array.shape} and {b._array.shape}")
    return matmul(a, b)


def mv(a: Tensor, b: Tensor) -> Tensor:
    """Return the product of a matrix and a vector.

    Parameters
    ----------
    a : Tensor
        Shape (M, K).
    b : Tensor
        Shape (K,).

    Returns
    -------
    Tensor
        Shape (M,).

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> rt.mv(rt.eye(2), rt.tensor([1.0, 2.0])).tolist()
    [1.0, 2.0]
    """
    _checked("mv", a, 2)
    _checked("mv", b, 1)
    return matmul(a, b)


def dot(a: Tensor, b: Tensor) -> Tensor:
    """Return the sum of the products of two vectors.

    Parameters
    ----------
    a, b : Tensor
        Shape (K,).

    Returns
    -------
    Tensor
        Shape ().

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> rt.dot(rt.tensor([1.0, 2.0]), rt.tensor([3.0, 4.0])).item()
    11.0
    """
    _checked("dot", a, 1)
    _checked("dot", b, 1)
    return matmul(a, b)


def outer(a: Tensor, b: Tensor) -> Tensor:
    """Return all products of the elements of two vectors.

    Parameters
    ----------
    a : Tensor
        Shape (M,).
    b : Tensor
        Shape (N,).

    Returns
    -------
    Tensor
        Shape (M, N).

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> rt.outer(rt.tensor([1.0, 2.0]), rt.tensor([3.0, 4.0])).tolist()
    [[3.0, 4.0], [6.0, 8.0]]
    """
    _checked("outer", a, 1)
    _checked("outer", b, 1)
    return unsqueeze(a, 1) * b
