"""The random masks of a layer's regularisers, one number at a time from the generator the kernels share.

All that the tests know of how random numbers are numbered stands here.
"""

import numpy as np
import pytest

from rondeau import tensor as rt
from rondeau.kernels.numerics import philox
from rondeau.kernels.recurrent.substreams import (
    BETWEEN_LAYERS,
    RECURRENT_DROPOUT,
    RECURRENT_WEIGHTS,
    first_substream,
)
from rondeau.nn._recurrent.masks import draw_key

torch = pytest.importorskip("torch")


def call_key(seed):
    """Return the key of the first call after ``rt.manual_seed(seed)``."""
    rt.manual_seed(seed)
    return draw_key()


class Masks:
    """The masks of the first call of a layer after a seed, as arguments of `oracles.loop.run`.

    A number is kept where its uniform number is not below the rate. Numbers depend on the call's key, on the layer and
    direction, on the row of the caller's batch, the unit, and, for zoneout, the time step; nothing else.
    """

    def __init__(self, layer, B, seed):
        self._layer, self._rows, self._key = layer, np.arange(B)[:, None], call_key(seed)

    def _uniforms(self, depth, direction, substream, times, rows, width):
        first = first_substream(depth * self._layer.num_directions + direction)
        return philox.uniforms(self._key, first + substream, times, rows, np.arange(width))

    @property
    def oracle(self):
        """All of them."""
        names = ("recurrent_masks", "after_step", "masked_weights", "between_layers")
        return {name: getattr(self, name) for name in names}

    def recurrent_masks(self, depth, direction):
        """Return what multiplies all that enters the recurrent matrices: (B, P), the same at every step."""
        width = self._layer.proj_size or self._layer.hidden_size
        drawn = self._uniforms(
            depth, direction, RECURRENT_DROPOUT, philox.CONSTANT_OVER_TIME, self._rows, width
        )
        return kept(drawn, self._layer.recurrent_dropout)

    def after_step(self, depth, direction):
        """Return the rule of zoneout: a unit of a state keeps its old value where its number is below the rate."""
        states, rates = self._layer.cell.states, self._layer.zoneout

        def zone_out(t, old, new):
            result = []
            for k, (state, before, after) in enumerate(zip(states, old, new, strict=True)):
                if state not in rates:  # a projected one changes its width after the step
                    result.append(after)
                    continue
                drawn = self._uniforms(depth, direction, k, t, self._rows, after.shape[-1])
                result.append(torch.where(torch.tensor(drawn < rates[state]), before, after))
            return result

        return zone_out

    def masked_weights(self, named):
        """Return the parameters with DropConnect's mask on every recurrent matrix."""
        masked = dict(named)
        for depth in range(self._layer.num_layers):
            for direction in range(self._layer.num_directions):
                name = f"weight_hh_l{depth}" + "_reverse" * direction
                rows, columns = named[name].shape
                position = RECURRENT_WEIGHTS, philox.CONSTANT_OVER_TIME, np.arange(rows)[:, None]
                drawn = self._uniforms(depth, direction, *position, columns)
                masked[name] = named[name] * kept(drawn, self._layer.weight_dropout)
        return masked

    def between_layers(self, depth, x):
        """Return the input (T, B, D*P) of a layer above the first."""
        times = np.arange(len(x))[:, None, None]
        drawn = self._uniforms(depth, 0, BETWEEN_LAYERS, times, self._rows, x.shape[-1])
        return x * kept(drawn, self._layer.dropout)


def kept(uniforms, rate):
    """Return the mask of inverted dropout: 0, or 1 / (1 - rate)."""
    return torch.tensor(np.where(uniforms >= rate, 1 / (1 - rate), 0.0))


def expected_zoneout(layer):
    """Return the rule of zoneout in evaluation: each state is between its old and its new value.

    A rate is that of what is drawn, whose numbers have 24 bits.
    """
    rates = {state: philox.threshold_of(rate) * 2.0**-24 for state, rate in layer.zoneout.items()}

    def average(t, old, new):
        return [
            rates.get(state, 0.0) * before + (1 - rates.get(state, 0.0)) * after
            for state, before, after in zip(layer.cell.states, old, new, strict=True)
        ]

    return lambda depth, direction: average
