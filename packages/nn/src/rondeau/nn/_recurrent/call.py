"""`Call`: one call of recurrent layers, from their input to their states, layer by layer and direction by direction."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from rondeau import tensor as rt
from rondeau.kernels.recurrent.substreams import BETWEEN_LAYERS, RECURRENT_WEIGHTS, first_substream
from rondeau.kernels.runtime.devices import is_of_device
from rondeau.kernels.sequence import Cell, Layout, Run, Settings
from rondeau.tensor import Tensor

from .both_directions import BothDirections
from .function import RecurrentFunction
from .inputs import LayerInputs, variant_of
from .masks import drop_connect, dropout_rows
from .segments import Segments
from .weights import PROJECTION

__all__ = ["Call"]

States = tuple[Tensor, ...]
_Direction = tuple[Run, tuple[Tensor | None, ...]]
"""The run of a layer in one direction, and its weights, named inputs and initial states."""


class Call(NamedTuple):
    """Everything that a call of recurrent layers depends on besides its input and its initial states.

    Attributes
    ----------
    cell : Cell
        The cell, with the regularisers of this call.
    weights : list of list of Tensor or None
        The weights of each layer and direction, in the order of `Weights`.
    num_directions : int
        D.
    scalars : mapping
        As for `Settings`.
    key : int
        The key that determines all masks of the call.
    num_heads : int
    recurrent_dropout, dropout, weight_dropout : float
        The rates of this call, 0 in evaluation.
    every_state : bool
        Whether to return every state of the last layer, rather than only the first.
    recompute_every, bptt_truncate : int or None
        As for `Recurrent`.
    """

    cell: Cell
    weights: list[list[Tensor | None]]
    num_directions: int
    scalars: Mapping[tuple[str, str], float]
    key: int
    num_heads: int
    recurrent_dropout: float
    dropout: float
    weight_dropout: float
    every_state: bool
    recompute_every: int | None
    bptt_truncate: int | None

    def run(
        self,
        x: Tensor,
        layout: Layout,
        leading: tuple[int, ...],
        initial: list[States] | None,
        segments: Segments | None = None,
        learned: list[States] | None = None,
        inputs: list[LayerInputs] | None = None,
    ) -> tuple[States, States]:
        """Run all layers over time-major or packed rows.

        Parameters
        ----------
        x : Tensor
            Any shape with the N rows of the layout in order; integers lack the last dimension.
        layout : Layout
        leading : tuple of int
            The shape of a layer's and direction's states without their width: (1, B), or (1,) without a batch.
        initial : list of tuple of Tensor, (1, B, W) each, or None
            The initial states of each layer and direction; None for zeros, without segments.
        segments : Segments, optional
            The segments of the layout, if the states before and after the batch are not those of its sequences.
        learned : list of tuple of Tensor, (W,) each, or None
            The learned states of each layer and direction, with which segments begin after a reset; None for zeros.
        inputs : list of tuple of Tensor, optional
            The named inputs of each layer as rows, for a cell that has any.

        Returns
        -------
        every : tuple of Tensor
            The states of the last layer after every step, with the directions concatenated.
        final : tuple of Tensor, (L*D, B, W) each
        """
        ends: list[States] = []
        every: States = (x,)
        num_layers, num_states = len(self.weights) // self.num_directions, len(self.cell.states)
        for layer in range(num_layers):
            x = every[0] if layer == 0 or self.dropout == 0 else self._dropped(every[0], layer, layout)
            num_every = num_states if self.every_state and layer == num_layers - 1 else 1
            of_layer = () if inputs is None else inputs[layer]
            cell = variant_of(self.cell, of_layer) if of_layer else self.cell
            given: list[_Direction] = []
            for reverse in (False, True)[: self.num_directions]:
                index = len(ends) + reverse
                run = Run(
                    cell, layout, reverse, self._settings(index), self.recompute_every, self.bptt_truncate
                )
                before = () if initial is None else initial[index]
                if segments is not None:
                    restored = (None,) * len(before) if learned is None else learned[index]
                    before = segments.begin(before, restored, reverse)
                given.append((run, (*self._weights_of_call(index), *of_layer, *before)))
            of_sequences = leading if segments is None else (1, layout.batch_size)
            if self.num_directions == 2 and is_of_device(x._array):
                found = _run_both(given[0], given[1], num_every, of_sequences, x)
            else:
                found = [
                    RecurrentFunction.apply(run, num_every, of_sequences, x, *tensors)
                    for run, tensors in given
                ]
            for results in found:
                end = results[-num_states:]
                if segments is not None and initial is not None:
                    end = segments.end(end, initial[len(ends)], reverse=results is not found[0])
                ends.append(end)
            every = found[0][:-num_states]
            if self.num_directions == 2:
                every = _joined([every, found[1][:-num_states]], -1)
        return every, _joined(ends, 0)

    def _weights_of_call(self, layer_index: int) -> list[Tensor | None]:
        """Return the weights of a layer and direction as they are in this call: with DropConnect."""
        weights = self.weights[layer_index]
        if self.weight_dropout == 0 or weights[1] is None:
            return weights
        substream = first_substream(layer_index) + RECURRENT_WEIGHTS
        return [weights[0], drop_connect(weights[1], self.weight_dropout, self.key, substream), *weights[2:]]

    def _settings(self, layer_index: int) -> Settings:
        """Return the settings of a layer and direction; recurrent dropout is in the cell, or of projected features."""
        rate, features = self.recurrent_dropout, 0.0
        if self.weights[layer_index][PROJECTION] is not None:
            rate, features = features, rate
        return Settings(self.scalars, rate, self.key, first_substream(layer_index), self.num_heads, features)

    def _dropped(self, x: Tensor, layer: int, layout: Layout) -> Tensor:
        """Return the input of a layer above the first, with dropout applied."""
        substream = first_substream(layer * self.num_directions) + BETWEEN_LAYERS
        positions = layout.sent(layout.positions, x._array)
        return dropout_rows(x, self.dropout, self.key, substream, positions[:, 0], positions[:, 1])


def _run_both(
    first: _Direction, second: _Direction, num_every: int, leading: tuple[int, ...], x: Tensor
) -> list[States]:
    """Return the results of `RecurrentFunction` for both directions, which run at the same time."""
    (run, tensors), (other, others) = first, second
    results = BothDirections.apply((run, other), num_every, leading, x, *tensors, *others)
    middle = len(results) // 2
    return [results[:middle], results[middle:]]


def _joined(parts: list[States], dim: int) -> States:
    """Return the first tensors of all parts concatenated, then the second ones, and so on."""
    if len(parts) == 1:
        return parts[0]
    return tuple([rt.cat(tensors, dim) for tensors in zip(*parts, strict=True)])
