"""`Recurrent.stepper`: one step after the other gives what the whole sequence gives."""

from __future__ import annotations

from typing import Any

import numpy as np

from rondeau import nn
from rondeau import tensor as rt

from .. import recurrence
from ..cells import CELLS
from ..drawing import NONSENSE, Draw
from ..recurrence import Configuration, Sequence
from ..verdict import attempt, check_close, tolerance_of


def stepping(draw: Draw) -> None:
    """Step a layer through a sequence, with or without a head, and compare every output and the last states."""
    cell = CELLS[draw.note("cell", draw.choose(tuple(CELLS)))]
    dtype, T, B = draw.dtype(), draw.random.randint(1, 6), draw.size(9)
    I, H, layers = draw.size(), draw.size(), draw.choose((1, 1, 2))  # noqa: E741 - the field's letters
    options: dict[str, Any] = {"num_layers": layers, "bias": draw.chance(0.7)}
    if cell.project:
        H, options["proj_size"] = H + 1, draw.random.randint(1, H)
    if draw.spoil("a layer that runs backward too", 0.05):
        options["bidirectional"] = True
    draw.note("dtype, T, B, I, H, options", (dtype, T, B, I, H, options))
    layer = nn.Recurrent(cell, I, H, dtype=dtype, **options).eval()
    for name, parameter in layer.named_parameters():
        if not name.startswith(recurrence.MATRICES):
            parameter.data = draw.normal(parameter.shape, dtype, 0.5)
    width = layer.proj_size or H
    head = nn.Linear(width, draw.size(), dtype=dtype) if draw.chance(0.3) else None
    one_hot = draw.chance(0.3)
    x = draw.integers((T, B), I) if one_hot else draw.floats((T, B, I), dtype)
    given_head: Any = head
    if draw.spoil("a head that is none", 0.05):
        given_head = draw.choose([value for value in NONSENSE if value is not None])
    stepper: Any = attempt(draw, lambda: layer.stepper(given_head), *layer.parameters(), last=False)  # type: ignore[attr-defined, unused-ignore]
    steps: list[Any] = [rt.Tensor(row) for row in x]
    if draw.spoil("an input of another shape, dtype or type", 0.15):
        row = x[-1]
        bad: list[Any] = [
            *map(rt.Tensor, (row[None, None], row.astype(np.float16), row[:0, None, None])),
            *NONSENSE,
        ]
        if one_hot:
            bad += [rt.Tensor(np.full(B, I)), rt.Tensor(np.full(B, -1))] * 3
        steps[-1] = draw.choose(bad)
    draw.note("steps", steps)

    def run() -> tuple[list[Any], Any]:
        state, outputs = layer.begin_state(B), []
        for step in steps:
            output, state = stepper(step, state)
            outputs.append(output)
        return outputs, state

    outputs, state = attempt(draw, run, steps, *layer.parameters())
    values = {name: p.data.astype(np.float64) for name, p in layer.named_parameters()}
    sequence = Sequence(x if one_hot else x.astype(np.float64), np.full(B, T), np.zeros((T, B), bool))
    initial = [np.zeros((layers, B, width))] + [np.zeros((layers, B, H))] * (len(cell.states) - 1)
    configuration = Configuration(cell, layers, 1, layer.hyperparameters, {})
    every, final = recurrence.run(configuration, values, sequence, initial)
    wanted = every[0]
    if head is not None and head.bias is not None:
        wanted = wanted @ head.weight.data.astype(np.float64).T + head.bias.data
    tolerance = tolerance_of(dtype, T * layers + I + H) * 4
    for t, output in enumerate(outputs):
        check_close(f"{cell.name}: step", output, wanted[t], dtype, tolerance=tolerance, least=1.0)
    states = state if isinstance(state, tuple) else (state,)
    for got, right in zip(states, final, strict=True):
        check_close(f"{cell.name}: state", got, right, dtype, tolerance=tolerance, least=1.0)
