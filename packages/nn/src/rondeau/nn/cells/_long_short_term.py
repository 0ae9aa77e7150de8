"""Long short-term memories: the state that gates protect is kept apart from the output."""

from __future__ import annotations

from typing import Any

from .. import cell_math as m
from .. import init
from .._recurrent.decorator import recurrent_cell
from ._normalised import gains_and_biases

__all__ = [
    "ea_lstm",
    "lstm",
    "lstm_coupled",
    "lstm_layer_norm",
    "lstm_peephole",
    "lstm_projected",
    "mlstm",
    "slstm",
]


@recurrent_cell(gates=("i", "f", "g", "o"), states=("h", "c"))
def lstm(x: Any, r: Any, s: Any) -> Any:
    """Step the long short-term memory with a forget gate.

    ::

        i_t = sigmoid(W_i x_t + b_i + R_i h_{t-1} + c_i)
        f_t = sigmoid(W_f x_t + b_f + R_f h_{t-1} + c_f)
        g_t = tanh(W_g x_t + b_g + R_g h_{t-1} + c_g)
        o_t = sigmoid(W_o x_t + b_o + R_o h_{t-1} + c_o)
        c_t = f_t * c_{t-1} + i_t * g_t
        h_t = o_t * tanh(c_t)

    Hochreiter and Schmidhuber, "Long short-term memory" (1997), with the forget gate of Gers, Schmidhuber
    and Cummins, "Learning to forget" (2000), and without peepholes.
    """
    c = m.sigmoid(x.f + r.f) * s.c + m.sigmoid(x.i + r.i) * m.tanh(x.g + r.g)
    return m.sigmoid(x.o + r.o) * m.tanh(c), c


@recurrent_cell(
    gates=("i", "f", "g", "o"),
    states=("h", "c"),
    params={"p_i": init.zeros_, "p_f": init.zeros_, "p_o": init.zeros_},
)
def lstm_peephole(x: Any, r: Any, s: Any, p: Any) -> Any:
    """Step the long short-term memory whose gates see the memory cells.

    ::

        i_t = sigmoid(W_i x_t + b_i + R_i h_{t-1} + c_i + p_i * c_{t-1})
        f_t = sigmoid(W_f x_t + b_f + R_f h_{t-1} + c_f + p_f * c_{t-1})
        c_t = f_t * c_{t-1} + i_t * tanh(W_g x_t + b_g + R_g h_{t-1} + c_g)
        o_t = sigmoid(W_o x_t + b_o + R_o h_{t-1} + c_o + p_o * c_t)
        h_t = o_t * tanh(c_t)

    Gers and Schmidhuber, "Recurrent nets that time and count" (2000). The peepholes ``p`` are initially zero, so the
    layer starts as an LSTM.
    """
    i = m.sigmoid(x.i + r.i + p.p_i * s.c)
    f = m.sigmoid(x.f + r.f + p.p_f * s.c)
    c = f * s.c + i * m.tanh(x.g + r.g)
    return m.sigmoid(x.o + r.o + p.p_o * c) * m.tanh(c), c


@recurrent_cell(gates=("i", "g", "o"), states=("h", "c"))
def lstm_coupled(x: Any, r: Any, s: Any) -> Any:
    """Step the long short-term memory that forgets exactly as much as it takes in: ``f_t = 1 - i_t``.

    ::

        i_t = sigmoid(W_i x_t + b_i + R_i h_{t-1} + c_i)
        o_t = sigmoid(W_o x_t + b_o + R_o h_{t-1} + c_o)
        c_t = (1 - i_t) * c_{t-1} + i_t * tanh(W_g x_t + b_g + R_g h_{t-1} + c_g)
        h_t = o_t * tanh(c_t)

    The variant CIFG of Greff et al., "LSTM: a search space odyssey" (2017), without its peepholes.
    """
    i = m.sigmoid(x.i + r.i)
    c = (1 - i) * s.c + i * m.tanh(x.g + r.g)
    return m.sigmoid(x.o + r.o) * m.tanh(c), c


@recurrent_cell(gates=("i", "f", "g", "o"), states=("h", "c"), project="h")
def lstm_projected(x: Any, r: Any, s: Any) -> Any:
    """Step the long short-term memory with a projected output: `lstm`, then ``h_t = W_hr (o_t * tanh(c_t))``.

    The recurrent matrices multiply the projection to ``proj_size`` features, so a wide memory costs less. Sak, Senior,
    Beaufays, "Long short-term memory recurrent neural network architectures for large scale acoustic modeling"
    (2014), without its peepholes and its second, non-recurrent projection: `nn.LSTM` with a ``proj_size``.
    """
    return lstm.step(x, r, s)


