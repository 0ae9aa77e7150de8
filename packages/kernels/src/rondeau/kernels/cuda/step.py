"""Step: frozen layers of a cell that run one step per call on a GPU. The notation is that of `cpu.step`."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rondeau.kernels.cell.cell import Cell
from rondeau.kernels.cuda.filling import bias_of_slots, parameters_of
from rondeau.kernels.cuda.gradients import project_input
from rondeau.kernels.cuda.launching import Phases
from rondeau.kernels.cuda.phases import compiled_kernels
from rondeau.kernels.cuda.products import multiply_before, products_of
from rondeau.kernels.cuda.replay import Replay
from rondeau.kernels.recurrent.ordering import in_buffer_order
from rondeau.kernels.recurrent.records import Run, Settings, Weights
from rondeau.kernels.recurrent.substreams import PER_DIRECTION
from rondeau.kernels.runtime.devices import library_of

__all__ = ["Frozen", "Workspace", "step_alone"]

Array = NDArray[Any]


class Frozen:
    """Copies of the weights of layers and a head; all arguments are checked, contiguous, and of the same dtype.

    Parameters
    ----------
    cell : Cell
    layers : tuple of Weights
        From the lowest layer up.
    settings : Settings
    head : tuple of ndarray, optional
        The weight (V, P) and the bias (V,) of a linear layer on the output.
    weights_format : str
        The dtype of the arrays: a stepper refuses int8 here.
    """

    def __init__(
        self,
        cell: Cell,
        layers: tuple[Weights, ...],
        settings: Settings,
        head: tuple[Array, Array | None] | None,
        weights_format: str,
    ) -> None:
        schedule = cell.schedule
        self.layers = [in_buffer_order(schedule, _copied(weights)) for weights in layers]
        self.settings = settings
        self.hidden = H = layers[0].weight_ih.shape[0] // len(schedule.order)
        self.width = H if layers[0].weight_hr is None else layers[0].weight_hr.shape[0]
        self.head = None if head is None else (head[0].copy(), None if head[1] is None else head[1].copy())
        self.products = [
            products_of(schedule, weights.weight_hh, H, settings.num_heads) for weights in self.layers
        ]
        self.bias = [bias_of_slots(schedule, weights, H) for weights in self.layers]
        self.params = [parameters_of(weights, H) for weights in self.layers]

    def steps_at_once(self, batch_size: int) -> int:
        """Return 1: the work of a step is queued as one."""
        return 1

    def workspace(self, cell: Cell, batch_size: int, steps: int) -> Workspace:
        """Return the memory for a step of B rows of the cell, or of its variant for inputs in other forms."""
        return Workspace(self, cell, batch_size)


def _copied(weights: Weights) -> Weights:
    return weights._replace(
        params=tuple(vector.copy() for vector in weights.params),
        **{
            name: array.copy()
            for name, array in weights._asdict().items()
            if name != "params" and array is not None
        },
    )


class Workspace:
    """The memory for a step of B rows, kept from call to call.

    All arrays stay where they are, those of input and output too, so that a step can be captured in a CUDA graph.

    Attributes
    ----------
    before, after : tuple of ndarray, shape (L, B, P) for the first and (L, B, H) for others
        The states before the step, which the caller fills, and after it.
    """

    def __init__(self, frozen: Frozen, cell: Cell, batch_size: int) -> None:
        schedule, B, L = cell.schedule, batch_size, len(frozen.layers)
        like, H, P = frozen.layers[0].weight_ih, frozen.hidden, frozen.width

        def empty(*shape: int) -> Array:
            return np.empty_like(like, shape=shape)

        self._frozen, self._batch_size = frozen, B
        self._states = states = np.zeros_like(like, shape=(len(cell.states), 2 * L * B, H))
        is_projected = frozen.layers[0].weight_hr is not None
        self._hidden = np.zeros_like(like, shape=(2 * L * B, P)) if is_projected else states[0]
        stored = (self._hidden, *states[1:])
        self.before = tuple(state[: L * B].reshape(L, B, state.shape[1]) for state in stored)
        self.after = tuple(state[L * B :].reshape(L, B, state.shape[1]) for state in stored)
        self._gates = empty(B, len(schedule.order), H)
        self._values = empty(B, len(schedule.values), H)
        self._results = {product.name: empty(B, product.num_gates, H) for product in frozen.products[0]}
        self._y = None if frozen.head is None else empty(B, len(frozen.head[0]))
        numbers = schedule.graph.forms.numbers
        self._inputs = {name: empty(L, B, 1 if name in numbers else H) for name in cell.inputs}
        num_row_values = max(len(schedule.forward.row_values), len(schedule.backward.row_values))
        self._arrays = arrays = {
            "gates": self._gates, "recurrent": empty(B, len(schedule.split), H), "values": self._values,
            "row_values": empty(B, 1, num_row_values), "states": states,
            "carry": empty(B, schedule.forward.num_lanes, H), **self._results,
        }  # fmt: skip
        if schedule.draws_numbers:
            self._positions = np.zeros_like(like, np.int64, shape=(B, 2))
            self._positions[:, 1] = np.cumsum(np.ones_like(self._positions[:, 1])) - 1
            arrays["positions"] = self._positions
        self._draws_numbers = schedule.draws_numbers
        kernels, settings = compiled_kernels(cell, "forward", like.dtype), frozen.settings
        self._phases = [
            Phases(
                kernels,
                {
                    **arrays, "bias": frozen.bias[layer], "params": frozen.params[layer],
                    **{f"input_{name}": array[layer] for name, array in self._inputs.items()},
                },
                schedule,
                settings._replace(substream=settings.substream + layer * PER_DIRECTION),
                H,
            )
            for layer in range(L)
        ]  # fmt: skip
        self._steps: dict[int, tuple[Array, Replay]] = {}
        """For each number of dimensions of x: where it is copied to, and the step from there."""

    def run(self, x: Array, y: Array, inputs: tuple[Array, ...], time: int) -> None:
        """Run a step from the states `before`; fill the states `after` and ``y``, (B, V), or (B, P) without a head.

        ``x`` (B, I) is contiguous and of the weights' dtype, or consists of ids, int64 (B,). The named inputs are
        (L, B, H) or (L, B, 1). The time is that of the step's random numbers.
        """
        if x.ndim not in self._steps:
            self._steps[x.ndim] = np.empty_like(x), Replay(library_of(x))
        own, replay = self._steps[x.ndim]
        own[...] = x
        for array, given in zip(self._inputs.values(), inputs, strict=True):
            array[...] = given
        if self._draws_numbers:
            self._positions[:, 0] = time
        replay.run(functools.partial(self._queue, own))
        y[...] = self.after[0][-1] if self._y is None else self._y

    def _queue(self, x: Array) -> None:
        """Queue the work of a step on the arrays of this workspace alone."""
        frozen, B, L = self._frozen, self._batch_size, len(self._phases)
        flat = self._gates.reshape(B, self._gates.shape[1] * self._gates.shape[2])
        for layer, (weights, phases) in enumerate(zip(frozen.layers, self._phases, strict=True)):
            old, new = layer * B, (L + layer) * B
            project_input(x, weights.weight_ih, flat)
            for number in range(len(phases)):
                hidden = self._hidden[old : old + B]
                multiply_before(number, frozen.products[layer], hidden, self._values, self._results)
                phases.run(number, B, 0, old, new)
            if weights.weight_hr is not None:
                np.matmul(
                    self._states[0, new : new + B], weights.weight_hr.T, out=self._hidden[new : new + B]
                )
            x = self._hidden[new : new + B]
        if self._y is not None:
            assert frozen.head is not None
            weight, bias = frozen.head
            np.matmul(x, weight.T, out=self._y)
            if bias is not None:
                self._y += bias


def step_alone(run: Run, weights: Weights, x: Any) -> None:
    """Return None: a step that is differentiated is a run of one step here; see `Target`."""
