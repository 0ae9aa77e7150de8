"""The built-in recurrent cells: one time step of one hidden unit each, and nothing else.

A cell is a step that `recurrent_cell` traces; the backward pass and the machine code for a whole sequence are
derived from it, for these cells as well as for those that users write. In the equations ``W_k`` and
``b_k`` are gate k's rows of ``weight_ih`` and ``bias_ih``, ``R_k`` and ``c_k`` those of ``weight_hh`` and
``bias_hh``; ``*`` multiplies elementwise. In the steps ``x.k`` is ``W_k x_t + b_k``, ``r.k`` is
``R_k h_{t-1} + c_k`` and ``r.k(value)`` is ``R_k value + c_k``; ``s`` holds the states of the previous step, and ``p``
learned vectors with one number per hidden unit.
"""

from __future__ import annotations

from typing import Any

from . import cell_math as m
from . import init
from ._recurrent.decorator import recurrent_cell

__all__ = [
    "gru",
    "gru_layer_norm",
    "gru_original",
    "indrnn",
    "li_gru",
    "linear_rnn",
    "lstm",
    "lstm_coupled",
    "lstm_layer_norm",
    "lstm_peephole",
    "lstm_projected",
    "mgu",
    "mlstm",
    "rnn_relu",
    "rnn_tanh",
    "slstm",
]


def __dir__() -> list[str]:
    return __all__


@recurrent_cell(gates=("h",), states=("h",))
def rnn_tanh(x: Any, r: Any, s: Any) -> Any:
    """Step the simple recurrent network: ``h_t = tanh(W x_t + b + R h_{t-1} + c)``.

    Elman, "Finding structure in time", Cognitive Science 14 (1990), with PyTorch's two biases.
    """
    return m.tanh(x.h + r.h)


@recurrent_cell(gates=("h",), states=("h",))
def rnn_relu(x: Any, r: Any, s: Any) -> Any:
    """Step the simple recurrent network of rectified units: ``h_t = max(0, W x_t + b + R h_{t-1} + c)``.

    Le, Jaitly, Hinton, "A simple way to initialize recurrent networks of rectified linear units" (2015).
    """
    return m.relu(x.h + r.h)


@recurrent_cell(gates=("r", "z", "n"), states=("h",))
def gru(x: Any, r: Any, s: Any) -> Any:
    """Step the gated recurrent unit, with the reset gate applied after the recurrent product.

    ::

        r_t = sigmoid(W_r x_t + b_r + R_r h_{t-1} + c_r)
        z_t = sigmoid(W_z x_t + b_z + R_z h_{t-1} + c_z)
        n_t = tanh(W_n x_t + b_n + r_t * (R_n h_{t-1} + c_n))
        h_t = (1 - z_t) * n_t + z_t * h_{t-1}

    Cho et al., "Learning phrase representations using RNN encoder-decoder" (2014), equations 5 to 8; there
    the reset gate multiplies ``h_{t-1}`` before the product. This form, that of cuDNN and PyTorch, needs only one
    product per step.
    """
    reset = m.sigmoid(x.r + r.r)
    keep = m.sigmoid(x.z + r.z)
    new = m.tanh(x.n + reset * r.n)
    return (1 - keep) * new + keep * s.h


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


def _gains_and_biases(gains: str, biases: str) -> dict[str, Any]:
    """Return the learned vectors of a normalised cell: gains, initially ones, and biases, initially zeros."""
    return {f"gain_{name}": init.ones_ for name in gains.split()} | {
        f"bias_{name}": init.zeros_ for name in biases.split()
    }


@recurrent_cell(gates=("h",), states=("h",))
def linear_rnn(x: Any, r: Any, s: Any) -> Any:
    """Step the recurrent network without a nonlinearity: ``h_t = W x_t + b + R h_{t-1} + c``.

    Its gradient over T steps is multiplied by ``R`` to the power T, so it vanishes or explodes depending on whether the
    largest eigenvalue of ``R`` is below or above 1; and any number of steps is one linear map of the inputs. For its
    use as a layer of a deep network, see Orvieto et al., "Resurrecting recurrent neural networks for long sequences"
    (2023), section 3.
    """
    return x.h + r.h


@recurrent_cell(gates=("r", "z", "n"), states=("h",))
def gru_original(x: Any, r: Any, s: Any) -> Any:
    """Step the gated recurrent unit as published, with the reset gate applied before the recurrent product.

    ::

        r_t = sigmoid(W_r x_t + b_r + R_r h_{t-1} + c_r)
        z_t = sigmoid(W_z x_t + b_z + R_z h_{t-1} + c_z)
        n_t = tanh(W_n x_t + b_n + R_n (r_t * h_{t-1}) + c_n)
        h_t = (1 - z_t) * h_{t-1} + z_t * n_t

    Cho et al., "Learning phrase representations using RNN encoder-decoder" (2014), which has no biases and whose z
    weights the old state; here, as in Chung et al., "Empirical evaluation of gated recurrent neural networks on
    sequence modeling" (2014), it weights the new one. `gru` weights the old one as well, so negating the weights of the
    update gate turns one into the other wherever the position of the reset gate makes no difference.
    """
    reset = m.sigmoid(x.r + r.r)
    update = m.sigmoid(x.z + r.z)
    new = m.tanh(x.n + r.n(reset * s.h))
    return (1 - update) * s.h + update * new


