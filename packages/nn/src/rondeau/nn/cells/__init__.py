"""The built-in recurrent cells: one time step of one hidden unit each, and nothing else.

A cell is a step that `recurrent_cell` traces; the backward pass and the machine code for a whole sequence are
derived from it, for these cells as well as for those that users write. In the equations ``W_k`` and
``b_k`` are gate k's rows of ``weight_ih`` and ``bias_ih``, ``R_k`` and ``c_k`` those of ``weight_hh`` and
``bias_hh``; ``*`` multiplies elementwise. In the steps ``x.k`` is ``W_k x_t + b_k``, ``r.k`` is
``R_k h_{t-1} + c_k`` and ``r.k(value)`` is ``R_k value + c_k``; ``s`` holds the states of the previous step, ``p``
learned vectors with one number per hidden unit, and ``u`` named inputs of the step.
"""

from ._continuous_time import cfc, ctrnn, gru_d
from ._elementwise import hgrn, indrnn, min_gru, min_lstm, rg_lru
from ._gated_units import gru, gru_layer_norm, gru_original, li_gru, mgu
from ._long_short_term import (
    ea_lstm,
    lstm,
    lstm_coupled,
    lstm_layer_norm,
    lstm_peephole,
    lstm_projected,
    mlstm,
    slstm,
)
from ._plain import linear_rnn, rnn_relu, rnn_tanh

__all__ = [
    "cfc",
    "ctrnn",
    "ea_lstm",
    "gru",
    "gru_d",
    "gru_layer_norm",
    "gru_original",
    "hgrn",
    "indrnn",
    "li_gru",
    "linear_rnn",
    "lstm",
    "lstm_coupled",
    "lstm_layer_norm",
    "lstm_peephole",
    "lstm_projected",
    "mgu",
    "min_gru",
    "min_lstm",
    "mlstm",
    "rg_lru",
    "rnn_relu",
    "rnn_tanh",
    "slstm",
]


def __dir__() -> list[str]:
    return __all__
