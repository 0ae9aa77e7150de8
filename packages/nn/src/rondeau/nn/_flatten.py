"""Flatten: merging neighbouring dimensions into one."""

from __future__ import annotations

from rondeau.tensor import Tensor

from ._checks import check_integer, check_tensor
from ._module import Module


class Flatten(Module):
    """Merge several dimensions into one; by default all but the first, the samples.

    Parameters
    ----------
    start_dim, end_dim : int
        The first and the last dimension to merge; negative ones count from the end.

    Examples
    --------
    >>> from rondeau import nn, tensor as rt
    >>> nn.Flatten()(rt.zeros(64, 16, 5, 5)).shape
    (64, 400)
    """

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        super().__init__()
        check_integer("start_dim", start_dim)
        check_integer("end_dim", end_dim)
        self.start_dim = start_dim
        self.end_dim = end_dim

    def forward(self, input: Tensor) -> Tensor:
        """Apply to a Tensor with these dimensions."""
        check_tensor("Flatten: input", input)
        return input.flatten(self.start_dim, self.end_dim)

    def extra_repr(self) -> str:
        """Return the configuration for ``repr``."""
        return f"start_dim={self.start_dim}, end_dim={self.end_dim}"
