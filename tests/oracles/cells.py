"""A PyTorch step of every built-in cell, written by hand from the equations: nothing of it is traced or derived.

A step takes the weights of its layer and direction, the input (B, I) and the states before it, (B, H) each, and
returns the states after it. How a step reads the weights is in `oracles.loop`.
"""

import pytest

torch = pytest.importorskip("torch")
F = torch.nn.functional


def normalised(values, gains=None, biases=None):
    """Layer normalisation over all units of several values together, as one row."""
    width = values[0].shape[-1]
    row = F.layer_norm(torch.cat(values, -1), (len(values) * width,))
    if gains is not None:
        row = row * torch.cat(gains)
    if biases is not None:
        row = row + torch.cat(biases)
    return row.split(width, -1)


def rnn_tanh(w, x, h):
    (from_x,), (from_h,) = w.input(x), w.recurrent(h)
    return (torch.tanh(from_x + from_h),)


def rnn_relu(w, x, h):
    (from_x,), (from_h,) = w.input(x), w.recurrent(h)
    return (torch.relu(from_x + from_h),)


def linear_rnn(w, x, h):
    (from_x,), (from_h,) = w.input(x), w.recurrent(h)
    return (from_x + from_h,)


def gru(w, x, h):
    (x_r, x_z, x_n), (h_r, h_z, h_n) = w.input(x), w.recurrent(h)
    z = torch.sigmoid(x_z + h_z)
    n = torch.tanh(x_n + torch.sigmoid(x_r + h_r) * h_n)
    return ((1 - z) * n + z * h,)


def gru_original(w, x, h):
    (x_r, x_z, x_n), (h_r, h_z) = w.input(x), w.recurrent(h, 0, 1)
    z = torch.sigmoid(x_z + h_z)
    (h_n,) = w.recurrent(torch.sigmoid(x_r + h_r) * h, 2)
    return ((1 - z) * h + z * torch.tanh(x_n + h_n),)


def gru_layer_norm(w, x, h):
    (x_r, x_z, x_n), (h_r, h_z, h_n) = w.input(x), w.recurrent(h)
    x_r, x_z = normalised((x_r, x_z), w["gain_x_r", "gain_x_z"], w["bias_r", "bias_z"])
    h_r, h_z = normalised((h_r, h_z), w["gain_r_r", "gain_r_z"])
    (x_n,) = normalised((x_n,), w["gain_x_n",], w["bias_x_n",])
    (h_n,) = normalised((h_n,), w["gain_r_n",], w["bias_r_n",])
    n = torch.tanh(x_n + torch.sigmoid(x_r + h_r) * h_n)
    return (torch.sigmoid(-x_z - h_z) * n + torch.sigmoid(x_z + h_z) * h,)


def li_gru(w, x, h):
    (x_z, x_h), (h_z, h_h) = w.input(x), w.recurrent(h)
    x_z, x_h = normalised((x_z, x_h), w["gain_z", "gain_h"], w["bias_z", "bias_h"])
    z = torch.sigmoid(x_z + h_z)
    return (z * h + (1 - z) * torch.relu(x_h + h_h),)


def mgu(w, x, h):
    (x_f, x_h), (h_f,) = w.input(x), w.recurrent(h, 0)
    f = torch.sigmoid(x_f + h_f)
    (h_h,) = w.recurrent(f * h, 1)
    return ((1 - f) * h + f * torch.tanh(x_h + h_h),)


def indrnn(w, x, h):
    (from_x,), (u,) = w.input(x), w["u",]
    return (torch.relu(from_x + u * h),)


def min_gru(w, x, h):
    z, candidate = w.input(x)
    z = torch.sigmoid(z)
    return ((1 - z) * h + z * candidate,)


def min_lstm(w, x, h):
    f, i, candidate = w.input(x)
    f, i = torch.sigmoid(f), torch.sigmoid(i)
    return (f / (f + i) * h + i / (f + i) * candidate,)


def rg_lru(w, x, h):
    (r, i, v), (logit_a,) = w.input(x), w["logit_a",]
    a = torch.sigmoid(logit_a) ** (8 * torch.sigmoid(r))
    return (a * h + torch.sqrt(1 - a**2) * (torch.sigmoid(i) * v),)


def hgrn(w, x, re, im):
    (f, x_re, x_im), (logit_gamma, theta) = w.input(x), w["logit_gamma", "theta"]
    gamma = torch.sigmoid(logit_gamma)
    f = gamma + (1 - gamma) * torch.sigmoid(f)
    candidate = torch.complex(F.silu(x_re), F.silu(x_im))
    h = f * torch.exp(1j * theta) * torch.complex(re, im) + (1 - f) * candidate
    return h.real, h.imag


