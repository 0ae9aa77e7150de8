"""The recurrent layers: forward, backward and twice backward, with every option that they take."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rondeau import nn
from rondeau import tensor as rt
from rondeau.nn.utils.rnn import PackedSequence, pack_padded_sequence

from .. import named_inputs, recurrence
from ..cells import CELLS, KINKED, REGULARISED
from ..directional import check_gradients
from ..drawing import NONSENSE, Draw
from ..named_inputs import PREFIX
from ..noise import Noise, key_of
from ..parametrised import parametrise
from ..recurrence import Computed, Configuration, Sequence
from ..verdict import Finding, attempt, check_close, check_like, tolerance_of

Array = NDArray[Any]


class Option(NamedTuple):
    """An argument of a layer: how to draw it, right and wrong. A new one is one entry below."""

    name: str
    chance: float
    """How often it is given at all."""
    good: Callable[[Draw, Shape], Any]
    """A value that every layer of that shape takes, or `REFUSED` with why it does not."""
    bad: tuple[Any, ...]
    """Values that no layer takes."""


class Shape(NamedTuple):
    """Of one call."""

    cell: Any
    T: int
    B: int
    I: int  # noqa: E741 - the field's letter
    H: int


def _rate(draw: Draw, shape: Shape) -> float:
    return draw.choose((0.0, 0.25, 0.5, 1.0))


def _zoneout(draw: Draw, shape: Shape) -> Any:
    rate = _rate(draw, shape)
    return rate if draw.chance(0.5) else {shape.cell.states[-1]: rate}


def _scalars(draw: Draw, shape: Shape) -> dict[str, float]:
    known = inspect.signature(shape.cell.step).parameters.values()
    keywords = [p.name for p in known if p.kind is inspect.Parameter.KEYWORD_ONLY]
    return {name: draw.choose((0.0, 0.2, 0.7)) for name in keywords if draw.chance(0.7)}


def _steps(draw: Draw, shape: Shape) -> int:
    return draw.random.randint(1, shape.T + 2)


def _heads(draw: Draw, shape: Shape) -> int:
    return draw.choose([n for n in range(1, shape.H + 1) if shape.H % n == 0])


_NO_RATE = (-0.1, 1.5, "half", float("nan"), [0.5])
_NO_COUNT = (-1, 1.5, "two", [1])

#: What the layers' constructors take; those that a version of the library lacks are left out by its signature.
CONSTRUCTION = (
    Option("num_layers", 0.3, lambda d, s: d.choose((1, 2, 3)), (0, *_NO_COUNT)),
    Option("bias", 0.3, lambda d, s: d.chance(0.5), ()),
    Option("batch_first", 0.3, lambda d, s: d.chance(0.7), ()),
    Option("dropout", 0.15, _rate, _NO_RATE),
    Option("bidirectional", 0.3, lambda d, s: d.chance(0.8), ()),
    Option("proj_size", 0.15, lambda d, s: d.random.randint(0, max(0, s.H - 1)), (-1, 10_000, 0.5, "one")),
    Option("device", 0.1, lambda d, s: d.choose((None, "cpu")), ("tpu", "cuda:99", 7)),
    Option("num_heads", 0.25, _heads, (0, -2, 10_007, 1.5, "two")),
    Option("hyperparameters", 0.3, _scalars, ({"no such": 1.0}, 0.5, "leak", {"leak": "fast"})),
    Option("recurrent_dropout", 0.15, _rate, _NO_RATE),
    Option("zoneout", 0.2, _zoneout, (*_NO_RATE, {"no such": 0.5})),
    Option("weight_dropout", 0.15, _rate, _NO_RATE),
    Option("bptt_truncate", 0.1, _steps, _NO_COUNT),
    Option("recompute_every", 0.2, _steps, (0, *_NO_COUNT)),
    Option("learn_initial_state", 0.25, lambda d, s: d.chance(0.8), (1, "yes", None)),
)
#: Those that draw at random in training, so that no oracle knows the result.
RANDOM = ("recurrent_dropout", "zoneout", "weight_dropout")


def _draw_options(draw: Draw, shape: Shape, known: set[str]) -> dict[str, Any]:
    options: dict[str, Any] = {}
    regularised = any(shape.cell is CELLS[name] for name in REGULARISED)
    for option in CONSTRUCTION:
        allowed = option.name in known and (option.name not in RANDOM or regularised)
        needed = option.name == "proj_size" and shape.cell.project is not None and shape.H > 1
        if allowed and draw.chance(0.95 if needed else option.chance * (2 if option.name in RANDOM else 1)):
            if option.bad and draw.spoil(f"{option.name} out of its range", 0.04):
                options[option.name] = draw.choose(option.bad)
            else:
                options[option.name] = option.good(draw, shape)
    return options


def _draw_layer(draw: Draw, shape: Shape, dtype: Any) -> Any:
    """Return a layer in float32 or float64, in training or evaluation, with weights of any layout."""
    named: dict[str, Any] = {"rnn_tanh": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}
    cell = next(name for name, value in CELLS.items() if value is shape.cell)
    kind: Any = named[cell] if cell in named and draw.chance(0.5) else nn.Recurrent
    options = _draw_options(draw, shape, _names_of_options(kind))
    if draw.wrong is None:
        draw.wrong = _conflict(kind, shape.cell, options)
    first: tuple[Any, ...] = (shape.cell,) if kind is nn.Recurrent else ()
    if first and draw.spoil("no cell", 0.01):
        first = (draw.choose(NONSENSE),)
    sizes: list[Any] = [shape.I, shape.H]
    if draw.spoil("sizes out of range", 0.02):
        sizes[draw.random.randrange(2)] = draw.choose((0, -3, 2.5, None, "three"))
    given_dtype: Any = dtype
    if draw.spoil("a dtype that layers do not have", 0.01):
        given_dtype = draw.choose(("int64", "float16", "complex64", "no such"))
        if given_dtype == "float16":
            draw.wrong, draw.open = None, "layers in float16"
    draw.note("layer", (kind.__name__, cell, sizes, options, given_dtype))
    layer = attempt(draw, lambda: kind(*first, *sizes, dtype=given_dtype, **options), last=False)
    draw.note("training", layer.train(draw.chance(0.6)).training)
    return layer


def _names_of_options(kind: Any) -> set[str]:
    """Return the arguments that a constructor takes, those included that it passes on to `Recurrent`."""
    own = inspect.signature(kind.__init__).parameters
    passed_on = inspect.signature(nn.Recurrent.__init__).parameters.values()
    names = set(own)
    if any(p.kind is inspect.Parameter.VAR_KEYWORD for p in own.values()):
        names |= {p.name for p in passed_on if p.kind is inspect.Parameter.KEYWORD_ONLY}
    return names


def _conflict(kind: Any, cell: Any, options: dict[str, Any]) -> str | None:
    """Return why options that are good by themselves do not go together, if they do not."""
    projected = options.get("proj_size", 0)
    if options.get("bptt_truncate") is not None and options.get("recompute_every") is not None:
        return "bptt_truncate and recompute_every"
    if not projected:
        return "a cell that projects, without a size" if cell.project else None
    zoneout = options.get("zoneout", 0.0)
    kept = zoneout.get(cell.states[0], 0.0) if isinstance(zoneout, dict) else zoneout
    # A matrix applied to an expression of the step multiplies H numbers, not P.
    applied = any("r." + gate + "(" in inspect.getsource(cell.step) for gate in cell.gates)
    if kind in (nn.RNN, nn.GRU) or cell.states[0] in recurrence.names_read(cell)["s"] or applied or kept:
        return "proj_size where the cell cannot be projected"
    return "proj_size and num_heads" if options.get("num_heads", 1) > 1 else None


def _treat_weights(draw: Draw, layer: Any) -> bool:
    """Lay out, plant and freeze weights; return whether they are far from what numbers of a dtype can follow."""
    extreme = False
    for name, parameter in list(layer.named_parameters()):
        if name.startswith(recurrence.MATRICES):
            parameter.data = draw.laid_out(parameter.detach().numpy(), plain=0.9)
        else:
            parameter.data = draw.floats(parameter.shape, parameter.dtype, 0.5)
        if draw.chance(0.02):
            parameter.data = draw.note(f"{name} planted", draw.planted(parameter.detach().numpy()))
        if draw.chance(0.01):
            extreme = True
            scale = draw.choose((1e30, 1e-30, 1e5))
            with np.errstate(all="ignore"):
                parameter.data = draw.note(
                    f"{name} scaled", parameter.detach().numpy() * np.asarray(scale, parameter.dtype)
                )
        if draw.chance(0.05):
            parameter.requires_grad = False
        is_read = not name.startswith(recurrence.INITIAL)  # these are not where all states are given
        if is_read and draw.spoil(f"{name} replaced by another shape or dtype", 0.003):
            wrong = draw.choose(
                [
                    np.zeros((*parameter.shape, 1), parameter.dtype),
                    np.zeros([n + 1 for n in parameter.shape], parameter.dtype),
                    np.zeros([0 for n in parameter.shape], parameter.dtype),
                    parameter.detach().numpy().astype(np.float16),
                    parameter.detach()
                    .numpy()
                    .astype(np.float32 if parameter.dtype == np.float64 else np.float64),
                ]
            )
            parameter.data = draw.note(name, wrong)
    return extreme


class Inputs(NamedTuple):
    """What a layer is called with, and what that means."""

    given: Any
    """Tensor or PackedSequence."""
    hx: Any
    keywords: dict[str, Any]
    sequence: Sequence
    initial: list[Array]
    form: str
    """"dense", "unbatched" or "packed"."""
    named: dict[str, Array]
    """The named inputs as the oracle takes them, by its names for them."""
    leaves: dict[str, Any]
    """Tensors by the oracle's names: ``x``, ``s0``, ``s1``, ..., named inputs; integers are none of them."""
    widths: list[int]
    batch_first: bool
    cell: Any

    @property
    def values(self) -> dict[str, Array]:
        """The initial states and the named inputs by the oracle's names, and x unless it is integers."""
        values = {**self.named, **{f"s{k}": state for k, state in enumerate(self.initial)}}
        return values if self.sequence.x.dtype.kind == "i" else {**values, "x": self.sequence.x}


