"""Cells drawn at random, against a PyTorch loop of the same step and against central differences.

A drawn cell is a program of lines over its inputs; the function that runs it is the step, which the library traces
with symbols and the oracle calls with tensors. Magnitudes are bounded by construction, so that nothing overflows, and
draws with a point near a kink are left out: there rounding decides the derivative.
"""

import math
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st
from tools.fuzz.noise import key_of

from rondeau import nn
from rondeau import tensor as rt
from rondeau.nn import cell_math

from .oracles import language
from .oracles.comparison import Theirs, as_tuple, compare, draw_parameters, draw_states


def relu(m, note, k, a):
    note(a - k)
    return m.relu(a - k)


def absolute(m, note, k, a):
    note(a + k)
    return m.abs(a + k)


def maximum(m, note, k, a, b):
    note(b + k - a)
    return m.maximum(a, b + k)


def minimum(m, note, k, a, b):
    note(b * 0.5 - k - a)
    return m.minimum(b * 0.5 - k, a)


def where(m, note, k, a, b):
    note(a - b - k)
    return m.where(a < b + k, a, b)


def choose(m, note, k, a, b):
    note(a - k)
    note(b - 0.5 * k)
    return m.where((a > k) & ~(b <= 0.5 * k), b, a)


def either(m, note, k, a, b):
    note(a - k)
    note(b + k)
    return m.where((a >= k) | (b < -k), a, 1)


def clamp(m, note, k, a):
    note(a - k)
    note(a - k - 0.5)
    return m.clamp(a, k, k + 0.5)


def sign(m, note, k, a):
    note(a - k)
    return m.sign(a - k)


def joint_norm(m, note, k, a, b):
    first, second = m.layer_norm((a, b))
    return second * k - first


# name -> (operands, bound of the result by those of the operands, the operation). Of an operation's arguments, m has
# the functions of the language, k is a drawn constant, and note(d) is told what is 0 at a kink.
OPERATIONS = {
    "add": (2, lambda a, b: a + b, lambda m, note, k, a, b: a + b),
    "subtract": (2, lambda a, b: a + b, lambda m, note, k, a, b: a - b),
    "multiply": (2, lambda a, b: a * b, lambda m, note, k, a, b: a * b),
    "affine": (1, lambda a: 2 + a, lambda m, note, k, a: k - a * 0.75),
    "negative": (1, lambda a: a, lambda m, note, k, a: -a),
    "square": (1, lambda a: a**2, lambda m, note, k, a: a**2),
    "cube": (1, lambda a: a**3, lambda m, note, k, a: a**3),
    "sigmoid": (1, lambda a: 1, lambda m, note, k, a: m.sigmoid(a)),
    "tanh": (1, lambda a: 1, lambda m, note, k, a: m.tanh(a)),
    "soften": (1, lambda a: 1, lambda m, note, k, a: a / m.sqrt(4 + a * a)),
    "softplus": (1, lambda a: 1 + a, lambda m, note, k, a: m.softplus(a)),
    "exp": (1, math.exp, lambda m, note, k, a: m.exp(a)),
    "gaussian": (1, lambda a: 1, lambda m, note, k, a: m.exp(-a * a)),
    "log": (1, lambda a: 2 + a, lambda m, note, k, a: m.log(0.25 + a * a)),
    "sqrt": (1, lambda a: 1 + a, lambda m, note, k, a: m.sqrt(0.5 + a * a)),
    "divide": (2, lambda a, b: 2 * a, lambda m, note, k, a, b: a / (1.5 + m.tanh(b))),
    "reciprocal": (1, lambda a: 2, lambda m, note, k, a: 1 / (0.5 + m.sigmoid(a))),
    "relu": (1, lambda a: 2 + a, relu),
    "abs": (1, lambda a: 2 + a, absolute),
    "maximum": (2, lambda a, b: 2 + max(a, b), maximum),
    "minimum": (2, lambda a, b: 2 + max(a, b), minimum),
    "where": (2, max, where),
    "choose": (2, max, choose),
    "either": (2, lambda a, b: 1 + a, either),
    "sin": (1, lambda a: 1, lambda m, note, k, a: m.sin(a)),
    "cos": (1, lambda a: 1, lambda m, note, k, a: m.cos(a)),
    "erf": (1, lambda a: 1, lambda m, note, k, a: m.erf(a)),
    "expm1": (1, lambda a: 2, lambda m, note, k, a: m.expm1(m.tanh(a))),
    "log1p": (1, lambda a: 1 + a, lambda m, note, k, a: m.log1p(a * a)),
    "power": (1, lambda a: 2, lambda m, note, k, a: (0.5 + a * a) ** -0.75),
    "clamp": (1, lambda a: 2, clamp),
    "sign": (1, lambda a: 1, sign),
    "norm": (1, lambda a: 4, lambda m, note, k, a: m.layer_norm(a)),
    "scaled norm": (2, lambda a, b: 5 * b, lambda m, note, k, a, b: m.layer_norm(a, weight=b, bias=0.5 * b)),
    "joint norm": (2, lambda a, b: 8, joint_norm),
}
LARGEST = 60.0
GATES, STATES, PARAMS = ("a", "b", "c", "d"), ("h", "u", "v"), ("p", "q")
INPUTS = {"dt": "step", "g": "sequence"}


