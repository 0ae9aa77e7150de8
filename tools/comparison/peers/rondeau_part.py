"""A training step of rondeau's layer cut short, so that differences of times say what each part takes."""

from collections.abc import Callable
from typing import Any

import numpy as np

from rondeau import tensor as rt
from rondeau.kernels.product import matmul

from ..sizes import Size
from .cells import layer_of
from .step_inputs import draw_inputs


def prepare(cell: str, size: list[int], threads: int, upto: str) -> Callable[[], object]:
    """Return what runs up to a part and no further.

    Parameters
    ----------
    cell, size, threads
        As for the whole step.
    upto : str
        "input projection": that product alone. "recurrence forward": forward, keeping what backward needs.
        "recurrence backward": also backward, to the initial states only. "input gradient": also to the input.
        "weight gradients": also to the weights, which is all.
    """
    batch, steps, inputs, hidden = Size(*size)
    rt.set_num_threads(threads)
    rng = np.random.default_rng(0)
    layer = layer_of(cell, inputs, hidden)
    x = rt.tensor(rng.standard_normal((steps, batch, inputs), np.float32))
    cotangent = rt.tensor(rng.standard_normal((steps, batch, hidden), np.float32))
    if upto == "input projection":
        rows, weight = x.numpy().reshape(steps * batch, inputs), layer.weight_ih_l0.detach().numpy().T
        out = np.empty((rows.shape[0], weight.shape[1]), np.float32)
        return lambda: matmul(rows, weight, out=out)
    states = layer.begin_state(batch)
    begin = states if isinstance(states, tuple) else (states,)
    for state in begin:
        state.requires_grad_(True)
    x.requires_grad_(upto in ("input gradient", "weight gradients"))
    for parameter in layer.parameters():
        parameter.requires_grad_(upto == "weight gradients")

    drawn = draw_inputs(cell, Size(*size))
    wants = upto == "weight gradients"
    given = {name: rt.tensor(u.values, requires_grad=wants and u.needs_gradient) for name, u in drawn.items()}
    keywords = {"inputs": given} if given else {}

    def run() -> Any:
        layer.zero_grad()
        for tensor in (x, *begin, *given.values()):
            tensor.grad = None
        output, _ = layer(x, states, **keywords)
        if upto != "recurrence forward":
            output.backward(cotangent)
        return output

    return run
