"""The cells that the tests run: those of the texts, and ones that together use the whole language."""

import os
import tempfile
from pathlib import Path

import numpy as np
import pytest

from rondeau.kernels.cell import cell_math as m
from rondeau.kernels.cuda import tiers
from rondeau.kernels.cuda.persistent import run
from rondeau.kernels.runtime import buffers, threads
from rondeau.kernels.sequence import Cell, InputForms, Regularisers


def rnn_tanh(x, r, s):
    return m.tanh(x.h + r.h)


def rnn_relu(x, r, s):
    return m.relu(x.h + r.h)


def gru(x, r, s):
    reset, update = m.sigmoid(x.r + r.r), m.sigmoid(x.z + r.z)
    new = m.tanh(x.n + reset * r.n)
    return (1 - update) * new + update * s.h


def lstm(x, r, s):
    c = m.sigmoid(x.f + r.f) * s.c + m.sigmoid(x.i + r.i) * m.tanh(x.g + r.g)
    return m.sigmoid(x.o + r.o) * m.tanh(c), c


def peephole(x, r, s, p):
    """Coupled gates, learned peepholes, and a highway past the output."""
    f = m.sigmoid(x.f + r.f + p.forget * s.c)
    c = f * s.c + (1 - f) * m.tanh(x.g + r.g)
    o = m.sigmoid(x.o + r.o + p.output * c)
    return o * m.tanh(c) + (1 - o) * s.h, c


def menagerie(x, r, s):
    """Every kind of gate, in an order that is not the buffers', and every function."""
    split = x.a * m.sigmoid(r.a)
    joint = m.tanh(x.b + r.b)
    apart = m.softplus(x.c)
    recurrent_only = m.exp(-m.abs(r.d))
    n = 0.5 * m.maximum(s.n, joint) + m.log(1 + apart**2)
    chosen = m.where(
        (split > joint) & ~(apart < 0.5), m.minimum(split, recurrent_only), m.sqrt(1 + joint * joint)
    )
    return chosen / (2 + abs(n)) - m.relu(s.h - 0.1), n


def leaky(x, r, s, *, leak=0.25, shift=-0.5):
    """Scalars of the run, and what is computed from them once a call."""
    return (1 - leak) * s.h + leak * m.tanh(x.h + r.h + shift * shift)


def alone(x, r, s, p):
    """No recurrent matrix: every unit sees its own past."""
    return m.relu(x.h + p.u * s.h)


def reset_before(x, r, s):
    """A recurrent matrix on a value that the step computes."""
    reset, update = m.sigmoid(x.r + r.r), m.sigmoid(x.z + r.z)
    return (1 - update) * s.h + update * m.tanh(x.n + r.n(reset * s.h))


def chained(x, r, s):
    """Products of products, joint and split, in an order that is not the buffers'."""
    mixed = m.tanh(x.b + r.b)
    second = m.tanh(x.c * r.c(mixed) + r.d(mixed))
    return m.sigmoid(x.a + r.a(second)) * second + x.d * s.k, second - 0.5 * s.k


def operands(x, r, s, p):
    """Matrices on whatever there is: an input part, a sum of a joint gate, a state, a parameter, a new state."""
    joint = x.b + r.b
    h = m.tanh(r.a(x.a) + r.c(joint) * m.sigmoid(r.d(s.k)))
    return h, m.tanh(0.5 * r.e(h) + x.c * r.f(p.v) + x.d + x.e * x.f)


def normalised(x, r, s, p):
    """Two parts normalised jointly, one alone, and a state."""
    x_i, x_g = m.layer_norm((x.i, x.g), (p.gain_i, p.gain_g), (p.bias_i, p.bias_g))
    i = m.sigmoid(x_i + m.layer_norm(r.i, p.gain_r, eps=0.1))
    c = (1 - i) * s.c + i * m.tanh(x_g + r.g)
    return m.tanh(m.layer_norm(c, p.gain_c, p.bias_c)), c


def everything(x, r, s, p, *, strength=0.75):
    """Sums before, between and after products: values are carried from loop to loop and from phase to phase."""
    x_a, x_b = m.layer_norm((x.a, x.b), eps=0.1)
    gate = m.sigmoid(x_a + r.a)
    seen = m.layer_norm(strength * s.k + gate * s.h, p.gain, p.bias, eps=0.1)
    new = m.tanh(x_b + r.b(seen) + m.layer_norm(r.c(m.relu(seen)), eps=0.1) * x_a)
    k = 0.5 * s.k + m.layer_norm((new, x.c), None, (p.bias, p.bias), eps=0.1)[1]
    return gate * new + (1 - gate) * seen, k


def decaying(x, r, s, p, *, step=0.5):
    """Values of learned vectors alone: in both phases, in a comparison, as an operand, and as a state."""
    keep = m.exp(-step * m.softplus(p.rate))
    mixed = m.tanh(x.a + r.a) * keep
    new = m.tanh(x.b + r.b(mixed) + r.c(m.tanh(p.shift)) * s.k)
    return m.where(m.sigmoid(p.shift) > new, keep * s.h, s.h) + (1 - keep) * new, m.tanh(p.shift)


