"""Linear systems and factorisations by NumPy's LAPACK, on one thread: the bits do not depend on how many there are.

On a GPU they are cuSOLVER's.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rondeau.kernels.checks import are_of_device
from rondeau.kernels.errors import ArgumentValueError
from rondeau.kernels.ops.arrays import lapack as arrays
from rondeau.kernels.runtime.devices import is_of_device
from rondeau.kernels.runtime.threads import one_blas_thread

__all__ = ["qr", "reflectors", "solve"]


def solve(a: NDArray[Any], b: NDArray[Any]) -> NDArray[Any]:
    """Return the solutions X of A X = B, by LU decomposition with partial pivoting.

    Parameters
    ----------
    a : ndarray of float32 or float64
        Square matrices (..., N, N).
    b : ndarray
        Right-hand sides (..., N, K) of the same type, with the same batch.

    Returns
    -------
    ndarray
        (..., N, K).

    Raises
    ------
    ValueError
        If a matrix is singular.

    Examples
    --------
    >>> solve(np.array([[2.0, 0.0], [0.0, 4.0]]), np.array([[2.0], [2.0]])).tolist()
    [[1.0], [0.5]]
    """
    if are_of_device("linalg.solve", A=a, B=b):
        return arrays.solve(a, b, _singular)  # type: ignore[no-any-return]
    with one_blas_thread():
        try:
            found: NDArray[Any] = np.linalg.solve(a, b)
        except np.linalg.LinAlgError as error:
            raise _singular() from error
    return found


def _singular() -> ArgumentValueError:
    return ArgumentValueError(
        "linalg.solve: the system has no unique solution, because the matrix is singular"
    )


def qr(a: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return Q and R of A = Q R for tall matrices (..., N, K): (..., N, K) and (..., K, K).

    Examples
    --------
    >>> q, r = qr(np.array([[3.0], [4.0]]))
    >>> np.round(np.abs(q), 12).tolist(), np.round(np.abs(r), 12).tolist()
    ([[0.6], [0.8]], [[5.0]])
    """
    if is_of_device(a):
        return arrays.qr(a)
    with one_blas_thread():
        return np.linalg.qr(a)


def reflectors(a: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the QR decomposition of tall matrices (..., N, K) as LAPACK's ``geqrf`` does.

    Returns
    -------
    factored : ndarray
        (..., N, K): R in the upper triangle, and below it the reflectors, whose first elements, 1, are not stored.
    tau : ndarray
        (..., K): the factors of the reflectors, 0 for those that are the identity.

    Examples
    --------
    >>> factored, tau = reflectors(np.array([[3.0], [4.0]]))
    >>> np.round(np.abs(factored[0]), 12).tolist()
    [5.0]
    """
    if is_of_device(a):
        return arrays.reflectors(a)
    with one_blas_thread():
        factored, tau = np.linalg.qr(a, mode="raw")
    return np.swapaxes(factored, -1, -2), tau