def lstm(w, x, h, c):
    i, f, g, o = (from_x + from_h for from_x, from_h in zip(w.input(x), w.recurrent(h), strict=True))
    c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
    return torch.sigmoid(o) * torch.tanh(c), c


def lstm_projected(w, x, h, c):
    h, c = lstm(w, x, h, c)
    return w.project(h), c


def lstm_coupled(w, x, h, c):
    i, g, o = (from_x + from_h for from_x, from_h in zip(w.input(x), w.recurrent(h), strict=True))
    c = torch.sigmoid(-i) * c + torch.sigmoid(i) * torch.tanh(g)
    return torch.sigmoid(o) * torch.tanh(c), c


def ea_lstm(w, x, h, c):
    f, g, o = (from_x + from_h for from_x, from_h in zip(w.input(x), w.recurrent(h), strict=True))
    c = torch.sigmoid(f) * c + w.inputs["gate"] * torch.tanh(g)
    return torch.sigmoid(o) * torch.tanh(c), c


def ctrnn(w, x, h):
    (from_x,), (from_h,) = w.input(x), w.recurrent(h)
    noise = (2 / 0.2) ** 0.5 * 0.05 * w.draw("normal")
    return (0.8 * h + 0.2 * torch.relu(from_x + from_h + noise),)


def cfc(w, x, h):
    (x_b, *from_x), (h_b,) = w.input(x), w.recurrent(h, 0)
    f, g, limit = (
        a + b
        for a, b in zip(from_x, w.recurrent(1.7159 * torch.tanh(0.666 * (x_b + h_b)), 1, 2, 3), strict=True)
    )
    t = torch.sigmoid(-f * w.inputs["dt"])
    return (t * torch.tanh(g) + (1 - t) * torch.tanh(limit),)


def gru_d(w, x, h):
    h = torch.exp(-torch.clamp(w.inputs["elapsed"], min=0)) * h
    (x_r, x_z, x_n), (h_r, h_z) = w.input(x), w.recurrent(h, 0, 1)
    z = torch.sigmoid(x_z + h_z)
    (h_n,) = w.recurrent(torch.sigmoid(x_r + h_r) * h, 2)
    return ((1 - z) * h + z * torch.tanh(x_n + h_n),)


def lstm_peephole(w, x, h, c):
    i, f, g, o = (from_x + from_h for from_x, from_h in zip(w.input(x), w.recurrent(h), strict=True))
    p_i, p_f, p_o = w["p_i", "p_f", "p_o"]
    c = torch.sigmoid(f + p_f * c) * c + torch.sigmoid(i + p_i * c) * torch.tanh(g)
    return torch.sigmoid(o + p_o * c) * torch.tanh(c), c


def lstm_layer_norm(w, x, h, c):
    gates = "ifgo"
    from_x = normalised(w.input(x), w[[f"gain_x_{k}" for k in gates]], w[[f"bias_{k}" for k in gates]])
    from_h = normalised(w.recurrent(h), w[[f"gain_r_{k}" for k in gates]])
    i, f, g, o = (a + b for a, b in zip(from_x, from_h, strict=True))
    c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
    (seen,) = normalised((c,), w["gain_c",], w["bias_c",])
    return torch.sigmoid(o) * torch.tanh(seen), c


def mlstm(w, x, h, c):
    (x_m, *from_x), (h_m,) = w.input(x), w.recurrent(h, 0)
    from_m = w.recurrent(x_m * h_m, 1, 2, 3, 4)
    i, f, g, o = (a + b for a, b in zip(from_x, from_m, strict=True))
    c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
    return torch.sigmoid(o) * torch.tanh(c), c


def slstm(w, x, h, c, n, m):
    i, f, z, o = (from_x + from_h for from_x, from_h in zip(w.input(x), w.recurrent(h), strict=True))
    carried = F.logsigmoid(f) + m
    m = torch.where(n == 0, i, torch.maximum(carried, i))
    c = torch.exp(carried - m) * c + torch.exp(i - m) * torch.tanh(z)
    n = torch.exp(carried - m) * n + torch.exp(i - m)
    return torch.sigmoid(o) * (c / n), c, n, m


STEPS = {
    step.__name__: step
    for step in (
        cfc,
        ctrnn,
        ea_lstm,
        gru,
        gru_d,
        gru_layer_norm,
        gru_original,
        hgrn,
        indrnn,
        li_gru,
        linear_rnn,
        lstm,
        lstm_coupled,
        lstm_layer_norm,
        lstm_peephole,
        lstm_projected,
        mgu,
        min_gru,
        min_lstm,
        mlstm,
        rg_lru,
        rnn_relu,
        rnn_tanh,
        slstm,
    )
}