def _draw_input(draw: Draw, layer: Any, shape: Shape, dtype: Any) -> Inputs:
    form = draw.note("form", draw.choose(("dense",) * 6 + ("unbatched",) + ("packed",) * 2))
    T, B, I = shape.T, 1 if form == "unbatched" else shape.B, shape.I  # noqa: E741
    if form == "packed" and not (T and B):
        form = "dense"
    one_hot = draw.note("one-hot", draw.chance(0.2))
    batch = () if form == "unbatched" else (B,)
    time_first = form != "dense" or not layer.batch_first
    dimensions = (T, *batch) if time_first else (*batch, T)
    keywords, lengths, reset = _draw_ends(draw, layer, T, B, form)
    wrong: Any = None
    if draw.spoil("an input of another shape, dtype or type", 0.05):
        wrong = draw.choose(("width", "dimensions", "dtype", "type", "range"))
    if one_hot:
        integers = draw.choose((np.int64, np.int64, np.int64, np.int32, np.int8))
        values = draw.integers(dimensions, I, integers)
        if wrong in ("width", "range"):
            values = values.copy()
            if values.size:
                values.flat[draw.random.randrange(values.size)] = draw.choose((-1, I, 100, -128))
                if form == "packed" or (lengths < T).any():
                    draw.wrong, draw.open = None, "an id that may stand past a length"
            else:
                wrong, draw.wrong = None, None
    else:
        width = (
            (I,)
            if wrong not in ("width", "range")
            else (draw.choose([n for n in (0, 1, I + 1, 2 * I) if n != I]),)
        )
        values = draw.floats((*dimensions, *width), dtype)
        if draw.chance(0.02):
            values = draw.planted(values)
    sequence_values = np.array(values)
    if draw.wrong is None and (lengths < T).any() and draw.chance(0.5):
        values = _with_rubbish(values, sequence_values, lengths, time_first)
    if wrong == "dimensions":
        values = draw.choose([values[None, None], np.zeros((), values.dtype), values[..., None, None]])
    if wrong == "dtype":
        other = [np.float16, np.bool_, np.float32 if dtype == np.float64 else np.float64]
        values = values.astype(draw.choose(other))
        if one_hot and values.dtype.kind == "f" and values.dtype == dtype:
            values = values.astype(np.float16)
    x = rt.Tensor(values)
    leaves = {}
    if not one_hot and x.dtype.kind == "f" and draw.chance(0.6):
        x.requires_grad_()
        leaves["x"] = x
    given: Any = x
    if wrong == "type":
        given = draw.choose((*NONSENSE, values.tolist(), values))
    draw.note("input", given)
    if form == "packed":
        order = np.sort(draw.numbers.integers(1, T + 1, B))[::-1] if draw.chance(0.5) else None
        lengths = draw.numbers.integers(1, T + 1, B) if order is None else order
        draw.note("packed lengths", lengths)
        if wrong != "type":
            ordered = order is not None
            given = attempt(
                draw, lambda: pack_padded_sequence(x, lengths, enforce_sorted=ordered), x, last=False
            )
    states, initial, widths = _draw_states(draw, layer, shape, batch, dtype)
    if states is not None:
        for k, state in enumerate(states if isinstance(states, tuple) else (states,)):
            if isinstance(state, rt.Tensor) and state.dtype == dtype and draw.chance(0.6):
                leaves[f"s{k}"] = state.requires_grad_()
    padded = sequence_values if time_first else np.swapaxes(sequence_values, 0, 1)
    if form == "unbatched":
        padded = padded[:, None]
        initial = [state[:, None] for state in initial]
    sequence = Sequence(padded if one_hot else padded.astype(np.float64), lengths, reset)
    drawn = Inputs(
        given, states, keywords, sequence, initial, form, {}, leaves, widths, not time_first, layer.cell
    )
    sizes = {"step": dimensions, "sequence": batch}
    return _with_named_inputs(draw, layer, drawn, sizes, dtype)


