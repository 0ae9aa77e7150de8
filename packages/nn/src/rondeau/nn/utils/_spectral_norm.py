"""Spectral normalisation."""

from __future__ import annotations

from rondeau.tensor import Tensor, dot, maximum, mv, no_grad, randn

from .._checks import check_epsilon, check_sizes
from .._module import Module
from ._weight_checks import check_dim, weight_of
from .parametrize import register_parametrization


def spectral_norm(
    module: Module,
    name: str = "weight",
    n_power_iterations: int = 1,
    eps: float = 1e-12,
    dim: int | None = None,
) -> Module:
    """Divide a weight by its largest singular value, so that it lengthens no vector: W / sigma(W).

    T. Miyato et al., "Spectral normalization for generative adversarial networks", 2018, algorithm 1. The singular
    value is estimated by the power method, whose vectors u and v are buffers: sigma = u^T W v. A weight of one
    dimension is divided by its length.

    Parameters
    ----------
    module : Module
    name : str
        The name of the weight.
    n_power_iterations : int
        The steps of the power method each time the weight is computed in training; in evaluation there are none. A
        layer computes its weights once per call.
    eps : float
        The smallest length by which a vector is divided, to avoid division by zero.
    dim : int, optional
        The dimension of the outputs, 0 by default; the others are taken together as the columns of a matrix.

    Returns
    -------
    Module
        `module`, with the original ``original`` and the buffers ``0._u`` and ``0._v`` in ``parametrizations``.

    Raises
    ------
    TypeError
        If an argument has the wrong type.
    ValueError
        If there is no such weight, it has no such dimension, or a number is out of range.

    Examples
    --------
    >>> import numpy as np
    >>> from rondeau import nn
    >>> layer = nn.utils.parametrizations.spectral_norm(nn.Linear(20, 30))
    >>> bool(0.9 < np.linalg.norm(layer.weight.detach().numpy(), 2) < 1.1)
    True
    """
    weight = weight_of(module, name)
    check_sizes(n_power_iterations=n_power_iterations)
    check_epsilon("eps", eps)
    dim = 0 if dim is None else dim
    check_dim(dim, weight)
    return register_parametrization(module, name, _SpectralNorm(weight, n_power_iterations, dim, eps))


class _SpectralNorm(Module):
    _u: Tensor
    _v: Tensor

    def __init__(self, weight: Tensor, n_power_iterations: int, dim: int, eps: float) -> None:
        super().__init__()
        self.dim = dim % weight.ndim
        self.eps = eps
        self.n_power_iterations = n_power_iterations
        if weight.ndim > 1:
            matrix = self._as_matrix(weight)
            for vector, size in zip(("_u", "_v"), matrix.shape, strict=True):
                drawn = randn(size, dtype=weight.dtype, device=weight.device)
                self.register_buffer(vector, _normalized(drawn, eps))
            self._iterate(matrix, 15)

    def forward(self, weight: Tensor) -> Tensor:
        """Return the weight divided by its largest singular value."""
        if weight.ndim == 1:
            return _normalized(weight, self.eps)
        matrix = self._as_matrix(weight)
        if self.training:
            self._iterate(matrix, self.n_power_iterations)
        # Copies, because the next call changes the buffers, and backward reads these vectors.
        u, v = self._u.clone(), self._v.clone()
        return weight / dot(u, mv(matrix, v))

    def right_inverse(self, value: Tensor) -> Tensor:
        """Return the value itself, which forward keeps if its largest singular value is 1."""
        return value

    def _as_matrix(self, weight: Tensor) -> Tensor:
        others = [k for k in range(weight.ndim) if k != self.dim]
        return weight.permute(self.dim, *others).flatten(1)

    def _iterate(self, matrix: Tensor, count: int) -> None:
        with no_grad():
            for _ in range(count):
                self._u.copy_(_normalized(mv(matrix, self._v), self.eps))
                self._v.copy_(_normalized(mv(matrix.T, self._u), self.eps))


def _normalized(vector: Tensor, eps: float) -> Tensor:
    return vector / maximum(vector.norm(), vector.new_full((), eps))
