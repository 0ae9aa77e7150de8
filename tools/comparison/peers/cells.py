"""The cells of the comparison, on rondeau's side."""

from typing import Any

from rondeau import nn
from rondeau.nn import cell_math as m

from ..process import UnavailableError


@nn.recurrent_cell(gates=("f", "g", "o"), states=("h", "c"))
def highway(x: Any, r: Any, s: Any) -> Any:
    """Step a made-up cell: a forget gate with a peephole, coupled to the input, and a highway past the output."""
    f = m.sigmoid(x.f + r.f + 0.5 * s.c)
    c = f * s.c + (1 - f) * m.tanh(x.g + r.g)
    o = m.sigmoid(x.o + r.o + c)
    return o * m.tanh(c) + (1 - o) * s.h, c


BUILT_IN = {"peephole": "lstm_peephole", "slstm": "slstm"}


def layer_of(cell: str, inputs: int, hidden: int, **options: Any) -> Any:
    """Return a layer: rondeau's RNN, GRU or LSTM, or `nn.Recurrent` of a cell."""
    if hasattr(nn, cell):
        return getattr(nn, cell)(inputs, hidden, **options)
    step = highway if cell == "highway" else getattr(nn.cells, BUILT_IN[cell], None)
    if step is None:
        raise UnavailableError(f"rondeau.nn.cells has no {BUILT_IN[cell]} yet")
    return nn.Recurrent(step, inputs, hidden, **options)
