"""`Recurrent.stepper`, also with weights in int8: one step after the other gives what the whole sequence gives."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rondeau import nn
from rondeau import tensor as rt

from .. import named_inputs, recurrence
from ..cells import CELLS
from ..drawing import NONSENSE, Draw
from ..int8 import dequantised, shaking
from ..noise import Noise, key_of
from ..parametrised import parametrise
from ..recurrence import Configuration, Sequence
from ..verdict import attempt, check_close, tolerance_of

Array = NDArray[Any]

_MATRICES = tuple(name for name in recurrence.MATRICES if name.startswith("weight"))
_HEAD = "head"
"""What the matrix of a head is named among the values that go in."""


def draw_layer(draw: Draw, dtype: Any, most: int = 70) -> tuple[Any, int, recurrence.Computed]:
    """Return a layer, in training or not, its number of inputs, and its weights that are computed."""
    cell = CELLS[draw.note("cell", draw.choose(tuple(CELLS)))]
    I, H = draw.size(most), draw.size(most)  # noqa: E741 - the field's letters
    options: dict[str, Any] = {"num_layers": draw.choose((1, 1, 2)), "bias": draw.chance(0.7), "dtype": dtype}
    options["learn_initial_state"] = draw.chance(0.3)
    if cell.project:
        H, options["proj_size"] = H + 1, draw.random.randint(1, H)
    elif draw.chance(0.2):
        options["num_heads"] = draw.choose([n for n in range(1, H + 1) if H % n == 0])
    if cell.scalars and draw.chance(0.5):
        options["hyperparameters"] = dict.fromkeys(cell.scalars, 0.3)
    if draw.spoil("a layer that runs backward too", 0.05):
        options["bidirectional"] = True
    draw.note("I, H, options", (I, H, options))
    layer = nn.Recurrent(cell, I, H, **options).train(draw.chance(0.5))
    for name, parameter in layer.named_parameters():
        if not name.startswith(recurrence.MATRICES):
            parameter.data = draw.normal(parameter.shape, dtype, 0.5)
        parameter.data = draw.laid_out(parameter.detach().numpy(), plain=0.9)
    return layer, I, parametrise(draw, layer, 0.15)


def stepping(draw: Draw) -> None:
    """Step a layer through a sequence, with or without a head, and compare every output and the last states."""
    rt.set_num_threads(draw.choose((1, 1, 2, 3)))
    dtype, T, B = draw.dtype(), draw.random.randint(1, 6), draw.size(9, empty=0.03)
    batch = () if draw.chance(0.2) else (B,)
    layer, I, computed = draw_layer(draw, dtype)  # noqa: E741
    cell, width = layer.cell, layer.proj_size or layer.hidden_size
    head = nn.Linear(width, draw.size(), draw.chance(0.7), dtype=dtype) if draw.chance(0.3) else None
    one_hot = draw.chance(0.3)
    x = draw.integers((T, *batch), I) if one_hot else draw.floats((T, *batch, I), dtype)
    given_head: Any = head
    if draw.spoil("a head that is none", 0.05):
        given_head = draw.choose([value for value in NONSENSE if value is not None])
    weights = _weights_format(draw, dtype)
    seed = draw.random.getrandbits(30)
    rt.manual_seed(seed)
    stepper: Any = attempt(draw, lambda: layer.stepper(given_head, weights), *layer.parameters(), last=False)
    steps: list[Any] = [rt.Tensor(row) for row in x]
    start: Any = layer.begin_state(batch[0] if batch else None) if draw.chance(0.5) else None
    arrays = named_inputs.draw_inputs(
        draw, cell, {"step": (T, *batch), "sequence": batch}, layer.hidden_size, dtype, layer.num_layers
    )
    kinds = named_inputs.kinds_of(cell, arrays)
    given = [_inputs_of_step(draw, layer, arrays, kinds, t) for t in range(T)]
    if draw.spoil("wrong named inputs", 0.12 if cell.inputs else 0.02):
        sizes = {"step": batch, "sequence": batch}
        given[-1] = named_inputs.spoiled(draw, cell, given[-1], sizes, layer.hidden_size, dtype)
    elif draw.spoil("an input of another shape, dtype or type", 0.1):
        steps[-1] = _bad_step(draw, x[-1], I)
    elif draw.spoil("a state of another shape, dtype or type", 0.1):
        start = _bad_state(draw, layer, batch)
    draw.note("steps, state, inputs", (steps, start, given))

    def run() -> tuple[list[Any], Any]:
        state, outputs = start, []
        for step, inputs in zip(steps, given, strict=True):
            output, state = stepper(step, state, inputs)
            outputs.append(output)
        return outputs, state

    outputs, state = attempt(draw, run, steps, start, *arrays.values(), *layer.parameters())
    values = {name: p.detach().numpy().astype(np.float64) for name, p in layer.named_parameters()}
    if head is not None:
        values[_HEAD] = head.weight.detach().numpy().astype(np.float64)
    matrices: list[str] = []
    if weights == "int8":
        matrices = [name for name in (*values, *computed) if name.startswith((_HEAD, *_MATRICES))]
        rounded = {name: _matrix(layer, head, name) for name in matrices}
        values, computed = values | {name: dequantised(matrix) for name, matrix in rounded.items()}, {}
    rows = x if batch else x[:, None]
    sequence = Sequence(
        rows if one_hot else rows.astype(np.float64),
        np.full(rows.shape[1], T),
        _never(rows),
        noise=Noise(key_of(seed)),
    )
    named = {
        n: (a if batch else a[:, None] if kinds[n] == "step" else a[None]).astype(np.float64)
        for n, a in arrays.items()
    }
    widths = [width] + [layer.hidden_size] * (len(cell.states) - 1)
    configuration = Configuration(cell, layer.num_layers, 1, layer.hyperparameters, {}, computed=computed)
    like = [np.zeros((layer.num_layers, rows.shape[1], n)) for n in widths]
    everything = {**values, **named} | ({} if one_hot else {"x": sequence.x})

    def right(at: dict[str, Array]) -> list[Array]:
        """Return every step's output and the final states, from values by name."""
        of_layers = named_inputs.of_layers(cell, {name: at[name] for name in named}, layer.num_layers)
        initial = recurrence.begun(configuration, at, like)
        steps = sequence._replace(x=at.get("x", sequence.x))
        every, final = recurrence.run(configuration, at, steps, initial, of_layers)
        y = every[0]
        if head is not None:
            y = y @ at[_HEAD].T
            y = y if head.bias is None else y + head.bias.detach().numpy()
        return [*(y if batch else y[:, 0]), *(final if batch else [state[:, 0] for state in final])]

    wanted = right(everything)

    def near(k: int) -> float:
        """How far result k moves where everything that goes in is rounded."""
        rounding = float(np.finfo(dtype).eps)
        moved = {n: v * (1 + rounding * draw.normal(v.shape, np.float64)) for n, v in everything.items()}
        moved |= {n: shaking(moved[n], draw.numbers) for n in matrices}
        return float(np.abs(right(moved)[k] - wanted[k]).max(initial=0.0))

    tolerance = 4 * tolerance_of(dtype, T * layer.num_layers + I + layer.hidden_size)
    ends = state if isinstance(state, tuple) else (state,)
    for k, (got, value) in enumerate(zip((*outputs, *ends), wanted, strict=True)):
        name = f"{cell.name}: {'step' if k < T else 'state'}"
        spread = functools.partial(near, k)
        check_close(name, got, value, dtype, tolerance=tolerance, least=1.0, spread=spread)


