"""A training step of PyTorch's layer."""

import torch

from ..sizes import Size
from .training_step import TrainingStep


def prepare(cell: str, size: list[int], threads: int) -> TrainingStep:
    """Return the training step of torch.nn's layer of the same name."""
    batch, steps, inputs, hidden = Size(*size)
    torch.set_num_threads(threads)
    layer = getattr(torch.nn, cell)(inputs, hidden)
    x = torch.randn(steps, batch, inputs, requires_grad=True)
    return TrainingStep(layer, x, torch.randn(steps, batch, hidden))
