"""PyTorch's ``torch.linalg``: linear systems, inverses and exponentials of matrices."""

from rondeau.tensor._ops.systems import inv, matrix_exp, solve

__all__ = ["inv", "matrix_exp", "solve"]


def __dir__() -> list[str]:
    return __all__