def _with_named_inputs(
    draw: Draw, layer: Any, inputs: Inputs, sizes: dict[str, tuple[int, ...]], dtype: Any
) -> Inputs:
    """Add named inputs of these sizes, where the cell has any, or wrong ones."""
    cell, L, lengths = layer.cell, layer.num_layers, inputs.sequence.lengths
    arrays = named_inputs.draw_inputs(draw, cell, sizes, layer.hidden_size, dtype, L)
    if draw.chance(0.02):
        arrays = {name: draw.planted(array) for name, array in arrays.items()}
    kinds, right = named_inputs.kinds_of(cell, arrays), {n: np.array(array) for n, array in arrays.items()}
    if draw.wrong is None and inputs.form == "dense" and draw.chance(0.5):
        for name, kind in kinds.items():
            arrays[name] = _with_unread_rubbish(arrays[name], right[name], kind, inputs)
    trained, leaves = draw.chance(0.7), dict(inputs.leaves)
    uniform, tensors = draw.chance(0.9), {}
    for name, array in arrays.items():
        tensors[name] = rt.Tensor(array)
        if trained if uniform else draw.chance(0.5):
            leaves[name] = tensors[name].requires_grad_()
    packs = inputs.form == "packed" and isinstance(inputs.given, PackedSequence)

    def pack(tensor: Any, of: Array) -> Any:
        in_order = bool((of[1:] <= of[:-1]).all()) and draw.chance(0.5)
        return pack_padded_sequence(tensor, of, enforce_sorted=in_order)

    given = {n: pack(t, lengths) if packs and kinds[n] == "step" else t for n, t in tensors.items()}
    passed = named_inputs.as_passed(cell, given, L)
    if draw.spoil("wrong named inputs", 0.12 if cell.inputs else 0.02):
        passed = _wrong_inputs(draw, layer, inputs, passed, sizes, dtype, pack)
    draw.note("inputs", passed)
    named = {n: _as_batch(kinds[n], array.astype(np.float64), inputs) for n, array in right.items()}
    if passed or draw.wrong or draw.chance(0.1):
        inputs.keywords["inputs"] = passed
    return inputs._replace(named=named, leaves=leaves)


