"""Step: frozen layers of a cell, one step a call, on the CPU.

Generating text calls a layer for one step at a time, and a step of few rows reads every weight to use it once or twice.
So weights are packed once, when they are frozen; a call is one call of a kernel for all layers and the head; and what
it works on is kept from call to call.

Letters
-------
B rows, I inputs, H hidden units, P = H or the projection, V outputs of the head, L layers, S slots of all gates.

Packed matrices
---------------
Columns are cut into *pieces* one panel of the product wide. A matrix whose columns are `parts` runs of `width`, as the
slots of S gates are, is packed piece after piece, and within a piece part after part. So one packing serves any number
of threads: each takes a run of pieces, of which it reads the memory in order. A row of a panel is a row of the matrix,
so an id finds its columns of ``weight_ih`` in there too.

The recurrent matrices are packed by the table of `blocks`, cut for as many shares as there are pieces.
"""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numba import from_dtype, prange, types
from numpy.typing import NDArray

from rondeau.kernels import threads
from rondeau.kernels.compiling import cached_njit, kernel_njit
from rondeau.kernels.product import pack, packed_size, product_rows
from rondeau.kernels.product.tiles import TILE
from rondeau.kernels.targets.block_products import multiply_forward, pack_blocks
from rondeau.kernels.targets.blocks import forward_blocks, unit_cuts
from rondeau.kernels.targets.cpu_emit import call_row
from rondeau.kernels.targets.driver_arguments import (
    bias_of_slots,
    cuts_of_rows,
    in_order,
    leaves_out_zeros,
    parameters_of,
    recurrent_weight,
    scalars_of_run,
)

if TYPE_CHECKING:
    from rondeau.kernels.cell.schedule import Schedule
    from rondeau.kernels.sequence import Settings, Weights

__all__ = ["Frozen", "Workspace"]

Array = NDArray[Any]

_VECTORS, _BYTES = TILE.vectors, TILE.vector_bytes


# ---------------------------------------------------------------- kernels, compiled once per dtype


@kernel_njit
def _pack_pieces(weight, parts, packed, packed_at):  # type: ignore[no-untyped-def]
    """Pack the transpose of ``weight`` (parts * width, K)."""
    K, width, piece = weight.shape[1], weight.shape[0] // parts, _VECTORS * (_BYTES // weight.itemsize)
    flat = weight.reshape(-1)
    for low in range(0, width, piece):
        columns = min(piece, width - low)
        for part in range(parts):
            at = packed_at + packed_size(K, parts * low) + part * packed_size(K, columns)
            pack(flat, (part * width + low) * K, 1, K, K, columns, packed, at)


