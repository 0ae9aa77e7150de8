"""The built-in recurrent cells: one time step of one hidden unit each, and nothing else.

A cell is a step that `recurrent_cell` traces; the backward pass and the machine code that runs a whole
sequence are derived from it, for these cells as for those that users write. In the equations ``W_k`` and
``b_k`` are gate k's rows of ``weight_ih`` and ``bias_ih``, ``R_k`` and ``c_k`` those of ``weight_hh`` and
``bias_hh``; ``*`` multiplies elementwise. In the steps ``x.k`` is ``W_k x_t + b_k``, ``r.k`` is
``R_k h_{t-1} + c_k``, and ``s`` holds the states of the step before.
"""

from __future__ import annotations

from typing import Any

from . import cell_math as m
from ._recurrent import recurrent_cell

__all__ = ["gru", "lstm", "rnn_relu", "rnn_tanh"]


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
    the reset gate multiplies ``h_{t-1}`` before the product. This form, cuDNN's and PyTorch's, needs one
    product a step.
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
    and Cummins, "Learning to forget" (2000), and no peepholes.
    """
    c = m.sigmoid(x.f + r.f) * s.c + m.sigmoid(x.i + r.i) * m.tanh(x.g + r.g)
    return m.sigmoid(x.o + r.o) * m.tanh(c), c