def _with_unread_rubbish(values: Array, right: Array, kind: str, inputs: Inputs) -> Array:
    """Return a named input with NaN wherever no step reads it, where `right` becomes zero."""
    lengths = inputs.sequence.lengths
    if kind == "step":
        return _with_rubbish(values, right, lengths, not inputs.batch_first)
    values = np.array(values)
    values[lengths == 0], right[lengths == 0] = np.nan, 0
    return values


def _wrong_inputs(
    draw: Draw,
    layer: Any,
    inputs: Inputs,
    passed: Any,
    sizes: dict[str, tuple[int, ...]],
    dtype: Any,
    pack: Callable[[Any, Array], Any],
) -> Any:
    """Return what is wrong in the place of named inputs; where the input is packed, packed in another way too."""
    cell, x = layer.cell, inputs.given
    steps = [name for name, kind in cell.inputs.items() if kind == "step"]
    if not isinstance(x, PackedSequence):
        return named_inputs.spoiled(draw, cell, passed, sizes, layer.hidden_size, dtype)
    T, B = sizes["step"]
    if steps and draw.chance(0.3):
        good = passed[-1] if isinstance(passed, list) else passed
        padded = rt.Tensor(draw.normal((T, B), dtype))
        lengths = inputs.sequence.lengths
        other = np.append(lengths, T)
        value = draw.choose((padded, rt.Tensor(np.zeros(int(lengths.sum()), dtype))))
        if draw.chance(0.5):
            value = pack(rt.Tensor(draw.normal((T, B + 1), dtype)), other)
        return {**good, draw.choose(steps): value}

    def wrap(array: Array, kind: str) -> Any:
        return x._replace(data=rt.Tensor(array)) if kind == "step" else rt.Tensor(array)

    sizes = {**sizes, "step": x.data.shape[:1]}
    return named_inputs.spoiled(draw, cell, passed, sizes, layer.hidden_size, dtype, wrap)


def _as_batch(kind: str, value: Array, inputs: Inputs) -> Array:
    """Return a named input, or its gradient, with a batch dimension that follows that of time."""
    if inputs.form == "unbatched":
        return value[:, None] if kind == "step" else value[None]
    return np.swapaxes(value, 0, 1) if inputs.batch_first and kind == "step" else value


def _with_rubbish(values: Array, right: Array, lengths: Array, time_first: bool) -> Array:
    """Return the values with what nobody may look at past the lengths, where `right` becomes zero."""
    values = np.array(values)
    past = np.arange(values.shape[0 if time_first else 1])[:, None] >= lengths
    past = past if time_first else past.T
    values[past] = np.nan if values.dtype.kind == "f" else -1
    right[past] = 0
    return values