def plain_sum(x, r, s):
    """A state that is the same for all units, and one that is a number."""
    mean = m.layer_norm(x.h + r.h, eps=1.0)
    return m.tanh(mean * s.k), 0.5


def fed(x, r, s, p, u, *, noise=0.25):
    """Inputs of a step and of a sequence, in comparisons, products and new states, and noise."""
    keep = m.exp(-m.relu(u.dt * p.rate))
    gate = m.where(u.dt > 0.5, m.sigmoid(u.gate + x.a), 0.5 * u.gate)
    new = m.tanh(r.b(keep * s.h + u.extra) + gate * u.extra * r.a)
    k = s.k * u.gate + noise * m.normal() * new + m.where(m.uniform() < 0.5, u.dt, s.k)
    return keep * s.h + (1 - keep) * new * x.c + noise * m.normal(), k


def given(x, r, s, u):
    """New states that are inputs, or computed from them alone."""
    return u.now, m.tanh(u.always) * u.now


STEPS = {
    "rnn_tanh": (rnn_tanh, ("h",), ("h",)),
    "rnn_relu": (rnn_relu, ("h",), ("h",)),
    "gru": (gru, ("r", "z", "n"), ("h",)),
    "lstm": (lstm, ("i", "f", "g", "o"), ("h", "c")),
    "peephole": (peephole, ("f", "g", "o"), ("h", "c"), ("forget", "output")),
    "menagerie": (menagerie, ("a", "b", "c", "d"), ("h", "n")),
    "leaky": (leaky, ("h",), ("h",)),
    "alone": (alone, ("h",), ("h",), ("u",)),
    "reset_before": (reset_before, ("r", "z", "n"), ("h",)),
    "chained": (chained, ("a", "b", "c", "d"), ("h", "k")),
    "operands": (operands, ("a", "b", "c", "d", "e", "f"), ("h", "k"), ("v",)),
    "normalised": (
        normalised, ("i", "g"), ("h", "c"),
        ("gain_i", "gain_g", "bias_i", "bias_g", "gain_r", "gain_c", "bias_c"),
    ),
    "everything": (everything, ("a", "b", "c"), ("h", "k"), ("gain", "bias")),
    "decaying": (decaying, ("a", "b", "c"), ("h", "k"), ("rate", "shift")),
    "plain_sum": (plain_sum, ("h",), ("h", "k")),
    "fed": (fed, ("a", "b", "c"), ("h", "k"), ("rate",), {"dt": "step", "gate": "sequence", "extra": "step"}),
    "given": (given, ("h",), ("h", "k"), (), {"now": "step", "always": "sequence"}),
}  # fmt: skip

VARIANTS = {
    "lstm_dropout": ("lstm", Regularisers(dropout=True)),
    "reset_before_dropout": ("reset_before", Regularisers(dropout=True, zoneout=("h",))),
    "lstm_zoneout": ("lstm", Regularisers(zoneout=("h", "c"))),
    "gru_expected": ("gru", Regularisers(zoneout=("h",), expected=True)),
    "fed_numbers": ("fed", Regularisers(dropout=True, zoneout=("h",)), InputForms(("dt", "gate"))),
    "fed_constants": ("fed", Regularisers(), InputForms(("gate",), ("dt", "extra"))),
    "given_numbers": ("given", Regularisers(), InputForms(("now", "always"))),
}


@pytest.fixture(scope="session")
def cells():
    """All cells by name, compiled at most once in the session."""
    cells = {
        name: Cell(step, gates, states, name, dict.fromkeys(params), inputs=inputs)
        for name, (step, gates, states, params, inputs) in (
            (name, (*parts, *((), {})[len(parts) - 3 :])) for name, parts in STEPS.items()
        )
    }
    return cells | {name: cells[base].variant(*options) for name, (base, *options) in VARIANTS.items()}


@pytest.fixture(params=[*STEPS, *VARIANTS])
def cell(request, cells):
    return cells[request.param]


@pytest.fixture
def set_num_threads(monkeypatch):
    monkeypatch.setattr(threads, "PARALLEL_FROM", 0)  # else small work stays on one
    before = threads.get_num_threads()
    yield threads.set_num_threads
    threads.set_num_threads(before)


@pytest.fixture
def use(device_stand_in, monkeypatch):
    """Return a function that has runs take given tiles of persistent kernels, and returns CuPy's stand-in."""

    def use_tiles(forward, backward):
        monkeypatch.setattr(tiers, "ALLOWED", "persistent")
        chosen = {"forward": forward, "backward": backward}
        monkeypatch.setattr(run, "tile_of", lambda tape, direction, layers=1: chosen[direction])
        return device_stand_in

    return use_tiles


@pytest.fixture
def new_memory_is_nan(monkeypatch):
    """Fill what `buffers.empty` returns, so that what a kernel forgets to write, or reads before, is seen."""
    empty = buffers.empty

    def filled(shape, dtype=np.float32):
        array = empty(shape, dtype)
        array.fill(np.nan if array.dtype.kind == "f" else np.iinfo(array.dtype).min)
        return array

    monkeypatch.setattr(buffers, "empty", filled)


@pytest.fixture
def shared_folder():
    """A folder that everyone may write to, without the sticky bit, and reach."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o777)
        yield Path(folder)
