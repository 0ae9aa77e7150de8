"""Cells drawn at random as graphs of ONNX, step by step, against the library holding the same weights.

A step in which rounding decides, since it is near a kink, is left out: there a change of 1e-5 moves the result far more
than it does elsewhere.
"""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from onnx_graphs import Graph, distance
from rondeau import export, nn
from rondeau.export._description import describe
from rondeau.export._evaluation import cell_with_forms, evaluate
from rondeau.kernels.numerics import noise
from rondeau.kernels.recurrent.layout import Layout
from rondeau.kernels.recurrent.records import Run, Settings
from rondeau.kernels.recurrent.reference import NUMPY, run
from rondeau.kernels.recurrent.substreams import NOISE

from .oracles.comparison import draw_parameters
from .test_random_cells import DRAWN, INPUTS, programs

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

STEPS = 200


def drawn_layer(program, inputs, hidden, rng, **options):
    layer = nn.Recurrent(
        program.cell(), inputs, hidden, dtype="float32", hyperparameters=program.scalars or None, **options
    )
    draw_parameters(layer, rng)
    return layer


def one_step(layer, cell, x, states, inputs, dtype):
    """The states after one step of every row, from the states before it."""
    weights = layer.weights
    arrays = {name: getattr(weights, name) for name in weights._fields if name != "params"}
    weights = weights._replace(
        **{name: None if array is None else array.astype(dtype) for name, array in arrays.items()},
        params=tuple(vector.astype(dtype) for vector in weights.params),
    )
    settled = Run(cell, Layout.dense(1, len(x)), False, Settings(layer.scalars, num_heads=layer.num_heads))
    with np.errstate(all="ignore"):
        every, _ = run(
            settled,
            NUMPY,
            x.astype(dtype),
            weights,
            tuple(state.astype(dtype) for state in states),
            tuple(array.astype(dtype) for array in inputs),
        )
    return every


def draws_of(cell, rows, hidden):
    """The random numbers of the first step of every row."""
    draw = {"normal": noise.normals, "uniform": noise.uniforms}
    position = np.zeros((rows, 1), np.int64), np.arange(rows)[:, None], np.arange(hidden)
    return [draw[kind](0, NOISE + int(number), *position).astype(np.float32) for kind, number in cell.draws]


def agrees_in_every_step(folder, program, H, heads, seed):
    """Return whether enough steps could be compared."""
    rng = np.random.default_rng(seed)
    heads = next(n for n in (2, 3, 5, 17, 1) if H % n == 0) if heads else 1
    model = drawn_layer(program, int(rng.integers(1, 4)), H, rng, num_heads=heads)
    described = describe(model)
    (layer,) = described.layers
    is_number = dict.fromkeys(program.inputs, False)
    for name in program.inputs:
        is_number[name] = name not in layer.cell.multiplied_inputs and rng.random() < 0.5
    numbers = frozenset(name for name, given in is_number.items() if given)
    graph = Graph(export.to_onnx(model, folder, numbers=numbers, overwrite=True).files[0])
    graph.check()
    cell = cell_with_forms(layer, numbers)
    x = rng.standard_normal((STEPS, layer.inputs)).astype(np.float32)
    inputs = {
        name: rng.standard_normal((STEPS, 1 if name in numbers else H)).astype(np.float32)
        for name in program.inputs
    }
    for name in program.inputs:
        if INPUTS[name] == "sequence":
            inputs[name][:] = inputs[name][:1]
    free = evaluate(described, x, inputs, numbers)
    before = [
        np.concatenate([begin[None], state[:-1]])
        for begin, state in zip(layer.initial, free.states[0], strict=True)
    ]
    given_inputs = list(inputs.values())
    expected = one_step(layer, cell, x, before, given_inputs, np.float32)
    exact = one_step(layer, cell, x, before, given_inputs, np.float64)
    is_smooth = np.ones(STEPS, bool)
    for change in (-1e-5, 1e-5):
        moved = one_step(layer, cell, x + change, [s + change for s in before], given_inputs, np.float64)
        for a, b in zip(moved, exact, strict=True):
            is_smooth &= (np.abs(a - b) < 1e-3).all(1)
    for a, b in zip(expected, exact, strict=True):
        is_smooth &= (np.abs(a - b) < 1e-4).all(1)
    found = graph(x, *before, *given_inputs, *draws_of(cell, STEPS, H))[1:]
    for value, single, double in zip(found, expected, exact, strict=True):
        allowed = max(2e-6, 8 * distance(single[is_smooth], double[is_smooth]))
        assert distance(value[is_smooth], single[is_smooth]) <= allowed, f"{program}"
    if is_smooth.all():
        runs_free(graph, described, x, inputs, numbers, free)
    return is_smooth.mean() > 0.5


def runs_free(graph, described, x, inputs, numbers, single):
    """Feed the graph its own states: at most 8 times as far from float64 as the library is."""
    (layer,), (noise_of_steps,) = described.layers, single.noise
    states, found = [vector[None] for vector in layer.initial], []
    for t in range(STEPS):
        rows = slice(t, t + 1)
        others = [array[rows] for array in (*inputs.values(), *noise_of_steps)]
        y, *states = graph(x[rows], *states, *others)
        found.append(y[0])
    double = evaluate(described, x, inputs, numbers, dtype=np.float64)
    allowed = max(2e-6, 8 * distance(single.outputs, double.outputs))
    assert distance(found, double.outputs) <= allowed


drawn = given(
    program=programs(), H=st.sampled_from([1, 2, 3, 5, 8, 17]), heads=st.booleans(), seed=st.integers(0, 1000)
)


def equals_the_library(tmp_path_factory, program, H, heads, seed):
    assume(agrees_in_every_step(tmp_path_factory.getbasetemp(), program, H, heads, seed))


test_a_few_equal_the_library = settings(DRAWN, max_examples=8)(drawn(equals_the_library))
test_many_equal_the_library = pytest.mark.long(settings(DRAWN, max_examples=100)(drawn(equals_the_library)))
