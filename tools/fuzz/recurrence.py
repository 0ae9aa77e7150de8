"""The oracle of the recurrent layers: the cell's own step on NumPy arrays in float64, in plain loops.

Nothing of the library computes here but the functions that the step itself calls, which on arrays are NumPy's: no
trace, no derivative, no schedule.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType, SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .noise import Drawing, Noise, with_numbers

Array = NDArray[Any]
MATRICES = ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr")
INITIAL = "initial_"
"""What the names of learned initial states begin with."""


Computed = Mapping[str, tuple[str, Callable[[Array], Array]]]
"""By the name of a weight: the parameter that it is computed from, and how."""


class Sequence(NamedTuple):
    """A padded batch of sequences.

    Attributes
    ----------
    x : ndarray
        (T, B, I), or integers (T, B) for one-hot rows.
    lengths : ndarray of int
        (B,).
    reset : ndarray of bool
        (T, B): the states become zero before step t; in reverse, after it.
    inputs : dict of str to ndarray
        The named inputs of the step: (T, B, H) or (T, B, 1) of a step, (B, H) or (B, 1) of a sequence.
    noise : Noise
        What the step draws.
    """

    x: Array
    lengths: Array
    reset: Array
    inputs: Mapping[str, Array] = MappingProxyType({})
    noise: Noise = Noise()

    def part(self, kinds: Mapping[str, str], first: int, last: int, row: int) -> Sequence:
        """Return the steps `first` to `last` of one row as a batch; `kinds` are those of the named inputs."""
        steps, rows = slice(first, last + 1), slice(row, row + 1)
        return Sequence(
            self.x[steps, rows],
            np.array([last + 1 - first]),
            self.reset[steps, rows],
            {n: v[steps, rows] if kinds[n] == "step" else v[rows] for n, v in self.inputs.items()},
            self.noise._replace(first_step=first, first_row=row),
        )


class _RecurrentPart(np.ndarray[Any, Any]):
    """Gate k's part ``R_k h + c_k``; called with a value, ``R_k value + c_k``."""

    times: Callable[[Any], Array]

    def __call__(self, value: Any) -> Array:
        return self.times(value)


def recurrent_gates(cell: Any) -> list[str]:
    """Return the gates that have rows in ``weight_hh``: those of which the step reads the recurrent part."""
    return [gate for gate in cell.gates if gate in names_read(cell)["r"]]


@functools.cache
def names_read(cell: Any) -> dict[str, set[str]]:
    """Return the names that a cell's step reads from ``r``, its recurrent parts, and from ``s``, its states."""
    read: dict[str, set[str]] = {"r": set(), "s": set()}

    class Recorder:
        def __init__(self, kind: str, names: tuple[str, ...]) -> None:
            self.__dict__.update({"_kind": kind, "_names": names})

        def __getattr__(self, name: str) -> Any:
            read[self._kind].add(name)
            part = np.zeros((1, 2)).view(_RecurrentPart)
            part.times = lambda value: np.asarray(value) * 0.0
            return part

    x = SimpleNamespace(**dict.fromkeys(cell.gates, np.zeros((1, 2))))
    params, inputs = dict.fromkeys(cell.params, np.zeros(2)), dict.fromkeys(cell.inputs, np.zeros((1, 2)))
    run = with_numbers(cell.step, lambda distribution: np.zeros((1, 2)))
    with np.errstate(all="ignore"):
        run(**_arguments(x, Recorder("r", cell.gates), Recorder("s", cell.states), params, inputs))
    return read


def _arguments(
    x: Any, r: Any, s: Any, params: Mapping[str, Array], inputs: Mapping[str, Array]
) -> dict[str, Any]:
    """Return the arguments of a step by name."""
    arguments = {"x": x, "r": r, "s": s}
    if params:
        arguments["p"] = SimpleNamespace(**params)
    if inputs:
        arguments["u"] = SimpleNamespace(**inputs)
    return arguments


