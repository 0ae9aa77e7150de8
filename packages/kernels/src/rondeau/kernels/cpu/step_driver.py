"""The driver of steps with frozen weights: all layers and the head in one call, compiled once per format of weights.

Notation
--------
B rows of a step, N of all steps of a call, I inputs, H hidden units, P = H or the projection, V outputs of the head, L
layers, S slots of all gates.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import numpy as np
from numba import types
from numba.np.numpy_support import as_dtype
from numpy.typing import NDArray

from rondeau.kernels.cpu.block_products import Shares, multiply_forward, pack_blocks
from rondeau.kernels.cpu.phase_call import call_phase
from rondeau.kernels.cpu.pieces import Pieces, columns_of_piece, gather_pieces, multiply_pieces, pack_pieces
from rondeau.kernels.cpu.storage import (
    Products,
    Storage,
    storage_type,
)
from rondeau.kernels.numerics.elements import ELEMENTS, INT8, Element, element_of
from rondeau.kernels.product import Rows, packed_size
from rondeau.kernels.product.microkernel import pointer_to
from rondeau.kernels.product.operands import depth_of
from rondeau.kernels.recurrent.substreams import PER_DIRECTION
from rondeau.kernels.runtime.compiling import cached_njit, linked_njit
from rondeau.kernels.runtime.kept_records import memory_for, reader, write_record
from rondeau.kernels.runtime.shares import bounds_of_share, run_alone, run_shares
from rondeau.kernels.runtime.signatures import INDICES, TABLE, array_type, record_type

__all__ = ["KERNELS", "Division", "FixedArguments", "FrozenWeights"]


class FrozenWeights(NamedTuple):
    """The packed layers and head, as the kernel needs them."""

    phases: Any
    """The addresses of the compiled phases."""
    packed_ih: Any
    """The input weights of all layers, one after the other."""
    table: Any
    """The recurrent products of a layer."""
    ends: Any
    """Where those of a share end; see `rondeau.kernels.cpu.blocks`."""
    packed_hh: Any
    """(L, .): the recurrent weights."""
    packed_hr: Any
    """(L, .): the projections."""
    leaves_out: Any
    """(L,): whether a product with a state of zeros may be skipped."""
    head_bias: Any
    """(V,)"""
    packed_head: Any
    """The weight of the head."""


class Division(NamedTuple):
    """How a step is divided among threads."""

    cuts: Any
    """The bounds of each share's pieces."""
    cuts_of_phases: Any
    """The bounds of the hidden units for which a share runs the phases; two numbers if one thread runs them all."""
    head_shares: Any
    """The number of shares of the head."""


class FixedArguments(NamedTuple):
    """The arguments that stay the same from call to call, which are kept in memory."""

    layers: Any
    """`FrozenWeights`."""
    storage: Any
    """Room for the rows of as many steps as a call may have. The rows of the states are those of all layers before the
    first step, followed by those after the last one; between them, steps write to either in turn. `bias` and `params`
    are those of all layers."""
    hidden: Any
    """The first state as the recurrent matrices see it, with the rows of the states."""
    rooms: Any
    """A row for each share to round left operands into, if they are rounded."""
    division: Any
    """`Division`."""


class _Input(NamedTuple):
    """The input of a layer at all steps."""

    weight: Any
    """The packed weight."""
    rows: Any
    """The rows that it multiplies."""
    count: Any
    """N."""
    ids: Any
    """In their place, the ids of one-hot rows; empty if there are none."""


class _RowsOfStep(NamedTuple):
    """The rows that a step of a layer reads and writes."""

    slots: Any
    """The first one of the slots."""
    old: Any
    """That of the states before the step."""
    new: Any
    """That of the states after it."""
    count: Any
    """B."""
    from_zero: Any
    """Whether the products with the state before are left out."""
    backwards: Any
    """Whether to begin with the last product."""


@functools.cache
def _kept_type(dtype: np.dtype[Any], packed: Element) -> Any:
    """Return Numba's type of `FixedArguments`."""
    of_packed, of_packed_layers = (array_type(packed.dtype, dimensions) for dimensions in (1, 2))
    layers = record_type(
        FrozenWeights,
        phases=INDICES,
        packed_ih=of_packed,
        table=TABLE,
        ends=TABLE,
        packed_hh=of_packed_layers,
        packed_hr=of_packed_layers,
        leaves_out=types.Array(types.boolean, 1, "C"),
        head_bias=array_type(dtype, 1),
        packed_head=of_packed,
    )
    return record_type(
        FixedArguments,
        layers=layers,
        storage=storage_type(dtype),
        hidden=array_type(dtype, 2),
        rooms=array_type(packed.left.dtype, 2),
        division=record_type(Division, cuts=INDICES, cuts_of_phases=INDICES, head_shares=types.intp),
    )


