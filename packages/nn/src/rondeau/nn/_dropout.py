"""Dropout: zeroing elements at random during training."""

from __future__ import annotations

from rondeau.tensor import Tensor, rand

from ._checks import check_probability, check_tensor
from ._module import Module


def dropout(input: Tensor, p: float = 0.5, training: bool = True) -> Tensor:
    """Zero every element with probability `p` and scale the others by 1 / (1 - p) (Srivastava et al. 2014).

    Parameters
    ----------
    input : Tensor
        Any shape.
    p : float
        Probability of zeroing, in [0, 1].
    training : bool
        If False, the input is returned unchanged.

    Returns
    -------
    Tensor
        The shape of `input`, which is its expected value.

    Raises
    ------
    ValueError
        If `p` is not in [0, 1].
    TypeError
        If `input` is not a Tensor.

    Examples
    --------
    >>> from rondeau import nn, tensor as rt
    >>> sorted(set(nn.functional.dropout(rt.ones(1000), 0.5).tolist()))
    [0.0, 2.0]
    """
    check_probability("p", p)
    check_tensor("dropout: input", input)
    if not training or p == 0.0:
        return input
    kept = rand(input.shape, dtype="float32", device=input.device)._array >= p
    scale = 1.0 / (1.0 - p) if p < 1.0 else 0.0
    return input * Tensor(kept * input.dtype.type(scale))


class Dropout(Module):
    """Zero every element with probability `p` in training mode, and scale the others by 1 / (1 - p).

    The random numbers come from the generator that `rondeau.tensor.manual_seed` seeds.

    Parameters
    ----------
    p : float
        Probability of zeroing.

    Examples
    --------
    >>> from rondeau import nn, tensor as rt
    >>> layer = nn.Dropout(0.2)
    >>> layer.eval()(rt.ones(3)).tolist()
    [1.0, 1.0, 1.0]
    """

    def __init__(self, p: float = 0.5) -> None:
        super().__init__()
        check_probability("p", p)
        self.p = p

    def forward(self, input: Tensor) -> Tensor:
        """Apply to a Tensor of any shape."""
        return dropout(input, self.p, self.training)

    def extra_repr(self) -> str:
        """Return the configuration for ``repr``."""
        return f"p={self.p}"
