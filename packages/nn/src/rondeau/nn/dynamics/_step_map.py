"""`StepMap`: the step of a recurrent layer in evaluation, in float64, as a map of state vectors with a Jacobian.

Notation: N rows, each a state vector and an input of its own; D numbers of a state vector; I inputs; L layers.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rondeau.kernels import sequence
from rondeau.kernels.errors import ArgumentTypeError, ArgumentValueError
from rondeau.kernels.recurrent.checks import state_widths
from rondeau.kernels.sequence import Cell, Layout, Needs, Run, Weights

from .._checks import kind_of
from .._recurrent.layer import Recurrent

__all__ = ["Array", "StepMap"]

Array = NDArray[np.float64]

_NUMBERS_OF_A_BLOCK = 2**18
"""Rows times hidden units of one call of the kernels: the buffers of a step then stay at some tens of megabytes."""


class StepMap:
    """The step of a recurrent layer in evaluation, in float64.

    Parameters
    ----------
    layer : Recurrent
        A unidirectional layer; its weights are copied.

    Attributes
    ----------
    size : int
        D, the numbers of a state vector.
    input_size : int
        I.
    widths : list of tuple of int
        The width of each state, for each layer.
    """

    def __init__(self, layer: Recurrent) -> None:
        _check_layer(layer)
        self._cell, weights, self._settings = layer._in_evaluation()
        self._weights = [_in_float64(self._cell, of_layer, k) for k, of_layer in enumerate(weights)]
        self.input_size = layer.input_size
        self.widths = [state_widths(self._cell, of_layer) for of_layer in self._weights]
        self._begins = np.cumsum([0, *(sum(of_layer) for of_layer in self.widths)])
        self.size = int(self._begins[-1])
        hidden = max(max(of_layer) for of_layer in self.widths)
        self._block = max(1, _NUMBERS_OF_A_BLOCK // hidden)

    def __call__(self, x: Array, vectors: Array) -> Array:
        """Return the state vectors (N, D) after a step with the inputs (N, I)."""
        blocks = [slice(first, first + self._block) for first in range(0, len(vectors), self._block)]
        if not blocks:
            return vectors.copy()
        return np.concatenate([self._advance(x[block], vectors[block], save=False)[0] for block in blocks])

    def jacobian(self, x: Array, vectors: Array) -> Array:
        """Return the derivatives (N, D, D) of the state vectors after a step: by the vectors before it."""
        return self._derivatives(x, vectors, by_input=False)

    def input_jacobian(self, x: Array, vectors: Array) -> Array:
        """Return the derivatives (N, D, I) of the state vectors after a step: by the inputs."""
        return self._derivatives(x, vectors, by_input=True)

    def trajectory(self, x: Array, start: Array) -> Array:
        """Return the state vectors (T, B, D) after every step of inputs (T, B, I), from those before the first."""
        T, B, _ = x.shape
        run = Run(self._cell, Layout.dense(T, B), settings=self._settings)
        rows, parts = x.reshape(T * B, self.input_size), list[Array]()
        for weights, initial in zip(self._weights, self.split(start), strict=True):
            result = sequence.forward(run, rows, weights, initial, save=False, every_state=True)
            parts += result.every
            rows = result.every[0]
        return np.concatenate(parts, axis=1).reshape(T, B, self.size)

    def split(self, vectors: Array) -> list[tuple[Array, ...]]:
        """Return the states of each layer from state vectors (N, D): (N, P) the first, (N, H) the others."""
        widths = [width for of_layer in self.widths for width in of_layer]
        parts = iter(np.split(vectors, np.cumsum(widths)[:-1], axis=-1))
        return [tuple([next(parts) for _ in of_layer]) for of_layer in self.widths]

    def _advance(self, x: Array, vectors: Array, *, save: bool) -> tuple[Array, list[Any]]:
        """Return the state vectors after a step, and what each layer saved for its backward."""
        run = Run(self._cell, Layout.dense(1, len(vectors)), settings=self._settings)
        parts, saved = list[Array](), list[Any]()
        for weights, initial in zip(self._weights, self.split(vectors), strict=True):
            result = sequence.forward(run, x, weights, initial, save=save)
            parts += result.final
            saved.append(result.saved)
            x = result.final[0]
        return np.concatenate(parts, axis=1), saved

    def _derivatives(self, x: Array, vectors: Array, *, by_input: bool) -> Array:
        """Differentiate rows in blocks.

        Each row is repeated for as many coordinates of the new state as fit a block, and each repetition is
        differentiated with the unit vector of its coordinate.
        """
        count = self.input_size if by_input else self.size
        found = np.zeros((len(vectors), self.size, count))
        for first in range(0, len(vectors), self._block):
            block = slice(first, first + self._block)
            n = len(vectors[block])
            repeats = min(max(1, self._block // n), self.size)
            _, saved = self._advance(
                np.tile(x[block], (repeats, 1)), np.tile(vectors[block], (repeats, 1)), save=True
            )
            for layer in range(len(self.widths)):
                begin, end = self._begins[layer : layer + 2]
                for start in range(begin, end, repeats):
                    stop = min(start + repeats, end)
                    d_new = np.zeros((repeats, n, end - begin))
                    d_new[np.arange(stop - start), :, np.arange(start - begin, stop - begin)] = 1
                    d_vector, d_x = self._pull_back(saved, layer, d_new.reshape(repeats * n, -1), by_input)
                    d = d_x if by_input else d_vector
                    rows = d.reshape(repeats, n, -1)[: stop - start].transpose(1, 0, 2)
                    found[block, start:stop, : rows.shape[2]] = rows
        return found

    def _pull_back(self, saved: list[Any], top: int, cotangents: Array, needs_x: bool) -> tuple[Array, Any]:
        """Backpropagate cotangents (N, .) of one layer's new states to the states up to that layer, and the input."""
        parts: list[tuple[Array, ...]] = []
        d_new: list[Any] = np.split(cotangents, np.cumsum(self.widths[top])[:-1], axis=1)
        d_x: Any = None
        for layer in range(top, -1, -1):
            if layer < top:  # the new first state of a layer below reaches the layer above as its input alone
                d_new = [d_x, *([None] * (len(d_new) - 1))]
            gradients = sequence.backward(
                self._cell,
                saved[layer],
                (None,),
                tuple(d_new),
                Needs(x=needs_x or layer > 0, initial=True, weights=False),
            )
            assert gradients.initial is not None
            parts.insert(0, gradients.initial)
            d_x = gradients.x
        return np.concatenate([part for of_layer in parts for part in of_layer], axis=1), d_x


