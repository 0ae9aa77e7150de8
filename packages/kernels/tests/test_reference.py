"""The reference against the user's step itself, called on arrays in a loop over each sequence alone."""

import itertools
from types import SimpleNamespace

import numpy as np
import pytest

from comparing import assert_close
from rondeau.kernels.cell import cell_math as m
from rondeau.kernels.cell.operations import OPERATIONS
from rondeau.kernels.numerics import noise, philox
from rondeau.kernels.recurrent import reference
from rondeau.kernels.sequence import Cell, Layout, Run, Weights

from .problem import Problem


class RecurrentPart(np.ndarray):
    """``r.k`` as an array that can be called with a value."""

    def __call__(self, value):
        return self.multiply(value)


def run_alone(problem, x, states, b, reverse, monkeypatch):
    """Run batch row b's sequence x (T, I) from states (H,) by calling the step on arrays."""
    layout = problem.layout
    cell, weights, settings = problem.cell, problem.weights, problem.settings
    H = weights.weight_ih.shape[0] // len(cell.gates)
    scalars = {name: value for (kind, name), value in settings.scalars.items() if kind == "k"}
    params = [SimpleNamespace(**dict(zip(cell.params, weights.params, strict=True)))] if cell.params else []
    keep = 1.0
    if cell.regularisers.dropout:
        drawn = philox.uniforms(
            settings.key, settings.substream + 32, philox.CONSTANT_OVER_TIME, b, np.arange(H)
        )
        keep = np.where(drawn < settings.dropout, 0.0, 1 / (1 - settings.dropout))

    def recurrent_part(k, state):
        rows = slice(k * H, (k + 1) * H)
        matrix, bias = weights.weight_hh[rows], weights.bias_hh[rows]
        product = matrix @ (state * keep) if matrix.shape[1] == len(state) else np.zeros(H)
        part = (product + bias).view(RecurrentPart)
        part.multiply = lambda value: matrix @ (np.asarray(value) * keep) + bias
        return part

    def inputs_of_step(t):
        pairs = zip(cell.inputs.items(), problem.inputs, strict=True)
        rows = {name: array[layout.starts[t] + b if kind == "step" else b] for (name, kind), array in pairs}
        return [SimpleNamespace(**rows)] if rows else []

    def let_the_step_draw(t):
        substreams = itertools.count(settings.substream + 35)
        for name, draw in (("normal", noise.normals), ("uniform", noise.uniforms)):
            monkeypatch.setattr(
                m, name, lambda draw=draw: draw(settings.key, next(substreams), t, b, np.arange(H))
            )

    every = []
    for t in range(len(x))[:: -1 if reverse else 1]:
        x_part = (weights.weight_ih @ x[t] + weights.bias_ih).reshape(-1, H)
        x_gates = SimpleNamespace(**dict(zip(cell.gates, x_part, strict=True)))
        r_gates = SimpleNamespace(
            **{gate: recurrent_part(k, states[0]) for k, gate in enumerate(cell.recurrent)}
        )
        old = dict(zip(cell.states, states, strict=True))
        let_the_step_draw(t)
        new = cell.step(x_gates, r_gates, SimpleNamespace(**old), *params, *inputs_of_step(t), **scalars)
        new = [np.broadcast_to(np.asarray(state), H) for state in (new if isinstance(new, tuple) else (new,))]
        for state in cell.regularisers.zoneout:
            k, rate = cell.states.index(state), settings.scalars["rate", state]
            drawn = philox.uniforms(settings.key, settings.substream + k, t, b, np.arange(H))
            kept = rate if cell.regularisers.expected else drawn < rate
            new[k] = kept * old[state] + (1 - kept) * new[k]
        if weights.weight_hr is not None:
            new[0] = weights.weight_hr @ new[0]
        states = tuple(new)
        every.append(states)
    return every[::-1] if reverse else every, states


@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
@pytest.mark.parametrize("sizes", [[3, 3, 3], [5, 4, 4, 1, 1], [1]])
def test_each_row_of_a_batch_is_its_own_loop(cell, sizes, reverse, monkeypatch):
    layout = Layout.packed(sizes)
    problem = Problem(cell, layout, np.float64, H=4, P=None if cell.reason_against_projection else 2)
    every, final = problem.reference(reverse=reverse)
    for b, length in enumerate(layout.lengths):
        rows = layout.starts[:length] + b
        expected, states = run_alone(
            problem, problem.x[rows], tuple(s[b] for s in problem.initial), b, reverse, monkeypatch
        )
        for got, state in zip(every, zip(*expected, strict=True), strict=True):
            assert_close(got[rows], state, rtol=1e-11, atol=1e-13)
        for got, state in zip(final, states, strict=True):
            assert_close(got[b], state, rtol=1e-11, atol=1e-13)


def test_bptt_by_hand():
    """The recurrence h = tanh(w h + x) of the texts: its last state is known in closed form."""
    cell = Cell(lambda x, r, s: m.tanh(x.h + r.h), ("h",), ("h",), "rnn")
    one = np.ones((1, 1))
    x = np.array([[1.0], [-0.5], [0.25]])
    (output,), _ = reference.run(
        Run(cell, Layout.dense(3, 1)), reference.NUMPY, x, Weights(one, 0.8 * one), (0.5 * one,)
    )
    h1 = np.tanh(0.8 * 0.5 + 1.0)
    h2 = np.tanh(0.8 * h1 - 0.5)
    assert_close(output.ravel(), [h1, h2, np.tanh(0.8 * h2 + 0.25)], rtol=1e-15)


def test_the_reference_computes_every_operation():
    operators = {name for name, operation in OPERATIONS.items() if operation.is_operator}
    assert operators | set(vars(reference.NUMPY)) - {"cat", "constant"} == set(OPERATIONS)


def test_a_constant_state_has_the_shape_of_the_others():
    cell = Cell(lambda x, r, s: (x.h + r.h, 2.0), ("h",), ("h", "k"), "constant")
    problem = Problem(cell, Layout.dense(1, 4), np.float64, H=3)
    every, final = problem.reference()
    assert [s.shape for s in (*every, *final)] == [(4, 3)] * 4
    assert (final[1] == 2).all()
