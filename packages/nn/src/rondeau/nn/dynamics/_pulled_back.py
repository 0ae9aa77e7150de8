"""Derivatives of the step of any cell: one backward pass of the kernels for each number of the new state.

Notation: N rows, S numbers of a layer's states, I inputs.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from rondeau.kernels import sequence
from rondeau.kernels.recurrent.checks import state_widths
from rondeau.kernels.sequence import Cell, Layout, Needs, Run, Settings, Weights

from ._arrays import Array

__all__ = ["PulledBackStep"]

_NUMBERS_OF_A_BLOCK = 2**18
"""Rows times hidden units of one backward pass: its buffers then stay at some tens of megabytes."""


class PulledBackStep(NamedTuple):
    """The derivatives of one layer's step.

    Attributes
    ----------
    cell : Cell
    weights : Weights
        Of float64.
    settings : Settings
    """

    cell: Cell
    weights: Weights
    settings: Settings

    def derivatives(
        self, x: Array, states: tuple[Array, ...], named: tuple[Array, ...], *, by_input: bool
    ) -> tuple[Array, Array | None]:
        """Return the derivatives of the new states (N, S): by the old ones (N, S, S), and by the input (N, S, I).

        Each row is repeated for as many numbers of the new state as fit a backward pass, and each repetition is
        differentiated with the unit vector of its number.
        """
        N, widths = len(x), state_widths(self.cell, self.weights)
        S = sum(widths)
        by_state, by_x = np.empty((N, S, S)), np.empty((N, S, x.shape[1])) if by_input else None
        if N == 0:
            return by_state, by_x
        repeats = min(max(1, _NUMBERS_OF_A_BLOCK // (max(widths) * N)), S)
        result = sequence.forward(
            Run(self.cell, Layout.dense(1, repeats * N), settings=self.settings),
            np.tile(x, (repeats, 1)),
            self.weights,
            tuple([np.tile(state, (repeats, 1)) for state in states]),
            tuple([np.tile(u, (repeats, 1)) for u in named]),
        )
        ends = np.cumsum(widths)
        for start in range(0, S, repeats):
            numbers = np.arange(start, min(start + repeats, S))
            cotangents = np.zeros((repeats, N, S))
            cotangents[np.arange(len(numbers)), :, numbers] = 1
            gradients = sequence.backward(
                self.cell,
                result.saved,
                (None,),
                tuple(np.split(cotangents.reshape(repeats * N, S), ends[:-1], axis=1)),
                Needs(x=by_input, weights=False),
            )
            assert gradients.initial is not None
            d_states = np.concatenate(gradients.initial, axis=1).reshape(repeats, N, S)
            by_state[:, numbers] = d_states[: len(numbers)].transpose(1, 0, 2)
            if by_x is not None:
                assert gradients.x is not None
                d_x = gradients.x.reshape(repeats, N, -1)
                by_x[:, numbers] = d_x[: len(numbers)].transpose(1, 0, 2)
        return by_state, by_x
