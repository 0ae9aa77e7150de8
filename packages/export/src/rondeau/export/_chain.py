"""`Chain`: modules one after the other, in which recurrent layers hand on their output."""

from __future__ import annotations

from typing import Any

from rondeau import nn
from rondeau.tensor import Tensor

__all__ = ["Chain"]


class Chain(nn.Sequential):
    """A `Sequential` whose recurrent layers hand on their output, and keep their state to themselves.

    Parameters
    ----------
    *modules : Module
    last_step : bool, default False
        Let the last recurrent layer hand on its output after the last step of each sequence alone, (B, H). Exported, it
        gives the output after every step, of which this is the last.

    Examples
    --------
    >>> from rondeau import export, nn, tensor as rt
    >>> chain = export.Chain(nn.LSTM(3, 5), nn.Linear(5, 2))
    >>> chain(rt.zeros(7, 4, 3)).shape
    (7, 4, 2)
    >>> chain.last_step = True
    >>> chain(rt.zeros(7, 4, 3), lengths=[7, 2, 1, 5]).shape
    (4, 2)
    """

    def __init__(self, *modules: Any, last_step: bool = False) -> None:
        super().__init__(*modules)
        self.last_step = last_step

    def forward(self, input: Any, lengths: Any = None) -> Tensor:
        """Pass `input` through every module in turn.

        Parameters
        ----------
        input : Tensor
            What the first module reads.
        lengths : sequence of int, optional
            How many steps of each sequence are valid; for every recurrent layer.
        """
        recurrent = [position for position, module in enumerate(self) if isinstance(module, nn.Recurrent)]
        for position, module in enumerate(self):
            if not isinstance(module, nn.Recurrent):
                input = module(input)
                continue
            input, state = module(input, lengths=lengths)
            if self.last_step and position == recurrent[-1]:
                input = (state[0] if isinstance(state, tuple) else state)[-1]
        return input  # type: ignore[no-any-return]
