"""`RNNCell`, `GRUCell`, `LSTMCell` and `RecurrentCell`: one step, with or without a batch."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rondeau import nn
from rondeau import tensor as rt

from .. import named_inputs, recurrence
from ..cells import CELLS
from ..drawing import NONSENSE, Draw
from ..noise import Noise, key_of
from ..verdict import attempt
from .layers import compare, leaf

Array = NDArray[Any]


def _drawn_kind(draw: Draw) -> tuple[Any, tuple[Any, ...], dict[str, Any], str]:
    """Return a class, its arguments before the sizes and besides them, and the name of its cell."""
    if draw.chance(0.5):
        return draw.choose(
            (
                (nn.RNNCell, (), {}, "rnn_tanh"),
                (nn.RNNCell, (), {"nonlinearity": "relu"}, "rnn_relu"),
                (nn.GRUCell, (), {}, "gru"),
                (nn.LSTMCell, (), {}, "lstm"),
            )
        )
    name = draw.choose([name for name, cell in CELLS.items() if cell.project is None])
    scalars = {scalar: draw.choose((0.0, 0.3, 0.8)) for scalar in CELLS[name].scalars if draw.chance(0.5)}
    return nn.RecurrentCell, (CELLS[name],), {"hyperparameters": scalars}, name


def single_step(draw: Draw) -> None:
    """Step once, and compare one of the new states and its gradients."""
    kind, first, options, name = _drawn_kind(draw)
    cell, dtype = CELLS[name], draw.dtype()
    inputs, hidden = draw.size(), draw.size()
    batch = () if draw.chance(0.2) else (draw.size(empty=0.04),)
    bias = draw.chance(0.7)
    draw.note("cell", (kind.__name__, name, options, inputs, hidden, batch, bias, dtype))
    layer: Any = attempt(draw, lambda: kind(*first, inputs, hidden, bias, dtype=dtype, **options), last=False)
    for parameter in layer.parameters():
        parameter.data = draw.laid_out(parameter.detach().numpy(), plain=0.85)
    x = leaf(draw, draw.floats((*batch, inputs), dtype))
    states = [leaf(draw, draw.floats((*batch, hidden), dtype)) for _ in cell.states]
    given: list[Any] = [x, (states[0] if len(states) == 1 else tuple(states)) if draw.chance(0.7) else None]
    zero = given[1] is None
    sizes = {"step": batch, "sequence": batch}
    named = {
        key: leaf(draw, array)
        for key, array in named_inputs.draw_inputs(draw, cell, sizes, hidden, dtype).items()
    }
    if kind is nn.RecurrentCell:
        given.append(named_inputs.as_passed(cell, named))
        if draw.spoil("wrong named inputs", 0.1 if named else 0.02):
            given[2] = named_inputs.spoiled(draw, cell, given[2], sizes, hidden, dtype)
    if draw.spoil("an argument of another shape, dtype or type", 0.15):
        _spoil(draw, given, x, states)
    draw.note("arguments", given)
    which = draw.random.randrange(len(states))
    leaves = {"x": x, **dict(layer.named_parameters()), **named}
    leaves |= {} if zero else {f"s{k}": state for k, state in enumerate(states)}

    seed = draw.random.getrandbits(30)

    def call() -> Any:
        rt.manual_seed(seed)
        result = layer(*given)
        return result[which] if isinstance(result, tuple) else result

    def right(at: dict[str, Array]) -> Array:
        rows = at["x"].reshape(-1, inputs)
        before = [at.get(f"s{k}", np.zeros((*batch, hidden))).reshape(-1, hidden) for k in range(len(states))]
        x_part = rows @ at["weight_ih"].T + at.get("bias_ih", 0.0)
        weights = {n: v for n, v in at.items() if n in recurrence.MATRICES or n in cell.params}
        of_step = {
            named_inputs.name_of(key): at[key].reshape(len(rows), hidden if at[key].ndim > len(batch) else 1)
            for key in named
        }
        numbers = Noise(key_of(seed)).at(0, np.arange(len(rows)), hidden)
        scalars = options.get("hyperparameters", {})
        new = recurrence.step(cell, weights, x_part, before, scalars, of_step, numbers)
        return new[which].reshape(*batch, hidden)

    compare(draw, name, call, leaves, right, dtype, length=inputs + hidden)


def _spoil(draw: Draw, given: list[Any], x: Any, states: list[Any]) -> None:
    """Make the input or the states wrong."""
    if draw.chance(0.5):
        array = x.detach().numpy()
        bad: list[Any] = [
            array[None, None],
            array[..., :-1],
            array.astype(np.float16),
            array.astype(np.int64),
        ]
        given[0] = draw.choose([*map(rt.Tensor, bad), array, *NONSENSE])
        return
    array = states[-1].detach().numpy()
    bad = [array[None], array[..., :-1], array.astype(np.float16), array[..., None]]
    wrong = [(*states[:-1], rt.Tensor(other)) for other in bad] + [
        (*states[:-1], value) for value in NONSENSE
    ]
    chosen: Any = draw.choose(wrong)
    if len(states) == 1:
        chosen = chosen[0]
        if chosen is None:
            chosen = "no state"
    elif draw.chance(0.3):
        chosen = draw.choose((states[0], states[:1], [*states, states[0]], "states"))
    given[1] = chosen
