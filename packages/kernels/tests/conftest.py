"""The cells that the tests run: those of the texts, one with a peephole, and one that uses the whole language."""

import pytest

from rondeau.kernels import threads
from rondeau.kernels.cell import cell_math as m
from rondeau.kernels.sequence import Cell


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


def peephole(x, r, s):
    """Coupled gates, a peephole, and a highway past the output."""
    f = m.sigmoid(x.f + r.f + 0.5 * s.c)
    c = f * s.c + (1 - f) * m.tanh(x.g + r.g)
    o = m.sigmoid(x.o + r.o + c)
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


STEPS = {
    "rnn_tanh": (rnn_tanh, ("h",), ("h",)),
    "rnn_relu": (rnn_relu, ("h",), ("h",)),
    "gru": (gru, ("r", "z", "n"), ("h",)),
    "lstm": (lstm, ("i", "f", "g", "o"), ("h", "c")),
    "peephole": (peephole, ("f", "g", "o"), ("h", "c")),
    "menagerie": (menagerie, ("a", "b", "c", "d"), ("h", "n")),
}


@pytest.fixture(scope="session")
def cells():
    """All cells by name, compiled at most once in the session."""
    return {name: Cell(step, gates, states, name) for name, (step, gates, states) in STEPS.items()}


@pytest.fixture(params=STEPS)
def cell(request, cells):
    return cells[request.param]


@pytest.fixture
def set_num_threads(monkeypatch):
    monkeypatch.setattr(threads, "PARALLEL_FROM", 0)  # else small work stays on one
    before = threads.get_num_threads()
    yield threads.set_num_threads
    threads.set_num_threads(before)
