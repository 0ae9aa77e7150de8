"""Batch-1 stepping of rondeau's LSTM with a linear head, through its streaming API."""

from collections.abc import Callable

import numpy as np

from rondeau import nn
from rondeau import tensor as rt

from ..process import UnavailableError


def prepare(inputs: int, hidden: int, threads: int) -> Callable[[], object]:
    """Return one step: from the input and the last state to the head's output, keeping the new state."""
    rt.set_num_threads(threads)
    layer, head = nn.LSTM(inputs, hidden), nn.Linear(hidden, inputs)
    if not hasattr(layer, "stepper"):
        raise UnavailableError("rondeau's recurrent layers have no stepper() yet")
    stepper = layer.stepper(head)
    x = rt.tensor(np.random.default_rng(0).standard_normal((1, inputs), np.float32))
    state = None

    def run() -> object:
        nonlocal state
        y, state = stepper(x, state)
        return y

    return run
