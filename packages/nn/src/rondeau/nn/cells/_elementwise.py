"""Cells without a recurrent matrix: a unit sees only its own past, and a step takes the time to read its operands."""

from __future__ import annotations

from typing import Any

from rondeau import tensor as rt
from rondeau.tensor import Tensor

from .. import cell_math as m
from .. import init
from .._recurrent.decorator import recurrent_cell

__all__ = ["hgrn", "indrnn", "min_gru", "min_lstm", "rg_lru"]


@recurrent_cell(gates=("h",), states=("h",), params={"u": init.uniform_})
def indrnn(x: Any, r: Any, s: Any, p: Any) -> Any:
    """Step the independently recurrent network: ``h_t = max(0, W x_t + b + u * h_{t-1})``.

    Every unit sees only its own past, through a learned weight; units are combined in the layer above. There is no
    recurrent matrix. Li et al., "Independently recurrent neural network (IndRNN)" (2018); ``u`` is initially uniform in
    [0, 1), below the bound ``2**(1/T)`` that the paper sets to keep the state from more than doubling in T steps.
    """
    return m.relu(x.h + p.u * s.h)


@recurrent_cell(gates=("z", "h"), states=("h",))
def min_gru(x: Any, r: Any, s: Any) -> Any:
    """Step the minimal GRU, whose gate and candidate see the input alone.

    ::

        z_t = sigmoid(W_z x_t + b_z)
        h_t = (1 - z_t) * h_{t-1} + z_t * (W_h x_t + b_h)

    Feng, Tung, Ahmed, Bengio, Hajimirsadeghi, "Were RNNs all we needed?" (2024), section 3.1. For training, the paper
    runs all steps as a parallel scan in logarithms (appendix B), and since those must exist, it passes the
    candidate through ``g(v) = v + 0.5 if v >= 0 else sigmoid(v)``, which makes ``h`` positive. This is the form without
    logarithms and without ``g``: the steps are run in their order.
    """
    z = m.sigmoid(x.z)
    return (1 - z) * s.h + z * x.h


@recurrent_cell(gates=("f", "i", "h"), states=("h",))
def min_lstm(x: Any, r: Any, s: Any) -> Any:
    """Step the minimal LSTM: forget and input gates see the input alone, and are scaled to add up to 1.

    ::

        f_t = sigmoid(W_f x_t + b_f)
        i_t = sigmoid(W_i x_t + b_i)
        h_t = f_t / (f_t + i_t) * h_{t-1} + i_t / (f_t + i_t) * (W_h x_t + b_h)

    Feng, Tung, Ahmed, Bengio, Hajimirsadeghi, "Were RNNs all we needed?" (2024), section 3.2, without logarithms of
    ``h`` and without ``g``; see `min_gru`. The quotient is computed as the sigmoid of ``log f_t - log i_t``, as in
    appendix B, so that it is not 0/0 where both gates are closed.
    """
    keep = m.sigmoid(m.softplus(-x.i) - m.softplus(-x.f))
    return keep * s.h + (1 - keep) * x.h


_SHARPNESS = 8.0
"""The constant c of `rg_lru`."""
_LEAST = 1e-30
"""Added by `rg_lru` to 1 - a_t^2, whose square root then has a derivative at 0; its own, 1e-15, is lost in rounding."""


def _long_memories(vector: Tensor) -> Tensor:
    """Draw ``logit_a`` of `rg_lru`, such that ``sigmoid(logit_a)**c`` is uniform in [0.9, 0.999]."""
    log_a = rt.log(init.uniform_(vector, 0.9, 0.999)) / _SHARPNESS
    return vector.copy_(log_a - rt.log(-rt.expm1(log_a)))


@recurrent_cell(gates=("r", "i", "v"), states=("h",), params={"logit_a": _long_memories})
def rg_lru(x: Any, r: Any, s: Any, p: Any) -> Any:
    """Step the real-gated linear recurrent unit: a decay of its own for every unit, which a gate slows down.

    ::

        r_t = sigmoid(W_r x_t + b_r)
        i_t = sigmoid(W_i x_t + b_i)
        a_t = sigmoid(logit_a)**(8 r_t)
        h_t = a_t * h_{t-1} + sqrt(1 - a_t**2) * (i_t * (W_v x_t + b_v))

    De et al., "Griffin: mixing gated linear recurrences with local attention for efficient language models" (2024),
    equations 1 to 4, where ``logit_a`` is called Lambda; initially ``a**8`` is uniform in [0.9, 0.999]. Gate v is the
    linear layer that makes the unit's input in Griffin's recurrent block, and ``W_r`` and ``W_i`` are the paper's gate
    matrices times ``W_v``; the convolution between them is a layer outside, before which ``W_v`` must then be the
    identity. ``a_t`` is the exponential of ``-8 r_t softplus(-logit_a)``; ``1 - a_t**2`` loses no digit where ``a_t``
    is near 1, since it is ``-expm1(2 log a_t)``, computed as ``-tanh(log a_t) * (1 + a_t**2)``.
    """
    log_a = -_SHARPNESS * m.sigmoid(x.r) * m.softplus(-p.logit_a)
    a = m.exp(log_a)
    return a * s.h + m.sqrt(_LEAST - m.tanh(log_a) * (1 + a * a)) * m.sigmoid(x.i) * x.v


def _rotary_frequencies(vector: Tensor) -> Tensor:
    """Set ``theta`` of `hgrn` to the frequencies of rotary embeddings, ``10000**(-2 k / H)`` for k = 0, ..., H - 1."""
    (width,) = vector.shape
    return vector.copy_(10000.0 ** (-2 / width * rt.arange(width, dtype=vector.dtype)))


@recurrent_cell(
    gates=("f", "re", "im"),
    states=("re", "im"),
    params={"logit_gamma": init.zeros_, "theta": _rotary_frequencies},
)
def hgrn(x: Any, r: Any, s: Any, p: Any) -> Any:
    """Step the hierarchically gated recurrent unit: a complex state that turns, and a forget gate bounded from below.

    ::

        gamma = sigmoid(logit_gamma)
        f_t = gamma + (1 - gamma) * sigmoid(W_f x_t + b_f)
        c_t = silu(W_re x_t + b_re) + i silu(W_im x_t + b_im)
        h_t = f_t * exp(i theta) * h_{t-1} + (1 - f_t) * c_t = re_t + i im_t

    Qin, Yang, Zhong, "Hierarchically gated recurrent neural network for sequence modeling" (2023), section 3.2, with
    ``silu(v) = v * sigmoid(v)``. There the lower bounds gamma of all layers are the cumulative sums of one softmax over
    the layers, so they rise with depth; here each layer has its own, initially 1/2. The angles ``theta`` are learned
    too, and begin as the frequencies of rotary embeddings, as in the authors' code. The output is ``re``; the paper's
    goes on, outside the recurrence, with ``W_o (LayerNorm([re_t, im_t]) * g_t) + b_o`` and a gate ``g_t`` of the input,
    for which `Recurrent.all_states` returns both parts.
    """
    gamma, cos, sin = m.sigmoid(p.logit_gamma), m.cos(p.theta), m.sin(p.theta)
    take = (1 - gamma) * m.sigmoid(-x.f)
    re = (1 - take) * (cos * s.re - sin * s.im) + take * (x.re * m.sigmoid(x.re))
    im = (1 - take) * (sin * s.re + cos * s.im) + take * (x.im * m.sigmoid(x.im))
    return re, im