@dataclass(frozen=True)
class Program:
    """A cell: which gates' recurrent parts it reads, and lines (operation, operands, constant).

    The values are the inputs in the order of `leaves`, then what the lines compute. ``"product"`` applies the recurrent
    matrix of a gate to a value, and has that gate in the place of the constant.
    """

    gates: int
    states: int
    params: int
    scalar: float | None
    plain: tuple[str, ...]
    inputs: tuple[str, ...]
    lines: tuple[tuple[str, tuple[int, ...], float | str], ...]
    outputs: tuple[int, ...]

    @property
    def leaves(self):
        """The inputs that the lines may read."""
        return (
            [("x", gate) for gate in GATES[: self.gates]]
            + [("r", gate) for gate in self.plain]
            + [("s", state) for state in STATES[: self.states]]
            + [("p", param) for param in PARAMS[: self.params]]
            + [("u", name) for name in self.inputs]
        )

    @property
    def needed(self):
        """The values that an output depends on."""
        needed, pending = set(), list(self.outputs)
        while pending:
            index = pending.pop()
            if index not in needed:
                needed.add(index)
                if index >= len(self.leaves):
                    pending.extend(self.lines[index - len(self.leaves)][1])
        return needed

    @property
    def recurrent_gates(self):
        """The gates whose recurrent part an output depends on, in the order of the gates."""
        leaves, needed = self.leaves, self.needed
        found = {leaves[i][1] for i in needed if i < len(leaves) and leaves[i][0] == "r"}
        found |= {
            k for i, (op, _, k) in enumerate(self.lines, len(leaves)) if op == "product" and i in needed
        }
        return tuple(gate for gate in GATES if gate in found)

    def step(self, m, note):
        """Return the step, over the functions `m`."""

        def run(x, r, s, *more, leak=None):
            p, u = more[: self.params > 0], more[self.params > 0 :]
            inputs = {"x": x, "r": r, "s": s, "p": p[0] if p else None, "u": u[0] if u else None}
            values = [getattr(inputs[kind], name) for kind, name in self.leaves]
            for op, operands, k in self.lines:
                chosen = [values[i] for i in operands]
                if op == "product":
                    values.append(getattr(r, k)(*chosen))
                elif op == "leak":
                    values.append(leak * chosen[0] + (1 - leak) * chosen[1])
                elif op in ("normal", "uniform"):
                    values.append(k * getattr(m, op)() + chosen[0])
                else:
                    values.append(OPERATIONS[op][2](m, note, k, *chosen))
            return tuple(values[i] for i in self.outputs)

        def plain(x, r, s):
            return run(x, r, s)

        def with_one_more(x, r, s, p):
            return run(x, r, s, p)

        def with_two_more(x, r, s, p, u):
            return run(x, r, s, p, u)

        def plain_and_scalar(x, r, s, *, leak=0.5):
            return run(x, r, s, leak=leak)

        def one_more_and_scalar(x, r, s, p, *, leak=0.5):
            return run(x, r, s, p, leak=leak)

        def two_more_and_scalar(x, r, s, p, u, *, leak=0.5):
            return run(x, r, s, p, u, leak=leak)

        steps = (
            plain,
            with_one_more,
            with_two_more,
            plain_and_scalar,
            one_more_and_scalar,
            two_more_and_scalar,
        )
        chosen = steps[(self.params > 0) + bool(self.inputs) + 3 * (self.scalar is not None)]
        if not self.inputs or self.params:
            return chosen
        if self.scalar is None:  # the fourth argument is u, by its position
            return lambda a, b, c, d: chosen(a, b, c, d)
        return lambda a, b, c, d, *, leak=0.5: chosen(a, b, c, d, leak=leak)

    @property
    def scalars(self):
        return {} if self.scalar is None else {"leak": self.scalar}

    def cell(self):
        """Return our cell."""
        return nn.recurrent_cell(
            gates=GATES[: self.gates],
            states=STATES[: self.states],
            params=dict.fromkeys(PARAMS[: self.params], nn.init.zeros_),
            inputs={name: INPUTS[name] for name in self.inputs},
            name="drawn",
        )(self.step(cell_math, lambda difference: difference))

    def oracle(self, note):
        """Return a step for the loop."""
        return language.run_step(
            self.step(language.functions, note),
            GATES[: self.gates],
            self.recurrent_gates,
            STATES[: self.states],
            PARAMS[: self.params],
            self.scalars,
        )


