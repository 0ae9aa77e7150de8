import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from comparing import assert_close, assert_same_bits
from rondeau.kernels.cell import cell_math as m
from rondeau.kernels.cell import derive, trace
from rondeau.kernels.cell.operations import OPERATIONS
from rondeau.kernels.cell.symbols import apply


def _adjoints(step, gates, states, values, params=()):
    """Evaluate the derived adjoints of all inputs for the values of inputs and of the new states' adjoints."""
    graph, adjoints = derive(trace(step, gates, states, params))
    found = {}
    for index in graph.reach(list(adjoints.values())):
        op, args, value = graph.nodes[index]
        if op in ("input", "const"):
            found[index] = values[value] if op == "input" else value
        else:
            found[index] = OPERATIONS[op].function(*(found[arg] for arg in args))
    return {name: found[index] for name, index in adjoints.items()}


def test_every_operation_with_a_derivative_has_a_rule():
    for name, operation in OPERATIONS.items():
        assert (operation.rule is None) == operation.gives_truth, name


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
    "sin": lambda a, b: m.sin(a),
    "cos": lambda a, b: m.cos(a),
    "erf": lambda a, b: m.erf(a),
    "expm1": lambda a, b: m.expm1(m.tanh(a)),
    "log1p": lambda a, b: m.log1p(a * a),
    "pow": lambda a, b: (1 + a * a) ** -0.75,
    "clamp": lambda a, b: m.clamp(a, b - 1000, b + 1000),
    "sign": lambda a, b: b + m.sign(a),
}


@st.composite
def programs(draw):
    """A straight-line program over x.g, x.k, r.g, r.k, s.h, s.c that returns two of its values."""
    lines = []
    for known in range(6, 6 + draw(st.integers(1, 10))):
        operand = st.integers(0, known - 1)
        lines.append((draw(st.sampled_from(sorted(SMOOTH))), draw(operand), draw(operand)))
    last = st.integers(0, 5 + len(lines))
    return lines, (draw(last), draw(last))


def _run_program(program, values):
    lines, outputs = program
    values = list(values)
    for op, a, b in lines:
        values.append(SMOOTH[op](values[a], values[b]))
    return tuple(values[k] for k in outputs)


@given(programs(), st.integers(0, 2**32 - 1))
@settings(max_examples=150)
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
    a = np.array([0.0, -0.0, 1.0, -1.0, 1.0, -1.0, 0.5, np.nan, 1.0])
    b = np.array([0.0, 0.0, 1.0, 1.0, -1.0, -1.0, 2.0, 1.0, np.nan])
    cotangent = np.arange(1.0, 10.0)
    values = {("x", "g"): a, ("r", "g"): b, ("d", "h"): cotangent}
    adjoints = _adjoints(lambda x, r, s: ours(x.g, r.g), ("g",), ("h",), values)
    ta, tb = (torch.from_numpy(v.copy()).requires_grad_() for v in (a, b))
    theirs(torch, ta, tb).backward(torch.from_numpy(cotangent))
    assert_same_bits(adjoints["x", "g"], ta.grad)
    if tb.grad is not None:
        assert_same_bits(adjoints["r", "g"], tb.grad)


def test_a_value_used_twice_gets_both_adjoints():
    values = {("x", "g"): 3.0, ("d", "h"): 1.0}
    assert _adjoints(lambda x, r, s: x.g * x.g + x.g, ("g",), ("h",), values)["x", "g"] == 7.0


def test_inputs_that_do_not_matter_have_no_adjoint():
    _, adjoints = derive(trace(lambda x, r, s: m.where(r.g > s.h, x.g, 2.0), ("g",), ("h",)))
    assert set(adjoints) == {("x", "g")}


def test_a_number_of_the_row_sums_its_adjoint_over_the_units():
    """y = a sum(a b): dy is d sum(a b) + b sum(d a) for a, a sum(d a) for b."""
    rng = np.random.default_rng(0)
    a, b, d = rng.standard_normal((3, 4, 5))
    values = {("x", "g"): a, ("r", "g"): b, ("d", "h"): d}
    adjoints = _adjoints(lambda x, r, s: x.g * apply(x.g.graph, "sum", x.g * r.g), ("g",), ("h",), values)
    through = (d * a).sum(-1, keepdims=True)
    assert_close(adjoints["x", "g"], d * (a * b).sum(-1, keepdims=True) + b * through, rtol=1e-12)
    assert_close(adjoints["r", "g"], a * through, rtol=1e-12)