def step(
    cell: Any,
    weights: Mapping[str, Array],
    x_part: Array,
    states: list[Array],
    scalars: Mapping[str, float],
    inputs: Mapping[str, Array],
    draw: Drawing,
) -> list[Array]:
    """Return the states after one step.

    Parameters
    ----------
    cell : Cell
        Its `step` is run on arrays.
    weights : dict of str to ndarray
        The fields of a layer in one direction, by name without suffix; other names than `MATRICES` are the cell's
        learned vectors.
    x_part : ndarray
        (B, G * H): ``W x + b``.
    states : list of ndarray
        (B, P) or (B, H) each.
    scalars : dict of str to float
        The cell's scalars of the run that differ from its defaults.
    inputs : dict of str to ndarray
        (B, H) or (B, 1) each.
    draw : callable
        Draws the random numbers of each call in the step.

    Returns
    -------
    list of ndarray
        As `states`.
    """
    G = len(cell.gates)
    B, H = x_part.shape[0], x_part.shape[1] // G
    parts = {gate: x_part[:, k * H : (k + 1) * H] for k, gate in enumerate(cell.gates)}
    recurrent = {}
    for gate, matrix, bias in _recurrent_rows(cell, weights, H):

        def times(value: Any, matrix: Array = matrix, bias: Array | None = bias) -> Array:
            # Heads are blocks along the diagonal: each block of hidden units reads its own part of the value.
            width = matrix.shape[1]
            heads = value.shape[1] // width if width else 1
            blocks = matrix.reshape(heads, -1, width) if heads else matrix.reshape(1, H, 0)
            products = [value[:, a * width : (a + 1) * width] @ block.T for a, block in enumerate(blocks)]
            product = np.concatenate(products, axis=1)
            return product if bias is None else product + bias

        part = times(states[0]).view(_RecurrentPart)
        part.times = functools.partial(_times_wide, times, (B, H))
        recurrent[gate] = part
    vectors = {name: value for name, value in weights.items() if name not in MATRICES}
    before = SimpleNamespace(**dict(zip(cell.states, states, strict=True)))
    arguments = _arguments(SimpleNamespace(**parts), SimpleNamespace(**recurrent), before, vectors, inputs)
    # NumPy's numbers divide by zero as arrays do.
    numbers = {name: np.float64(value) for name, value in {**cell.scalars, **scalars}.items()}
    run = with_numbers(cell.step, draw) if cell.draws_noise else cell.step
    after = run(**arguments, **numbers)
    after = after if isinstance(after, tuple) else (after,)
    new = [np.array(np.broadcast_to(np.asarray(value), (B, H))) for value in after]
    if "weight_hr" in weights:
        new[0] = new[0] @ weights["weight_hr"].T
    return new


def _times_wide(times: Callable[[Any], Array], shape: tuple[int, int], value: Any) -> Array:
    """Apply a gate's matrix to a value of the step, which may be one number for all units."""
    return times(np.broadcast_to(np.asarray(value), shape))


def _recurrent_rows(cell: Any, weights: Mapping[str, Array], H: int) -> list[tuple[str, Array, Array | None]]:
    """Return gate, matrix and bias of each gate that has a recurrent part."""
    matrix = weights.get("weight_hh")
    if matrix is None:
        return []
    gates = recurrent_gates(cell)
    bias = weights.get("bias_hh")
    rows = [slice(k * H, (k + 1) * H) for k in range(len(gates))]
    return [(g, matrix[at], None if bias is None else bias[at]) for g, at in zip(gates, rows, strict=True)]


