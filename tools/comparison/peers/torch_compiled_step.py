"""A training step of a PyTorch loop over time, compiled by torch.compile: forward and backward, all steps unrolled."""

import torch

from . import torch_loop_step
from .training_step import TrainingStep


def prepare(cell: str, size: list[int], threads: int) -> TrainingStep:
    """Return the training step of the compiled loop; it compiles at the first call."""
    step = torch_loop_step.prepare(cell, size, threads)
    step.layer = torch.compile(step.layer, fullgraph=True, dynamic=False)
    return step