def _draw_ends(draw: Draw, layer: Any, T: int, B: int, form: str) -> tuple[dict[str, Any], Array, Array]:
    """Draw lengths and resets: as arguments, as (B,) and as (T, B)."""
    lengths, reset = np.full(B, T), np.zeros((T, B), bool)
    keywords: dict[str, Any] = {}
    often = 0.3 if form == "dense" else 0.03
    if draw.chance(often):
        lengths = draw.numbers.integers(0, T + 1, B)
        form_of: Any = draw.choose((list, rt.Tensor, np.asarray))
        given: Any = form_of(draw.laid_out(lengths)) if B else lengths
        if not np.array_equal(np.asarray(given), lengths):  # laid out with a stride of zero
            given = lengths
        if draw.spoil("wrong lengths", 0.15):
            given = draw.choose(_bad_lengths(lengths, T))
        keywords["lengths"] = draw.note("lengths", given)
    if draw.chance(often):
        reset = draw.laid_out(draw.numbers.random((T, B)) < 0.3)
        turned = reset.T if form == "dense" and layer.batch_first else reset
        form_of = draw.choose((rt.Tensor, np.asarray))
        given = form_of(turned)
        if draw.spoil("a wrong reset", 0.15):
            bad = [np.zeros((T + 1, B), bool), np.zeros((T, B, 1), bool), np.zeros((T, B)) + 0.5, "often"]
            given = draw.choose(
                [*bad, turned.astype(np.int64), rt.Tensor(turned.astype(np.float32)), turned[None]]
            )
        keywords["reset"] = draw.note("reset", given)
    if keywords and form != "dense" and draw.wrong is None:
        draw.wrong = "lengths or reset of what has no batch or brings its own lengths"
    return keywords, lengths, np.asarray(reset)


def _bad_lengths(lengths: Array, T: int) -> list[Any]:
    """Return what are no lengths of a batch of T steps."""
    bad: list[Any] = [np.append(lengths, T), lengths[:, None] + T, "long", [[1], [2, 3]]]
    if lengths.size:
        bad += [lengths + 0.5, [None] * lengths.size, lengths[:-1], lengths.astype(bool)]
        for value in (-1, T + 1, 2**40, -(2**63)):
            wrong = lengths.astype(np.int64)
            wrong[-1] = value
            bad += [wrong, rt.Tensor(wrong)]
    return bad


def _draw_states(
    draw: Draw, layer: Any, shape: Shape, batch: tuple[int, ...], dtype: Any
) -> tuple[Any, list[Array], list[int]]:
    """Return the initial states as given, as float64 arrays, and their widths."""
    widths = [layer.proj_size or layer.hidden_size] + [layer.hidden_size] * (len(shape.cell.states) - 1)
    count = layer.num_layers * layer.num_directions
    if not draw.chance(0.5):
        return None, [np.zeros((count, *batch, width)) for width in widths], widths
    arrays = [draw.floats((count, *batch, width), dtype) for width in widths]
    states: list[Any] = [rt.Tensor(array) for array in arrays]
    given: Any = states[0] if len(states) == 1 else tuple(states)
    if draw.spoil("wrong initial states", 0.1):
        bad: list[Any] = [(*states, states[0]), "zero", (None,) * len(states), arrays]
        array = arrays[-1]
        for other in (array[None], array[..., :-1], array[..., None], array.astype(np.float16), array[:0]):
            bad.append((*states[:-1], rt.Tensor(other)))
        given = draw.choose(bad)
    return draw.note("hx", given), [array.astype(np.float64) for array in arrays], widths