@pytest.mark.parametrize("several", [False, True])
def test_layer_norm_is_torchs(several):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    a, b, d = rng.standard_normal((3, 4, 5))
    vectors = dict(zip(("w", "v", "u", "t"), rng.standard_normal((4, 5)), strict=True))

    def step(x, r, s, p):
        if several:
            return m.layer_norm((x.g, r.g), (p.w, p.v), (p.u, p.t), eps=0.3)
        return m.layer_norm(x.g, p.w, p.u), r.g

    values = {("x", "g"): a, ("r", "g"): b, ("d", "h"): d, ("d", "c"): 2 * d, ("width", "H"): 5.0}
    values |= {("p", name): vector for name, vector in vectors.items()}
    adjoints = _adjoints(step, ("g",), ("h", "c"), values, tuple(vectors))
    ta, tb, *tv = (torch.from_numpy(v.copy()).requires_grad_() for v in (a, b, *vectors.values()))
    w, v, u, t = tv
    if several:
        joint = torch.nn.functional.layer_norm(
            torch.cat((ta, tb), 1), (10,), torch.cat((w, v)), torch.cat((u, t)), eps=0.3
        )
        first, second = joint[:, :5], joint[:, 5:]
        on_arrays = m.layer_norm((a, b), tuple(vectors.values())[:2], tuple(vectors.values())[2:], eps=0.3)
    else:
        first, second = torch.nn.functional.layer_norm(ta, (5,), w, u), tb
        on_arrays = m.layer_norm(a, vectors["w"], vectors["u"]), b
    for ours, theirs in zip(on_arrays, (first, second), strict=True):
        assert_close(ours, theirs, rtol=1e-10, atol=1e-12)
    ((first + 2 * second) * torch.from_numpy(d)).sum().backward()
    leaves = {("x", "g"): ta, ("r", "g"): tb} | {
        ("p", name): leaf for name, leaf in zip(vectors, tv, strict=True)
    }
    for name, leaf in leaves.items():
        if leaf.grad is not None:
            ours = (
                adjoints[name] if name[0] != "p" else adjoints[name].sum(0)
            )  # a parameter's is a row's part
            assert_close(ours, leaf.grad, rtol=1e-10, atol=1e-12)


def test_what_a_matrix_multiplies_gets_what_comes_back_once():
    """Two matrices on one value: the product of both sends back one adjoint."""
    graph, adjoints = derive(trace(lambda x, r, s: r.g(s.h * x.g) * r.k(s.h * x.g), ("g", "k"), ("h",)))
    back = [node.value for node in graph.nodes if node.op == "input" and node.value[0] == "back"]
    (value,) = {graph.nodes[i].args[0] for i in graph.recurrent_parts.values()}
    assert back == [("back", str(value))]
    assert set(adjoints) >= {("r", "g"), ("r", "k"), ("x", "g"), ("s", "h")}


def test_the_adjoint_that_comes_back_passes_through_the_value():
    values = {("x", "g"): 3.0, ("s", "h"): 2.0, ("d", "h"): 1.0}
    graph = derive(trace(lambda x, r, s: r.g(x.g * s.h) + s.h, ("g",), ("h",))).graph
    (back,) = (node.value for node in graph.nodes if node.op == "input" and node.value[0] == "back")
    adjoints = _adjoints(lambda x, r, s: r.g(x.g * s.h) + s.h, ("g",), ("h",), values | {back: 10.0})
    assert adjoints == {("r", "g"): 1.0, ("x", "g"): 20.0, ("s", "h"): 31.0}


def test_learned_vectors_have_adjoints_and_scalars_have_none():
    _, adjoints = derive(trace(lambda x, r, s, p, *, k=1.0: p.u * x.g * k, ("g",), ("h",), ("u", "v")))
    assert set(adjoints) == {("x", "g"), ("p", "u")}
