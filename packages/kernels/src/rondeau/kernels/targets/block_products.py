"""The products of a table of `blocks`, for use inside kernels: packing, from operands to slots, and back."""

from rondeau.kernels.compiling import kernel_njit
from rondeau.kernels.product import num_panels, pack_panels, product_rows
from rondeau.kernels.targets.blocks import COLUMN, GATES, RECURRENT

__all__ = ["multiply_backward", "multiply_forward", "pack_blocks", "pack_share"]


@kernel_njit
def pack_share(w, w_at, k_stride, n_stride, K, N, packed, packed_at, share, shares):  # type: ignore[no-untyped-def]
    """Pack one thread's share of an operand's panels."""
    panels = num_panels(packed, N)
    low, high = share * panels // shares, (share + 1) * panels // shares
    pack_panels(w, w_at, k_stride, n_stride, K, N, packed, packed_at, low, high)


@kernel_njit
def pack_blocks(table, flat, k_stride, n_stride, packed, share, shares):  # type: ignore[no-untyped-def]
    """Pack one thread's share of the weights of all blocks."""
    for k in range(table.shape[0]):
        block = table[k]
        pack_share(
            flat, block[COLUMN.weight_at], k_stride, n_stride, block[COLUMN.depth], block[COLUMN.width],
            packed, block[COLUMN.packed_at], share, shares,
        )  # fmt: skip


@kernel_njit
def multiply_forward(  # type: ignore[no-untyped-def]
    table, first_block, last_block, gates, recurrent, values, hidden, packed, from_zero, at, old, count
):  # fmt: skip
    """Bring operands' products to the slots of ``count`` rows; the first state's are skipped where it is zero."""
    flat_gates, flat_recurrent, flat_values = gates.reshape(-1), recurrent.reshape(-1), values.reshape(-1)
    flat_hidden = hidden.reshape(-1)
    S, R = gates.shape[1] * gates.shape[2], recurrent.shape[1] * recurrent.shape[2]
    V, H, P = values.shape[1] * values.shape[2], values.shape[2], hidden.shape[1]
    for k in range(first_block, last_block):
        block = table[k]
        depth, width = block[COLUMN.depth], block[COLUMN.width]
        column, packed_at = block[COLUMN.slot_column], block[COLUMN.packed_at]
        operand, operand_at, stride = flat_hidden, old * P + block[COLUMN.operand_column], P
        if block[COLUMN.operand] >= 0:
            operand, stride = flat_values, V
            operand_at = at * V + block[COLUMN.operand] * H + block[COLUMN.operand_column]
        elif from_zero:
            if block[COLUMN.slots] == RECURRENT:
                for row in range(at, at + count):
                    for j in range(row * R + column, row * R + column + width):
                        flat_recurrent[j] = 0
            continue
        if block[COLUMN.slots] == GATES:
            product_rows(
                operand, operand_at, stride, count, depth, packed, packed_at, width,
                flat_gates, at * S + column, S, True,
            )  # fmt: skip
        else:
            product_rows(
                operand, operand_at, stride, count, depth, packed, packed_at, width,
                flat_recurrent, at * R + column, R, False,
            )  # fmt: skip


@kernel_njit
def multiply_backward(  # type: ignore[no-untyped-def]
    table, first_block, last_block, gates, recurrent, d_hidden, d_values, packed, wants_hidden, at, first, count
):  # fmt: skip
    """Send the adjoints of the slots of ``count`` rows back to operands, to the first state where that is wanted."""
    flat_gates, flat_recurrent, flat_values = gates.reshape(-1), recurrent.reshape(-1), d_values.reshape(-1)
    flat_hidden = d_hidden.reshape(-1)
    S, R = gates.shape[1] * gates.shape[2], recurrent.shape[1] * recurrent.shape[2]
    B, H, P = d_values.shape[1], d_values.shape[2], d_hidden.shape[1]
    for k in range(first_block, last_block):
        block = table[k]
        depth, width = block[COLUMN.depth], block[COLUMN.width]
        column, packed_at = block[COLUMN.slot_column], block[COLUMN.packed_at]
        slots, slots_at, stride = flat_gates, at * S + column, S
        if block[COLUMN.slots] == RECURRENT:
            slots, slots_at, stride = flat_recurrent, at * R + column, R
        accumulate = block[COLUMN.accumulate] != 0
        if block[COLUMN.operand] >= 0:
            target = (block[COLUMN.operand] * B + first) * H + block[COLUMN.operand_column]
            product_rows(
                slots, slots_at, stride, count, depth, packed, packed_at, width,
                flat_values, target, H, accumulate,
            )  # fmt: skip
        elif wants_hidden:
            product_rows(
                slots, slots_at, stride, count, depth, packed, packed_at, width,
                flat_hidden, first * P + block[COLUMN.operand_column], P, accumulate,
            )  # fmt: skip