def recurrent(draw: Draw) -> None:
    """Call a layer, and compare all that comes out of it with the oracle."""
    cell = CELLS[draw.note("cell", draw.choose(tuple(CELLS)))]
    T = draw.random.randint(1, 12) if draw.chance(0.95) else draw.choose((17, 33, 70))
    shape = Shape(cell, T, draw.size(empty=0.02), draw.size(), draw.size())
    if draw.chance(0.02):
        draw.open = "no steps"
        shape = shape._replace(T=0)
    draw.note("T, B, I, H", shape[1:])
    dtype = draw.note("dtype", draw.dtype())
    rt.set_num_threads(draw.choose((1, 1, 2, 3)))
    layer = _draw_layer(draw, shape, dtype)
    extreme = _treat_weights(draw, layer)
    computed = {} if extreme or draw.wrong else parametrise(draw, layer, 0.12)
    inputs = _draw_input(draw, layer, shape, dtype)
    parameters = dict(layer.named_parameters())
    seed = draw.random.getrandbits(30)
    inputs = inputs._replace(sequence=inputs.sequence._replace(noise=Noise(key_of(seed))))

    ask_states = draw.note("every state", draw.chance(0.2))
    call: Any = layer.all_states if ask_states else layer

    def forward() -> Any:
        rt.manual_seed(seed)
        return call(inputs.given, inputs.hx, **inputs.keywords)

    watched = (inputs.given, inputs.hx, _flat(inputs.keywords), *parameters.values())
    every, finals = _results(attempt(draw, forward, *watched))
    configuration = _configuration(layer, shape.cell, computed)
    values = {name: p.detach().numpy().astype(np.float64) for name, p in parameters.items()}
    _check_shapes(layer, shape, inputs, every, finals, dtype)
    if extreme:
        return
    finite = all(np.isfinite(v).all() for v in {**values, **inputs.values}.values())
    if draw.chance(0.05):
        _check_threads(draw, every, finals, forward)
    if configuration is None:
        _check_chance(draw, every, finals, forward, finite)
    else:
        _check_values(draw, configuration, inputs, every, finals, values, dtype)
    _check_gradients(draw, layer, configuration, inputs, (every, finals), values, dtype, forward, finite)


def _flat(value: Any) -> list[Any]:
    """Return what a mapping or a list of mappings holds, of any depth."""
    if isinstance(value, dict):
        return [part for inner in value.values() for part in _flat(inner)]
    return [part for inner in value for part in _flat(inner)] if type(value) is list else [value]


def _check_threads(draw: Draw, every: list[Any], finals: list[Any], forward: Callable[[], Any]) -> None:
    """Run once more on another number of threads: the same bits."""
    before = rt.get_num_threads()
    rt.set_num_threads(draw.note("threads", draw.choose([n for n in (1, 2, 3, 5) if n != before])))
    if _bits(every, finals) != _bits(*_results(forward())):
        raise Finding("wrong result", "another number of threads gives other bits", "bits on other threads")


def _check_chance(
    draw: Draw, every: list[Any], finals: list[Any], forward: Callable[[], Any], finite: bool
) -> None:
    """Check of a result that chance decides that it has numbers, and the same ones for the same seed."""
    if finite and not all(np.isfinite(array).all() for array in _arrays(every, finals)):
        raise Finding("wrong result", "NaN or infinity in training, from numbers", "results of chance")
    if draw.chance(0.2) and _bits(every, finals) != _bits(*_results(forward())):
        raise Finding("wrong result", "the same seed gives other bits", "results of chance")


def _results(returned: tuple[Any, Any]) -> tuple[list[Any], list[Any]]:
    """Return the sequences of states and the final states that a layer returned, as lists."""
    every, final = returned
    several = isinstance(every, tuple) and not isinstance(every, PackedSequence)
    return list(every) if several else [every], list(final) if isinstance(final, tuple) else [final]


def _arrays(every: list[Any], finals: list[Any]) -> list[Array]:
    tensors = [state.data if isinstance(state, PackedSequence) else state for state in every] + finals
    return [tensor.detach().numpy() for tensor in tensors]


def _bits(every: list[Any], finals: list[Any]) -> list[bytes]:
    return [array.tobytes() for array in _arrays(every, finals)]


def _configuration(layer: Any, cell: Any, computed: Computed) -> Configuration | None:
    """Return what decides the result of a layer, or None where chance does."""
    training = layer.training
    dropout = layer.dropout if layer.training and layer.num_layers > 1 else 0.0
    rates = {name: getattr(layer, name) for name in RANDOM}
    if (training and any(rates.values())) or 0 < dropout < 1:
        return None
    scalars = layer.hyperparameters
    return Configuration(
        cell, layer.num_layers, layer.num_directions, scalars, layer.zoneout, dropout == 1, computed
    )


def _check_shapes(
    layer: Any, shape: Shape, inputs: Inputs, every: list[Any], finals: list[Any], dtype: Any
) -> None:
    T, B = inputs.sequence.x.shape[:2]
    for k, result in enumerate(every):
        width = inputs.widths[k] * layer.num_directions
        dimensions: tuple[int, ...] = (T, B)
        if inputs.form == "packed":
            check_like("output", result.data, (int(inputs.sequence.lengths.sum()), width), dtype)
            continue
        if inputs.form == "unbatched":
            dimensions = (T,)
        elif layer.batch_first:
            dimensions = (B, T)
        check_like("output", result, (*dimensions, width), dtype)
    for k, (final, state, width) in enumerate(zip(finals, inputs.initial, inputs.widths, strict=True)):
        batch = () if inputs.form == "unbatched" else (B,)
        check_like(f"final state {k}", final, (len(state), *batch, width), dtype)


