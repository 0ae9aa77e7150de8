"""Cells in continuous time: rates that leak, and states that depend on the time that has elapsed."""

from __future__ import annotations

from typing import Any

from .. import cell_math as m
from .._recurrent.decorator import recurrent_cell

__all__ = ["cfc", "ctrnn", "gru_d"]


@recurrent_cell(gates=("h",), states=("h",))
def ctrnn(x: Any, r: Any, s: Any, *, alpha: float = 0.2, noise: float = 0.05) -> Any:
    """Step the continuous-time recurrent network of firing rates, by Euler's method and with noise.

    ::

        tau dh/dt = -h + max(0, W x + b + R h + c + sqrt(2 tau) noise * xi)

        h_t = (1 - alpha) * h_{t-1} + alpha * max(0, W x_t + b + R h_{t-1} + c + sqrt(2 / alpha) * noise * normal)

    with ``alpha = dt / tau``, Gaussian white noise ``xi`` and a standard normal number for each unit and step. Yang,
    Joglekar, Song, Newsome, Wang, "Task representations in neural networks trained to perform many cognitive tasks"
    (2019), methods, with the rectifier of their activations. There ``tau`` is 100 ms, ``dt`` is 20 ms and ``noise`` is
    0.05, the defaults here. The noise is inside the rectifier, so rates are never negative; it is drawn in evaluation
    too, unless ``hyperparameters={"noise": 0.0}``.
    """
    drive = x.h + r.h + m.sqrt(2 / alpha) * noise * m.normal()
    return (1 - alpha) * s.h + alpha * m.relu(drive)


@recurrent_cell(gates=("b", "f", "g", "h"), states=("h",), inputs={"dt": "step"})
def cfc(x: Any, r: Any, s: Any, u: Any) -> Any:
    """Step the closed-form continuous-time network, whose three heads share a backbone of one layer.

    ::

        z_t = 1.7159 tanh(0.666 (W_b x_t + b_b + R_b h_{t-1} + c_b))
        f_t, g_t, l_t = W_k x_t + b_k + R_k z_t + c_k for k = f, g, h
        h_t = sigmoid(-f_t dt_t) * tanh(g_t) + (1 - sigmoid(-f_t dt_t)) * tanh(l_t)

    Hasani et al., "Closed-form continuous-time neural networks" (2022). The input ``dt`` is the time that has elapsed
    since the previous step, one number for each step. Backbone and heads are those of the authors' code, with two
    differences: the heads also see the input directly, so that every row of ``weight_ih`` is used (with zeros in those
    rows the two agree); and the mixture is the paper's ``sigmoid(-f dt)``, where the code has ``sigmoid(a dt + b)``
    with a head for each of a and b.
    """
    z = 1.7159 * m.tanh(0.666 * (x.b + r.b))
    mix = m.sigmoid(-(x.f + r.f(z)) * u.dt)
    return mix * m.tanh(x.g + r.g(z)) + (1 - mix) * m.tanh(x.h + r.h(z))


@recurrent_cell(gates=("r", "z", "n"), states=("h",), inputs={"elapsed": "step"})
def gru_d(x: Any, r: Any, s: Any, u: Any) -> Any:
    """Step the gated recurrent unit whose state decays with the time since the last observations.

    ::

        d_t = exp(-max(0, elapsed_t)) * h_{t-1}
        r_t = sigmoid(W_r x_t + b_r + R_r d_t + c_r)
        z_t = sigmoid(W_z x_t + b_z + R_z d_t + c_z)
        n_t = tanh(W_n x_t + b_n + R_n (r_t * d_t) + c_n)
        h_t = (1 - z_t) * d_t + z_t * n_t

    Che, Purushotham, Cho, Sontag, Liu, "Recurrent neural networks for multivariate time series with missing values"
    (2018). The input ``elapsed`` is ``W delta_t + b``, which a `Linear` outside computes for all steps from the time
    ``delta_t`` (T, B, I) since each variable was last observed; one number for each step is accepted too. ``x_t``
    holds the values, the missing ones imputed by `InputDecay`, followed by the mask of those observed: the columns of
    ``W`` for the mask are the paper's V.
    """
    old = m.exp(-m.relu(u.elapsed)) * s.h
    reset, update = m.sigmoid(x.r + r.r(old)), m.sigmoid(x.z + r.z(old))
    return (1 - update) * old + update * m.tanh(x.n + r.n(reset * old))
