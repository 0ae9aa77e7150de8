"""Weight normalisation."""

from __future__ import annotations

from rondeau.kernels.errors import ArgumentValueError
from rondeau.tensor import Tensor

from .._module import Module
from ._weight_checks import check_dim, weight_of
from .parametrize import is_parametrized, register_parametrization

_WHOLE = -1
"""PyTorch's `dim` for one length of the whole weight; elsewhere -1 would be the last dimension."""


def weight_norm(module: Module, name: str = "weight", dim: int | None = 0) -> Module:
    """Compute a weight from its length and its direction: ``W = g V / |V|``.

    T. Salimans, D. P. Kingma, "Weight normalization: a simple reparameterization to accelerate training of deep neural
    networks", 2016, equation 2.

    Parameters
    ----------
    module : Module
    name : str
        The name of the weight.
    dim : int or None
        The dimension whose elements have a length each: 0, the outputs, by default. None or -1, as in PyTorch: one
        length for the whole weight.

    Returns
    -------
    Module
        `module`, with the originals ``original0``, g, with size 1 in all other dimensions (shape () for the whole
        weight), and ``original1``, V.

    Raises
    ------
    TypeError
        If `module` is not a module, or `dim` not an integer or None.
    ValueError
        If there is no such weight, it has no such dimension, or it is parametrised already.

    Examples
    --------
    >>> from rondeau import nn
    >>> layer = nn.utils.parametrizations.weight_norm(nn.LSTM(3, 2), "weight_hh_l0")
    >>> layer.parametrizations.weight_hh_l0.original0.shape
    (8, 1)
    """
    weight = weight_of(module, name)
    if dim is None:
        dim = _WHOLE
    if dim != _WHOLE:
        check_dim(dim, weight)
    if is_parametrized(module, name):
        raise ArgumentValueError(
            f"weight_norm makes two originals, so it must be the first parametrisation of {name!r}: register the "
            "others after it"
        )
    return register_parametrization(module, name, _WeightNorm(dim))


class _WeightNorm(Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, length: Tensor, direction: Tensor) -> Tensor:
        """Return the weight of this length and direction."""
        return direction * (length / self._norm(direction))

    def right_inverse(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Return the length of a weight, and the weight as its direction."""
        return self._norm(weight), weight

    def _norm(self, weight: Tensor) -> Tensor:
        if self.dim == _WHOLE:
            return weight.norm()
        others = tuple(k for k in range(weight.ndim) if k != self.dim % weight.ndim)
        return weight.norm(dim=others, keepdim=True) if others else weight.abs()
