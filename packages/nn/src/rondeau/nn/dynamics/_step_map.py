"""`StepMap`: the step of a recurrent layer in evaluation, in float64, as a map of state vectors with a Jacobian.

Notation: N rows, each a state vector and an input of its own; D numbers of a state vector; I inputs; L layers.
"""

from __future__ import annotations

import numpy as np

from rondeau.kernels import sequence
from rondeau.kernels.errors import ArgumentValueError
from rondeau.kernels.runtime.transfers import on_host
from rondeau.kernels.sequence import Cell, InputForms, Layout, Run, Weights

from .._recurrent.layer import Recurrent
from ._arrays import Array
from ._elementwise import ElementwiseStep, is_elementwise
from ._noise import check_noiseless
from ._pulled_back import PulledBackStep
from ._state_layout import StateLayout
from ._step_inputs import StepInputs

__all__ = ["StepMap"]

_NUMBERS_OF_A_BLOCK = 2**19
"""Numbers of the results that are computed together, 4 MB, so that they and what they need stay in the cache."""


class StepMap:
    """The step of a recurrent layer in evaluation, in float64.

    Parameters
    ----------
    layer : Recurrent
        A unidirectional layer; its weights are copied, from a GPU too.

    Attributes
    ----------
    layout : StateLayout
        Where the states lie in a state vector.
    size : int
        D, the numbers of a state vector.
    input_size : int
        I.

    Raises
    ------
    TypeError
        If it is not a recurrent layer, or has a forward of its own.
    ValueError
        If it is bidirectional, its step is random, or a weight is NaN or infinite.
    """

    def __init__(self, layer: Recurrent) -> None:
        self.layout = StateLayout.of(layer)
        self.size, self.input_size = self.layout.size, layer.input_size
        cell, weights, self._settings = layer._in_evaluation()
        check_noiseless(cell, self._settings)
        self._cell = cell.variant(forms=InputForms(constants=tuple(cell.inputs)))
        self._weights = [_in_float64(self._cell, of_layer, k) for k, of_layer in enumerate(weights)]
        self._steps = [
            (ElementwiseStep.of if is_elementwise(self._cell, of_layer) else PulledBackStep)(
                self._cell, of_layer, self._settings
            )
            for of_layer in self._weights
        ]

    def __call__(self, given: StepInputs, vectors: Array) -> Array:
        """Return the state vectors (N, D) after a step."""
        after = np.empty_like(vectors)
        for block in _blocks(len(vectors), self.size):
            of_layers = self._advance(given.rows(block), vectors[block])
            np.concatenate([state for parts in of_layers for state in parts], axis=1, out=after[block])
        return after

    def jacobian(self, given: StepInputs, vectors: Array) -> Array:
        """Return the derivatives (N, D, D) of the state vectors after a step: by the vectors before it."""
        found = np.zeros((len(vectors), self.size, self.size))
        for block in _blocks(len(vectors), self.size**2):
            self._differentiate(given.rows(block), vectors[block], found[block], by_input=False)
        return found

    def input_jacobian(self, given: StepInputs, vectors: Array) -> Array:
        """Return the derivatives (N, D, I) of the state vectors after a step: by the input x."""
        found = np.zeros((len(vectors), self.size, self.input_size))
        for block in _blocks(len(vectors), self.size**2):
            self._differentiate(given.rows(block), vectors[block], found[block], by_input=True)
        return found

    def trajectory(self, given: StepInputs, start: Array) -> Array:
        """Return the state vectors (T, B, D) after every step of inputs (T * B rows), from those before the first."""
        B = len(start)
        T = len(given.x) // B
        run = Run(self._cell, Layout.dense(T, B), settings=self._settings)
        x, parts = given.x, list[Array]()
        for weights, initial, named in zip(self._weights, self.layout.split(start), given.named, strict=True):
            of_kinds = [
                rows if kind == "step" else rows[:B]
                for kind, rows in zip(self._cell.inputs.values(), named, strict=True)
            ]
            result = sequence.forward(run, x, weights, initial, tuple(of_kinds), save=False, every_state=True)
            parts += result.every
            x = result.every[0]
        return np.concatenate(parts, axis=1).reshape(T, B, self.size)

    def _advance(self, given: StepInputs, vectors: Array) -> list[tuple[Array, ...]]:
        """Return the states of each layer after a step."""
        run = Run(self._cell, Layout.dense(1, len(vectors)), settings=self._settings)
        x, after = given.x, list[tuple[Array, ...]]()
        for weights, initial, named in zip(
            self._weights, self.layout.split(vectors), given.named, strict=True
        ):
            after.append(sequence.forward(run, x, weights, initial, named, save=False).final)
            x = after[-1][0]
        return after

    def _differentiate(self, given: StepInputs, vectors: Array, found: Array, *, by_input: bool) -> None:
        """Write the derivatives of the state vectors after a step, by those before or by the input, to zeros.

        The new first state of a layer is the input of the layer above, to which it hands its derivatives.
        """
        states = self.layout.split(vectors)
        after = self._advance(given, vectors) if len(states) > 1 else []
        x = given.x
        for layer, (step, before) in enumerate(zip(self._steps, states, strict=True)):
            here = self.layout.of_layer(layer)
            needs_x = by_input or layer > 0
            by_state, by_x = step.derivatives(x, before, given.named[layer], by_input=needs_x)
            if layer > 0:
                assert by_x is not None
                below = self.layout.of_layer(layer - 1).start
                found[:, here] = by_x @ found[:, below : below + x.shape[1]]
            elif by_input:
                found[:, here] = by_x
            if not by_input:
                found[:, here, here] = by_state
            if after:
                x = after[layer][0]


def _blocks(num_rows: int, numbers_of_a_row: int) -> list[slice]:
    """Return slices of rows, each of which has a block's numbers at most, or is one row."""
    size = max(1, _NUMBERS_OF_A_BLOCK // numbers_of_a_row)
    return [slice(first, first + size) for first in range(0, num_rows, size)]


def _in_float64(cell: Cell, weights: Weights, layer_index: int) -> Weights:
    """Return a copy of weights in float64, after refusing those that are NaN or infinite."""
    *matrices, params = weights
    names = (*Weights._fields[:-1], *cell.params)
    arrays = [None if array is None else on_host(array) for array in (*matrices, *params)]
    for name, array in zip(names, arrays, strict=True):
        if array is not None and not np.isfinite(array).all():
            raise ArgumentValueError(
                f"{name}_l{layer_index} of the layer has elements that are NaN or infinite"
            )
    converted = [None if array is None else array.astype(np.float64) for array in arrays]
    return Weights._make([*converted[: len(matrices)], tuple(converted[len(matrices) :])])
