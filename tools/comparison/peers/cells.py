"""The cells of the comparison, on rondeau's side."""

from typing import Any

from rondeau import nn
from rondeau.nn import cell_math as m


@nn.recurrent_cell(gates=("f", "g", "o"), states=("h", "c"))
def highway(x: Any, r: Any, s: Any) -> Any:
    """Step a made-up cell: a forget gate with a peephole, coupled to the input, and a highway past the output."""
    f = m.sigmoid(x.f + r.f + 0.5 * s.c)
    c = f * s.c + (1 - f) * m.tanh(x.g + r.g)
    o = m.sigmoid(x.o + r.o + c)
    return o * m.tanh(c) + (1 - o) * s.h, c


CELLS = {
    "RNN": nn.cells.rnn_tanh,
    "GRU": nn.cells.gru,
    "LSTM": nn.cells.lstm,
    "highway": highway,
    "peephole": nn.cells.lstm_peephole,
    "slstm": nn.cells.slstm,
    "MGU": nn.cells.mgu,
    "ctrnn": nn.cells.ctrnn,
    "ea_lstm": nn.cells.ea_lstm,
    "gru_d": nn.cells.gru_d,
    "cfc": nn.cells.cfc,
    "rg_lru": nn.cells.rg_lru,
    "min_gru": nn.cells.min_gru,
    "hgrn": nn.cells.hgrn,
}


def layer_of(cell: str, inputs: int, hidden: int, recompute_every: int | None = None) -> Any:
    """Return the layer that a user would take: `nn.RNN`, `nn.GRU` or `nn.LSTM` where it does, else `nn.Recurrent`."""
    if hasattr(nn, cell) and recompute_every is None:
        return getattr(nn, cell)(inputs, hidden)
    return nn.Recurrent(CELLS[cell], inputs, hidden, recompute_every=recompute_every)