def _weights_format(draw: Draw, dtype: Any) -> str:
    """Return what the stepper keeps its matrices in."""
    if draw.spoil("weights in an unknown format", 0.02):
        return draw.choose(("int4", "INT8", "bfloat16"))
    if dtype == np.float32:
        return draw.note("weights", "int8" if draw.chance(0.4) else "float32")
    return "int8" if draw.spoil("weights in int8 of a float64 layer", 0.03) else "float32"


def _matrix(layer: Any, head: nn.Linear | None, name: str) -> Array:
    """Return a matrix of the layer, computed if it is, or of the head."""
    found: rt.Tensor = head.weight if head is not None and name == _HEAD else getattr(layer, name)
    return found.detach().numpy()


def _inputs_of_step(draw: Draw, layer: Any, arrays: dict[str, Array], kinds: dict[str, str], t: int) -> Any:
    """Return the named inputs of a step, as tensors or arrays."""
    if not arrays:
        return draw.choose((None, None, {}))
    form = rt.Tensor if draw.chance(0.7) else np.asarray
    of_step = {name: form(array[t] if kinds[name] == "step" else array) for name, array in arrays.items()}
    return named_inputs.as_passed(layer.cell, of_step, layer.num_layers)


def _never(rows: Array) -> Array:
    """Return resets that never come."""
    return np.zeros(rows.shape[:2], bool)


def _bad_step(draw: Draw, row: Array, width: int) -> Any:
    """Return what is no input of one step."""
    bad: list[Any] = [row[None, None], row.astype(np.float16), np.zeros((2, 3, 4)), *NONSENSE]
    if row.dtype.kind == "i":
        wrong = row.astype(np.int64)
        for value in (width, -1, 2**40, -(2**63)):
            bad += [np.full_like(wrong, value)] if wrong.size else []
    else:
        bad += [np.zeros((*row.shape[:-1], width + 1), row.dtype), row.astype(np.complex64)]
    chosen = draw.choose(bad)
    return rt.Tensor(chosen) if isinstance(chosen, np.ndarray) and chosen.dtype.kind != "c" else chosen


def _bad_state(draw: Draw, layer: Any, batch: tuple[int, ...]) -> Any:
    """Return what is no state of a layer."""
    good: Any = layer.begin_state(batch[0] if batch else None)
    states: tuple[Any, ...] = good if isinstance(good, tuple) else (good,)
    array = states[-1].detach().numpy()
    other = np.float32 if array.dtype == np.float64 else np.float64
    bad = [array[None], array[..., :-1], array.astype(other), np.zeros((9, 9, 9, 9), array.dtype)]
    chosen: list[Any] = [(*states[:-1], rt.Tensor(value)) for value in bad]
    chosen += [(*states, states[0]), (), "state", 3.5]
    value = draw.choose(chosen)
    return value[0] if isinstance(value, tuple) and len(value) == 1 and len(states) == 1 else value
