"""Long runs of exported models: each step from the library's own state, and all steps from the model's."""

import importlib.util
from typing import Any, NamedTuple

import numpy as np

from rondeau.export._description import Description
from rondeau.export._evaluation import Evaluation, evaluate, moved

STEPS = 200
NEAR = 2e-6
FACTOR = 8


class Trajectory(NamedTuple):
    """What the library computes from a sequence, and how far from it a result may be.

    Attributes
    ----------
    x, inputs
        As in `Example`: (T, I) or ids (T,), and (T, H) or (T, 1) of each named input.
    expected : Evaluation
    before : list of tuple of ndarray
        For each recurrent layer, the states before every step.
    near : ndarray, shape (T, 1)
        How far a step from the library's own state may be from the library's, as a share of 1 plus the magnitude:
        `NEAR`, or `FACTOR` times what the last bit of inputs and states changes, or what rounding changes where they
        are nearly the same, where a step amplifies it. Exactly, two units that are normalised are 1 and -1 whatever
        their last bits are; but what is left of their rounded mean is divided by as little as their difference.
    exact : Evaluation
        The library's run in float64.
    free : float
        The largest distance from it of the library's run, and of runs in float64 with weights that round alike: where
        a model amplifies rounding, how far one run happens to be says little.
    """

    description: Description
    x: np.ndarray
    inputs: dict[str, np.ndarray]
    expected: Evaluation
    before: list[tuple[np.ndarray, ...]]
    near: np.ndarray
    exact: Evaluation
    free: float

    def noise_of_steps(self) -> list[np.ndarray]:
        """Return the random numbers of all steps at once, (T, H) for each draw."""
        return [draw for draws in self.expected.noise for draw in draws]


def make_trajectory(description: Description, rng: Any, numbers: frozenset[str] = frozenset()) -> Trajectory:
    """Draw a sequence, and run the library on it."""
    if description.takes_ids:
        x = rng.integers(0, description.inputs, STEPS)
    else:
        x = rng.standard_normal((STEPS, description.inputs)).astype(np.float32)
    inputs: dict[str, np.ndarray] = {}
    for layer in description.layers:
        for name, kind in layer.cell.inputs.items():
            drawn = rng.uniform(0.25, 1, (STEPS, 1 if name in numbers else layer.hidden)).astype(np.float32)
            inputs.setdefault(name, drawn if kind == "step" else np.repeat(drawn[:1], STEPS, axis=0))
    expected = evaluate(description, x, inputs, numbers)
    before = [
        tuple(
            np.concatenate([begin[None], every[:-1]])
            for begin, every in zip(layer.initial, states, strict=True)
        )
        for layer, states in zip(description.layers, expected.states, strict=True)
    ]
    exact = evaluate(description, x, inputs, numbers, np.float64)
    near, free = np.full((STEPS, 1), NEAR), distances(_arrays(expected), _arrays(exact)).max()
    for number in range(4):
        # All numbers round to the same in float32, or nearly so.
        shaken, given, named, states = moved((description, x, inputs, before), rng, 2.0**-24)
        other = evaluate(shaken, given, named, numbers, np.float64, states)
        near = np.maximum(near, FACTOR * distances(_arrays(other), _arrays(expected)))
        if number < 2:
            other = evaluate(shaken, x, inputs, numbers, np.float64)
            free = max(free, distances(_arrays(other), _arrays(exact)).max())
    for _ in range(8):
        near_it, given, named, states = moved((description, x, inputs, before), rng, 2.0**-22)
        single, double = (
            evaluate(near_it, given, named, numbers, t, states) for t in (np.float32, np.float64)
        )
        near = np.maximum(near, FACTOR * distances(_arrays(single), _arrays(double)))
    return Trajectory(description, x, inputs, expected, before, near, exact, free)


def _arrays(found: Evaluation) -> list[np.ndarray]:
    return [found.outputs, *(state for of_layer in found.states for state in of_layer)]


def distances(found: list[np.ndarray], expected: list[np.ndarray]) -> np.ndarray:
    """Return how far each step is from what is expected, (T, 1), as a share of 1 plus the magnitude.

    The same infinity, and a NaN in the place of a NaN, are no distance.
    """
    largest = np.zeros((len(found[0]), 1))
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.shape == theirs.shape
        with np.errstate(invalid="ignore"):
            off = np.abs(ours.astype(float) - theirs) / (1 + np.abs(theirs.astype(float)))
        off[(ours == theirs) | (np.isnan(ours) & np.isnan(theirs))] = 0
        largest = np.maximum(largest, np.nan_to_num(off, nan=np.inf).max(1, keepdims=True, initial=0))
    return largest


def assert_steps_are_near(found: list[np.ndarray], trajectory: Trajectory, what: str = "") -> None:
    """Compare outputs and states after steps that each began in the library's own state."""
    off = distances(found, _arrays(trajectory.expected))
    worst = int(np.argmax(off / trajectory.near))
    assert off[worst, 0] <= trajectory.near[worst, 0], (what, worst, off[worst, 0], trajectory.near[worst, 0])


def assert_runs_freely(found: list[np.ndarray], trajectory: Trajectory, what: str = "") -> None:
    """Compare a run from the beginning with that in float64: it may be `FACTOR` times as far as the library's own."""
    off = distances(found, _arrays(trajectory.exact)).max()
    assert off <= max(NEAR, FACTOR * trajectory.free), (what, off, trajectory.free)


class Stored:
    """Random numbers in the place of a NumPy Generator."""

    def __init__(self, draws: list[np.ndarray]) -> None:
        self._draws = list(draws)

    def standard_normal(self, size: tuple[int, ...], dtype: Any) -> np.ndarray:
        drawn = self._draws.pop(0)
        assert (drawn.shape, drawn.dtype) == (size, dtype)
        return drawn

    random = standard_normal


def module_of(path: Any) -> Any:
    """Return an exported Python file as a module."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def check_numpy(module: Any, trajectory: Trajectory, what: str = "") -> None:
    """Compare an exported module: what it says itself, all steps from the library's states, and a free run."""
    kinds = {
        name: kind for layer in trajectory.description.layers for name, kind in layer.cell.inputs.items()
    }
    model, options, free = module.Model(), {}, {}
    if kinds:
        options["inputs"] = trajectory.inputs
        free["inputs"] = {
            name: array[:, None] if kinds[name] == "step" else array[:1]
            for name, array in trajectory.inputs.items()
        }
    if trajectory.noise_of_steps():
        options["noise"] = Stored(trajectory.noise_of_steps())
        each = [draw[t][None] for draws in trajectory.expected.noise for t in range(STEPS) for draw in draws]
        free["noise"] = Stored(each)
    with np.errstate(all="ignore"):
        assert module.check(), what
        y, state = model.step(trajectory.x, [list(states) for states in trajectory.before], **options)
        found = [y, *(array for of_layer in state for array in of_layer)]
        assert all(array.dtype == np.float32 for array in found), what
        assert_steps_are_near(found, trajectory, what)
        y, state = model.run(trajectory.x[:, None], **free)
    off = distances([y[:, 0]], [trajectory.exact.outputs]).max()
    assert off <= max(NEAR, FACTOR * trajectory.free), (what, off, trajectory.free)
