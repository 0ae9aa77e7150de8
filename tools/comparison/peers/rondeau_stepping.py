"""Batch-1 stepping of rondeau's LSTM, perhaps with a linear head, through its streaming API."""

from collections.abc import Callable

import numpy as np

from rondeau import nn
from rondeau import tensor as rt

from ..process import UnavailableError


def prepare(
    inputs: int, hidden: int, threads: int, head: bool = True, weights: str = "float32", steps: int = 1
) -> Callable[[], object]:
    """Return one step, or several in a call: from the input and the last state to the output, keeping the new state."""
    rt.set_num_threads(threads)
    layer = nn.LSTM(inputs, hidden)
    if not hasattr(layer, "stepper"):
        raise UnavailableError("rondeau's recurrent layers have no stepper() yet")
    stepper = layer.stepper(nn.Linear(hidden, inputs) if head else None, weights)
    x = rt.tensor(np.random.default_rng(0).standard_normal((steps, 1, inputs), np.float32))
    first, state = x[0], None

    def run() -> object:
        nonlocal state
        y, state = stepper(first, state) if steps == 1 else stepper.run(x, state)
        return y

    return run
