"""Batch-1 stepping of torch.nn.LSTMCell with a linear head."""

from collections.abc import Callable

import torch


def prepare(inputs: int, hidden: int, threads: int) -> Callable[[], object]:
    """Return one step: from the input and the last state to the head's output, keeping the new state."""
    torch.set_num_threads(threads)
    cell, head = torch.nn.LSTMCell(inputs, hidden).eval(), torch.nn.Linear(hidden, inputs).eval()
    x = torch.randn(1, inputs)
    state = None

    @torch.inference_mode()
    def run() -> object:
        nonlocal state
        state = cell(x, state)
        return head(state[0])

    return run
