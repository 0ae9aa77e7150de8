"""What a described model computes, in NumPy: the reference of every format, and the source of its test vectors."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rondeau.export._description import Affine, Block, Description, Layer, LayerNorm, Lookup, Pointwise
from rondeau.export._errors import ExportError
from rondeau.kernels.cell.cell import Cell
from rondeau.kernels.cell.input_forms import InputForms
from rondeau.kernels.cell.operations import OPERATIONS
from rondeau.kernels.numerics import noise
from rondeau.kernels.recurrent.layout import Layout
from rondeau.kernels.recurrent.records import Run, Settings, Weights
from rondeau.kernels.recurrent.reference import NUMPY, run
from rondeau.kernels.recurrent.substreams import NOISE, first_substream

__all__ = ["Evaluation", "Example", "cell_with_forms", "checked_numbers", "evaluate", "make_example", "moved"]

Array = NDArray[Any]

TEST_STEPS = 6


class Evaluation(NamedTuple):
    """What a model computes from a sequence.

    Attributes
    ----------
    outputs : ndarray, shape (T, O)
    states : list of tuple of ndarray
        For each recurrent layer, the states after every step, (T, P) and (T, H).
    noise : list of list of ndarray
        For each recurrent layer, the random numbers (T, H) of each draw of its step.
    """

    outputs: Array
    states: list[tuple[Array, ...]]
    noise: list[list[Array]]


class Example(NamedTuple):
    """Inputs, and what the library computes from them.

    Attributes
    ----------
    x : ndarray, shape (T, I), or of ids, shape (T,)
    inputs : dict of str to ndarray
        The named inputs, (T, 1) or (T, H) each.
    expected : Evaluation
    tolerance : float
        How far a result may be from the expected one, as a share of 1 plus its magnitude: several times what rounding
        to float32 costs the library itself, with these numbers or with ones that are nearly the same: where a model
        amplifies rounding, how much one run happens to round says little.
    """

    x: Array
    inputs: dict[str, Array]
    expected: Evaluation
    tolerance: float


def cell_with_forms(layer: Layer, numbers: frozenset[str]) -> Cell:
    """Return the cell of a layer for inputs of which these are one number for all units."""
    return layer.cell.variant(
        forms=InputForms(numbers=tuple(name for name in layer.cell.inputs if name in numbers))
    )


def checked_numbers(description: Description, numbers: Collection[str]) -> frozenset[str]:
    """Return the named inputs with one number for all units, checked.

    Raises
    ------
    ExportError
        If no cell has an input of such a name, an input of layers of different widths is not among them, or recurrent
        matrices multiply one that is.
    """
    known = {name for layer in description.layers for name in layer.cell.inputs}
    for name in numbers:
        if name not in known:
            raise ExportError(
                f"numbers: no cell has an input {name!r}; there are {', '.join(sorted(known)) or 'none'}"
            )
    for layer in description.layers:
        for name in layer.cell.inputs:
            if name in numbers and name in layer.cell.multiplied_inputs:
                raise ExportError(
                    f"{layer.name} multiplies its input {name} by a matrix: it has a number for each unit"
                )
            widths = {other.hidden for other in description.layers if name in other.cell.inputs}
            if name not in numbers and len(widths) > 1:
                raise ExportError(
                    f"the input {name} is read by layers of {' and '.join(map(str, sorted(widths)))} units: only one "
                    "number for all units suits them, numbers=[...]"
                )
    return frozenset(numbers)


def make_example(description: Description, numbers: frozenset[str] = frozenset(), seed: int = 0) -> Example:
    """Draw inputs, and compute what a model makes of them.

    Where it makes NaN or infinities of what is drawn, as a logarithm does of negative numbers, other inputs are tried.

    Parameters
    ----------
    description : Description
    numbers : frozenset of str
        The named inputs with one number for all units.
    seed : int

    Returns
    -------
    Example

    Raises
    ------
    ExportError
        If no output is finite, whatever is drawn: there would be nothing to compare.
    """
    x, inputs = _drawn_inputs(description, numbers, np.random.default_rng(seed))
    found: tuple[Array, Evaluation] | None = None
    for change in _CHANGES if not description.takes_ids else _CHANGES[:1]:
        changed = change(x)
        expected = evaluate(description, changed, inputs, numbers)
        arrays = _arrays(expected)
        if all(np.isfinite(array).all() for array in arrays):
            found = changed, expected
            break
        if found is None and np.isfinite(expected.outputs).any():
            found = changed, expected
    if found is None:
        raise ExportError(
            f"{description.blocks[-1].name} computes NaN or infinities alone from inputs that were drawn to check the "
            "export: look whether the model was trained well"
        )
    x, expected = found
    given, rng = (description, x, inputs), np.random.default_rng(seed)
    runs = [given, *(moved(given, rng, 2.0**-22) for _ in range(4))]
    cost = max(_cost_of_rounding(model, rows, named, numbers) for model, rows, named in runs)
    return Example(x, inputs, expected, max(2e-6, 8 * cost))


def moved(value: Any, rng: np.random.Generator, most: float) -> Any:
    """Return the same with every number in it moved at random, by up to `most` of it, in float64."""
    if isinstance(value, np.ndarray) and value.dtype.kind == "f":
        return value * (1 + rng.uniform(-1, 1, value.shape) * most)
    if isinstance(value, dict):
        return {name: moved(entry, rng, most) for name, entry in value.items()}
    if isinstance(value, tuple | list):
        parts = [moved(entry, rng, most) for entry in value]
        return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)
    return value


def _cost_of_rounding(
    description: Description, x: Array, inputs: Mapping[str, Array], numbers: frozenset[str]
) -> float:
    """Return how far a run in float32 is from one in float64."""
    single, double = (evaluate(description, x, inputs, numbers, dtype=t) for t in (np.float32, np.float64))
    return max(map(_distance, _arrays(single), _arrays(double)))


_CHANGES: tuple[Callable[[Array], Array], ...] = (lambda x: x, np.abs, lambda x: x * np.float32(2.0**-10))
"""What drawn inputs are changed to, in turn, where a model makes no finite numbers of them."""


def _drawn_inputs(
    description: Description, numbers: frozenset[str], generator: np.random.Generator
) -> tuple[Array, dict[str, Array]]:
    """Return the input of some steps, and the named inputs."""
    if description.takes_ids:
        x: Array = generator.integers(0, description.inputs, TEST_STEPS)
    else:
        x = generator.standard_normal((TEST_STEPS, description.inputs)).astype(np.float32)
    inputs: dict[str, Array] = {}
    for layer in description.layers:
        for name, kind in layer.cell.inputs.items():
            width = 1 if name in numbers else layer.hidden
            steps = generator.uniform(0.25, 1.0, (TEST_STEPS, width)).astype(np.float32)
            inputs.setdefault(name, steps if kind == "step" else np.repeat(steps[:1], TEST_STEPS, axis=0))
    return x, inputs


def _arrays(found: Evaluation) -> list[Array]:
    """Return the outputs, and all states."""
    return [found.outputs, *(state for of_layer in found.states for state in of_layer)]


def _distance(single: Array, double: Array) -> float:
    """Return the largest distance of two arrays where both are finite, as a share of 1 plus the magnitude."""
    both = np.isfinite(single) & np.isfinite(double)
    return float((np.abs(single[both] - double[both]) / (1 + np.abs(double[both]))).max(initial=0.0))


def evaluate(
    description: Description,
    x: Array,
    inputs: Mapping[str, Array] | None = None,
    numbers: frozenset[str] = frozenset(),
    dtype: Any = np.float32,
    before: Sequence[tuple[Array, ...]] | None = None,
) -> Evaluation:
    """Run a model over one sequence.

    Parameters
    ----------
    description : Description
    x : ndarray, shape (T, I), or of ids, shape (T,)
    inputs : mapping of str to ndarray, optional
        The named inputs of the cells at every step, (T, 1) or (T, H) each.
    numbers : frozenset of str
        The names of those of shape (T, 1).
    dtype : type
        `numpy.float32`, or `numpy.float64`, to which weights and inputs are then converted.
    before : sequence of tuple of ndarray, optional
        For each recurrent layer, the states before every step, (T, P) and (T, H); instead of those that the steps
        before it lead to.

    Returns
    -------
    Evaluation
    """
    value: Array = np.asarray(x) if description.takes_ids else np.asarray(x, dtype)
    given = {name: np.asarray(array, dtype) for name, array in (inputs or {}).items()}
    states: list[tuple[Array, ...]] = []
    drawn: list[list[Array]] = []
    with np.errstate(all="ignore"):  # an overflow is part of what is computed
        for block in description.blocks:
            if not isinstance(block, Layer):
                value = _apply(block, value, dtype)
                continue
            outputs = []
            for is_reverse, layer in enumerate(filter(None, (block, block.reverse))):
                index = len(states)
                begin = None if before is None else before[index]
                every, draws = _run_layer(layer, value, given, numbers, bool(is_reverse), index, dtype, begin)
                outputs.append(every[0])
                states.append(every)
                drawn.append(draws)
            value = np.concatenate(outputs, axis=1)
    return Evaluation(value, states, drawn)


def _run_layer(
    layer: Layer,
    x: Array,
    given: Mapping[str, Array],
    numbers: frozenset[str],
    is_reverse: bool,
    index: int,
    dtype: Any,
    before: tuple[Array, ...] | None,
) -> tuple[tuple[Array, ...], list[Array]]:
    """Return the states of a layer after every step, and the random numbers of its steps."""
    cell, steps = cell_with_forms(layer, numbers), len(x)
    weights = _converted(layer.weights, dtype)
    if before is None:
        layout, initial = Layout.dense(steps, 1), tuple(vector[None] for vector in layer.initial)
    else:  # each step by itself: sequences of one step, which begin one step later each
        layout, initial = Layout.packed(np.array([steps]), np.zeros(steps, int), np.arange(steps)), before
    rows = len(initial[0])
    inputs = tuple(
        given[name] if kind == "step" else given[name][:rows] for name, kind in cell.inputs.items()
    )
    settings = Settings(layer.scalars, substream=first_substream(index), num_heads=layer.num_heads)
    every, _ = run(
        Run(cell, layout, is_reverse, settings),
        NUMPY,
        x,
        weights,
        tuple(state.astype(dtype) for state in initial),
        inputs,
    )
    draws = []
    for kind, number in cell.draws:
        draw = noise.normals if kind == "normal" else noise.uniforms
        substream = settings.substream + NOISE + int(number)
        draws.append(
            draw(0, substream, np.arange(steps)[:, None], 0, np.arange(layer.hidden)).astype(np.float32)
        )
    return every, draws


def _converted(weights: Weights, dtype: Any) -> Weights:
    matrices = {field: getattr(weights, field) for field in Weights._fields if field != "params"}
    converted = {field: matrix.astype(dtype) for field, matrix in matrices.items() if matrix is not None}
    return weights._replace(**converted, params=tuple(vector.astype(dtype) for vector in weights.params))


def _apply(block: Block, x: Array, dtype: Any) -> Array:
    """Return a block without a state, applied to rows."""
    found: Array
    if isinstance(block, Lookup):
        found = block.table[x].astype(dtype)
    elif isinstance(block, Affine):
        found = x @ block.weight.T.astype(dtype)
        found = found if block.bias is None else found + block.bias.astype(dtype)
    elif isinstance(block, LayerNorm):
        centred = x - x.mean(-1, keepdims=True)
        # In float64, as in layers: squares may be beyond float32.
        variance = np.square(centred, dtype=np.float64).mean(-1, keepdims=True)
        found = centred * (1 / np.sqrt(variance + block.eps)).astype(dtype)
        found = found if block.weight is None else found * block.weight.astype(dtype)
        found = found if block.bias is None else found + block.bias.astype(dtype)
    else:
        assert isinstance(block, Pointwise)
        found = np.asarray(_FUNCTIONS[block.function](x, *block.parameters), dtype)
    return found


def _softplus(x: Array, beta: float, threshold: float) -> Array:
    scaled = x * beta
    return np.where(scaled > threshold, x, OPERATIONS["softplus"].function(scaled) / beta)


def _softmax(x: Array) -> Array:
    powers: Array = np.exp(x - x.max(-1, keepdims=True))
    shares: Array = powers / powers.sum(-1, keepdims=True)
    return shares


def _log_softmax(x: Array) -> Array:
    shifted = x - x.max(-1, keepdims=True)
    logarithms: Array = shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
    return logarithms


_FUNCTIONS: dict[str, Any] = {
    "relu": OPERATIONS["relu"].function,
    "tanh": OPERATIONS["tanh"].function,
    "sigmoid": OPERATIONS["sigmoid"].function,
    "gelu": lambda x: 0.5 * x * (1 + OPERATIONS["erf"].function(x / math.sqrt(2))),
    "gelu_tanh": lambda x: 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x * x * x))),
    "leaky_relu": lambda x, slope: np.where(x > 0, x, slope * x),
    "softplus": _softplus,
    "softmax": _softmax,
    "log_softmax": _log_softmax,
}
