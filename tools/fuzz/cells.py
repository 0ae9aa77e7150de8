"""The cells that are fuzzed: all that the library ships, and some that use the rest of the language."""

from __future__ import annotations

from typing import Any

from rondeau import nn
from rondeau.nn import cell_math as m


@nn.recurrent_cell(gates=("a", "b"), states=("h", "n", "k"))
def branching(x: Any, r: Any, s: Any) -> Any:
    """Take every function of the language that the built-in cells leave out."""
    n = m.where((x.a > r.b) & ~(s.n < -0.5), m.minimum(x.a + r.a, 1.5), m.abs(s.n) * 0.5)
    k = m.sqrt(1 + s.k * s.k) - m.log(2 + m.abs(x.b)) * 0.25
    return m.tanh(m.softplus(x.b + r.b) - m.maximum(n, k)) / (1 + m.exp(-m.abs(k))), n, k


@nn.recurrent_cell(gates=("g",), states=("h", "rest"))
def constant(x: Any, r: Any, s: Any) -> Any:
    """Return a number as a state, and read no state."""
    return m.tanh(x.g + r.g) * 0.5, 1.0


@nn.recurrent_cell(gates=("a", "b"), states=("h", "phase"))
def oscillating(x: Any, r: Any, s: Any) -> Any:
    """Take the functions of analysis: waves, the error function, powers, and what is exact near 0."""
    phase = m.clamp(s.phase + m.erf(x.a + r.a), -3.0, 3.0)
    size = m.log1p(m.expm1(m.tanh(x.b) ** 2)) * (1 + phase * phase) ** -0.25
    return size * m.sin(phase) + 0.125 * m.cos(r.b) * m.sign(1.5 + s.h), phase


@nn.recurrent_cell(gates=("h", "u"), states=("h",), params={"slope": nn.init.ones_, "shift": nn.init.zeros_})
def leaky(x: Any, r: Any, s: Any, p: Any, *, leak: float = 0.1, gain: float = 1.0) -> Any:
    """Take learned vectors, scalars of the run, and a recurrent matrix applied to an expression."""
    new = m.tanh(gain * x.h + r.h(m.sigmoid(x.u) * s.h) * p.slope + p.shift)
    return (1 - leak) * new + leak * s.h


@nn.recurrent_cell(gates=("a", "b"), states=("h",))
def separated(x: Any, r: Any, s: Any) -> Any:
    """Take a comparison before a product and a sum over units, and use it after them."""
    rises = m.tanh(x.a) > s.h
    value = m.where(rises, r.b(m.tanh(x.a) * s.h), x.b)
    return m.where(rises, m.tanh(m.layer_norm(value)), 0.5 * s.h)


@nn.recurrent_cell(gates=("a", "b"), states=("h", "k"), inputs={"dt": "step", "gate": "sequence"})
def driven(x: Any, r: Any, s: Any, u: Any) -> Any:
    """Take inputs of both kinds, by themselves, together, and in what a recurrent matrix multiplies."""
    keep = m.exp(-m.softplus(u.dt)) * m.sigmoid(u.gate)
    k = keep * s.k + (1 - keep) * m.tanh(x.a + r.a + u.gate)
    return m.tanh(x.b + r.b(u.dt * k)), k


@nn.recurrent_cell(gates=("a", "b"), states=("h",), inputs={"size": "step"})
def noisy(x: Any, r: Any, s: Any, u: Any, *, noise: float = 0.1) -> Any:
    """Draw numbers of both distributions: of a size that has a gradient, before a product, and in a comparison."""
    shaken = m.tanh(x.a + noise * m.normal()) + u.size * m.uniform()
    new = m.tanh(r.b(shaken * s.h) + x.b + u.size * m.normal())
    return m.where(m.uniform() < 0.2, s.h, new + r.a * 0.5)


@nn.recurrent_cell(gates=("h",), states=("h",), params={"slope": nn.init.ones_}, inputs={"drive": "step"})
def fed(u: Any, p: Any, s: Any, r: Any, x: Any, *, noise: float = 0.0) -> Any:
    """Multiply a recurrent matrix by a value of the inputs alone; compare a scalar; take arguments by name."""
    drive = m.where(~(noise > 0.25), x.h, 0.5 * x.h) + r.h(m.tanh(u.drive)) * p.slope
    return m.tanh(drive + 0.5 * s.h + noise * m.normal())


CELLS: dict[str, Any] = {
    **{name: getattr(nn.cells, name) for name in nn.cells.__all__},
    "branching": branching,
    "constant": constant,
    "driven": driven,
    "fed": fed,
    "leaky": leaky,
    "noisy": noisy,
    "oscillating": oscillating,
    "separated": separated,
}
#: Cells that read no inputs besides x, and draw no noise.
PLAIN = {name: cell for name, cell in CELLS.items() if not cell.inputs and not cell.draws_noise}
#: Cells that are also run with regularisers: each has a few variants of its own to compile.
REGULARISED = ("lstm", "gru", "driven", "noisy")
#: Cells whose second derivative along a step of differences says little: their slopes jump.
KINKED = (
    "branching",
    "ctrnn",
    "gru_d",
    "indrnn",
    "li_gru",
    "oscillating",
    "rnn_relu",
    "separated",
    "slstm",
)