@cached_njit
def _pack_layer(  # type: ignore[no-untyped-def]
    weight_ih, slots, packed_ih, ih_at, table, weight_hh, packed_hh, weight_hr, packed_hr
):
    """Pack the weights of a layer; ``packed_hh`` and ``packed_hr`` are those of this layer."""
    pack_pieces(weight_ih, slots, packed_ih, ih_at)
    pack_blocks(table, weight_hh.reshape(-1), 1, weight_hh.shape[1], packed_hh, 0, 1)
    pack_pieces(weight_hr, 1, packed_hr, 0)


@cached_njit
def _pack_head(weight, packed):  # type: ignore[no-untyped-def]
    pack_pieces(weight, 1, packed, 0)


@linked_njit
def _are_zero(numbers, first, last):  # type: ignore[no-untyped-def]
    for k in range(first, last):  # noqa: SIM110 - Numba has no all()
        if numbers[k] != 0:
            return False
    return True


@linked_njit
def _copy(source, source_at, target, target_at, count):  # type: ignore[no-untyped-def]
    """Copy numbers from one flat array to another, or to another place."""
    from_there, to_here = pointer_to(source, source_at), pointer_to(target, target_at)
    for k in range(count):
        to_here[k] = from_there[k]


_read_kept = reader(lambda memory, x: _kept_type(as_dtype(x.dtype), element_of(memory.dtype)))


@cached_njit
def _keep(memory, kept):  # type: ignore[no-untyped-def]
    write_record(memory, kept)


@linked_njit
def _share_of_phase(  # type: ignore[no-untyped-def]
    products, storage, hidden, given, division, rooms, at, of_step, share, shares
):
    """Run a share of a phase of a layer, if threads share it, after the products that it needs.

    ``of_step`` has the numbers of the step and of the phase. Before the first phase of the first step, the products are
    those of all inputs too.
    """
    step, phase = of_step
    first, last = division.cuts[share], division.cuts[share + 1]
    if phase == 0 and step == 0:
        flat_gates = storage.gates.reshape(-1)
        if given.ids.size > 0:
            gather_pieces(given.ids, given.weight, first, last, flat_gates)
        else:
            multiply_pieces(
                given.rows, given.count, given.weight, first, last, flat_gates, 0, False, rooms[share]
            )
    multiply_forward(
        products, Shares(phase, first, last, at.backwards), storage, hidden, at.from_zero, at.slots, at.old, at.count,
        rooms[share],
    )  # fmt: skip
    if division.cuts_of_phases.size > 2:
        low, high = division.cuts_of_phases[share], division.cuts_of_phases[share + 1]
        call_phase(products.phases[phase], (storage, at.slots, at.old, at.new, 0, at.count, low, high))


