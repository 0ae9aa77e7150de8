"""`Loop`: what every PyTorch loop over time has."""

import torch
from torch import Tensor, nn


class Loop(nn.Module):
    """The input projection that all cells have: gates stacked in the rows, as in PyTorch's layers.

    Parameters
    ----------
    gates : int
        G.
    inputs, hidden : int
        I and H.
    """

    def __init__(self, gates: int, inputs: int, hidden: int) -> None:
        super().__init__()
        self.hidden = hidden
        self.weight_ih = nn.Parameter(torch.empty(gates * hidden, inputs))
        self.bias = nn.Parameter(torch.empty(gates * hidden))

    def reset_parameters(self) -> None:
        """Draw all weights from U(-1/sqrt(H), 1/sqrt(H)), as PyTorch's layers do."""
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -(self.hidden**-0.5), self.hidden**-0.5)

    def projected(self, x: Tensor) -> Tensor:
        """Return the input part of every step's gates, (T, B, G*H), of x (T, B, I)."""
        steps, batch, _ = x.shape
        return torch.addmm(self.bias, x.flatten(0, 1), self.weight_ih.t()).view(steps, batch, -1)

    def projected_apart(self, x: Tensor, *groups: int) -> list[Tensor]:
        """Return the same by groups of so many gates, contiguous each: a product for each, instead of a copy."""
        steps, batch, _ = x.shape
        rows, sizes = x.flatten(0, 1), [self.hidden * gates for gates in groups]
        weights, biases = torch.split(self.weight_ih, sizes), torch.split(self.bias, sizes)
        return [
            torch.addmm(bias, rows, weight.t()).view(steps, batch, -1)
            for weight, bias in zip(weights, biases, strict=True)
        ]

    def zeros(self, x: Tensor) -> Tensor:
        """Return a state of zeros, (B, H)."""
        return x.new_zeros(x.shape[1], self.hidden)


class RecurrentLoop(Loop):
    """A loop with a recurrent matrix for every gate."""

    def __init__(self, gates: int, inputs: int, hidden: int) -> None:
        super().__init__(gates, inputs, hidden)
        self.weight_hh = nn.Parameter(torch.empty(gates * hidden, hidden))

    def recurrent_apart(self, *groups: int) -> tuple[Tensor, ...]:
        """Return the recurrent matrices of groups of so many gates."""
        return torch.split(self.weight_hh, [self.hidden * gates for gates in groups])
