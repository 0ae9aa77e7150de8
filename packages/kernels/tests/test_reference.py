"""The reference against the user's step itself, called on arrays in a loop over each sequence alone."""

from types import SimpleNamespace

import numpy as np
import pytest

from rondeau.kernels.cell import trace
from rondeau.kernels.cell.trace import OPERATIONS
from rondeau.kernels.sequence import Cell, Layout, Weights
from rondeau.kernels.targets import reference


def run_alone(cell, x, weights, states, reverse):
    """Run one sequence x (T, I) from states (H,) by calling the step on arrays."""
    H = weights.weight_hh.shape[0] // len(cell.gates)
    output = np.empty((len(x), weights.weight_hh.shape[1]))
    for t in range(len(x))[:: -1 if reverse else 1]:
        x_part = (weights.weight_ih @ x[t] + weights.bias_ih).reshape(-1, H)
        r_part = (weights.weight_hh @ states[0] + weights.bias_hh).reshape(-1, H)
        x_gates, r_gates = (
            SimpleNamespace(**dict(zip(cell.gates, part, strict=True))) for part in (x_part, r_part)
        )
        new = cell.step(x_gates, r_gates, SimpleNamespace(**dict(zip(cell.states, states, strict=True))))
        states = new if isinstance(new, tuple) else (new,)
        if weights.weight_hr is not None:
            states = (weights.weight_hr @ states[0], *states[1:])
        output[t] = states[0]
    return output, states


@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
@pytest.mark.parametrize("sizes", [[3, 3, 3], [5, 4, 4, 1, 1], [1]])
def test_each_row_of_a_batch_is_its_own_loop(cell, sizes, reverse):
    rng = np.random.default_rng(0)
    layout, I, H, G = Layout.packed(sizes), 3, 4, len(cell.gates)  # noqa: E741 - the field's letter
    P = H if cell.plan.reads_state(cell.states[0]) else 2
    shapes = Weights((G * H, I), (G * H, P), (G * H,), (G * H,), None if P == H else (P, H))
    weights = Weights(*(None if shape is None else rng.standard_normal(shape) for shape in shapes))
    x = rng.standard_normal((layout.num_rows, I))
    widths = [P] + [H] * (len(cell.states) - 1)
    initial = tuple(rng.standard_normal((layout.batch_size, width)) for width in widths)
    output, final = reference.run(cell, reference.NUMPY, layout, x, weights, initial, reverse=reverse)
    for b, length in enumerate(layout.lengths):
        rows = layout.starts[:length] + b
        expected, states = run_alone(cell, x[rows], weights, tuple(s[b] for s in initial), reverse)
        np.testing.assert_allclose(output[rows], expected, rtol=1e-12, atol=1e-14)
        for got, state in zip(final, states, strict=True):
            np.testing.assert_allclose(got[b], state, rtol=1e-12, atol=1e-14)


def test_bptt_by_hand():
    """The recurrence h = tanh(w h + x) of the texts: its last state is known in closed form."""
    cell = Cell(lambda x, r, s: reference.NUMPY.tanh(x.h + r.h), ("h",), ("h",), "rnn")
    one = np.ones((1, 1))
    x = np.array([[1.0], [-0.5], [0.25]])
    output, _ = reference.run(
        cell, reference.NUMPY, Layout.dense(3, 1), x, Weights(one, 0.8 * one), (0.5 * one,)
    )
    h1 = np.tanh(0.8 * 0.5 + 1.0)
    h2 = np.tanh(0.8 * h1 - 0.5)
    np.testing.assert_allclose(output.ravel(), [h1, h2, np.tanh(0.8 * h2 + 0.25)], rtol=1e-15)


def test_the_reference_computes_every_operation():
    assert set(reference.OPERATORS) | set(vars(reference.NUMPY)) - {"cat"} == set(OPERATIONS)


def test_a_constant_state_has_the_shape_of_the_others():
    graph = trace(lambda x, r, s: (x.h + r.h, 2.0), ("h",), ("h", "k"))
    weights = Weights(np.ones((3, 2)), np.ones((3, 3)))
    states = reference.step(graph, reference.NUMPY, np.ones((4, 2)), weights, (np.zeros((4, 3)),) * 2)
    assert [s.shape for s in states] == [(4, 3)] * 2
    assert (states[1] == 2).all()
