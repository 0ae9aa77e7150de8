"""Gated recurrent units: gates mix the old state with a candidate."""

from __future__ import annotations

from typing import Any

from .. import cell_math as m
from .._recurrent.decorator import recurrent_cell
from ._normalised import gains_and_biases

__all__ = ["gru", "gru_layer_norm", "gru_original", "li_gru", "mgu"]


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
    params=gains_and_biases("x_r x_z x_n r_r r_z r_n", "r z x_n r_n"),
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


@recurrent_cell(gates=("z", "h"), states=("h",), params=gains_and_biases("z h", "z h"))
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
