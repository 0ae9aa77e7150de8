"""Linear systems, inverses and exponentials of square matrices."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from rondeau.kernels.errors import ArgumentTypeError, ArgumentValueError
from rondeau.kernels.ops import lapack
from rondeau.kernels.runtime.devices import library_of
from rondeau.tensor._arguments import array_of
from rondeau.tensor._function import Function
from rondeau.tensor._graph import wrap
from rondeau.tensor._ops.linalg import matmul
from rondeau.tensor._ops.shape import expand, squeeze, transpose, unsqueeze

if TYPE_CHECKING:
    from rondeau.tensor._tensor import Tensor


class _Solve(Function):
    """A X = B: the gradient of B is Y = A^-T dX, that of A is -Y X^T."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor) -> Tensor:
        x = wrap(lapack.solve(a._array, b._array))
        ctx.save_for_backward(a, x)
        return x

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, Tensor | None]:
        a, x = ctx.saved_tensors
        of_a, of_b = ctx.needs_input_grad
        of_right = _Solve.apply(transpose(a, -1, -2), g)
        of_left = -matmul(of_right, transpose(x, -1, -2)) if of_a else None
        return of_left, of_right if of_b else None


def solve(A: Tensor, B: Tensor, *, left: bool = True) -> Tensor:
    """Return the solution X of A X = B.

    Parameters
    ----------
    A : Tensor
        Square matrices (..., N, N) of float32 or float64.
    B : Tensor
        Right-hand sides (..., N, K), or one vector (N,), or a batch of vectors (..., N) where the batch is that of `A`;
        of the same type.
    left : bool
        False solves X A = B, for `B` of shape (..., K, N).

    Returns
    -------
    Tensor
        The shape of `B`, with the batches broadcast. The same bits for any number of threads; differentiable any
        number of times.

    Raises
    ------
    TypeError
        If the types differ, or are not float32 or float64.
    ValueError
        If the shapes do not match, or a matrix is singular.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> rt.linalg.solve(rt.tensor([[2.0, 0.0], [0.0, 4.0]]), rt.tensor([2.0, 2.0])).tolist()
    [1.0, 0.5]
    """
    a, b = array_of(A), array_of(B)
    _check_square("solve", a)
    if b.dtype != a.dtype:
        raise ArgumentTypeError(f"linalg.solve needs operands of one type, got {a.dtype} and {b.dtype}")
    if b.ndim == 1 or (a.ndim - 1 == b.ndim and b.shape == a.shape[:-1]):
        if not left:
            raise ArgumentValueError(
                f"linalg.solve with left=False expects matrices on the right, got shape {b.shape}"
            )
        return squeeze(solve(A, unsqueeze(B, -1)), -1)
    if not left:
        return transpose(solve(transpose(A, -1, -2), transpose(B, -1, -2)), -1, -2)
    if b.ndim == 0 or b.shape[-2] != a.shape[-1]:
        raise ArgumentValueError(
            f"linalg.solve: shapes {a.shape} and {b.shape} do not fit: the matrices on the right must have "
            f"{a.shape[-1]} rows"
        )
    try:
        batch = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    except ValueError as error:
        raise ArgumentValueError(
            f"linalg.solve: the batches of shapes {a.shape} and {b.shape} do not broadcast"
        ) from error
    A = A if a.shape[:-2] == batch else expand(A, (*batch, *a.shape[-2:]))
    B = B if b.shape[:-2] == batch else expand(B, (*batch, *b.shape[-2:]))
    solution: Tensor = _Solve.apply(A, B)
    return solution


def inv(A: Tensor) -> Tensor:
    """Return the inverses of square matrices; for a product with an inverse, `solve` is faster and more accurate.

    Parameters
    ----------
    A : Tensor
        (..., N, N), of float32 or float64.

    Returns
    -------
    Tensor
        (..., N, N).

    Raises
    ------
    TypeError
        If the type is not float32 or float64.
    ValueError
        If the matrices are not square, or one is singular.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> rt.linalg.inv(rt.tensor([[2.0, 0.0], [0.0, 4.0]])).tolist()
    [[0.5, 0.0], [0.0, 0.25]]
    """
    array = array_of(A)
    _check_square("inv", array)
    return solve(A, _identity(array))


DEGREE = 13
"""The degree of the polynomial in `matrix_exp`. For a matrix of norm 1/2 or less the remainder is below 0.5^14/14!,
7e-16, less than the spacing of float64 numbers at the result."""


def matrix_exp(A: Tensor) -> Tensor:
    """Return the matrix exponential, the sum of A^k / k!.

    A Taylor polynomial of A / 2^s, squared s times (Moler, Van Loan, "Nineteen dubious ways to compute the exponential
    of a matrix", 2003, method 3). As s depends on the numbers, this waits for matrices on a GPU.

    Parameters
    ----------
    A : Tensor
        Square matrices (..., N, N) of float32 or float64.

    Returns
    -------
    Tensor
        (..., N, N). Differentiable any number of times.

    Raises
    ------
    TypeError
        If the type is not float32 or float64.
    ValueError
        If the matrices are not square.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> rt.linalg.matrix_exp(rt.zeros(2, 2)).tolist()
    [[1.0, 0.0], [0.0, 1.0]]
    """
    array = array_of(A)
    _check_square("matrix_exp", array)
    norm = wrap(np.abs(array).sum(-1).max()).item() if array.size else 0.0
    squarings = max(0, math.ceil(math.log2(norm)) + 1) if 0 < norm < math.inf else 0
    identity = _identity(array)
    scaled = A * 2.0**-squarings
    power = identity + scaled * (1.0 / DEGREE)
    for k in range(DEGREE - 1, 0, -1):
        power = identity + matmul(scaled, power) * (1.0 / k)
    for _ in range(squarings):
        power = matmul(power, power)
    return power


def _identity(array: Any) -> Tensor:
    """Return the identity matrix for square matrices, of their dtype and on their device."""
    return wrap(library_of(array).eye(array.shape[-1], dtype=array.dtype))


def _check_square(function: str, array: Any) -> None:
    if array.dtype not in (np.float32, np.float64):
        raise ArgumentTypeError(f"linalg.{function} needs float32 or float64, got {array.dtype}")
    if array.ndim < 2 or array.shape[-1] != array.shape[-2]:
        raise ArgumentValueError(f"linalg.{function} needs square matrices, got shape {array.shape}")