@kernel_njit
def _multiply_pieces(  # type: ignore[no-untyped-def]
    a, a_at, count, K, packed, packed_at, parts, width, first, last, out, out_at, accumulate
):  # fmt: skip
    """Fill, or add to, the columns of pieces ``first`` to ``last - 1`` of ``out`` (count, parts * width)."""
    piece = _VECTORS * (_BYTES // a.itemsize)
    for low in range(first * piece, min(width, last * piece), piece):
        columns = min(piece, width - low)
        for part in range(parts):
            at = packed_at + packed_size(K, parts * low) + part * packed_size(K, columns)
            product_rows(
                a, a_at, K, count, K, packed, at, columns,
                out, out_at + part * width + low, parts * width, accumulate,
            )  # fmt: skip


@kernel_njit
def _gather_pieces(ids, K, packed, parts, width, first, last, out):  # type: ignore[no-untyped-def]
    """Copy the rows that ``ids`` name of the packed matrix: the products of one-hot rows with it."""
    lanes = _BYTES // packed.itemsize
    piece = _VECTORS * lanes
    for low in range(first * piece, min(width, last * piece), piece):
        columns = min(piece, width - low)
        whole = (columns + lanes - 1) // lanes * lanes
        for part in range(parts):
            at = packed_size(K, parts * low) + part * packed_size(K, columns)
            for row in range(ids.size):
                source, target = at + ids[row] * whole, (row * parts + part) * width + low
                for j in range(columns):
                    out[target + j] = packed[source + j]


@cached_njit
def _pack_layer(  # type: ignore[no-untyped-def]
    weight_ih, slots, packed_ih, ih_at, table, weight_hh, packed_hh, weight_hr, packed_hr
):
    """Pack the weights of a layer; ``packed_hh`` and ``packed_hr`` are its own."""
    _pack_pieces(weight_ih, slots, packed_ih, ih_at)
    pack_blocks(table, weight_hh.reshape(-1), 1, weight_hh.shape[1], packed_hh, 0, 1)
    _pack_pieces(weight_hr, 1, packed_hr, 0)


@cached_njit
def _pack_head(weight, packed):  # type: ignore[no-untyped-def]
    _pack_pieces(weight, 1, packed, 0)


def _step(  # type: ignore[no-untyped-def]
    rows, packed_ih, table, ends, packed_hh, packed_hr, bias, params, scalars, head_bias, packed_head,
    leaves_out, states, hidden, gates, recurrent, values, row_values, carry, places, x, ids, y, cuts, cuts_of_rows,
    head_shares,
):  # fmt: skip
    """Run all layers for one step, and the head; shares are runs of pieces, from one of ``cuts`` to the next.

    Rows of `states` and `hidden` are those of all layers before the step, and then those after it.
    """
    L, S, H, P, V = bias.shape[0], gates.shape[1], gates.shape[2], hidden.shape[1], y.shape[1]
    B, shares, piece = gates.shape[0], cuts.size - 1, _VECTORS * (_BYTES // gates.itemsize)
    flat_x, flat_y, flat_gates = x.reshape(-1), y.reshape(-1), gates.reshape(-1)
    flat_hidden, flat_states, nothing = hidden.reshape(-1), states.reshape(-1), bias[:0]
    projected, ih_at = packed_hr.shape[1] > 0, 0
    pieces_of_first, pieces_of_head = (P + piece - 1) // piece, (V + piece - 1) // piece
    for layer in range(L):
        old, new, below = layer * B, (L + layer) * B, (L + layer - 1) * B * P
        bias_of_layer, params_of_layer = bias[layer : layer + 1], params[layer : layer + 1]
        from_zero = leaves_out[
            layer
        ]  # as in a run of the layer: the product with a state of zeros is left out
        for k in range(old * P, (old + B) * P):
            from_zero = from_zero and flat_hidden[k] == 0
        for phase in range(rows.size):
            for share in prange(shares):
                first, last = cuts[share], cuts[share + 1]
                if phase == 0:
                    if layer > 0:
                        _multiply_pieces(
                            flat_hidden,
                            below,
                            B,
                            P,
                            packed_ih,
                            ih_at,
                            S,
                            H,
                            first,
                            last,
                            flat_gates,
                            0,
                            False,
                        )
                    elif ids.size > 0:
                        _gather_pieces(ids, x.shape[1], packed_ih, S, H, first, last, flat_gates)
                    else:
                        _multiply_pieces(
                            flat_x, 0, B, x.shape[1], packed_ih, 0, S, H, first, last, flat_gates, 0, False
                        )
                multiply_forward(
                    table, ends[phase, first], ends[phase, last], gates, recurrent, values, hidden,
                    packed_hh[layer], from_zero, 0, old, B,
                )  # fmt: skip
                if cuts_of_rows.size > 2:
                    call_row(rows[phase], (
                        gates, recurrent, bias_of_layer, values, row_values, states, params_of_layer, scalars, carry,
                        nothing, nothing, nothing, nothing, places, np.uint64(0), 0, 0, old, new, 0, B,
                        cuts_of_rows[share], cuts_of_rows[share + 1],
                    ))  # fmt: skip
            if cuts_of_rows.size == 2:
                call_row(rows[phase], (
                    gates, recurrent, bias_of_layer, values, row_values, states, params_of_layer, scalars, carry,
                    nothing, nothing, nothing, nothing, places, np.uint64(0), 0, 0, old, new, 0, B,
                    cuts_of_rows[0], cuts_of_rows[1],
                ))  # fmt: skip
        if projected:
            for share in prange(shares):
                _multiply_pieces(
                    flat_states, new * H, B, H, packed_hr[layer], 0, 1, P,
                    share * pieces_of_first // shares, (share + 1) * pieces_of_first // shares,
                    flat_hidden, new * P, False,
                )  # fmt: skip
        ih_at += packed_size(x.shape[1] if layer == 0 else P, S * ((H + piece - 1) // piece * piece))
    for share in prange(head_shares):
        first, last = share * pieces_of_head // head_shares, (share + 1) * pieces_of_head // head_shares
        for row in range(B):
            for j in range(first * piece, min(V, last * piece)):
                flat_y[row * V + j] = head_bias[j]
        _multiply_pieces(
            flat_hidden, (2 * L - 1) * B * P, B, P, packed_head, 0, 1, V, first, last, flat_y, 0, True
        )


_step_alone, _step_shared = cached_njit(_step), cached_njit(parallel=True)(_step)


class _Kernels:
    """The compiled kernels of one dtype: each compiled, or loaded, when first asked for."""

    def __init__(self, dtype: np.dtype[Any]) -> None:
        number = from_dtype(dtype)
        self._one, self._two, self._three = (types.Array(number, k, "C") for k in (1, 2, 3))
        self._integers, self._table = (types.Array(types.int64, k, "C") for k in (1, 2))

    @functools.cached_property
    def pack_layer(self) -> Any:
        one, two = self._one, self._two
        return _pack_layer.compile(
            types.void(two, types.intp, one, types.intp, self._table, two, one, two, one)
        )

    @functools.cached_property
    def pack_head(self) -> Any:
        return _pack_head.compile(types.void(self._two, self._one))

    @functools.cached_property
    def step_alone(self) -> Any:
        return _step_alone.compile(self._step)

    @functools.cached_property
    def step_shared(self) -> Any:
        return _step_shared.compile(self._step)

    @functools.cached_property
    def _step(self) -> Any:
        one, two, three, integers, table = self._one, self._two, self._three, self._integers, self._table
        return types.void(
            integers, one, table, table, two, two, three, three, three, one, one,
            types.Array(types.boolean, 1, "C"),
            three, two, three, three, three, three, three, table, two, integers, two, integers, integers, types.intp,
        )  # fmt: skip


_KERNELS = {dtype: _Kernels(dtype) for dtype in (np.dtype(np.float32), np.dtype(np.float64))}


# ---------------------------------------------------------------- what a step reads, and what it works on


class Frozen:
    """The weights of layers and a head, packed; all arguments are checked, contiguous, and of one dtype.

    Parameters
    ----------
    plan : Schedule
    rows : ndarray of int64
        Addresses of the compiled rows of forward.
    layers : tuple of Weights
        From the lowest up.
    settings : Settings
    head : tuple of ndarray, optional
        The weight (V, P) and the bias (V,) of a linear layer on the output.
    """

    def __init__(
        self,
        plan: Schedule,
        rows: NDArray[np.int64],
        layers: tuple[Weights, ...],
        settings: Settings,
        head: tuple[Array, Array | None] | None,
    ) -> None:
        lowest = layers[0]
        self.dtype = dtype = lowest.weight_ih.dtype
        self.plan, self.num_layers, self.kernels = plan, len(layers), _KERNELS[dtype]
        S, self.inputs = len(plan.order), lowest.weight_ih.shape[1]
        self.hidden = H = lowest.weight_ih.shape[0] // S
        self.is_projected = lowest.weight_hr is not None
        self.width = P = lowest.weight_hr.shape[0] if self.is_projected else H
        self.outputs = 0 if head is None else head[0].shape[0]
        piece = TILE.vectors * TILE.vector_bytes // dtype.itemsize
        self.cuts = unit_cuts(H, H, piece)
        blocks = forward_blocks(plan, H, P, settings.num_heads, self.cuts)
        columns = S * (len(self.cuts) - 1) * piece
        sizes = [packed_size(weights.weight_ih.shape[1], columns) for weights in layers]
        packed_ih = _aligned(sum(sizes), dtype)
        packed_hh = _aligned((len(layers), blocks.packed_size), dtype)
        packed_hr = _aligned((len(layers), packed_size(H, P) if self.is_projected else 0), dtype)
        for k, weights in enumerate(layers):
            self.kernels.pack_layer(
                in_order(weights.weight_ih, plan.graph.gates, plan.order), S, packed_ih, sum(sizes[:k]),
                blocks.table, recurrent_weight(plan, weights, P, dtype), packed_hh[k],
                weights.weight_hr if self.is_projected else np.empty((0, H), dtype), packed_hr[k],
            )  # fmt: skip
        weight, bias = (np.empty((0, P), dtype), None) if head is None else head
        packed_head = _aligned(packed_size(P, self.outputs), dtype)
        self.kernels.pack_head(weight, packed_head)
        #: What the kernel takes first.
        self.arrays = (
            rows, packed_ih, blocks.table, blocks.ends, packed_hh, packed_hr,
            np.concatenate([bias_of_slots(plan, weights, H) for weights in layers]),
            np.concatenate([parameters_of(weights, H, dtype) for weights in layers]),
            scalars_of_run(plan, settings, dtype),
            np.zeros(self.outputs, dtype) if bias is None else np.array(bias), packed_head,
            np.array([leaves_out_zeros(weights) for weights in layers]),
        )  # fmt: skip
        #: Multiply-adds that a row takes in a layer, and in the head.
        self.work = columns * max(self.inputs, P) + blocks.packed_size, P * self.outputs
        self._shares: dict[int, tuple[NDArray[np.int64], NDArray[np.int64]]] = {}

    def shares(self, count: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return which pieces each of at most ``count`` threads takes, and which hidden units of rows."""
        found = self._shares.get(count)
        if found is None:
            pieces = len(self.cuts) - 1
            count = max(1, min(count, pieces))
            cuts = np.array([pieces * share // count for share in range(count + 1)])
            units = tuple(self.cuts[cut] for cut in cuts)
            found = self._shares[count] = cuts, cuts_of_rows(self.plan.forward, units)
        return found


def _aligned(shape: int | tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """Return an empty array on the border of a cache line: a panel is read by whole vectors."""
    # Not of the pool: weights stay as long as the stepper, and no other array would get their memory.
    size = math.prod(shape) if isinstance(shape, tuple) else shape
    memory = np.empty(size * dtype.itemsize + _BYTES, np.uint8)
    first = -memory.ctypes.data % _BYTES
    return memory[first : first + size * dtype.itemsize].view(dtype).reshape(shape)


class Workspace:
    """What a step of B rows works on, kept from call to call.

    Attributes
    ----------
    before, after : tuple of ndarray, shape (L, B, P) for the first and (L, B, H) for others
        The states before the step, to be filled, and after it.
    """

    def __init__(self, frozen: Frozen, batch_size: int) -> None:
        plan, dtype, B, H, P = frozen.plan, frozen.dtype, batch_size, frozen.hidden, frozen.width
        L, num_states, program = frozen.num_layers, len(plan.graph.states), plan.forward
        states = np.zeros((num_states, 2 * L * B, H), dtype)
        hidden = np.zeros((2 * L * B, P), dtype) if frozen.is_projected else states[0]
        stored = (hidden, *states[1:])
        self.before = tuple(state[: L * B].reshape(L, B, state.shape[1]) for state in stored)
        self.after = tuple(state[L * B :].reshape(L, B, state.shape[1]) for state in stored)
        self._frozen = frozen
        self._arrays = (
            *frozen.arrays, states, hidden,
            np.empty((B, len(plan.order), H), dtype), np.empty((B, len(plan.split), H), dtype),
            np.empty((B, len(plan.values), H), dtype),
            np.empty((B, 1, max(len(program.row_values), len(plan.backward.row_values))), dtype),
            np.empty((B, len(program.carries), H), dtype), np.empty((0, 2), np.int64),
        )  # fmt: skip
        self._no_ids, self._no_x = np.empty(0, np.int64), np.empty((0, frozen.inputs), dtype)
        self._work, self._work_of_head = (B * work for work in frozen.work)

    def step(self, x: Array, y: Array) -> None:
        """Run a step from the states `before`; fill those `after` and ``y`` (B, V), with V = 0 without a head.

        ``x`` (B, I) is contiguous and of the weights' dtype, or it has ids, int64 (B,).
        """
        frozen = self._frozen
        given = (x, self._no_ids) if x.ndim == 2 else (self._no_x, x)
        cuts, cuts_of_rows = frozen.shares(threads.shares_of(self._work))
        head_shares = threads.shares_of(self._work_of_head)
        arguments = (*self._arrays, *given, y, cuts, cuts_of_rows, head_shares)
        shares = max(cuts.size - 1, head_shares)
        if shares == 1:
            frozen.kernels.step_alone(*arguments)
        else:
            threads.launch(frozen.kernels.step_shared, *arguments, shares=shares)
