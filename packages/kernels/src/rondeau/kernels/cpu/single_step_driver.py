"""The drivers of a single step that is differentiated: forward in one call of a kernel, backward in another.

A run makes a call for each of its parts, the products with all rows of the batch among them, which costs nothing for
long sequences and more than the arithmetic for a step of a few sequences. These drivers do the same in the same order,
so the bits are the same, on the calling thread.

Notation
--------
B rows, I inputs, H hidden units, K states; S, R and V as for `Tape`, whose arrays are parts of one here: its memory.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import numpy as np
from numba import types

from rondeau.kernels.cpu.block_products import (
    Shares,
    deepest,
    multiply_backward,
    multiply_forward,
    pack_blocks,
)
from rondeau.kernels.cpu.gradients import sum_columns
from rondeau.kernels.cpu.phase_call import call_phase
from rondeau.kernels.cpu.storage import Products, Storage
from rondeau.kernels.numerics.elements import ELEMENTS, PAIRS
from rondeau.kernels.product.operands import room_for_operand
from rondeau.kernels.product.product import multiply_serially
from rondeau.kernels.runtime.compiling import cached_njit, linked_njit
from rondeau.kernels.runtime.signatures import INDICES, TABLE, array_type, record_type

__all__ = ["KERNELS", "ContributionRow", "Program", "StepArguments", "StepGradients", "StepWeights"]


class Program(NamedTuple):
    """What a direction runs, and the sizes that its arrays do not tell."""

    phases: Any
    """The addresses of the compiled phases."""
    table: Any
    """The products before or after each; see `rondeau.kernels.cpu.blocks`."""
    ends: Any
    """(groups, 2): where the products of a group begin and end."""
    contributions: Any
    """The parts of the gradient of the recurrent matrices, one per row; see `ContributionRow`."""
    packed: Any
    """The number of elements of all packed weights."""
    lanes: Any
    """Runs of H numbers per batch row that are carried from one loop to another."""
    joint: Any
    """Slots of gates that get both biases."""
    recurrent: Any
    """R."""
    values: Any
    """V."""
    row_values: Any
    """Single numbers per row."""


class StepWeights(NamedTuple):
    """The weights in the order of the buffers, or their gradients; those that a cell does not have are empty."""

    weight_ih: Any
    weight_hh: Any
    bias_ih: Any
    bias_hh: Any
    params: Any
    """(1, parameters, H)."""


class StepArguments(NamedTuple):
    """What a step reads in both directions."""

    tape: Any
    """The memory of a tape, which forward fills and backward spends."""
    x: Any
    """(B, I)"""
    weights: Any
    """`StepWeights`."""
    scalars: Any
    """As for `Storage`, like the next four."""
    inputs: Any
    positions: Any
    key: Any
    substream: Any


class StepGradients(NamedTuple):
    """Where the gradients of a step go, and which are needed."""

    x: Any
    """(B, I), or (0, I) if it is not needed."""
    before: Any
    """(K, B, H): the states before the step."""
    weights: Any
    """`StepWeights`."""
    needs_before: Any
    """Whether the gradient of the states must be complete."""
    needs_weights: Any


class ContributionRow(NamedTuple):
    """A part of the gradient of the recurrent matrices: the adjoints of some slots times an operand."""

    value: int
    """-1 for the first state, otherwise the index of a value."""
    is_joint: bool
    """Whether the slots are in the buffer of all gates."""
    column: int
    """Their first column there."""
    row: int
    """Their first row in the recurrent matrices."""
    size: int
    """The number of both."""


FIELD = ContributionRow(*range(len(ContributionRow._fields)))
"""The column of a table for each field of a part."""


@linked_njit
def _carve(memory, at, first, second, third):  # type: ignore[no-untyped-def]
    """Return the numbers from an index on as an array of three dimensions, and the index behind them."""
    end = at + first * second * third
    return memory[at:end].reshape(first, second, third), end


@linked_njit
def _storage(program, given, like, bias, d_states, d_params, d_values):  # type: ignore[no-untyped-def]
    """Return the storage of a step whose states are `like` others, (K, B, H)."""
    tape, (K, B, H) = given.tape, like.shape
    gates, at = _carve(tape, 0, B, given.weights.weight_ih.shape[0] // H, H)
    recurrent, at = _carve(tape, at, B, program.recurrent, H)
    values, at = _carve(tape, at, B, program.values, H)
    row_values, at = _carve(tape, at, B, 1, program.row_values)
    states, at = _carve(tape, at, K, 2 * B, H)
    mask, _ = _carve(tape, 0, 0, 1, H)
    carry = np.empty((max(B, 1), program.lanes, H), tape.dtype)
    return Storage(
        gates, recurrent, bias, values, row_values, states, given.weights.params, given.scalars, carry, mask,
        d_states, d_params, d_values, given.inputs, given.positions, given.key, given.substream,
    )  # fmt: skip


@linked_njit
def _bias_of_slots(weights, joint, recurrent):  # type: ignore[no-untyped-def]
    """Return the bias of each slot, flat, as `filling.bias_of_slots` does; the arguments are numbers of units."""
    columns = weights.weight_ih.shape[0]
    bias = np.zeros(columns + recurrent, weights.bias_ih.dtype)
    for k in range(weights.bias_ih.size):
        bias[k] = weights.bias_ih[k]
    if weights.bias_hh.size > 0:
        for k in range(joint):
            bias[k] += weights.bias_hh[k]
        for k in range(recurrent):
            bias[columns + k] = weights.bias_hh[joint + k]
    return bias


@linked_njit
def _copy(source, out):  # type: ignore[no-untyped-def]
    """Copy numbers that follow one another; Numba's own assignment of slices goes by their indices, not by vectors."""
    source, out = source.reshape(-1), out.reshape(-1)
    for k in range(out.size):
        out[k] = source[k]


