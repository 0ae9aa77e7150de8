"""Recurrent cells as a PyTorch user writes them: a loop over time, differentiated by autograd.

Written from the papers' equations, not from rondeau's cells, and with care: the input projection of all steps is
one product before the loop, the recurrent one accumulates onto it, and `unbind` takes the steps apart, whose
backward is one `stack` where that of indexing would be a full array of zeros for every step. One bias; the states
begin at zero.
"""

from collections.abc import Callable

from .elementwise import HGRNLoop, MinGRULoop, RGLRULoop
from .gated import HighwayLoop, PeepholeLoop, SLSTMLoop
from .loop import Loop
from .timed import CfCLoop, CTRNNLoop, EALSTMLoop, GRUDLoop

LOOPS: dict[str, Callable[[int, int], Loop]] = {
    "highway": HighwayLoop,
    "peephole": PeepholeLoop,
    "slstm": SLSTMLoop,
    "ctrnn": CTRNNLoop,
    "ea_lstm": EALSTMLoop,
    "gru_d": GRUDLoop,
    "cfc": CfCLoop,
    "rg_lru": RGLRULoop,
    "min_gru": MinGRULoop,
    "hgrn": HGRNLoop,
}
