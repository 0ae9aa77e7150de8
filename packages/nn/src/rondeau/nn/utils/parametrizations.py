"""Parametrisations of weights with PyTorch's names: orthogonal matrices, weight and spectral normalisation."""

from ._orthogonal import orthogonal
from ._spectral_norm import spectral_norm
from ._weight_norm import weight_norm

__all__ = ["orthogonal", "spectral_norm", "weight_norm"]


def __dir__() -> list[str]:
    return __all__
