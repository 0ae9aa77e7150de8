"""A training step of PyTorch's layer."""

import torch

from ..sizes import Size
from .training_step import TrainingStep


class _Autocast(torch.nn.Module):
    """A layer whose operations choose bfloat16 where PyTorch thinks it safe."""

    def __init__(self, layer: torch.nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, object]:
        with torch.autocast("cpu", torch.bfloat16):
            output, states = self.layer(x)
        return output.float(), states


def prepare(cell: str, size: list[int], threads: int, bfloat16: str | None = None) -> TrainingStep:
    """Return the training step of torch.nn's layer of the same name.

    With `bfloat16` "weights", everything is of that dtype; with "autocast", what PyTorch chooses.
    """
    batch, steps, inputs, hidden = Size(*size)
    torch.set_num_threads(threads)
    layer = getattr(torch.nn, cell)(inputs, hidden)
    dtype = torch.float32
    if bfloat16 == "weights":
        dtype = torch.bfloat16
        layer = layer.to(dtype)
    elif bfloat16 == "autocast":
        layer = _Autocast(layer)
    x = torch.randn(steps, batch, inputs, dtype=dtype, requires_grad=True)
    return TrainingStep(layer, x, torch.randn(steps, batch, hidden, dtype=dtype))