@linked_njit
def _leaves_out_zeros(state, weight):  # type: ignore[no-untyped-def]
    """Return whether a state is zero and its product with finite weights may be left out."""
    for number in state:
        if number != 0:
            return False
    return bool(np.isfinite(weight).all())


@cached_njit
def _forward(program, given, before, after, packed):  # type: ignore[no-untyped-def]
    """Run a step from the states `before` to the states `after`, both (K, B, H); return what `Tape.from_zero` is."""
    weights, (_, B, H) = given.weights, before.shape
    bias = _bias_of_slots(weights, program.joint * H, program.recurrent * H)
    nothing, _ = _carve(given.tape, 0, 1, 0, H)
    storage = _storage(program, given, before, bias.reshape(1, bias.size // H, H), nothing, nothing, nothing)
    states, flat_hh, ends = storage.states, weights.weight_hh.reshape(-1), program.ends
    for k in range(states.shape[0]):
        _copy(before[k], states[k, :B])
    from_zero = _leaves_out_zeros(before[0].reshape(-1), flat_hh)
    gates = storage.gates.reshape(B, weights.weight_ih.shape[0])
    multiply_serially(given.x, weights.weight_ih.T, gates, False, packed)
    pack_blocks(program.table, flat_hh, 1, H, packed, 0, 1)
    products = Products(program.phases, program.table, ends, weights.weight_hh, packed)
    room = room_for_operand(packed, B, max(H, deepest(program.table)))
    for phase in range(program.phases.size):
        multiply_forward(products, Shares(phase, 0, 1, False), storage, states[0], from_zero, 0, 0, B, room)
        call_phase(program.phases[phase], (storage, 0, 0, B, 0, B, 0, H))
    for k in range(states.shape[0]):
        _copy(states[k, B:], after[k])
    return from_zero


@linked_njit
def _fill_biases(gates, recurrent, joint, d_weights):  # type: ignore[no-untyped-def]
    """Fill the gradients of both biases; ``joint`` units get both."""
    of_gates, of_recurrent = np.zeros(gates.shape[1]), np.zeros(recurrent.shape[1])
    sum_columns(gates, True, of_gates, 0, 1)
    sum_columns(recurrent, True, of_recurrent, 0, 1)
    _copy(of_gates, d_weights.bias_ih)
    if d_weights.bias_hh.size > 0:
        _copy(of_gates, d_weights.bias_hh[:joint])
        _copy(of_recurrent, d_weights.bias_hh[joint:])


@linked_njit
def _fill_weights(program, storage, from_zero, x, d_weights, packed):  # type: ignore[no-untyped-def]
    """Fill the gradients of the weights from the adjoints of the slots, in the order of `gradients.WeightSums`."""
    B, _, H = storage.gates.shape
    gates = storage.gates.reshape(B, storage.gates.shape[1] * H)
    recurrent = storage.recurrent.reshape(B, program.recurrent * H)
    multiply_serially(gates[::-1].T, x[::-1], d_weights.weight_ih, False, packed)
    for k in range(program.contributions.shape[0]):
        part = program.contributions[k]
        value, column, row, size = part[FIELD.value], part[FIELD.column], part[FIELD.row], part[FIELD.size]
        slots = gates if part[FIELD.is_joint] != 0 else recurrent
        operand = storage.values[:, value] if value >= 0 else storage.states[0, :B, :H]
        if value < 0 and from_zero:
            slots, operand = slots[:0], operand[:0]
        d_rows = d_weights.weight_hh[row : row + size]
        multiply_serially(slots[::-1, column : column + size].T, operand[::-1], d_rows, False, packed)
    if d_weights.bias_ih.size + d_weights.bias_hh.size > 0:
        _fill_biases(gates, recurrent, program.joint * H, d_weights)
    width = d_weights.params.size
    if width > 0:
        total = np.zeros(width)
        sum_columns(storage.d_params.reshape(B, width), False, total, 0, 1)
        _copy(total, d_weights.params.reshape(-1))


@cached_njit
def _backward(program, given, from_zero, d_after, wanted, packed):  # type: ignore[no-untyped-def]
    """Differentiate a step, given the gradients of the states after it, (K, B, H)."""
    weights, d_before, tape = given.weights, wanted.before, given.tape
    (_, B, H), ends, flat_hh = d_before.shape, program.ends, weights.weight_hh.reshape(-1)
    _copy(d_after, d_before)
    nothing, _ = _carve(tape, 0, 1, 0, H)
    d_params = np.zeros((B, weights.params.shape[1], H), tape.dtype)
    d_values = np.empty((program.values, B, H), tape.dtype)
    storage = _storage(program, given, d_before, nothing, d_before, d_params, d_values)
    pack_blocks(program.table, flat_hh, H, 1, packed, 0, 1)
    products = Products(program.phases, program.table, ends, weights.weight_hh, packed)
    room = room_for_operand(packed, B, max(H, deepest(program.table)))
    for phase in range(program.phases.size):
        call_phase(program.phases[phase], (storage, 0, 0, B, 0, B, 0, H))
        multiply_backward(
            products, ends[phase, 0], ends[phase, 1], storage, d_before[0], wanted.needs_before, 0, 0, B, room
        )
    if wanted.x.shape[0] > 0:
        gates = storage.gates.reshape(B, weights.weight_ih.shape[0])
        multiply_serially(gates, weights.weight_ih, wanted.x, False, packed)
    if wanted.needs_weights:
        _fill_weights(program, storage, from_zero, given.x, wanted.weights, packed)


class Kernels:
    """The drivers of one dtype and of one for packed operands, each compiled or loaded on first use."""

    def __init__(self, dtype: np.dtype[Any], packed: np.dtype[Any]) -> None:
        vector, self._matrix, self._volume = (array_type(dtype, dimensions) for dimensions in (1, 2, 3))
        self._packed = array_type(packed, 1)
        self._program = record_type(
            Program,
            **(
                dict.fromkeys(Program._fields, types.intp)
                | {"phases": INDICES, "table": TABLE, "ends": TABLE, "contributions": TABLE}
            ),
        )
        self._weights = record_type(
            StepWeights, weight_ih=self._matrix, weight_hh=self._matrix, bias_ih=vector, bias_hh=vector,
            params=self._volume,
        )  # fmt: skip
        self._given = record_type(
            StepArguments, tape=vector, x=self._matrix, weights=self._weights, scalars=self._volume, inputs=INDICES,
            positions=TABLE, key=types.uint64, substream=types.intp,
        )  # fmt: skip

    @functools.cached_property
    def forward(self) -> Any:
        """Arguments: program, what is given, states before and after, memory for packed weights."""
        return _forward.compile(
            types.boolean(self._program, self._given, self._volume, self._volume, self._packed)
        )

    @functools.cached_property
    def backward(self) -> Any:
        """Arguments: program, what is given, `Tape.from_zero`, gradients of states after, what is wanted, memory."""
        wanted = record_type(
            StepGradients, x=self._matrix, before=self._volume, weights=self._weights, needs_before=types.boolean,
            needs_weights=types.boolean,
        )  # fmt: skip
        return _backward.compile(
            types.void(self._program, self._given, types.boolean, self._volume, wanted, self._packed)
        )


KERNELS = {(dtype, dtype): Kernels(dtype, dtype) for dtype in ELEMENTS}
KERNELS[PAIRS.sums.dtype, PAIRS.dtype] = Kernels(PAIRS.sums.dtype, PAIRS.dtype)
