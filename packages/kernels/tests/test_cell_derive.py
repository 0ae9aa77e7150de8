import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rondeau.kernels.cell import cell_math as m
from rondeau.kernels.cell import derive, trace
from rondeau.kernels.cell.derive import RULES
from rondeau.kernels.cell.trace import OPERATIONS
from rondeau.kernels.targets.reference import NUMPY, evaluate


def _adjoints(step, gates, states, values):
    """Evaluate the derived adjoints of all inputs for the values of inputs and of the new states' adjoints."""
    graph, adjoints = derive(trace(step, gates, states))
    graph.outputs = tuple(adjoints.values())
    return dict(zip(adjoints, evaluate(graph, NUMPY, values), strict=True))


def test_every_operation_with_a_derivative_has_a_rule():
    truth = {"lt", "le", "gt", "ge", "eq", "ne", "and", "or", "not"}
    assert set(RULES) == set(OPERATIONS) - truth


SMOOTH = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "div": lambda a, b: a / (1 + b * b),
    "neg": lambda a, b: -a,
    "sigmoid": lambda a, b: m.sigmoid(a),
    "tanh": lambda a, b: m.tanh(a),
    "softplus": lambda a, b: m.softplus(a),
    "exp": lambda a, b: m.exp(m.tanh(a)),
    "log": lambda a, b: m.log(1 + a * a),
    "sqrt": lambda a, b: m.sqrt(0.5 + a * a),
    "cube": lambda a, b: m.tanh(a) ** 3,
    "affine": lambda a, b: 0.25 - 2 * a,
    "where": lambda a, b: m.where(a > b + 1000, a, b),
}


@st.composite
def programs(draw):
    """A straight-line program over x.g, x.k, r.g, r.k, s.h, s.c that returns two of its values."""
    lines = []
    for known in range(6, 6 + draw(st.integers(1, 10))):
        place = st.integers(0, known - 1)
        lines.append((draw(st.sampled_from(sorted(SMOOTH))), draw(place), draw(place)))
    last = st.integers(0, 5 + len(lines))
    return lines, (draw(last), draw(last))


def _run_program(program, values):
    lines, outputs = program
    values = list(values)
    for op, a, b in lines:
        values.append(SMOOTH[op](values[a], values[b]))
    return tuple(values[k] for k in outputs)


@given(programs(), st.integers(0, 2**32 - 1))
@settings(max_examples=150, deadline=None)
def test_the_adjoints_of_a_drawn_step_are_its_central_differences(program, seed):
    rng = np.random.default_rng(seed)
    inputs = [("x", "g"), ("x", "k"), ("r", "g"), ("r", "k"), ("s", "h"), ("s", "c")]
    point, cotangents = rng.uniform(-1.5, 1.5, 6), rng.standard_normal(2)

    def step(x, r, s):
        return _run_program(program, (x.g, x.k, r.g, r.k, s.h, s.c))

    values = {**dict(zip(inputs, point, strict=True)), ("d", "h"): cotangents[0], ("d", "c"): cotangents[1]}
    adjoints = _adjoints(step, ("g", "k"), ("h", "c"), values)
    for i, name in enumerate(inputs):
        shift = np.zeros(6)
        shift[i] = 1e-6
        above, below = (_run_program(program, point + sign * shift) for sign in (1, -1))
        expected = sum(c * (a - b) / 2e-6 for c, a, b in zip(cotangents, above, below, strict=True))
        scale = max(1.0, *(np.abs(v) for v in (*above, *below)))
        assert adjoints.get(name, 0.0) == pytest.approx(expected, rel=1e-4, abs=1e-6 * scale)


KINKS = {
    "relu": (lambda a, b: m.relu(a), lambda t, a, b: t.relu(a)),
    "abs": (lambda a, b: abs(a), lambda t, a, b: t.abs(a)),
    "minimum": (m.minimum, lambda t, a, b: t.minimum(a, b)),
    "maximum": (m.maximum, lambda t, a, b: t.maximum(a, b)),
    "where": (lambda a, b: m.where(a >= b, a * b, a - b), lambda t, a, b: t.where(a >= b, a * b, a - b)),
    "sqrt": (lambda a, b: m.sqrt(a + 2), lambda t, a, b: t.sqrt(a + 2)),
}


@pytest.mark.parametrize("name", KINKS)
def test_ties_and_kinks_follow_torch(name):
    torch = pytest.importorskip("torch")
    ours, theirs = KINKS[name]
    a = np.array([0.0, -0.0, 1.0, -1.0, 1.0, -1.0, 0.5])
    b = np.array([0.0, 0.0, 1.0, 1.0, -1.0, -1.0, 2.0])
    cotangent = np.arange(1.0, 8.0)
    values = {("x", "g"): a, ("r", "g"): b, ("d", "h"): cotangent}
    adjoints = _adjoints(lambda x, r, s: ours(x.g, r.g), ("g",), ("h",), values)
    ta, tb = (torch.from_numpy(v.copy()).requires_grad_() for v in (a, b))
    theirs(torch, ta, tb).backward(torch.from_numpy(cotangent))
    np.testing.assert_array_equal(adjoints["x", "g"], ta.grad.numpy())
    if tb.grad is not None:
        np.testing.assert_array_equal(adjoints["r", "g"], tb.grad.numpy())


def test_a_value_used_twice_gets_both_adjoints():
    values = {("x", "g"): 3.0, ("d", "h"): 1.0}
    assert _adjoints(lambda x, r, s: x.g * x.g + x.g, ("g",), ("h",), values)["x", "g"] == 7.0


def test_inputs_that_do_not_matter_have_no_adjoint():
    _, adjoints = derive(trace(lambda x, r, s: m.where(r.g > s.h, x.g, 2.0), ("g",), ("h",)))
    assert set(adjoints) == {("x", "g")}