@st.composite
def programs(draw):
    gates, states, params = draw(st.integers(1, 4)), draw(st.integers(1, 3)), draw(st.integers(0, 2))
    reading = draw(st.tuples(*[st.sampled_from(["plain", "plain", "applied", "unread"])] * gates))
    plain = tuple(gate for gate, how in zip(GATES, reading, strict=False) if how == "plain")
    scalar = draw(st.none() | st.sampled_from([0.25, 0.8]))
    inputs = draw(st.sampled_from([(), (), ("dt",), ("g",), ("dt", "g")]))
    noise = draw(st.lists(st.sampled_from(["normal", "uniform"]), max_size=2))
    program = Program(gates, states, params, scalar, plain, inputs, (), ())
    bounds = [4.0] * len(program.leaves)
    lines = []

    def add(op, operands, k, bound):
        lines.append((op, tuple(operands), k))
        bounds.append(bound)
        return len(bounds) - 1

    def draw_operand():
        index = draw(st.integers(0, len(bounds) - 1))
        return index if bounds[index] <= LARGEST else index + 1  # the line after a large value is its tanh

    def is_of_units(index):
        """Return whether a value has a number for each unit, in whatever form the named inputs are given."""
        if index < len(program.leaves):
            return program.leaves[index][0] != "u"
        op, operands, _ = lines[index - len(program.leaves)]
        return op in ("product", "normal", "uniform") or any(map(is_of_units, operands))

    def add_operation(op):
        count, bound_of, _ = OPERATIONS[op]
        operands = [draw_operand() for _ in range(count)]
        if op == "exp" and bounds[operands[0]] > math.log(LARGEST):
            operands = [add("tanh", operands, 0.0, 1.0)]
        bound = bound_of(*(bounds[i] for i in operands))
        k = draw(st.sampled_from([-1.17, -0.43, 0.21, 0.87, 1.39]))
        index = add(op, operands, k, bound)
        if bound > LARGEST:
            add("tanh", (index,), 0.0, 1.0)

    todo = draw(st.lists(st.sampled_from(sorted(OPERATIONS)), min_size=4, max_size=10))
    todo += [f"product {gate}" for gate, how in zip(GATES, reading, strict=False) if how == "applied"]
    todo += ["leak"] if scalar is not None else []
    todo += noise
    for what in draw(st.permutations(todo)):
        if what.startswith("product"):
            operand = draw_operand()
            if not is_of_units(operand):
                operand = add("subtract", (operand, 0), 0.0, bounds[operand] + bounds[0])
            value = add("tanh", (operand,), 0.0, 1.0)
            add("product", (value,), what.split()[1], 4.0)
        elif what in ("normal", "uniform"):
            a = draw_operand()
            add(what, (a,), 0.25, bounds[a] + 2)
        elif what == "leak":
            a, b = draw_operand(), draw_operand()
            add("leak", (a, b), 0.0, max(bounds[a], bounds[b]))
        else:
            add_operation(what)
    # What nothing has read yet goes into the new states, so that it counts; but now and then a line is for nothing.
    read = {index for _, operands, _ in lines for index in operands}
    unread = [index for index in range(len(program.leaves), len(bounds)) if index not in read]
    unread = unread[draw(st.integers(0, 1)) :]
    outputs = []
    for state in range(states):
        total, *others = unread[state::states] or [draw_operand()]
        for other in others:
            total = add("subtract", (total, other), 0.0, bounds[total] + bounds[other])
        outputs.append(add(draw(st.sampled_from(["soften", "tanh", "sigmoid"])), (total,), 0.0, 1.0))
    # A gate or a learned vector that no state depends on would be refused.
    program = Program(gates, states, params, scalar, plain, inputs, tuple(lines), tuple(outputs))
    needed, recurrent = program.needed, program.recurrent_gates
    for index, (kind, name) in enumerate(program.leaves):
        if index not in needed and (kind in ("p", "u") or (kind == "x" and name not in recurrent)):
            total = add("subtract", (outputs[0], index), 0.0, 5.0)
            outputs[0] = add("tanh", (total,), 0.0, 1.0)
    return Program(gates, states, params, scalar, plain, inputs, tuple(lines), tuple(outputs))


