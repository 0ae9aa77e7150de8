"""The driver of single steps: all layers and the head in one call of a kernel, compiled once per format of weights.

Notation
--------
B rows, I inputs, H hidden units, P = H or the projection, V outputs of the head, L layers, S slots of all gates.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import numpy as np
from numba import prange, types

from rondeau.kernels.cpu.block_products import multiply_forward, pack_blocks
from rondeau.kernels.cpu.phase_call import call_phase
from rondeau.kernels.cpu.pieces import Pieces, columns_of_piece, gather_pieces, multiply_pieces, pack_pieces
from rondeau.kernels.cpu.storage import (
    Products,
    Storage,
    storage_type,
)
from rondeau.kernels.numerics.elements import ELEMENTS, INT8, Element
from rondeau.kernels.product import Rows, packed_size
from rondeau.kernels.product.operands import depth_of
from rondeau.kernels.recurrent.substreams import PER_DIRECTION
from rondeau.kernels.runtime.compiling import cached_njit
from rondeau.kernels.runtime.signatures import INDICES, TABLE, array_type, record_type

__all__ = ["KERNELS", "Division", "FrozenWeights"]


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


def _step(layers, storage, hidden, x, ids, y, rooms, division):  # type: ignore[no-untyped-def]
    """Run all layers for one step, and the head.

    The rows of the states in `storage` and of `hidden` are those of all layers before the step, followed by those after
    it; `bias` and `params` are those of all layers. Each share rounds left operands, if at all, into a row of `rooms`.
    """
    gates, states, bias, params = storage.gates, storage.states, storage.bias, storage.params
    cuts, cuts_of_phases, phases = division.cuts, division.cuts_of_phases, layers.phases
    L, S, H, P, V = bias.shape[0], gates.shape[1], gates.shape[2], hidden.shape[1], y.shape[1]
    B, shares, piece = gates.shape[0], cuts.size - 1, columns_of_piece(gates.itemsize)
    flat_x, flat_y, flat_gates = x.reshape(-1), y.reshape(-1), gates.reshape(-1)
    flat_hidden, flat_states = hidden.reshape(-1), states.reshape(-1)
    projected, ih_at = layers.packed_hr.shape[1] > 0, 0
    num_inputs = storage.inputs.size // L
    pieces_of_first, pieces_of_head = (P + piece - 1) // piece, (V + piece - 1) // piece
    for layer in range(L):
        old, new, below = layer * B, (L + layer) * B, (L + layer - 1) * B * P
        inputs = x.shape[1] if layer == 0 else P
        weight_ih = Pieces(layers.packed_ih, ih_at, inputs, S, H)
        products = Products(phases, layers.table, layers.ends, hidden, layers.packed_hh[layer])
        of_layer = Storage(
            gates, storage.recurrent, bias[layer : layer + 1], storage.values, storage.row_values, states,
            params[layer : layer + 1], storage.scalars, storage.carry, storage.mask, storage.d_states,
            storage.d_params, storage.d_values, storage.inputs[layer * num_inputs : (layer + 1) * num_inputs],
            storage.positions, storage.key, storage.substream + layer * PER_DIRECTION,
        )  # fmt: skip
        # As in a run of the layer, the product with a state of zeros is skipped.
        from_zero = layers.leaves_out[layer]
        for k in range(old * P, (old + B) * P):
            from_zero = from_zero and flat_hidden[k] == 0
        for phase in range(phases.size):
            for share in prange(shares):
                first, last = cuts[share], cuts[share + 1]
                if phase == 0:
                    if layer > 0:
                        multiply_pieces(
                            Rows(flat_hidden, below, P), B, weight_ih, first, last, flat_gates, 0, False,
                            rooms[share],
                        )  # fmt: skip
                    elif ids.size > 0:
                        gather_pieces(ids, weight_ih, first, last, flat_gates)
                    else:
                        multiply_pieces(
                            Rows(flat_x, 0, inputs), B, weight_ih, first, last, flat_gates, 0, False,
                            rooms[share],
                        )  # fmt: skip
                ends = layers.ends
                multiply_forward(
                    products,
                    ends[phase, first],
                    ends[phase, last],
                    of_layer,
                    hidden,
                    from_zero,
                    0,
                    old,
                    B,
                    rooms[share],
                )
                if cuts_of_phases.size > 2:
                    low, high = cuts_of_phases[share], cuts_of_phases[share + 1]
                    call_phase(phases[phase], (of_layer, 0, old, new, 0, B, low, high))
            if cuts_of_phases.size == 2:
                low, high = cuts_of_phases[0], cuts_of_phases[1]
                call_phase(phases[phase], (of_layer, 0, old, new, 0, B, low, high))
        if projected:
            weight_hr = Pieces(layers.packed_hr[layer], 0, H, 1, P)
            for share in prange(shares):
                first, last = share * pieces_of_first // shares, (share + 1) * pieces_of_first // shares
                multiply_pieces(
                    Rows(flat_states, new * H, H), B, weight_hr, first, last, flat_hidden, new * P, False,
                    rooms[share],
                )  # fmt: skip
        ih_at += packed_size(depth_of(layers.packed_ih, inputs), S * ((H + piece - 1) // piece * piece))
    head_shares, head = division.head_shares, Pieces(layers.packed_head, 0, P, 1, V)
    for share in prange(head_shares):
        first, last = share * pieces_of_head // head_shares, (share + 1) * pieces_of_head // head_shares
        for row in range(B):
            for j in range(first * piece, min(V, last * piece)):
                flat_y[row * V + j] = layers.head_bias[j]
        output = Rows(flat_hidden, (2 * L - 1) * B * P, P)
        multiply_pieces(output, B, head, first, last, flat_y, 0, True, rooms[share])


_step_alone, _step_shared = cached_njit(_step), cached_njit(parallel=True)(_step)


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
    def step_alone(self) -> Any:
        return _step_alone.compile(self._step)

    @functools.cached_property
    def step_shared(self) -> Any:
        return _step_shared.compile(self._step)

    @functools.cached_property
    def _step(self) -> Any:
        matrix = array_type(self._dtype, 2)
        packed, packed_layers = (array_type(self._packed.dtype, dimensions) for dimensions in (1, 2))
        layers = record_type(
            FrozenWeights,
            phases=INDICES,
            packed_ih=packed,
            table=TABLE,
            ends=TABLE,
            packed_hh=packed_layers,
            packed_hr=packed_layers,
            leaves_out=types.Array(types.boolean, 1, "C"),
            head_bias=array_type(self._dtype, 1),
            packed_head=packed,
        )
        division = record_type(Division, cuts=INDICES, cuts_of_phases=INDICES, head_shares=types.intp)
        rooms = array_type(self._packed.left.dtype, 2)
        return types.void(layers, storage_type(self._dtype), matrix, matrix, INDICES, matrix, rooms, division)


KERNELS = {(dtype, element): Kernels(dtype, element) for dtype, element in ELEMENTS.items()}
"""By the dtype of a stepper and the format of its packed weights."""
KERNELS[np.dtype(np.float32), INT8] = Kernels(np.dtype(np.float32), INT8)