@recurrent_cell(
    gates=("r", "z", "n"),
    states=("h",),
    params=_gains_and_biases("x_r x_z x_n r_r r_z r_n", "r z x_n r_n"),
)
def gru_layer_norm(x: Any, r: Any, s: Any, p: Any) -> Any:
    """Step the gated recurrent unit with layer normalisation.

    ::

        (xr_t, xz_t) = LN(W_r x_t + b_r, W_z x_t + b_z) * (gain_x_r, gain_x_z) + (bias_r, bias_z)
        (rr_t, rz_t) = LN(R_r h_{t-1} + c_r, R_z h_{t-1} + c_z) * (gain_r_r, gain_r_z)
        xn_t = LN(W_n x_t + b_n) * gain_x_n + bias_x_n
        rn_t = LN(R_n h_{t-1} + c_n) * gain_r_n + bias_r_n
        n_t = tanh(xn_t + sigmoid(xr_t + rr_t) * rn_t)
        h_t = (1 - sigmoid(xz_t + rz_t)) * n_t + sigmoid(xz_t + rz_t) * h_{t-1}

    Ba, Kiros, Hinton, "Layer normalization" (2016), supplementary material, where z weights the new state; here it
    weights the old one, as in `gru`. The two biases of a gate are merged into one, since they are only ever added. With
    ``bias=False`` the layer leaves out ``b_k`` and ``c_k``, as the paper does.
    """
    x_r, x_z = m.layer_norm((x.r, x.z), (p.gain_x_r, p.gain_x_z), (p.bias_r, p.bias_z))
    r_r, r_z = m.layer_norm((r.r, r.z), (p.gain_r_r, p.gain_r_z))
    reset, keep = m.sigmoid(x_r + r_r), m.sigmoid(x_z + r_z)
    new = m.tanh(
        m.layer_norm(x.n, p.gain_x_n, p.bias_x_n) + reset * m.layer_norm(r.n, p.gain_r_n, p.bias_r_n)
    )
    return (1 - keep) * new + keep * s.h


@recurrent_cell(gates=("z", "h"), states=("h",), params=_gains_and_biases("z h", "z h"))
def li_gru(x: Any, r: Any, s: Any, p: Any) -> Any:
    """Step the light gated recurrent unit: without a reset gate, with rectified candidates and normalised inputs.

    ::

        (xz_t, xh_t) = LN(W_z x_t + b_z, W_h x_t + b_h) * (gain_z, gain_h) + (bias_z, bias_h)
        z_t = sigmoid(xz_t + R_z h_{t-1} + c_z)
        h_t = z_t * h_{t-1} + (1 - z_t) * max(0, xh_t + R_h h_{t-1} + c_h)

    Ravanelli, Brakel, Omologo, Bengio, "Light gated recurrent units for speech recognition" (2018), with layer
    normalisation of both input parts jointly instead of batch normalisation, whose statistics would make the rows of a
    batch depend on each other.
    """
    x_z, x_h = m.layer_norm((x.z, x.h), (p.gain_z, p.gain_h), (p.bias_z, p.bias_h))
    keep = m.sigmoid(x_z + r.z)
    return keep * s.h + (1 - keep) * m.relu(x_h + r.h)


@recurrent_cell(gates=("f", "h"), states=("h",))
def mgu(x: Any, r: Any, s: Any) -> Any:
    """Step the minimal gated unit: a single gate both forgets and updates.

    ::

        f_t = sigmoid(W_f x_t + b_f + R_f h_{t-1} + c_f)
        h_t = (1 - f_t) * h_{t-1} + f_t * tanh(W_h x_t + b_h + R_h (f_t * h_{t-1}) + c_h)

    Zhou, Wu, Zhang, Zhou, "Minimal gated unit for recurrent neural networks" (2016).
    """
    forget = m.sigmoid(x.f + r.f)
    return (1 - forget) * s.h + forget * m.tanh(x.h + r.h(forget * s.h))


@recurrent_cell(gates=("h",), states=("h",), params={"u": init.uniform_})
def indrnn(x: Any, r: Any, s: Any, p: Any) -> Any:
    """Step the independently recurrent network: ``h_t = max(0, W x_t + b + u * h_{t-1})``.

    Every unit sees only its own past, through a learned weight; units are combined in the layer above. There is no
    recurrent matrix. Li et al., "Independently recurrent neural network (IndRNN)" (2018); ``u`` is initially uniform in
    [0, 1), below the bound ``2**(1/T)`` that the paper sets to keep the state from more than doubling in T steps.
    """
    return m.relu(x.h + p.u * s.h)


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
    params=_gains_and_biases("x_i x_f x_g x_o r_i r_f r_g r_o c", "i f g o c"),
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
    keep = m.exp(
        m.minimum(carried - top, 60)
    )  # the exponent is above 0 only where n = 0, and then keep is multiplied by 0
    c = keep * s.c + take * m.tanh(x.z + r.z)
    n = keep * s.n + take
    return m.sigmoid(x.o + r.o) * c / n, c, n, top
