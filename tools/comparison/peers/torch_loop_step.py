"""A training step of a PyTorch loop over time."""

import torch

from ..sizes import Size
from .loops import LOOPS
from .step_inputs import draw_inputs
from .training_step import TrainingStep


def prepare(cell: str, size: list[int], threads: int) -> TrainingStep:
    """Return the training step of the loop, run eagerly."""
    batch, steps, inputs, hidden = Size(*size)
    torch.set_num_threads(threads)
    x = torch.randn(steps, batch, inputs, requires_grad=True)
    drawn = draw_inputs(cell, Size(*size))
    given = {name: torch.tensor(u.values, requires_grad=u.needs_gradient) for name, u in drawn.items()}
    leaves = [tensor for tensor in given.values() if tensor.requires_grad]
    cotangent = torch.randn(steps, batch, hidden)
    return TrainingStep(LOOPS[cell](inputs, hidden), x, cotangent, given, leaves)
