"""Orthogonal matrices as weights."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from rondeau import tensor as rt
from rondeau.kernels.errors import ArgumentValueError
from rondeau.kernels.ops import lapack
from rondeau.kernels.runtime.devices import library_of
from rondeau.tensor import Tensor, linalg

from .._checks import check_flags
from .._module import Module
from ._weight_checks import weight_of
from .parametrize import register_parametrization


def orthogonal(
    module: Module,
    name: str = "weight",
    orthogonal_map: str | None = None,
    *,
    use_trivialization: bool = True,
) -> Module:
    """Keep a weight orthogonal: its columns are orthonormal, or its rows if they are fewer.

    M. Lezcano-Casado, "Trivializations for gradient-based optimization on manifolds", 2019.

    Parameters
    ----------
    module : Module
    name : str
        The name of the weight, a matrix (N, K) or a batch of them. A recurrent weight stacks the matrices of its gates,
        so that of a layer with several gates is tall, and its columns are orthonormal over all gates.
    orthogonal_map : {"matrix_exp", "cayley", "householder"}, optional
        How a matrix Q is computed from the original X. With A the lower triangle of X minus its transpose, exp(A), or
        Cayley's (I + A/2) (I - A/2)^-1, of which the first K columns are taken; or the product of K reflectors, whose
        vectors are the columns of X below the diagonal. As in PyTorch, the default is "matrix_exp" for square matrices
        and "householder" for others. For square matrices the three take about the same time; for tall ones
        "householder" takes the least, because the others compute a square matrix of N rows.
    use_trivialization : bool
        Multiply by a fixed orthogonal matrix, the buffer ``0.base``: the present or assigned weight, made orthogonal.
        X then begins, in effect, at zero, where the maps are well conditioned. Without it, a weight can only be
        assigned if the map is "householder".

    Returns
    -------
    Module
        `module`, with the original ``original``, of the shape of the weight. If the weight was orthogonal it keeps its
        value; otherwise it becomes the Q of its QR decomposition.

    Raises
    ------
    TypeError
        If an argument has the wrong type.
    ValueError
        If there is no such weight, it is not a matrix or a batch of matrices, or the map is unknown.

    Examples
    --------
    >>> from rondeau import nn, tensor as rt
    >>> layer = nn.utils.parametrizations.orthogonal(nn.RNN(3, 4), "weight_hh_l0", "cayley")
    >>> W = layer.weight_hh_l0
    >>> rt.allclose(W.T @ W, rt.eye(4), atol=1e-6)
    True
    """
    weight = weight_of(module, name)
    check_flags(use_trivialization=use_trivialization)
    if weight.ndim < 2:
        raise ArgumentValueError(
            f"orthogonal needs a matrix or a batch of matrices, got a weight of shape {weight.shape}"
        )
    if orthogonal_map is None:
        orthogonal_map = "matrix_exp" if weight.shape[-2] == weight.shape[-1] else "householder"
    if orthogonal_map not in _MAPS:
        raise ArgumentValueError(f"orthogonal_map must be one of {', '.join(_MAPS)}, got {orthogonal_map!r}")
    parametrization = _Orthogonal(weight.shape, orthogonal_map, use_trivialization)
    return register_parametrization(module, name, parametrization, unsafe=True)


class _Orthogonal(Module):
    base: Tensor | None

    def __init__(self, shape: tuple[int, ...], orthogonal_map: str, use_trivialization: bool) -> None:
        super().__init__()
        self.shape = shape
        self.orthogonal_map = orthogonal_map
        self.use_trivialization = use_trivialization
        if use_trivialization:
            self.register_buffer("base", None)

    def forward(self, X: Tensor) -> Tensor:
        """Return the orthogonal matrix, computed as a tall one."""
        is_wide = X.shape[-2] < X.shape[-1]
        Q = _MAPS[self.orthogonal_map](X.mT if is_wide else X)
        base = self.base if self.use_trivialization else None
        if base is not None:
            Q = base @ Q
        return Q.mT if is_wide else Q

    def right_inverse(self, Q: Tensor) -> Tensor:
        """Return the original of an orthogonal matrix; with a trivialisation, also set the base."""
        if Q.shape != self.shape:
            raise ArgumentValueError(
                f"an orthogonal weight of shape {self.shape} was given shape {Q.shape}: assign one of the same shape"
            )
        is_wide = Q.shape[-2] < Q.shape[-1]
        tall = np.swapaxes(Q._array, -1, -2) if is_wide else Q._array
        if self.use_trivialization:
            self.base = Tensor(_completed(tall))
            identity = library_of(tall).eye(*Q.shape[-2:], dtype=Q.dtype)
            return Tensor(np.broadcast_to(-identity, Q.shape).copy())
        if self.orthogonal_map != "householder":
            raise NotImplementedError(
                f"the map {self.orthogonal_map!r} is not inverted, so the weight cannot be assigned: pass "
                "use_trivialization=True, or orthogonal_map='householder'"
            )
        factored, tau = lapack.reflectors(tall)
        signs = _signs(_diagonal(factored))  # R's diagonal should be positive
        factored = factored.copy()
        diagonal = library_of(tau).arange(tau.shape[-1])
        factored[..., diagonal, diagonal] = np.where(tau == 0, -signs, signs)
        return Tensor(np.swapaxes(factored, -1, -2).copy() if is_wide else factored)


def _skew(X: Tensor) -> Tensor:
    """Return the skew-symmetric matrix (N, N) made from the lower triangle of a tall matrix."""
    n, k = X.shape[-2:]
    lower = X.tril()
    if n != k:
        lower = rt.cat([lower, X.new_zeros(*X.shape[:-1], n - k)], -1)
    return lower - lower.mT


def _by_exponential(X: Tensor) -> Tensor:
    return linalg.matrix_exp(_skew(X))[..., : X.shape[-1]]


def _by_cayley(X: Tensor) -> Tensor:
    half = 0.5 * _skew(X)
    identity = rt.eye(X.shape[-2], dtype=X.dtype, device=X.device)
    return linalg.solve(identity - half, identity + half)[..., : X.shape[-1]]


def _by_reflectors(X: Tensor) -> Tensor:
    """Return the product of reflectors as one matrix, I - V S^-1 V^T with S = triu(V^T V, 1) + diag(V^T V) / 2.

    T. Joffrain et al., "Accumulating Householder transformations, revisited", 2006, theorem 2. The diagonal of X tells
    the signs of the columns; it is not trained.
    """
    n, k = X.shape[-2:]
    identity = rt.eye(n, k, dtype=X.dtype, device=X.device)
    V = X.tril(-1) + identity
    products = V.mT @ V
    S = products.triu(1) + 0.5 * (products * identity[:k])
    Q = identity - V @ linalg.solve(S, V[..., :k, :].mT)
    signs = np.trunc(_diagonal(X._array))[..., None, :]
    return Q * Tensor(signs)


_MAPS: dict[str, Callable[[Tensor], Tensor]] = {
    "matrix_exp": _by_exponential,
    "cayley": _by_cayley,
    "householder": _by_reflectors,
}


def _completed(tall: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return a square orthogonal matrix whose first columns are those of a tall one, made orthogonal if need be."""
    n, k = tall.shape[-2:]
    given = Tensor(tall)
    gram, identity = (given.mT @ given).cpu().numpy(), np.eye(k)
    if n == k and np.allclose(gram, identity, atol=10 * n * np.finfo(tall.dtype).eps):
        return tall.copy()
    drawn = rt.randn(*tall.shape[:-1], n - k, dtype=tall.dtype, device=given.device)._array
    q, r = lapack.qr(np.concatenate([tall, drawn], -1))
    positive: NDArray[np.floating] = q * _signs(_diagonal(r))[..., None, :]
    return positive


def _diagonal(x: NDArray[np.floating]) -> NDArray[np.floating]:
    return np.diagonal(x, axis1=-2, axis2=-1)


def _signs(x: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return 1 or -1; 1 for 0, which R has on its diagonal where columns depend on one another."""
    return np.where(x < 0, -1, 1).astype(x.dtype)