@linked_njit
def _share_of_projection(unprojected, count, weight_hr, hidden, hidden_at, rooms, share, shares):  # type: ignore[no-untyped-def]
    """Compute a share of the columns of the projected state."""
    piece = columns_of_piece(hidden.itemsize)
    first, last = bounds_of_share((weight_hr.width + piece - 1) // piece, share, shares)
    multiply_pieces(unprojected, count, weight_hr, first, last, hidden, hidden_at, False, rooms[share])


@linked_njit
def _share_of_head(output, count, head, bias, y, rooms, share, shares):  # type: ignore[no-untyped-def]
    """Compute a share of the columns of flat `y`."""
    V, piece = head.width, columns_of_piece(y.itemsize)
    first, last = bounds_of_share((V + piece - 1) // piece, share, shares)
    for row in range(count):
        for j in range(first * piece, min(V, last * piece)):
            y[row * V + j] = bias[j]
    multiply_pieces(output, count, head, first, last, y, 0, True, rooms[share])


def _kernel_with(run: Any) -> Any:
    """Make the kernel, which calls ``run(function, arguments, shares)`` for work that threads can share."""

    def steps_of(memory, x, ids, outputs, y, time):  # type: ignore[no-untyped-def]
        """Run one layer after the other for some steps, and the head, with `FixedArguments` in memory.

        The rows of `x` or `ids`, `outputs` (N, P) and `y` (N, V) are B for each step in turn. The time is that of the
        first step.
        """
        layers, storage, hidden, rooms, division = _read_kept(memory, x)
        gates, states, bias, params = storage.gates, storage.states, storage.bias, storage.params
        cuts_of_phases, phases = division.cuts_of_phases, layers.phases
        L, S, H, P, V = bias.shape[0], gates.shape[1], gates.shape[2], hidden.shape[1], y.shape[1]
        N, B, shares = outputs.shape[0], hidden.shape[0] // (2 * L), division.cuts.size - 1
        piece, flat_outputs = columns_of_piece(gates.itemsize), outputs.reshape(-1)
        flat_hidden, flat_states = hidden.reshape(-1), states.reshape(-1)
        projected, ih_at, steps = layers.packed_hr.shape[1] > 0, 0, N // B
        num_inputs = storage.inputs.size // L
        rows, ids_of_layer, inputs = Rows(x.reshape(-1), 0, x.shape[1]), ids, x.shape[1]
        for layer in range(L):
            given = _Input(Pieces(layers.packed_ih, ih_at, inputs, S, H), rows, N, ids_of_layer)
            weight_hr = Pieces(layers.packed_hr[layer], 0, H, 1, P)
            products = Products(phases, layers.table, layers.ends, hidden, layers.packed_hh[layer])
            of_layer = Storage(
                gates, storage.recurrent, bias[layer : layer + 1], storage.values, storage.row_values, states,
                params[layer : layer + 1], storage.scalars, storage.carry, storage.mask, storage.d_states,
                storage.d_params, storage.d_values, storage.inputs[layer * num_inputs : (layer + 1) * num_inputs],
                storage.positions, storage.key, storage.substream + layer * PER_DIRECTION,
            )  # fmt: skip
            for step in range(steps):
                at, turned = step * B, step % 2 * L * B
                old, new = layer * B + turned, (L + layer) * B - turned
                # As in a run of the layer, the product with a state of zeros is skipped.
                from_zero = layers.leaves_out[layer] and _are_zero(flat_hidden, old * P, (old + B) * P)
                for phase in range(phases.size):
                    rows_of_step = _RowsOfStep(at, old, new, B, from_zero, (time + step) % 2 == 1)
                    run(
                        _share_of_phase,
                        (products, of_layer, hidden, given, division, rooms, rows_of_step, (step, phase)),
                        shares,
                    )
                    if cuts_of_phases.size == 2:
                        low, high = cuts_of_phases[0], cuts_of_phases[1]
                        call_phase(phases[phase], (of_layer, at, old, new, 0, B, low, high))
                if projected:
                    unprojected = Rows(flat_states, new * H, H)
                    run(
                        _share_of_projection, (unprojected, B, weight_hr, flat_hidden, new * P, rooms), shares
                    )
                _copy(flat_hidden, new * P, flat_outputs, at * P, B * P)
            if steps % 2 == 0:
                for state in range(states.shape[0]):
                    row = state * states.shape[1]
                    _copy(flat_states, (row + layer * B) * H, flat_states, (row + (L + layer) * B) * H, B * H)
                if projected:
                    _copy(flat_hidden, layer * B * P, flat_hidden, (L + layer) * B * P, B * P)
            ih_at += packed_size(depth_of(layers.packed_ih, inputs), S * ((H + piece - 1) // piece * piece))
            rows, ids_of_layer, inputs = Rows(flat_outputs, 0, P), ids[:0], P
        head = Pieces(layers.packed_head, 0, P, 1, V)
        run(
            _share_of_head,
            (rows, y.shape[0], head, layers.head_bias, y.reshape(-1), rooms),
            division.head_shares,
        )

    return cached_njit(steps_of, source=run.__name__)


_run_alone, _run_shared = _kernel_with(run_alone), _kernel_with(run_shares)


class Kernels:
    """The kernels of one dtype and format of packed weights, each compiled or loaded on first use."""

    def __init__(self, dtype: np.dtype[Any], packed: Element) -> None:
        self._dtype, self._packed = dtype, packed

    @functools.cached_property
    def pack_layer(self) -> Any:
        matrix, packed = array_type(self._dtype, 2), array_type(self._packed.dtype, 1)
        return _pack_layer.compile(
            types.void(matrix, types.intp, packed, types.intp, TABLE, matrix, packed, matrix, packed)
        )

    @functools.cached_property
    def pack_head(self) -> Any:
        return _pack_head.compile(types.void(array_type(self._dtype, 2), array_type(self._packed.dtype, 1)))

    @functools.cached_property
    def run_alone(self) -> Any:
        return _run_alone.compile(self._run)

    @functools.cached_property
    def run_shared(self) -> Any:
        return _run_shared.compile(self._run)

    @functools.cached_property
    def _run(self) -> Any:
        matrix, memory = array_type(self._dtype, 2), array_type(self._packed.dtype, 1)
        return types.void(memory, matrix, INDICES, matrix, matrix, types.intp)

    def memory(self) -> NDArray[Any]:
        """Return memory for `FixedArguments`."""
        return memory_for(_kept_type(self._dtype, self._packed), self._packed.dtype)

    @functools.cached_property
    def keep(self) -> Any:
        memory = array_type(self._packed.dtype, 1)
        return _keep.compile(types.void(memory, _kept_type(self._dtype, self._packed)))


KERNELS = {(dtype, element): Kernels(dtype, element) for dtype, element in ELEMENTS.items()}
"""By the dtype of a stepper and the format of its packed weights."""
KERNELS[np.dtype(np.float32), INT8] = Kernels(np.dtype(np.float32), INT8)
