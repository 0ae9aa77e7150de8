"""A training step of a PyTorch loop over time."""

import torch

from ..sizes import Size
from .loops import LOOPS
from .training_step import TrainingStep


def prepare(cell: str, size: list[int], threads: int) -> TrainingStep:
    """Return the training step of the loop, run eagerly."""
    batch, steps, inputs, hidden = Size(*size)
    torch.set_num_threads(threads)
    x = torch.randn(steps, batch, inputs, requires_grad=True)
    return TrainingStep(LOOPS[cell](inputs, hidden), x, torch.randn(steps, batch, hidden))
