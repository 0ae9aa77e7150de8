"""Batch-1 stepping of torch.nn.LSTM with a linear head."""

from collections.abc import Callable

import torch


def prepare(inputs: int, hidden: int, threads: int) -> Callable[[], object]:
    """Return one step: from the input and the last state to the head's output, keeping the new state."""
    torch.set_num_threads(threads)
    layer, head = torch.nn.LSTM(inputs, hidden).eval(), torch.nn.Linear(hidden, inputs).eval()
    x = torch.randn(1, 1, inputs)
    state = None

    @torch.inference_mode()
    def run() -> object:
        nonlocal state
        output, state = layer(x, state)
        return head(output[0])

    return run