def run_direction(
    cell: Any,
    weights: Mapping[str, Array],
    sequence: Sequence,
    initial: list[Array],
    reverse: bool,
    scalars: Mapping[str, float],
    zoneout: Mapping[str, float],
) -> tuple[list[Array], list[Array]]:
    """Run one layer in one direction.

    Returns
    -------
    every : list of ndarray
        (T, B, .): each state after every step, zero past a sequence's end.
    final : list of ndarray
        (B, .): each state after a sequence's last step, in reverse its first.
    """
    x, lengths, reset, inputs, noise = sequence
    learned = [weights.get(f"{INITIAL}{name}", np.zeros(())) for name in cell.states]
    weights = {name: value for name, value in weights.items() if not name.startswith(INITIAL)}
    T = x.shape[0]
    states = [state.copy() for state in initial]
    every = [np.zeros((T, *state.shape)) for state in states]
    for t in reversed(range(T)) if reverse else range(T):
        rows = np.flatnonzero(lengths > t)
        if not rows.size:
            continue
        if not reverse:
            _begin_again(states, reset[t] & (lengths > t), learned)
        x_t = x[t][rows]
        x_part = weights["weight_ih"].T[x_t] if x.dtype.kind == "i" else x_t @ weights["weight_ih"].T
        if "bias_ih" in weights:
            x_part = x_part + weights["bias_ih"]
        now = {n: (v[t] if cell.inputs[n] == "step" else v)[rows] for n, v in inputs.items()}
        numbers = noise.at(t, rows, x_part.shape[1] // len(cell.gates))
        new = step(cell, weights, x_part, [state[rows] for state in states], scalars, now, numbers)
        for name, state, after, sequence_of_states in zip(cell.states, states, new, every, strict=True):
            rate = zoneout.get(name, 0.0)
            state[rows] = rate * state[rows] + (1 - rate) * after if rate else after
            sequence_of_states[t, rows] = state[rows]
        if reverse and t > 0:
            _begin_again(states, reset[t] & (lengths > t), learned)
    return every, states


def _begin_again(states: list[Array], where: Array, learned: list[Array]) -> None:
    for state, first in zip(states, learned, strict=True):
        state[where] = first


class Configuration(NamedTuple):
    """What decides the result of a layer besides its weights."""

    cell: Any
    num_layers: int
    num_directions: int
    scalars: Mapping[str, float]
    zoneout: Mapping[str, float]
    drops_all: bool = False
    """Whether everything between layers is dropped."""
    computed: Computed = MappingProxyType({})
    """The weights that are computed from other parameters."""


def run(
    configuration: Configuration,
    weights: Mapping[str, Array],
    sequence: Sequence,
    initial: list[Array],
    inputs: Iterable[Mapping[str, Array]] | None = None,
) -> tuple[list[Array], list[Array]]:
    """Run all layers.

    Parameters
    ----------
    configuration : Configuration
    weights : dict of str to ndarray of float64
        By the layer's names of its parameters, such as ``weight_ih_l0_reverse``.
    sequence : Sequence
    initial : list of ndarray of float64
        (L * D, B, .), one per state.
    inputs : iterable of dict of str to ndarray, optional
        The named inputs of each layer; by default those of the sequence.

    Returns
    -------
    every : list of ndarray
        (T, B, D * .): each state of the last layer after every step; the first is the output.
    final : list of ndarray
        As `initial`.
    """
    cell, layers, directions, scalars, zoneout, drops_all, computed = configuration
    x = sequence.x
    of_layers = [sequence.inputs] * layers if inputs is None else list(inputs)
    weights = effective(computed, weights)
    ends: list[list[Array]] = []
    every: list[Array] = []
    with np.errstate(all="ignore"):
        for layer in range(layers):
            if layer and drops_all:
                x = x * 0.0
            sides = []
            for direction in range(directions):
                here = of_direction(weights, layer, direction)
                at = layer * directions + direction
                states, final = run_direction(
                    cell,
                    here,
                    sequence._replace(x=x, inputs=of_layers[layer], noise=sequence.noise.of_layer(at)),
                    [s[at] for s in initial],
                    direction == 1,
                    scalars,
                    zoneout,
                )
                sides.append(states)
                ends.append(final)
            every = [np.concatenate(parts, axis=-1) for parts in zip(*sides, strict=True)]
            x = every[0]
    return every, [np.stack(parts) for parts in zip(*ends, strict=True)]


def begun(configuration: Configuration, weights: Mapping[str, Array], like: list[Array]) -> list[Array]:
    """Return the states that sequences begin with where none are given, each (L * D, B, .) like an array."""
    states = [np.zeros(array.shape) for array in like]
    weights = effective(configuration.computed, weights)
    for layer in range(configuration.num_layers):
        for direction in range(configuration.num_directions):
            here = of_direction(weights, layer, direction)
            for name, state in zip(configuration.cell.states, states, strict=True):
                state[layer * configuration.num_directions + direction] = here.get(f"{INITIAL}{name}", 0.0)
    return states


def effective(computed: Computed, weights: Mapping[str, Array]) -> dict[str, Array]:
    """Return the weights with those that are computed from the others."""
    return {**weights, **{name: function(weights[of]) for name, (of, function) in computed.items()}}


def of_direction(weights: Mapping[str, Array], layer: int, direction: int) -> dict[str, Array]:
    """Return the weights of one layer and direction by their names without suffix."""
    suffix = f"_l{layer}" + ("_reverse" if direction else "")
    return {name.removesuffix(suffix): value for name, value in weights.items() if name.endswith(suffix)}
