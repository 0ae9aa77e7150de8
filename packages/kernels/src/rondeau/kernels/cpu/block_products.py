"""The products of a table of `blocks`, for use inside kernels: packing, forward to slots, and back to operands."""

from typing import Any, NamedTuple

from rondeau.kernels.cpu.blocks import COLUMN, RECURRENT
from rondeau.kernels.product import Rows, num_panels, product_rows
from rondeau.kernels.product.matrix import Matrix, part
from rondeau.kernels.product.microkernel import advance, pointer_to
from rondeau.kernels.product.operands import depth_of, left_operand, multiply_panels, pack_panels_of
from rondeau.kernels.product.packed_product import matrix_of_rows
from rondeau.kernels.product.tiles import TILE
from rondeau.kernels.runtime.compiling import linked_njit

__all__ = ["Shares", "deepest", "multiply_backward", "multiply_forward", "pack_blocks", "pack_share"]

_BYTES = TILE.vector_bytes


@linked_njit
def pack_share(w, w_at, k_stride, n_stride, K, N, packed, packed_at, share, shares):  # type: ignore[no-untyped-def]
    """Pack one thread's share of an operand's panels."""
    panels = num_panels(w, N)
    low, high = share * panels // shares, (share + 1) * panels // shares
    pack_panels_of(w, w_at, k_stride, n_stride, K, N, packed, packed_at, low, high)


@linked_njit
def pack_blocks(table, flat, k_stride, n_stride, packed, share, shares):  # type: ignore[no-untyped-def]
    """Pack one thread's share of the weights of all blocks."""
    for k in range(table.shape[0]):
        block = table[k]
        pack_share(
            flat, block[COLUMN.weight_at], k_stride, n_stride, block[COLUMN.depth], block[COLUMN.width],
            packed, block[COLUMN.packed_at], share, shares,
        )  # fmt: skip


@linked_njit
def deepest(table):  # type: ignore[no-untyped-def]
    """Return the largest depth of a table's products."""
    depth = 0
    for k in range(table.shape[0]):
        depth = max(depth, table[k, COLUMN.depth])
    return depth


class Shares(NamedTuple):
    """Shares of a group of products, from the first to the one before the last.

    Their order changes no result. But where steps begin with the first and the last one in turn, each finds in the
    cache what the one before it has read last.
    """

    group: Any
    first: Any
    last: Any
    backwards: Any
    """Whether to begin with the last one."""


@linked_njit
def multiply_forward(products, shares, storage, operand, from_zero, at, old, count, room):  # type: ignore[no-untyped-def]
    """Compute the products of shares into the slots of ``count`` rows; those of the first state are skipped if zero.

    ``operand`` (., P) is the first state as the recurrent matrices see it, from row ``old`` on; ``room`` is what
    `room_for_operand` gives for it.
    """
    table, ends, packed = products.table, products.ends, products.packed
    gates, recurrent, values = storage.gates, storage.recurrent, storage.values
    flat_gates, flat_recurrent, flat_values = gates.reshape(-1), recurrent.reshape(-1), values.reshape(-1)
    flat_operand = operand.reshape(-1)
    S, R = gates.shape[1] * gates.shape[2], recurrent.shape[1] * recurrent.shape[2]
    V, H, P = values.shape[1] * values.shape[2], values.shape[2], operand.shape[1]
    lanes, panels = _BYTES // gates.itemsize, pointer_to(packed, 0)
    slots = Matrix(pointer_to(flat_gates, at * S), S, 1)
    split_slots = Matrix(pointer_to(flat_recurrent, at * R), R, 1)
    left = matrix_of_rows(left_operand(Rows(flat_operand, 0, P), 0, 0, room, False))
    rounded, rounded_column = -2, 0
    for place in range(shares.last - shares.first):
        share = shares.last - 1 - place if shares.backwards else shares.first + place
        for k in range(ends[shares.group, share], ends[shares.group, share + 1]):
            index, operand_column = table[k, COLUMN.operand], table[k, COLUMN.operand_column]
            depth, width, column = (
                table[k, COLUMN.depth],
                table[k, COLUMN.width],
                table[k, COLUMN.slot_column],
            )
            is_split = table[k, COLUMN.slots] == RECURRENT
            if index < 0 and from_zero:
                if is_split:
                    for row in range(at, at + count):
                        for j in range(row * R + column, row * R + column + width):
                            flat_recurrent[j] = 0
                continue
            if rounded != index or rounded_column != operand_column:
                rounded, rounded_column = index, operand_column
                rows = Rows(flat_operand, old * P + operand_column, P)
                if index >= 0:
                    rows = Rows(flat_values, at * V + index * H + operand_column, V)
                left = matrix_of_rows(left_operand(rows, count, depth, room, True))
            multiply_panels(
                left, count, depth_of(packed, depth), advance(panels, table[k, COLUMN.packed_at]), width, lanes,
                part(split_slots if is_split else slots, 0, column), not is_split,
            )  # fmt: skip


@linked_njit
def multiply_backward(  # type: ignore[no-untyped-def]
    products, first_block, last_block, storage, d_hidden, wants_hidden, at, first, count, room
):
    """Propagate the adjoints of the slots of ``count`` rows back to operands, and if wanted to the first state."""
    gates, recurrent, d_values = storage.gates, storage.recurrent, storage.d_values
    flat_gates, flat_recurrent, flat_values = gates.reshape(-1), recurrent.reshape(-1), d_values.reshape(-1)
    flat_hidden = d_hidden.reshape(-1)
    S, R = gates.shape[1] * gates.shape[2], recurrent.shape[1] * recurrent.shape[2]
    B, H, P = d_values.shape[1], d_values.shape[2], d_hidden.shape[1]
    rounded, rounded_column = -1, 0
    for k in range(first_block, last_block):
        block = products.table[k]
        depth, width = block[COLUMN.depth], block[COLUMN.width]
        column, packed_at = block[COLUMN.slot_column], block[COLUMN.packed_at]
        slots = Rows(flat_gates, at * S + column, S)
        if block[COLUMN.slots] == RECURRENT:
            slots = Rows(flat_recurrent, at * R + column, R)
        accumulate = block[COLUMN.accumulate] != 0
        if block[COLUMN.operand] < 0 and not wants_hidden:
            continue
        is_new = rounded != block[COLUMN.slots] or rounded_column != column
        rounded, rounded_column = block[COLUMN.slots], column
        left, K = left_operand(slots, count, depth, room, is_new), depth_of(products.packed, depth)
        if block[COLUMN.operand] >= 0:
            target = (block[COLUMN.operand] * B + first) * H + block[COLUMN.operand_column]
            adjoints = Rows(flat_values, target, H)
            product_rows(left, count, K, products.packed, packed_at, width, adjoints, accumulate)
        else:
            adjoints = Rows(flat_hidden, first * P + block[COLUMN.operand_column], P)
            product_rows(left, count, K, products.packed, packed_at, width, adjoints, accumulate)
