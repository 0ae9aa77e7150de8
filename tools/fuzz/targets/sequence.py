"""`rondeau.kernels.sequence`: forward and backward on arrays, below the layers."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rondeau.kernels.runtime.threads import set_num_threads
from rondeau.kernels.sequence import InputForms, Layout, Needs, Run, Settings, Weights, backward, forward

from .. import recurrence
from ..cells import CELLS
from ..directional import check_gradients
from ..drawing import NONSENSE, Draw
from ..named_inputs import PREFIX
from ..noise import Noise
from ..recurrence import Sequence
from ..verdict import Finding, attempt, check_close, check_like, tolerance_of
from ..windows import Windows
from ..windows import loss as loss_of_windows

Array = NDArray[Any]


class Problem(NamedTuple):
    """One layer in one direction over a ragged batch, its rows as `Layout` has them."""

    cell: Any
    dtype: np.dtype[Any]
    x: Array
    """(N, I), or integers (N,)."""
    lengths: Array
    """(B,), longest first."""
    reverse: bool
    scalars: dict[str, float]
    weights: dict[str, Array]
    """Matrices, biases and learned vectors by name."""
    initial: list[Array]
    inputs: dict[str, Array]
    """By name: (N, H) or (N, 1) of a step, (B, H) or (B, 1) of a sequence."""
    noise: Noise

    @property
    def sizes(self) -> Array:
        """How many sequences reach each step, (T,)."""
        return np.array([(self.lengths > t).sum() for t in range(self.lengths.max(initial=0))], np.int64)

    @property
    def values(self) -> dict[str, Array]:
        """Everything that has a gradient, in float64; states are ``s0``, ``s1``, ..."""
        values = {name: array.astype(np.float64) for name, array in self.weights.items()}
        values |= {f"s{k}": state.astype(np.float64) for k, state in enumerate(self.initial)}
        values |= {PREFIX + name: array.astype(np.float64) for name, array in self.inputs.items()}
        return values if self.x.dtype.kind == "i" else {**values, "x": self.x.astype(np.float64)}

    def padded(self, rows: Array) -> Array:
        """Return (T, B, ...) of rows (N, ...)."""
        sizes = self.sizes
        array = np.zeros((len(sizes), self.lengths.size, *rows.shape[1:]), rows.dtype)
        for t, start in enumerate(np.cumsum(sizes) - sizes):
            array[t, : sizes[t]] = rows[start : start + sizes[t]]
        return array

    def of_rows(self, padded: Array) -> Array:
        """Return rows (N, ...) of (T, B, ...)."""
        rows = [padded[t, :size] for t, size in enumerate(self.sizes)]
        return np.concatenate(rows) if rows else padded.reshape(0, *padded.shape[2:])

    def parts(self, at: dict[str, Array]) -> tuple[dict[str, Array], Sequence, list[Array]]:
        """Return weights, padded sequences and initial states from values by name."""
        states = [at[f"s{k}"] for k in range(len(self.initial))]
        x = self.padded(at.get("x", self.x))
        inputs = {
            name: self.padded(at[PREFIX + name]) if self.cell.inputs[name] == "step" else at[PREFIX + name]
            for name in self.inputs
        }
        sequence = Sequence(x, self.lengths, np.zeros(x.shape[:2], bool), inputs, self.noise)
        return {name: at[name] for name in self.weights}, sequence, states

    def run(self, at: dict[str, Array]) -> tuple[list[Array], list[Array]]:
        """Return what the oracle says: every state, (T, B, .), and the final ones."""
        weights, steps, states = self.parts(at)
        with np.errstate(all="ignore"):
            return recurrence.run_direction(self.cell, weights, steps, states, self.reverse, self.scalars, {})


def _draw_problem(draw: Draw) -> tuple[Problem, int]:
    """Return a problem and its number of heads."""
    cell = CELLS[draw.note("cell", draw.choose(tuple(CELLS)))]
    dtype = draw.note("dtype", draw.dtype())
    T, B, I, H = draw.random.randint(0, 9), draw.size(empty=0.05), draw.size(empty=0.03), draw.size()  # noqa: E741
    projects = cell.reason_against_projection is None and draw.chance(0.3)
    heads = 1 if projects else draw.choose([1, 1, *(n for n in range(1, H + 1) if H % n == 0)])
    P = draw.random.randint(1, H) if projects else H
    lengths = np.full(B, T)
    if draw.chance(0.5) and T and B:
        lengths = np.sort(draw.numbers.integers(1, T + 1, B))[::-1]
    reverse = draw.chance(0.4)
    draw.note("lengths, I, H, P, heads, reverse", (lengths, I, H, P, heads, reverse))
    N, G, gates = int(lengths.sum()), len(cell.gates), len(recurrence.recurrent_gates(cell))
    x: Array = draw.integers((N,), I) if draw.chance(0.2) and I > 0 else draw.floats((N, I), dtype)
    weights: dict[str, Array] = {"weight_ih": draw.floats((G * H, I), dtype, 0.4)}
    if gates:
        weights["weight_hh"] = draw.floats((gates * H, P if heads == 1 else H // heads), dtype, 0.3)
    if draw.chance(0.7):
        weights["bias_ih"] = draw.floats((G * H,), dtype)
        if gates:
            weights["bias_hh"] = draw.floats((gates * H,), dtype)
    if projects:
        weights["weight_hr"] = draw.floats((P, H), dtype, 0.5)
    weights |= {name: draw.floats((H,), dtype, 0.5) for name in cell.params}
    initial = [draw.floats((B, width), dtype) for width in [P] + [H] * (len(cell.states) - 1)]
    scalars = {name: draw.choose((0.0, 0.3, 0.8)) for name in cell.scalars if draw.chance(0.6)}
    inputs = _draw_inputs(draw, cell, N, B, H, dtype)
    noise = Noise(draw.random.getrandbits(64)).of_layer(draw.random.randint(0, 5))
    return Problem(cell, dtype, x, lengths, reverse, scalars, weights, initial, inputs, noise), heads


def _draw_inputs(draw: Draw, cell: Any, N: int, B: int, H: int, dtype: Any) -> dict[str, Array]:
    """Return the named inputs as rows; mostly all of one form, since each mixture is compiled by itself."""
    uniform, wide = draw.chance(0.9), draw.chance(0.5)
    inputs = {}
    for name, kind in cell.inputs.items():
        is_wide = name in cell.multiplied_inputs or (wide if uniform else draw.chance(0.5))
        inputs[name] = draw.floats((N if kind == "step" else B, H if is_wide else 1), dtype)
    return inputs


def _variant(draw: Draw, problem: Problem) -> Any:
    """Return the variant of the cell for the inputs, with constants among them or not."""
    cell = problem.cell
    if not cell.inputs:
        return cell
    numbers = tuple(
        name
        for name, array in problem.inputs.items()
        if array.shape[1] == 1 and name not in cell.multiplied_inputs
    )
    uniform, constant = draw.chance(0.9), draw.chance(0.3)
    constants = tuple(name for name in cell.inputs if (constant if uniform else draw.chance(0.5)))
    return cell.variant(forms=draw.note("forms", InputForms(numbers, constants)))


def sequence(draw: Draw) -> None:
    """Run one layer in one direction over rows, ragged or not, and go backward once or twice."""
    set_num_threads(draw.choose((1, 1, 2, 3)))
    problem, heads = _draw_problem(draw)
    cell, lengths, dtype = _variant(draw, problem), problem.lengths, problem.dtype
    matrices = {name: array for name, array in problem.weights.items() if name not in cell.params}
    weights = Weights(
        **{"weight_hh": None, **matrices}, params=tuple(problem.weights[name] for name in cell.params)
    )
    arguments: list[Any] = [problem.x, weights, tuple(problem.initial), tuple(problem.inputs.values())]
    width, T, B = problem.weights["weight_ih"].shape[1], int(lengths.max(initial=0)), lengths.size
    if draw.spoil("an argument of another shape, dtype or type", 0.15):
        _spoil(draw, arguments, width)
    dense = not T or (int(lengths.min()) == T and draw.chance(0.7))
    layout = Layout.dense(T, B) if dense else Layout.packed(problem.sizes)
    draw.note("arguments", arguments)
    options: dict[str, Any] = {"save": draw.chance(0.9), "every_state": draw.chance(0.3)}
    scalars = {("k", name): value for name, value in problem.scalars.items()}
    numbers = {"key": problem.noise.key, "substream": problem.noise.substream}
    run = Run(cell, layout, problem.reverse, Settings(scalars, num_heads=heads, **numbers))
    if draw.chance(0.3):
        run = run._replace(recompute_every=draw.random.randint(1, 12))
    elif draw.chance(0.2):
        run = run._replace(truncate=draw.random.randint(0, T + 2))
    if draw.spoil("a wrong option of a run", 0.04):
        bad: list[tuple[str, Any]] = [("recompute_every", 0), ("recompute_every", -2)]
        bad += [("settings", Settings({("k", "no such"): 1.0})), ("settings", Settings(num_heads=0))]
        bad += [("settings", Settings(num_heads=10_007))]
        name, value = draw.choose(bad)
        run = run._replace(**{name: value})
    draw.note("run", run)
    draw.note("options", options)
    watched = (problem.x, *problem.weights.values(), *problem.initial, *problem.inputs.values())
    every, final, saved = attempt(draw, lambda: forward(run, *arguments, **options), *watched)
    values = problem.values
    padded, ends = problem.run(values)
    wanted = [*map(problem.of_rows, padded[: len(every)]), *ends]

    def near(k: int) -> float:
        rounding = float(np.finfo(dtype).eps)
        moved, moved_ends = problem.run(
            {n: v * (1 + rounding * draw.normal(v.shape, np.float64)) for n, v in values.items()}
        )
        other = [*map(problem.of_rows, moved[: len(every)]), *moved_ends][k]
        return float(np.abs(other - wanted[k]).max(initial=0.0))

    for k, (got, value) in enumerate(zip((*every, *final), wanted, strict=True)):
        spread, tolerance = (
            functools.partial(near, k),
            tolerance_of(dtype, T + sum(problem.weights["weight_ih"].shape)),
        )
        check_close(f"{cell.name}: result {k}", got, value, dtype, tolerance=tolerance, spread=spread)
    if options["save"] and all(np.isfinite(value).all() for value in wanted):
        _go_back(draw, problem, run, saved, every, final)


def _go_back(
    draw: Draw,
    problem: Problem,
    run: Run,
    saved: Any,
    every: tuple[Array, ...],
    final: tuple[Array, ...],
) -> None:
    """Differentiate the run, with any of the cotangents left out."""
    cell, dtype, T = run.cell, problem.dtype, len(problem.sizes)
    cotangents = [draw.floats(r.shape, dtype) if draw.chance(0.7) else None for r in (*every, *final)]
    d_every, d_final = tuple(cotangents[: len(every)]), tuple(cotangents[len(every) :])
    needs = Needs(*(draw.chance(0.8) for _ in Needs._fields))
    consume = draw.chance(0.5)
    given: list[Any] = [cell, saved, d_every, d_final]
    if draw.spoil("a wrong argument of backward", 0.12):
        other = np.float32 if dtype == np.float64 else np.float64
        array = every[0]
        bad: list[tuple[int, Any]] = [(2, (array[:, :-1],)), (2, (array.astype(other),)), (2, (array[None],))]
        bad += [(1, None), (1, every), (3, ()), (3, (*d_final, None)), (0, _another(cell)), (2, ("one",))]
        bad += [(3, (np.zeros((1, 2, 3), dtype), *d_final[1:])), (2, (*d_every, *[array] * len(final)))]
        k, value = draw.choose(bad)
        given[k] = value
    options: dict[str, Any] = {"needs": needs}
    draw.note("backward", (given[2:], options, consume))
    watched = (
        problem.x,
        *problem.weights.values(),
        *problem.initial,
        *problem.inputs.values(),
        cotangents,
        every,
        final,
    )
    gradients: Any = attempt(draw, lambda: backward(*given, consume=consume, **options), *watched)
    found = {} if gradients.x is None else {"x": gradients.x}
    if (gradients.x is None) != (problem.x.dtype.kind == "i" or not needs.x):
        raise Finding("wrong result", "x has a gradient where it should not, or none", "gradient of x")
    for k, gradient in enumerate(gradients.initial or ()):
        found[f"s{k}"] = gradient
    *matrices, vectors = gradients.weights
    found |= {name: g for name, g in zip(Weights._fields, matrices, strict=False) if g is not None}
    found |= dict(zip(cell.params, vectors or (), strict=False))
    for name, gradient in zip(cell.inputs, gradients.inputs, strict=True):
        if (gradient is None) != (name in cell.forms.constants):
            raise Finding(
                "wrong result", f"input {name} has a gradient where it should not, or none", "inputs"
            )
        found |= {} if gradient is None else {PREFIX + name: gradient}
    values = problem.values
    for name, gradient in found.items():
        check_like(f"gradient of {name}", gradient, values[name].shape, dtype)
    factors = [None if c is None else c.astype(np.float64) for c in cotangents]
    what = f"{cell.name}: gradient"
    if found and (run.truncate is None or run.truncate >= T):
        check_gradients(draw, lambda at: _loss(problem, at, factors), values, found, dtype, what)
    elif found and problem.lengths.size <= 5:
        windows = _windows(problem, run.truncate, factors)
        check_gradients(
            draw,
            lambda at: loss_of_windows(windows, *problem.parts(at)),
            values,
            found,
            dtype,
            f"windows: {what}",
        )
    if draw.chance(0.3):
        _again(draw, given, options, consume, gradients)


def _loss(problem: Problem, at: dict[str, Array], factors: list[Array | None]) -> float:
    """Return the loss, linear in the states."""
    padded, ends = problem.run(at)
    states = [*map(problem.of_rows, padded), *ends]
    missing = [None] * (len(states) - len(factors))
    factors = [*factors[: len(factors) - len(ends)], *missing, *factors[len(factors) - len(ends) :]]
    return sum(float((state * f).sum()) for state, f in zip(states, factors, strict=True) if f is not None)


def _windows(problem: Problem, steps: Any, factors: list[Array | None]) -> Windows:
    """Return what the oracle of truncated backpropagation needs; a final state belongs to the step that runs last."""
    every, ends = problem.run(problem.values)
    d_every = [np.zeros_like(state) for state in every]
    for d, factor in zip(d_every, factors[: len(factors) - len(ends)], strict=False):
        d += 0.0 if factor is None else problem.padded(factor)
    rows = np.arange(problem.lengths.size)
    last = np.zeros_like(rows) if problem.reverse else problem.lengths - 1
    for d, factor in zip(d_every, factors[len(factors) - len(ends) :], strict=True):
        d[last, rows] += 0.0 if factor is None else factor
    return Windows(
        problem.cell,
        problem.reverse,
        problem.scalars,
        problem.lengths,
        steps,
        every,
        problem.parts(problem.values)[2],
        d_every,
    )


def _again(draw: Draw, given: list[Any], options: dict[str, Any], consume: bool, first: Any) -> None:
    """Go backward a second time: the same bits, or a refusal where the first consumed what forward saved."""
    if consume:
        draw.wrong = "a second backward after consume"
    second = attempt(draw, lambda: backward(*given, **options))
    for one, other in zip(_flat(first), _flat(second), strict=True):
        if one.tobytes() != other.tobytes():
            raise Finding("wrong result", "a second backward gives other bits", "second backward")


def _flat(gradients: Any) -> list[Array]:
    parts: list[Array] = []
    for part in gradients:
        if isinstance(part, np.ndarray):
            parts.append(part)
        elif isinstance(part, tuple):
            parts += _flat(part)
    return parts


def _another(cell: Any) -> Any:
    return next(other for other in CELLS.values() if other.name != cell.name)


def _spoil(draw: Draw, arguments: list[Any], width: int) -> None:
    """Make one argument of forward wrong."""
    x, weights, initial, inputs = arguments
    k = draw.random.randrange(4)
    if k == 0:
        bad: list[Any] = [x[None], x[:-1] if len(x) else x[None], x.astype(np.float16), *NONSENSE]
        if x.ndim == 1 and x.size:
            wrong = x.copy()
            wrong.flat[draw.random.randrange(x.size)] = draw.choose((-1, width, 2**40, -(2**62)))
            bad += [wrong] * 4
        arguments[0] = draw.choose(bad)
    elif k == 1:
        names = [n for n in Weights._fields[:-1] if getattr(weights, n) is not None]
        name = draw.choose(names)
        array = getattr(weights, name)
        bad = [
            array[None],
            array.astype(np.float16),
            array.astype(np.int64),
            array[:-1],
            np.ones((3, 2, 1)),
            "weights",
        ]
        arguments[1] = weights._replace(**{name: draw.choose(bad)})
    elif k == 3:
        others: list[Any] = [(*inputs, np.zeros((1, 1))), "inputs", 3]
        if inputs:
            array = inputs[-1]
            bad = [array[None], np.zeros((array.shape[0] + 1, *array.shape[1:]), array.dtype), "input", None]
            bad += [array.astype(np.float16), array.astype(np.int64), array[:, :0], array[:, 0]]
            others += [(), *((*inputs[:-1], value) for value in bad)]
        arguments[3] = draw.choose(others)
    else:
        state = initial[-1]
        bad = [state[None], state[:, :-1], state.astype(np.float16), "state", None, np.ones(3)]
        arguments[2] = draw.choose([(*initial[:-1], draw.choose(bad)), (), (*initial, state)])
