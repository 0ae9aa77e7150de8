"""`rondeau.kernels.sequence`: forward and backward on arrays, below the layers."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rondeau.kernels.sequence import Layout, Needs, Settings, Weights, backward, forward
from rondeau.kernels.threads import set_num_threads

from .. import recurrence
from ..cells import CELLS
from ..directional import check_gradients
from ..drawing import NONSENSE, Draw
from ..recurrence import Sequence
from ..verdict import Finding, attempt, check_close, check_like, tolerance_of

Array = NDArray[Any]


def sequence(draw: Draw) -> None:
    """Run one layer in one direction over rows, ragged or not, and go backward once or twice."""
    set_num_threads(draw.choose((1, 1, 2, 3)))
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
    draw.note("lengths, I, H, P, reverse", (lengths, I, H, P, reverse))
    sizes = np.array([(lengths > t).sum() for t in range(lengths.max(initial=0))], np.int64)
    N, G = int(sizes.sum()), len(cell.gates)
    one_hot = draw.chance(0.2) and I > 0
    x: Array = draw.integers((N,), I) if one_hot else draw.floats((N, I), dtype)
    gates = len(recurrence.recurrent_gates(cell))
    bias = draw.chance(0.7)
    arrays: dict[str, Array] = {"weight_ih": draw.floats((G * H, I), dtype, 0.4)}
    if gates:
        arrays["weight_hh"] = draw.floats((gates * H, P if heads == 1 else H // heads), dtype, 0.3)
    if bias:
        arrays["bias_ih"] = draw.floats((G * H,), dtype)
        if gates:
            arrays["bias_hh"] = draw.floats((gates * H,), dtype)
    if projects:
        arrays["weight_hr"] = draw.floats((P, H), dtype, 0.5)
    vectors = {name: draw.floats((H,), dtype, 0.5) for name in cell.params}
    widths = [P] + [H] * (len(cell.states) - 1)
    initial = [draw.floats((B, width), dtype) for width in widths]
    weights = Weights(**{"weight_hh": None, **arrays}, params=tuple(vectors.values()))
    arrays |= vectors
    arguments: list[Any] = [x, weights, tuple(initial)]
    if draw.spoil("an argument of another shape, dtype or type", 0.2):
        _spoil(draw, arguments, I)
    layout = Layout.dense(T, B) if (lengths == T).all() and draw.chance(0.7) else Layout.packed(sizes)
    if layout.batch_size != B or (layout.num_steps != T and not sizes.size):
        layout = Layout.dense(T, B)
    draw.note("arguments", arguments)
    scalars = {name: draw.choose((0.0, 0.3, 0.8)) for name in cell.scalars if draw.chance(0.6)}
    options: dict[str, Any] = {"reverse": reverse, "save": draw.chance(0.9), "every_state": draw.chance(0.3)}
    options["settings"] = Settings({("k", name): value for name, value in scalars.items()}, num_heads=heads)
    if draw.chance(0.3):
        options["checkpoint_every"] = draw.random.randint(1, 12)
    if draw.spoil("a wrong option of forward", 0.04):
        bad = [Settings({("k", "no such"): 1.0}), Settings(num_heads=H + 1), Settings(num_heads=0)]
        name, value = draw.choose(
            [*(("settings", s) for s in bad), ("checkpoint_every", 0), ("checkpoint_every", -2)]
        )
        options[name] = value
    draw.note("options", options)
    watched = (x, *arrays.values(), *initial)
    every, final, saved = attempt(draw, lambda: forward(cell, layout, *arguments, **options), *watched)

    starts = np.cumsum(sizes) - sizes

    def padded(values: Array) -> Array:
        array = np.zeros((len(sizes), B, *values.shape[1:]), values.dtype)
        for t, start in enumerate(starts):
            array[t, : sizes[t]] = values[start : start + sizes[t]]
        return array

    def right(at: dict[str, Array]) -> list[Array]:
        here = {name: at[name] for name in arrays}
        steps = Sequence(padded(at.get("x", x)), lengths, np.zeros((len(sizes), B), bool))
        states = [at[f"s{k}"] for k in range(len(initial))]
        with np.errstate(all="ignore"):
            padded_states, ends = recurrence.run_direction(cell, here, steps, states, reverse, scalars, {})
        of_rows = []
        for state, width in zip(padded_states[: len(every)], widths, strict=False):
            rows = [state[t, : sizes[t]] for t in range(len(sizes))]
            of_rows.append(np.concatenate(rows) if rows else np.zeros((0, width)))
        return [*of_rows, *ends]

    values = {name: array.astype(np.float64) for name, array in arrays.items()}
    values |= {f"s{k}": state.astype(np.float64) for k, state in enumerate(initial)}
    if not one_hot:
        values["x"] = x.astype(np.float64)
    wanted = right(values)

    def near(k: int) -> float:
        rounding = float(np.finfo(dtype).eps)
        moved = {n: v * (1 + rounding * draw.normal(v.shape, np.float64)) for n, v in values.items()}
        return float(np.abs(right(moved)[k] - wanted[k]).max(initial=0.0))

    for k, (got, value) in enumerate(zip((*every, *final), wanted, strict=True)):
        spread = functools.partial(near, k)
        tolerance = tolerance_of(dtype, T + I + H)
        check_close(f"{cell.name}: result {k}", got, value, dtype, tolerance=tolerance, spread=spread)
    if options["save"]:
        recomputed = "checkpoint_every" in options
        _go_back(draw, cell, saved, (every, final), values, right, dtype, watched, one_hot, T, recomputed)


def _go_back(
    draw: Draw,
    cell: Any,
    saved: Any,
    results: tuple[tuple[Array, ...], tuple[Array, ...]],
    values: dict[str, Array],
    right: Any,
    dtype: Any,
    watched: tuple[Array, ...],
    one_hot: bool,
    T: int,
    recomputed: bool,
) -> None:
    """Differentiate the run, with any of the cotangents left out."""
    every, final = results
    cotangents = [draw.floats(r.shape, dtype) if draw.chance(0.7) else None for r in (*every, *final)]
    d_every, d_final = tuple(cotangents[: len(every)]), tuple(cotangents[len(every) :])
    needs = Needs(*(draw.chance(0.8) for _ in Needs._fields))
    consume = draw.chance(0.5)
    truncate = draw.random.randint(0, T + 2) if draw.chance(0.2) else None
    if truncate is not None and recomputed:
        draw.open = "windows over what is computed again"
    given: list[Any] = [cell, saved, d_every, d_final]
    if draw.spoil("a wrong argument of backward", 0.15):
        other = np.float32 if dtype == np.float64 else np.float64
        array = every[0]
        bad: list[tuple[int, Any]] = [(2, (array[:, :-1],)), (2, (array.astype(other),)), (2, (array[None],))]
        bad += [(1, None), (1, results), (3, ()), (3, (*d_final, None)), (0, _another(cell)), (2, ("one",))]
        bad += [(3, (np.zeros((1, 2, 3), dtype), *d_final[1:])), (2, (*d_every, *[array] * len(final)))]
        k, value = draw.choose(bad)
        given[k] = value
    options: dict[str, Any] = {"needs": needs, "truncate": truncate}
    draw.note("backward", (given[2:], options, consume))
    gradients: Any = attempt(
        draw, lambda: backward(*given, consume=consume, **options), *watched, *cotangents, every, final
    )
    if draw.chance(0.3):
        _again(draw, given, options, consume, gradients)
    found = {} if gradients.x is None else {"x": gradients.x}
    if (gradients.x is None) != (one_hot or not needs.x):
        raise Finding("wrong result", "x has a gradient where it should not, or none", "gradient of x")
    for k, gradient in enumerate(gradients.initial or ()):
        found[f"s{k}"] = gradient
    *matrices, vectors = gradients.weights
    found |= {name: g for name, g in zip(Weights._fields, matrices, strict=False) if g is not None}
    found |= dict(zip(cell.params, vectors or (), strict=False))
    for name, gradient in found.items():
        check_like(f"gradient of {name}", gradient, values[name].shape, dtype)
    pairs = [(k, c.astype(np.float64)) for k, c in enumerate(cotangents) if c is not None]
    if found and (truncate is None or truncate >= T):
        check_gradients(
            draw,
            lambda at: sum(float((right(at)[k] * c).sum()) for k, c in pairs),
            values,
            found,
            dtype,
            f"{cell.name}: gradient",
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
    return next(other for other in CELLS.values() if other is not cell)


def _spoil(draw: Draw, arguments: list[Any], width: int) -> None:
    """Make one argument of forward wrong."""
    x, weights, initial = arguments
    k = draw.random.randrange(3)
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
    else:
        state = initial[-1]
        bad = [state[None], state[:, :-1], state.astype(np.float16), "state", None, np.ones(3)]
        arguments[2] = draw.choose([(*initial[:-1], draw.choose(bad)), (), (*initial, state)])