@recurrent_cell(
    gates=("i", "f", "g", "o"),
    states=("h", "c"),
    params=gains_and_biases("x_i x_f x_g x_o r_i r_f r_g r_o c", "i f g o c"),
)
def lstm_layer_norm(x: Any, r: Any, s: Any, p: Any) -> Any:
    """Step the long short-term memory with layer normalisation.

    ::

        (xi_t, xf_t, xg_t, xo_t) = LN(W x_t + b) * (gain_x_i, ..., gain_x_o) + (bias_i, ..., bias_o)
        (ri_t, rf_t, rg_t, ro_t) = LN(R h_{t-1} + c) * (gain_r_i, ..., gain_r_o)
        c_t = sigmoid(xf_t + rf_t) * c_{t-1} + sigmoid(xi_t + ri_t) * tanh(xg_t + rg_t)
        h_t = sigmoid(xo_t + ro_t) * tanh(LN(c_t) * gain_c + bias_c)

    Ba, Kiros, Hinton, "Layer normalization" (2016), supplementary material; each of the first two LN takes its mean
    and variance over all four gates. The paper's three biases of a gate are merged into one, since they are only ever
    added. With ``bias=False`` the layer leaves out ``b`` and ``c`` inside the LN, as the paper does.
    """
    gains_x = p.gain_x_i, p.gain_x_f, p.gain_x_g, p.gain_x_o
    gains_r = p.gain_r_i, p.gain_r_f, p.gain_r_g, p.gain_r_o
    biases = p.bias_i, p.bias_f, p.bias_g, p.bias_o
    x_i, x_f, x_g, x_o = m.layer_norm((x.i, x.f, x.g, x.o), gains_x, biases)
    r_i, r_f, r_g, r_o = m.layer_norm((r.i, r.f, r.g, r.o), gains_r)
    c = m.sigmoid(x_f + r_f) * s.c + m.sigmoid(x_i + r_i) * m.tanh(x_g + r_g)
    return m.sigmoid(x_o + r_o) * m.tanh(m.layer_norm(c, p.gain_c, p.bias_c)), c


@recurrent_cell(gates=("f", "g", "o"), states=("h", "c"), inputs={"gate": "sequence"})
def ea_lstm(x: Any, r: Any, s: Any, u: Any) -> Any:
    """Step the entity-aware long short-term memory: static attributes of a sequence set its input gate.

    ::

        f_t = sigmoid(W_f x_t + b_f + R_f h_{t-1} + c_f)
        o_t = sigmoid(W_o x_t + b_o + R_o h_{t-1} + c_o)
        c_t = f_t * c_{t-1} + gate * tanh(W_g x_t + b_g + R_g h_{t-1} + c_g)
        h_t = o_t * tanh(c_t)

    Kratzert et al., "Towards learning universal, regional, and local hydrological behaviors via machine learning
    applied to large-sample datasets" (2019). The input ``gate`` is the paper's input gate i, between 0 and 1, (B, H):
    ``sigmoid(W_i x_s + b_i)``, which a `Linear` outside computes once from the static attributes ``x_s`` of each
    sequence.
    """
    c = m.sigmoid(x.f + r.f) * s.c + u.gate * m.tanh(x.g + r.g)
    return m.sigmoid(x.o + r.o) * m.tanh(c), c


@recurrent_cell(gates=("m", "i", "f", "g", "o"), states=("h", "c"))
def mlstm(x: Any, r: Any, s: Any) -> Any:
    """Step the multiplicative long short-term memory: the input chooses the recurrent matrix.

    ::

        m_t = (W_m x_t + b_m) * (R_m h_{t-1} + c_m)
        i_t, f_t, o_t = sigmoid(W_k x_t + b_k + R_k m_t + c_k) for k = i, f, o
        c_t = f_t * c_{t-1} + i_t * tanh(W_g x_t + b_g + R_g m_t + c_g)
        h_t = o_t * tanh(c_t)

    Krause, Lu, Murray, Renals, "Multiplicative LSTM for sequence modelling" (2016), with biases in the factors of
    ``m_t``, which ``bias=False`` leaves out. (The matrix LSTM of the xLSTM paper shares only its short name.)
    """
    mixed = x.m * r.m
    i, f, o = m.sigmoid(x.i + r.i(mixed)), m.sigmoid(x.f + r.f(mixed)), m.sigmoid(x.o + r.o(mixed))
    c = f * s.c + i * m.tanh(x.g + r.g(mixed))
    return o * m.tanh(c), c


@recurrent_cell(gates=("i", "f", "z", "o"), states=("h", "c", "n", "m"))
def slstm(x: Any, r: Any, s: Any) -> Any:
    """Step the scalar LSTM of xLSTM: an exponential input gate, a normaliser ``n`` and a stabiliser ``m``.

    ::

        i~, f~, z~, o~ = W_k x_t + b_k + R_k h_{t-1} + c_k for k = i, f, z, o
        m_t = max(log sigmoid(f~) + m_{t-1}, i~)
        i_t = exp(i~ - m_t),  f_t = exp(log sigmoid(f~) + m_{t-1} - m_t)
        c_t = f_t * c_{t-1} + i_t * tanh(z~)
        n_t = f_t * n_{t-1} + i_t
        h_t = sigmoid(o~) * c_t / n_t

    Beck et al., "xLSTM: extended long short-term memory" (2024), equations 8 to 17, with the sigmoid, one of the two
    forget gates that it offers. ``m`` scales ``c`` and ``n`` alike, so ``h`` does not depend on it. While nothing has
    been accumulated (``n = 0``), any ``m`` would do, but with ``m_0 = 0`` a small ``i~`` could make ``c / n`` 0/0; then
    ``m_t = i~``, as in the authors' code (here for each unit; theirs tests all units together). So ``n_t`` is 1 at the
    first step and never below 1 after it, since ``i_t`` or ``f_t`` is 1.
    """
    i, log_f = x.i + r.i, -m.softplus(-(x.f + r.f))
    carried = log_f + s.m
    top = m.where(s.n == 0, i, m.maximum(carried, i))
    take = m.exp(i - top)
    # The exponent is above 0 only where n = 0, and then keep is multiplied by 0.
    keep = m.exp(m.minimum(carried - top, 60))
    c = keep * s.c + take * m.tanh(x.z + r.z)
    n = keep * s.n + take
    return m.sigmoid(x.o + r.o) * c / n, c, n, top
