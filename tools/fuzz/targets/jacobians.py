"""`nn.dynamics.jacobian` and `input_jacobian`: against differences of the oracle's step along one direction."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rondeau import nn
from rondeau import tensor as rt

from .. import named_inputs, recurrence
from ..directional import check_gradients
from ..drawing import NONSENSE, Draw
from ..recurrence import Configuration, Sequence
from ..verdict import attempt, check_like
from .stepping import draw_layer

Array = NDArray[Any]


def jacobians(draw: Draw) -> None:
    """Differentiate a step by its states and by its input, for one row or several."""
    dtype = draw.note("dtype", draw.dtype())
    layer, I, computed = draw_layer(draw, dtype, most=9)  # noqa: E741 - the field's letter
    cell, L = layer.cell, layer.num_layers
    _draw_scalars(draw, layer)
    widths = [layer.proj_size or layer.hidden_size] + [layer.hidden_size] * (len(cell.states) - 1)
    D = L * sum(widths)
    N = draw.random.randint(1, 4)
    rows: list[tuple[int, ...]] = [(N,) if draw.chance(0.7) else () for _ in range(2)]
    batch = max(rows, key=len)
    state, x = draw.floats((*rows[0], D), dtype), draw.floats((*rows[1], I), dtype)
    sizes = {"step": batch, "sequence": batch}
    named = named_inputs.draw_inputs(draw, cell, sizes, layer.hidden_size, dtype, L)
    given: list[Any] = [state, x, named_inputs.as_passed(cell, named, L)]
    if draw.chance(0.3) and (rows[0] or len(widths) > 1):
        given[0] = nn.dynamics.split_states(layer, state) if draw.wrong is None else rt.Tensor(state)
    if draw.spoil("a wrong argument", 0.15):
        _spoil(draw, given)
    draw.note("state, input, inputs", given)
    function = draw.choose((nn.dynamics.jacobian, nn.dynamics.input_jacobian))

    def call() -> Any:
        return function(layer, given[0], given[1], inputs=given[2])

    found = attempt(draw, call, *given[:2], *named.values(), *layer.parameters())
    by_state = function is nn.dynamics.jacobian
    check_like("Jacobian", found, (*batch, D, D if by_state else I), np.float64)
    values = {name: p.detach().numpy().astype(np.float64) for name, p in layer.named_parameters()}
    configuration = Configuration(cell, L, 1, layer.hyperparameters, {}, computed=computed)
    count = N if batch else 1
    of_layers = _of_layers(layer, named, count)
    cotangent = draw.normal((count, D), np.float64)

    def loss(at: dict[str, Array]) -> float:
        parts = np.split(at["state"].reshape(count, L, -1), np.cumsum(widths)[:-1], axis=-1)
        initial = [np.swapaxes(part, 0, 1) for part in parts]
        steps = Sequence(at["x"][None], np.ones(count, int), np.zeros((1, count), bool))
        _, final = recurrence.run(configuration, values, steps, initial, of_layers)
        after = np.swapaxes(np.concatenate(final, axis=-1), 0, 1)
        return float((after.reshape(count, D) * cotangent).sum())

    at = {
        name: np.broadcast_to(array, (count, array.shape[-1])).astype(np.float64)
        for name, array in (("state", state), ("x", x))
    }
    gradient = np.einsum("ni,nij->nj", cotangent, found.reshape(count, D, -1))
    check_gradients(
        draw, loss, at, {"state" if by_state else "x": gradient}, np.float64, f"{cell.name}: Jacobian"
    )


def _draw_scalars(draw: Draw, layer: Any) -> None:
    """Draw the scalars of the run; a step whose noise counts has no Jacobian."""
    cell = layer.cell
    for name in cell.scalars:
        layer.hyperparameters[name] = draw.choose((0.0, 0.3, 0.7))
    if layer.hyperparameters.get("alpha") == 0.0:
        draw.open = "a step that divides by zero"
    if not cell.draws_noise or draw.wrong is not None or draw.open is not None:
        return
    # All of the noise of the other cells is multiplied by their scalar.
    if cell.name != "noisy" and draw.chance(0.8):
        layer.hyperparameters["noise"] = 0.0
    if cell.name == "noisy" or layer.hyperparameters["noise"]:
        draw.wrong = "a step that is random"
    draw.note("scalars", layer.hyperparameters)


def _of_layers(layer: Any, named: dict[str, Array], count: int) -> list[dict[str, Array]]:
    """Return the named inputs of each layer for the oracle, those of a step with one step."""
    kinds = named_inputs.kinds_of(layer.cell, named)
    values = {}
    for name, array in named.items():
        rows = array.astype(np.float64).reshape(count, -1)
        values[name] = rows[None] if kinds[name] == "step" else rows
    return named_inputs.of_layers(layer.cell, values, layer.num_layers)


def _spoil(draw: Draw, given: list[Any]) -> None:
    """Make the state, the input or the named inputs wrong."""
    k = draw.random.randrange(3)
    if k == 2:
        several = given[2] if isinstance(given[2], list) else [given[2]]
        names = list(several[-1])
        bad: list[Any] = ["inputs", [], {**several[-1], "no such": 1.0}, [several[-1]] * 9]
        if names:
            worse = ("one", None, np.zeros((9, 9, 9)), float("nan"), np.array(["a"]))
            bad += [None, {}, *({**several[-1], names[-1]: value} for value in worse)]
        given[2] = draw.choose(bad)
        return
    array = np.zeros(3) if isinstance(given[k], tuple) else np.asarray(given[k])
    shapes = [np.zeros((*array.shape[:-1], array.shape[-1] + 1)), array[None, None, None], np.zeros(())]
    numbers = [np.full(array.shape, np.nan), array.astype(complex)]
    given[k] = draw.choose(
        [*shapes, *numbers, *(v for v in NONSENSE if not isinstance(v, list)), [[1], [2, 3]]]
    )