def _in_form(inputs: Inputs, padded: Array) -> Array:
    """Return a padded (T, B, .) array in the form of the layer's output."""
    if inputs.form == "unbatched":
        return padded[:, 0]
    if inputs.form == "packed":
        lengths = inputs.sequence.lengths
        order = np.argsort(-lengths, kind="stable")
        steps = [padded[t, [b for b in order if lengths[b] > t]] for t in range(padded.shape[0])]
        return np.concatenate(steps)
    return np.swapaxes(padded, 0, 1) if inputs.batch_first else padded


def _expected(
    configuration: Configuration, inputs: Inputs, values: dict[str, Array], states: int
) -> tuple[list[Array], list[Array]]:
    """Return what the oracle says of the first `states` sequences of states and of all final ones."""
    x = values.get("x", inputs.sequence.x)
    initial = [values.get(f"s{k}", state) for k, state in enumerate(inputs.initial)]
    weights = {name: value for name, value in values.items() if not _is_input(name)}
    if inputs.hx is None:
        initial = recurrence.begun(configuration, weights, inputs.initial)
    named = {name: values.get(name, value) for name, value in inputs.named.items()}
    of_layers = named_inputs.of_layers(inputs.cell, named, configuration.num_layers)
    sequence = inputs.sequence._replace(x=x)
    every, final = recurrence.run(configuration, weights, sequence, initial, of_layers)
    if inputs.form == "unbatched":
        final = [state[:, 0] for state in final]
    return [_in_form(inputs, padded) for padded in every[:states]], final


def _is_state(name: str) -> bool:
    return name[:1] == "s" and name[1:].isdigit()


def _is_input(name: str) -> bool:
    return name == "x" or _is_state(name) or name.startswith(PREFIX)


def _check_values(
    draw: Draw,
    configuration: Configuration,
    inputs: Inputs,
    every: list[Any],
    finals: list[Any],
    values: dict[str, Array],
    dtype: Any,
) -> None:
    wanted_every, wanted_finals = _expected(configuration, inputs, values, len(every))
    wanted = wanted_every + wanted_finals
    got = [r.data if inputs.form == "packed" else r for r in every] + finals
    names = [f"output {k}" for k in range(len(every))] + [f"final state {k}" for k in range(len(finals))]
    length = inputs.sequence.x.shape[0] * configuration.num_layers + max(inputs.widths)
    rounding = float(np.finfo(dtype).eps)

    def near(k: int) -> float:
        """How far result k moves where everything that goes in is rounded."""
        moved = {**values, **inputs.values}
        moved = {n: v * (1 + rounding * draw.normal(v.shape, np.float64)) for n, v in moved.items()}
        others = _expected(configuration, inputs, moved, len(every))
        return float(np.nanmax(np.abs((others[0] + others[1])[k] - wanted[k]), initial=0.0))

    finite = all(np.isfinite(value).all() for value in {**values, **inputs.values}.values())
    shown = configuration.cell.name if finite else "with NaN or infinity"
    for k, (name, result, right) in enumerate(zip(names, got, wanted, strict=True)):
        check_close(
            f"{shown}: {name}",
            result,
            right,
            dtype,
            tolerance=tolerance_of(dtype, length),
            spread=functools.partial(near, k),
        )