class Kinks:
    """The distance of a run from the nearest kink."""

    def __init__(self):
        self.distance = np.inf

    def __call__(self, difference):
        self.distance = min(self.distance, difference.detach().abs().min().item())
        return difference


def draw_inputs(program, T, B, H, rng):
    """Return the named inputs, each with a number for every unit or with one for all."""
    shapes = {"dt": (T, B), "g": (B,)}
    return {
        name: rng.standard_normal(shapes[name] if rng.random() < 0.5 else (*shapes[name], H))
        for name in program.inputs
    }


def make_layer(program, I, H, rng, **options):  # noqa: E741
    layer = nn.Recurrent(
        program.cell(), I, H, dtype="float64", hyperparameters=program.scalars or None, **options
    )
    draw_parameters(layer, rng)
    return layer


# A failure is not made smaller, for each attempt would compile a cell: it is printed whole, to become an @example.
DRAWN = settings(
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)


any_layer = given(
    program=programs(),
    H=st.sampled_from([1, 2, 3, 5, 8, 17]),
    T=st.integers(1, 4),
    options=st.fixed_dictionaries({"bidirectional": st.booleans(), "bias": st.booleans()}),
    heads=st.booleans(),
    ragged=st.booleans(),
    seed=st.integers(0, 1000),
)


def equals_the_loop(program, H, T, options, heads, ragged, seed):
    """Outputs, states at every step and all gradients, in float64."""
    rng = np.random.default_rng(seed)
    B, I = int(rng.integers(1, 4)), int(rng.integers(1, 4))  # noqa: E741
    heads = next(n for n in (2, 3, 5, 17, 1) if H % n == 0) if heads else 1
    layer = make_layer(program, I, H, rng, num_heads=heads, **options)
    x, initial = rng.standard_normal((T, B, I)), draw_states(layer, B, rng)
    features = {"inputs": draw_inputs(program, T, B, H, rng)}
    if ragged:
        features |= {"lengths": rng.integers(0, T + 1, B), "reset": rng.random((T, B)) < 0.3}
    kinks = Kinks()
    Theirs(layer, program.oracle(kinks), x, initial, key=key_of(0), **features)
    assume(kinks.distance > 1e-6)
    compare(layer, program.oracle(lambda d: d), x, initial, tolerance=1e-8, what=f"{program}", **features)


test_a_few_equal_the_loop = settings(DRAWN, max_examples=12)(any_layer(equals_the_loop))
test_many_equal_the_loop = pytest.mark.long(settings(DRAWN, max_examples=200)(any_layer(equals_the_loop)))


@given(program=programs(), H=st.integers(1, 3), seed=st.integers(0, 1000))
@settings(DRAWN, max_examples=4)
def test_derivatives(program, H, seed):
    """First and second derivatives against central differences over every element."""
    rng = np.random.default_rng(seed)
    layer = make_layer(program, 1, H, rng)
    x, initial = rng.standard_normal((2, 1, 1)), draw_states(layer, 1, rng)
    named = draw_inputs(program, 2, 1, H, rng)
    kinks = Kinks()
    Theirs(layer, program.oracle(kinks), x, initial, inputs=named, key=key_of(0))
    assume(kinks.distance > 1e-4)
    inputs = [rt.tensor(value, requires_grad=True) for value in (x, *initial, *named.values())]
    rt.manual_seed(0)

    def call(x, *rest):
        states = rest[: program.states]
        given = dict(zip(named, rest[program.states :], strict=False)) or None
        sequences, final = layer.all_states(x, states if len(states) > 1 else states[0], inputs=given)
        return (*sequences, *as_tuple(final))

    inputs += layer.parameters()
    assert rt.gradcheck(call, inputs)
    assert rt.gradgradcheck(call, inputs)
