"""Exported cells and stacks over 200 steps, built in and drawn at random: C and NumPy against the library."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compiled_c import Library, compile_library
from rondeau import export, nn
from rondeau import tensor as rt
from rondeau.export._description import describe
from trajectories import (
    STEPS,
    assert_runs_freely,
    assert_steps_are_near,
    check_numpy,
    make_trajectory,
    module_of,
)

from .oracles.comparison import draw_parameters
from .test_random_cells import DRAWN, programs

WIDTHS = [1, 2, 3, 5, 8, 17]


def draw(strategy, count):
    """Return examples of a strategy; a failure names its own, to become a test."""
    found = []
    settings(DRAWN, max_examples=count)(given(strategy)(lambda example: found.append(example)))()
    return found


def drawn_layers(count):
    """Return layers of drawn cells, with heads or without."""
    drawn = draw(st.tuples(programs(), st.sampled_from(WIDTHS), st.booleans(), st.integers(0, 1000)), count)
    layers = []
    for program, H, has_heads, seed in drawn:
        rng = np.random.default_rng(seed)
        heads = next(n for n in (2, 3, 5, 17, 1) if H % n == 0) if has_heads else 1
        options = {"num_heads": heads, "hyperparameters": program.scalars or None}
        layer = nn.Recurrent(program.cell(), int(rng.integers(1, 4)), H, **options)
        draw_parameters(layer, rng)
        layers.append((layer, f"{program}, H={H}, heads={heads}, seed={seed}"))
    return layers


PLAIN_CELLS = [name for name in nn.cells.__all__ if not getattr(nn.cells, name).inputs]
ACTIVATIONS = [nn.ReLU, nn.Tanh, nn.Sigmoid, nn.GELU, nn.LeakyReLU, nn.Softplus]


@st.composite
def stacks(draw):
    """A model of several blocks, of drawn widths and options."""
    rt.manual_seed(draw(st.integers(0, 1000)))
    widths = st.sampled_from(WIDTHS)
    reads_ids, width = draw(st.booleans()), draw(widths)
    blocks = [nn.Embedding(7, width)] if reads_ids else [nn.Linear(width, width, bias=draw(st.booleans()))]
    for _ in range(draw(st.integers(1, 3))):
        cell = getattr(nn.cells, draw(st.sampled_from(PLAIN_CELLS)))
        hidden = draw(st.sampled_from([2, 4, 6, 9]))
        options = {
            "num_layers": draw(st.integers(1, 2)),
            "bias": draw(st.booleans()),
            "learn_initial_state": draw(st.booleans()),
            "zoneout": draw(st.sampled_from([0.0, 0.2])),
        }
        if cell.recurrent:
            options["num_heads"] = draw(st.sampled_from([1, 1, 2])) if hidden % 2 == 0 else 1
        if cell.project or (cell is nn.cells.lstm and draw(st.booleans())):
            options |= {"proj_size": hidden // 2, "num_heads": 1, "zoneout": 0.0}
        blocks.append(nn.Recurrent(cell, width, hidden, **options))
        width = options.get("proj_size", hidden)
        if draw(st.booleans()):
            blocks.append(nn.LayerNorm(width, elementwise_affine=draw(st.booleans())))
        if draw(st.booleans()):
            blocks.append(draw(st.sampled_from(ACTIVATIONS))())
    outputs = draw(widths)
    blocks += [nn.Dropout(0.5), nn.Linear(width, outputs)]
    if draw(st.booleans()):
        blocks.append(draw(st.sampled_from([nn.Softmax, nn.LogSoftmax]))(-1))
    model = nn.Sequential(*blocks)
    with rt.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * rt.randn(*parameter.shape))
    return model.eval()


def check(models, folder):
    """Compare the C and the NumPy of models with the library over many steps; the C is compiled as one library."""
    described = [describe(model) for model, _ in models]
    trajectories = [make_trajectory(found, np.random.default_rng(k)) for k, found in enumerate(described)]
    check_c(models, trajectories, folder)
    for k, ((model, what), trajectory) in enumerate(zip(models, trajectories, strict=True)):
        path = export.to_numpy(model, folder, f"model{k}").files[0]
        check_numpy(module_of(path), trajectory, what)
        assert len(path.read_text().splitlines()) <= 200, what


def check_c(models, trajectories, folder):
    exported = [export.to_c(model, folder, f"model{k}") for k, (model, _) in enumerate(models)]
    target = compile_library(folder, [f"model{k}" for k in range(len(models))])
    for k, ((_, what), trajectory) in enumerate(zip(models, trajectories, strict=True)):
        description = trajectory.description
        widths = [vector.size for layer in description.layers for vector in layer.initial]
        library = Library(target, f"model{k}", widths, exported[k].state_bytes)
        assert library.call("selftest") == 0, what
        before = [state for of_layer in trajectory.before for state in of_layer]
        named = [*trajectory.inputs.values(), *trajectory.noise_of_steps()]
        for is_free in (False, True):
            library.call("init", library.memory)
            found = [[] for _ in range(1 + len(widths))]
            for t in range(STEPS):
                if not is_free:
                    for state, given_state in zip(library.states, before, strict=True):
                        state[:] = given_state[t]
                others = [np.ascontiguousarray(array[t]) for array in named]
                y = library.step(trajectory.x[t], description.outputs, *others)
                for rows, row in zip(found, [y, *library.states], strict=True):
                    rows.append(row.copy())
            compare = assert_runs_freely if is_free else assert_steps_are_near
            compare([np.array(rows) for rows in found], trajectory, what)


def built_in_layers():
    """Return layers of every built-in cell, of many widths."""
    layers = []
    for k, name in enumerate(nn.cells.__all__):
        cell = getattr(nn.cells, name)
        H = 2 if cell.project else WIDTHS[k % len(WIDTHS)]
        layer = nn.Recurrent(cell, 1 + k % 3, H, 1 + k % 2, proj_size=1 if cell.project else 0)
        draw_parameters(layer, np.random.default_rng(k))
        layers.append((layer, name))
    return layers


def drawn_stacks(count):
    """Return stacks of drawn blocks."""
    return [(model, str(model)) for model in draw(stacks(), count)]


def test_built_in_cells(tmp_path):
    check(built_in_layers(), tmp_path)


def test_a_few_drawn_cells(tmp_path):
    check(drawn_layers(10), tmp_path)


def test_a_few_drawn_stacks(tmp_path):
    check(drawn_stacks(5), tmp_path)


@pytest.mark.long
def test_many_drawn_cells(tmp_path):
    check(drawn_layers(100), tmp_path)


@pytest.mark.long
def test_many_drawn_stacks(tmp_path):
    check(drawn_stacks(40), tmp_path)