def _check_gradients(
    draw: Draw,
    layer: Any,
    configuration: Configuration | None,
    inputs: Inputs,
    results: tuple[list[Any], list[Any]],
    values: dict[str, Array],
    dtype: Any,
    forward: Callable[[], Any],
    finite: bool,
) -> None:
    """Go backward, and where the oracle knows the result compare the gradients with its differences."""
    every = [result.data if inputs.form == "packed" else result for result in results[0]]
    outputs = [result for result in (*every, *results[1]) if result.requires_grad]
    leaves = {name: p for name, p in layer.named_parameters() if p.requires_grad} | inputs.leaves
    if not outputs or not draw.chance(0.7):
        return
    cotangents = [draw.floats(o.shape, dtype) if draw.chance(0.75) else None for o in outputs]
    if all(cotangent is None for cotangent in cotangents):
        cotangents[0] = draw.floats(outputs[0].shape, dtype)
    draw.note("cotangents", cotangents)
    pairs = [(o, rt.Tensor(c)) for o, c in zip(outputs, cotangents, strict=True) if c is not None]
    given = [o for o, _ in pairs]
    wanted_of = {id(o): c.detach().numpy().astype(np.float64) for o, c in pairs}
    watched = (
        inputs.given,
        inputs.hx,
        *inputs.leaves.values(),
        *layer.parameters(),
        *outputs,
        [c for _, c in pairs],
    )

    def loss(at: dict[str, Array]) -> float:
        assert configuration is not None
        full = {**values, **at}
        right = _expected(configuration, inputs, full, len(every))
        terms = zip((*every, *results[1]), right[0] + right[1], strict=True)
        return sum(float((wanted_of[id(o)] * value).sum()) for o, value in terms if id(o) in wanted_of)

    everything = {**values, **inputs.values}
    at = {name: everything[name] for name in leaves}
    truncated = layer.bptt_truncate is not None
    compared = (
        configuration
        if finite and (not truncated or layer.bptt_truncate >= inputs.sequence.x.shape[0])
        else None
    )
    if draw.chance(0.06) and layer.hidden_size <= 17 and inputs.sequence.x.shape[0] <= 6:
        if truncated:
            draw.wrong = "a second derivative of a truncated gradient"
        _check_second(draw, compared, leaves, pairs, inputs, at, loss, dtype, watched)
        return
    times = 2 if draw.chance(0.1) else 1

    def backward() -> None:
        for i in range(times):
            rt.backward(given, [c for _, c in pairs], retain_graph=i + 1 < times)

    attempt(draw, backward, *watched)
    gradients = {}
    for name, leaf in leaves.items():
        if leaf.grad is not None:
            gradients[name] = check_like(f"gradient of {name}", leaf.grad, leaf.shape, dtype) / times
    by_chance = configuration is None and finite and not truncated and inputs.form != "packed"
    if by_chance and gradients and dtype == np.float64:
        start = {name: leaf.detach().numpy() for name, leaf in leaves.items()}

        def through_layer(at: dict[str, Array]) -> float:
            return _loss_through_layer(leaves, at, forward, cotangents)

        check_gradients(draw, through_layer, start, gradients, dtype, "gradient of what chance decides")
    if compared is not None and gradients:
        shown = {name: _as_oracle(name, gradient, inputs) for name, gradient in gradients.items()}
        check_gradients(draw, loss, at, shown, dtype, f"{compared.cell.name}: gradient")


def _loss_through_layer(
    leaves: dict[str, Any], at: dict[str, Array], forward: Callable[[], Any], cotangents: list[Array | None]
) -> float:
    """Return the weighted sum of what a layer returns from the same seed where its leaves have other values."""
    before = {name: leaf.detach().numpy() for name, leaf in leaves.items()}
    try:
        for name, leaf in leaves.items():
            leaf.data = np.asarray(at[name])  # NumPy makes numbers of arrays without dimensions
        every, finals = _results(forward())
    finally:
        for name, leaf in leaves.items():
            leaf.data = before[name]
    results = [*every, *finals]
    pairs = zip(results, cotangents, strict=True)
    return sum(float((result.detach().numpy() * c).sum()) for result, c in pairs if c is not None)


def _check_second(
    draw: Draw,
    configuration: Configuration | None,
    leaves: dict[str, Any],
    pairs: list[tuple[Any, Any]],
    inputs: Inputs,
    at: dict[str, Array],
    loss: Callable[[dict[str, Array]], float],
    dtype: Any,
    watched: tuple[Any, ...],
) -> None:
    """Differentiate the gradient of one leaf once more."""
    name = draw.note("differentiated twice", draw.choose(sorted(leaves)))
    outputs, cotangents = [o for o, _ in pairs], [c for _, c in pairs]
    along = rt.Tensor(draw.normal(leaves[name].shape, dtype))

    def backward() -> None:
        (gradient,) = rt.grad(outputs, [leaves[name]], cotangents, create_graph=True, allow_unused=True)
        if gradient is not None and gradient.requires_grad:
            (gradient * along).sum().backward()

    attempt(draw, backward, *watched)
    gradients = {
        other: _as_oracle(
            other, check_like(f"second gradient of {other}", leaf.grad, leaf.shape, dtype), inputs
        )
        for other, leaf in leaves.items()
        if leaf.grad is not None
    }
    if configuration is None or not gradients or configuration.cell.name in KINKED:
        return
    direction, step = _as_oracle(name, along.detach().numpy().astype(np.float64), inputs), 1e-4

    def derivative(values: dict[str, Array]) -> float:
        ahead, behind = ({**values, name: values[name] + sign * step * direction} for sign in (1, -1))
        return (loss(ahead) - loss(behind)) / (2 * step)

    what = f"{configuration.cell.name}: second gradient"
    check_gradients(draw, derivative, at, gradients, dtype, what, step=1e-3, tolerance=1e-3)


def _as_oracle(name: str, value: Array, inputs: Inputs) -> Array:
    """Return the value or gradient of a leaf in the form in which the oracle takes it."""
    if name.startswith(PREFIX):
        return _as_batch(named_inputs.kinds_of(inputs.cell, [name])[name], value, inputs)
    if inputs.form == "unbatched" and (name == "x" or _is_state(name)):
        return value[:, None]
    return np.swapaxes(value, 0, 1) if name == "x" and inputs.batch_first else value
