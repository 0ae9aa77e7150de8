"""Step: frozen layers of a cell that run one step per call on the CPU, or some steps whose inputs are known.

Text generation calls a layer for one step at a time, and a step of few rows reads every weight to use it once or twice.
So weights are packed once, when they are frozen; one call of a kernel runs all layers and the head; and its memory is
kept from call to call. Weights may be packed in int8 (`rondeau.kernels.product.int8`), a quarter of the memory to read;
the rest of a step is then the same. A call of several steps multiplies their inputs, and their outputs by the head, all
at once.

Notation
--------
B rows of a step, N of all steps of a call, I inputs, H hidden units, P = H or the projection, V outputs of the head, L
layers, S slots of all gates.

The recurrent matrices are packed by the table of `blocks`, divided into as many shares as there are pieces; the others
are `pieces`.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rondeau.kernels.cell.cell import Cell
from rondeau.kernels.cpu.blocks import COLUMN, Blocks, forward_blocks, unit_cuts
from rondeau.kernels.cpu.filling import (
    addresses_of_inputs,
    bias_of_slots,
    cuts_of_phases,
    leaves_out_zeros,
    parameters_of,
    scalars_of_run,
)
from rondeau.kernels.cpu.phases import compiled_phases
from rondeau.kernels.cpu.pieces import columns_of_piece
from rondeau.kernels.cpu.step_driver import KERNELS, Division, FixedArguments, FrozenWeights
from rondeau.kernels.cpu.storage import Storage
from rondeau.kernels.numerics.elements import ELEMENTS, INT8
from rondeau.kernels.product import packed_size
from rondeau.kernels.product.int8 import depth_of_int8, size_of_room
from rondeau.kernels.product.tiles import TILE
from rondeau.kernels.recurrent.ordering import in_buffer_order
from rondeau.kernels.recurrent.records import Settings, Weights
from rondeau.kernels.runtime import threads

__all__ = ["Frozen", "Workspace"]

Array = NDArray[Any]

_BYTES = TILE.vector_bytes
_ROWS_AT_ONCE = 64
"""The rows of several steps that a call multiplies at once: with that many, reading the weights takes no time."""
_READING = 8
"""The rows whose multiply-adds take as long as reading the weights does; fewer rows take no less time."""
_FASTER = 4
"""How many multiply-adds with weights in int8 take as long as one in float32: both are bound by reading weights."""


class Frozen:
    """The packed weights of layers and a head; all arguments are checked, contiguous, and of the same dtype.

    Parameters
    ----------
    cell : Cell
    layers : tuple of Weights
        From the lowest layer up.
    settings : Settings
    head : tuple of ndarray, optional
        The weight (V, P) and the bias (V,) of a linear layer on the output.
    weights_format : {"float32", "float64", "int8"}
        The dtype of the arrays, or int8 if that is float32.
    """

    def __init__(
        self,
        cell: Cell,
        layers: tuple[Weights, ...],
        settings: Settings,
        head: tuple[Array, Array | None] | None,
        weights_format: str,
    ) -> None:
        self.key, self.substream = settings.key, settings.substream
        schedule = cell.schedule
        layers = tuple(in_buffer_order(schedule, weights) for weights in layers)
        lowest = layers[0]
        self.dtype = dtype = lowest.weight_ih.dtype
        self.packed = INT8 if weights_format == "int8" else ELEMENTS[dtype]
        self.schedule, self.num_layers, self.kernels = schedule, len(layers), KERNELS[dtype, self.packed]
        S, self.inputs = len(schedule.order), lowest.weight_ih.shape[1]
        self.hidden = H = lowest.weight_ih.shape[0] // S
        self.is_projected = lowest.weight_hr is not None
        self.width = P = lowest.weight_hr.shape[0] if self.is_projected else H
        self.has_head = head is not None
        piece = columns_of_piece(dtype.itemsize)
        self.cuts = unit_cuts(H, H, piece)
        blocks = self._packed_blocks(forward_blocks(schedule, H, P, settings.num_heads, self.cuts))
        columns = S * (len(self.cuts) - 1) * piece
        sizes = [self._packed_size(weights.weight_ih.shape[1], columns) for weights in layers]
        packed_ih = _aligned(sum(sizes), self.packed.dtype)
        packed_hh = _aligned((len(layers), blocks.packed_size), self.packed.dtype)
        size_of_hr = self._packed_size(H, P) if self.is_projected else 0
        packed_hr = _aligned((len(layers), size_of_hr), self.packed.dtype)
        for k, weights in enumerate(layers):
            self.kernels.pack_layer(
                weights.weight_ih, S, packed_ih, sum(sizes[:k]), blocks.table,
                np.empty((0, P), dtype) if weights.weight_hh is None else weights.weight_hh, packed_hh[k],
                weights.weight_hr if self.is_projected else np.empty((0, H), dtype), packed_hr[k],
            )  # fmt: skip
        weight, bias = (np.empty((0, P), dtype), None) if head is None else head
        packed_head = _aligned(self._packed_size(P, len(weight)), self.packed.dtype)
        self.kernels.pack_head(weight, packed_head)
        self.layers = FrozenWeights(
            compiled_phases(cell, "forward", dtype), packed_ih, blocks.table, blocks.ends, packed_hh, packed_hr,
            np.array([leaves_out_zeros(weights) for weights in layers]),
            np.zeros(len(weight), dtype) if bias is None else np.array(bias), packed_head,
        )  # fmt: skip
        self.bias = np.concatenate([bias_of_slots(schedule, weights, H) for weights in layers])
        self.params = np.concatenate([parameters_of(weights, H, dtype) for weights in layers])
        self.scalars = scalars_of_run(schedule, settings, dtype)
        recurrent = int(blocks.table[:, COLUMN.depth] @ blocks.table[:, COLUMN.width])
        #: The multiply-adds of a row in a layer, and in the head.
        self.work = columns * max(self.inputs, P) + recurrent, P * len(weight)
        if self.packed is INT8:
            self.work = self.work[0] // _FASTER, self.work[1] // _FASTER
        self._divisions: dict[tuple[int, int], Division] = {}

    def _packed_size(self, depth: int, width: int) -> int:
        """Return the number of elements of a packed operand of `depth` by `width` numbers."""
        size: int = packed_size(depth_of_int8(depth) if self.packed is INT8 else depth, width)
        return size

    def _packed_blocks(self, blocks: Blocks) -> Blocks:
        """Return the recurrent products with their places among the packed weights."""
        sizes = [self._packed_size(*row[[COLUMN.depth, COLUMN.width]].tolist()) for row in blocks.table]
        table = blocks.table.copy()
        table[:, COLUMN.packed_at] = np.cumsum(sizes) - sizes
        return blocks._replace(table=table, packed_size=sum(sizes))

    def rooms(self, rows: int, shares: int) -> Array:
        """Return the memory in which shares round left operands; empty if the weights are as they were."""
        size = 0
        if self.packed is INT8:
            size = size_of_room(rows, max(self.inputs, self.hidden, self.width))
        return np.empty((shares, size), self.packed.left.dtype)

    def steps_at_once(self, batch_size: int) -> int:
        """Return the most steps of B rows that are worth a single call."""
        return max(1, _ROWS_AT_ONCE // max(batch_size, 1))

    def workspace(self, cell: Cell, batch_size: int, steps: int) -> Workspace:
        """Return the memory for steps of B rows of the cell, or of its variant for inputs in other forms."""
        return Workspace(self, cell, batch_size, steps)

    def division(self, count: int, head_shares: int) -> Division:
        """Return how at most ``count`` threads divide the layers, and ``head_shares`` the head."""
        found = self._divisions.get((count, head_shares))
        if found is None:
            pieces = len(self.cuts) - 1
            shares = max(1, min(count, pieces))
            cuts = np.array([pieces * share // shares for share in range(shares + 1)])
            units = tuple(self.cuts[cut] for cut in cuts)
            found = Division(cuts, cuts_of_phases(self.schedule.forward, units), head_shares)
            self._divisions[count, head_shares] = found
        return found


def _aligned(shape: int | tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """Return an uninitialised array that starts at a cache line, because panels are read by whole vectors."""
    # Not from the pool: weights live as long as the stepper, and no other array would reuse their memory.
    size = math.prod(shape) if isinstance(shape, tuple) else shape
    memory = np.empty(size * dtype.itemsize + _BYTES, np.uint8)
    first = -memory.ctypes.data % _BYTES
    return memory[first : first + size * dtype.itemsize].view(dtype).reshape(shape)


class Workspace:
    """The memory for steps of B rows, kept from call to call.

    Attributes
    ----------
    before, after : tuple of ndarray, shape (L, B, P) for the first and (L, B, H) for others
        The states before the steps, which the caller fills, and after them.
    """

    def __init__(self, frozen: Frozen, cell: Cell, batch_size: int, steps: int) -> None:
        schedule, dtype, B, N = cell.schedule, frozen.dtype, batch_size, steps * batch_size
        H, P, L, program = frozen.hidden, frozen.width, frozen.num_layers, schedule.forward
        states = np.zeros((len(schedule.graph.states), 2 * L * B, H), dtype)
        self._hidden = np.zeros((2 * L * B, P), dtype) if frozen.is_projected else states[0]
        stored = (self._hidden, *states[1:])
        self.before = tuple(state[: L * B].reshape(L, B, state.shape[1]) for state in stored)
        self.after = tuple(state[L * B :].reshape(L, B, state.shape[1]) for state in stored)
        # The forms of inputs change neither the slots nor the products, only the phases between them.
        self._frozen, self._layers = frozen, frozen.layers
        if cell.schedule is not frozen.schedule:
            self._layers = frozen.layers._replace(phases=compiled_phases(cell, "forward", dtype))
        nothing = np.empty((0, 0, H), dtype)
        self._storage = Storage(
            np.empty((N, len(schedule.order), H), dtype), np.empty((N, len(schedule.split), H), dtype), frozen.bias,
            np.empty((N, len(schedule.values), H), dtype),
            np.empty((N, 1, max(len(program.row_values), len(schedule.backward.row_values))), dtype),
            states, frozen.params, frozen.scalars, np.empty((max(B, 1), program.num_lanes, H), dtype),
            nothing, nothing, nothing, nothing, np.empty(L * len(cell.inputs), np.int64),
            np.stack((np.zeros(N, np.int64), np.tile(np.arange(B), steps)), axis=1), frozen.key, frozen.substream,
        )  # fmt: skip
        self._draws_numbers, self._step_of_row = schedule.draws_numbers, np.repeat(np.arange(steps), B)
        self._no_ids, self._no_x = np.empty(0, np.int64), np.empty((0, frozen.inputs), dtype)
        self._no_y, self._outputs = np.empty((0, 0), dtype), np.empty((N, P), dtype)
        self._rows, self._batch_size, self._rooms = N, B, frozen.rooms(N, 1)
        self._memory = frozen.kernels.memory()
        self._division: Division | None = None

    def run(self, x: Array, y: Array, inputs: tuple[Array, ...], time: int) -> None:
        """Run some steps from the states `before`; fill the states `after` and ``y``, (N, V), or (N, P) without a head.

        ``x`` (N, I) is contiguous and of the weights' dtype, or consists of ids, int64 (N,): B rows for each step in
        turn. A named input is (L, N, H) or (L, N, 1) for a step input; a sequence input has B in the place of N. The
        time is that of the first step's random numbers.
        """
        frozen, N = self._frozen, len(x)
        if N == 0:
            return  # without rows, no state changes
        if inputs:
            layers = range(frozen.num_layers)
            self._storage.inputs[:] = addresses_of_inputs(*[array[k] for k in layers for array in inputs])
        if self._draws_numbers:
            np.add(self._step_of_row, time, out=self._storage.positions[:, 0])
        x, ids = (x, self._no_ids) if x.ndim == 2 else (self._no_x, x)
        outputs, y = (self._outputs[:N], y) if frozen.has_head else (y, self._no_y)
        work, work_of_head = frozen.work
        head_shares = threads.shares_of(max(N, _READING) * work_of_head)
        division = frozen.division(threads.shares_of(max(self._batch_size, _READING) * work), head_shares)
        shares = max(division.cuts.size - 1, head_shares)
        if division is not self._division:
            if shares > len(self._rooms):
                self._rooms = frozen.rooms(self._rows, shares)
            kept = FixedArguments(self._layers, self._storage, self._hidden, self._rooms, division)
            frozen.kernels.keep(self._memory, kept)
            self._division = division
        if shares == 1:
            frozen.kernels.run_alone(self._memory, x, ids, outputs, y, time)
        else:
            threads.launch(frozen.kernels.run_shared, self._memory, x, ids, outputs, y, time, shares=shares)