def _check_layer(layer: Any) -> None:
    """Raise an error unless the step of a layer is a map of its states."""
    if not isinstance(layer, Recurrent):
        raise ArgumentTypeError(
            f"layer must be an nn.Recurrent, nn.RNN, nn.GRU or nn.LSTM, got {kind_of(layer)}; a model has one as an "
            "attribute"
        )
    if type(layer).forward is not Recurrent.forward:
        raise ArgumentTypeError(
            f"layer must run the step of its cell alone, but {type(layer).__name__} has a forward of its own: pass the "
            "nn.Recurrent that it is made of"
        )
    if layer.bidirectional:
        raise ArgumentValueError(
            "A bidirectional layer is not a map of its states: its two directions never meet in one step. Use "
            "bidirectional=False"
        )


def _in_float64(cell: Cell, weights: Weights, layer_index: int) -> Weights:
    """Return a copy of weights in float64, after refusing those that are NaN or infinite."""
    *matrices, params = weights
    names, arrays = (*Weights._fields[:-1], *cell.params), (*matrices, *params)
    for name, array in zip(names, arrays, strict=True):
        if array is not None and not np.isfinite(array).all():
            raise ArgumentValueError(
                f"{name}_l{layer_index} of the layer has elements that are NaN or infinite"
            )
    converted = [None if array is None else array.astype(np.float64) for array in arrays]
    return Weights._make([*converted[: len(matrices)], tuple(converted[len(matrices) :])])
