"""Blocks: the products between a step's phases, each as one line of a table that the drivers walk through.

Before the first phase and after every phase of a row the drivers run a *group* of products: what an operand's matrices
bring to slots in forward, what the adjoints of slots send back to the operand in backward. A table is cut by *shares*:
where threads share the hidden units, each runs the blocks of its own units.

With ``num_heads`` heads a matrix is block-diagonal: the units of a head see the operand's units of that head.
"""

from __future__ import annotations

import functools
import itertools
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rondeau.kernels.product import packed_size

if TYPE_CHECKING:
    from rondeau.kernels.cell.schedule import Operand, Schedule

__all__ = ["COLUMNS", "Blocks", "backward_blocks", "forward_blocks", "unit_cuts"]

#: The columns of a table. ``operand`` is -1 for the first state, else the place of a value; ``slots`` is 0 for the
#: gates' buffer and 1 for that of recurrent slots. Backward reads ``depth`` columns of slots and writes ``width`` of
#: the operand.
COLUMNS = (
    "operand", "operand_column", "slots", "slot_column", "depth", "width", "accumulate", "packed_at", "weight_at",
)  # fmt: skip


class Blocks(NamedTuple):
    """The table of a direction.

    Attributes
    ----------
    table : ndarray of int64, shape (blocks, columns)
        Rows by group, and within a group by share; columns are `COLUMNS`.
    ends : ndarray of int64, shape (groups, shares + 1)
        The rows of a share in a group are from ``ends[group, share]`` to ``ends[group, share + 1]``.
    packed_size : int
        Elements that all packed weights take.
    """

    table: NDArray[np.int64]
    ends: NDArray[np.int64]
    packed_size: int


class _Block(NamedTuple):
    group: int
    operand: int
    operand_column: int
    slots: int
    slot_column: int
    depth: int
    width: int
    accumulate: bool
    weight_at: int


@functools.lru_cache(maxsize=256)
def unit_cuts(hidden: int, shares: int, lanes: int = 16) -> tuple[int, ...]:
    """Return where to cut the hidden units for a number of threads: on multiples of vectors, as evenly as they allow.

    Examples
    --------
    >>> unit_cuts(65, 2)
    (0, 32, 65)
    """
    vectors = -(-hidden // lanes)
    shares = max(1, min(shares, vectors))
    return tuple(min(hidden, vectors * share // shares * lanes) for share in range(shares + 1))


@functools.lru_cache(maxsize=256)
def forward_blocks(plan: Schedule, hidden: int, width: int, heads: int, cuts: tuple[int, ...]) -> Blocks:
    """Return the products of a step; group g runs before phase g.

    Parameters
    ----------
    plan : Schedule
    hidden, width : int
        H, and P, what the first state's product multiplies.
    heads : int
    cuts : tuple of int
        Where the hidden units are cut among shares; ``(0, H)`` for none.
    """
    columns = hidden // heads if heads > 1 else width
    shares: list[list[_Block]] = []
    for low, high in itertools.pairwise(cuts):
        blocks = []
        for number, operand in _operands(plan):
            group = 0 if number < 0 else plan.forward.written["value", str(operand.node)] + 1
            for slots, gates, slot_column, weight_row in _parts(plan, operand, hidden):
                for row, units, head in _cut(gates, hidden, heads, low, high):
                    blocks.append(
                        _Block(
                            group, number, head * columns if heads > 1 else 0, slots, slot_column + row,
                            columns, units, slots == 0, (weight_row + row) * columns,
                        )
                    )  # fmt: skip
        shares.append(blocks)
    return _table(shares, len(plan.forward.phases) + 1)


@functools.lru_cache(maxsize=256)
def backward_blocks(
    plan: Schedule, hidden: int, width: int, heads: int, projected: bool, cuts: tuple[int, ...]
) -> Blocks:
    """Return the products of a step's backward; group g runs after phase g, that of the first state after the last.

    Parameters are those of `forward_blocks`; ``projected`` tells whether the first state's adjoint comes from the
    product alone. Without heads, `cuts` are those of the operand's columns.
    """
    columns = hidden // heads if heads > 1 else width
    last = len(plan.backward.phases) - 1
    shares: list[list[_Block]] = []
    for low, high in itertools.pairwise(cuts):
        blocks = []
        for number, operand in _operands(plan):
            group = last
            if number >= 0:
                adjoints = [("x", g) for g in operand.joint] + [("r", g) for g in operand.split]
                group = max(plan.backward.written["slot", slot] for slot in adjoints)
            fresh = projected or number >= 0
            for slots, gates, slot_column, weight_row in _parts(plan, operand, hidden):
                if heads == 1:
                    if high > low and gates:
                        blocks.append(
                            _Block(
                                group, number, low, slots, slot_column, gates * hidden, high - low, not fresh,
                                weight_row * columns + low,
                            )
                        )  # fmt: skip
                        fresh = False
                    continue
                for gate in range(gates):
                    for row, units, head in _cut(1, hidden, heads, low, high):
                        at = gate * hidden + head * columns
                        blocks.append(
                            _Block(
                                group, number, row, slots, slot_column + at, columns, units, not fresh or gate > 0,
                                (weight_row + at) * columns + row - head * columns,
                            )
                        )  # fmt: skip
                fresh = fresh and not gates
        shares.append(blocks)
    return _table(shares, last + 1)


def _operands(plan: Schedule) -> list[tuple[int, Operand]]:
    """Return every operand with its place among the values, -1 for the first state."""
    return [
        (-1 if operand.node is None else plan.values.index(operand.node), operand)
        for operand in plan.operands
    ]


def _parts(plan: Schedule, operand: Operand, hidden: int) -> list[tuple[int, int, int, int]]:
    """Return which slots an operand's gates have: buffer, number of gates, first column, first row of the weights."""
    parts = []
    if operand.joint:
        first = plan.joint.index(operand.joint[0])
        parts.append((0, len(operand.joint), first * hidden, first * hidden))
    if operand.split:
        first = plan.split.index(operand.split[0])
        parts.append((1, len(operand.split), first * hidden, (len(plan.joint) + first) * hidden))
    return parts


def _cut(gates: int, hidden: int, heads: int, low: int, high: int) -> list[tuple[int, int, int]]:
    """Return the runs of slot columns of units ``low`` to ``high - 1``: first column, how many, and of which head."""
    if heads == 1 and high - low == hidden:
        return [(0, gates * hidden, 0)] if gates else []
    runs = []
    size = hidden // heads
    for gate in range(gates):
        for head in range(heads):
            first, last = max(low, head * size), min(high, (head + 1) * size)
            if last > first:
                runs.append((gate * hidden + first, last - first, head))
    return runs


def _table(shares: list[list[_Block]], groups: int) -> Blocks:
    rows: list[tuple[int, ...]] = []
    ends: list[list[int]] = []
    at = 0
    for group in range(groups):
        ends.append([len(rows)])
        for blocks in shares:
            for b in (block for block in blocks if block.group == group):
                rows.append(
                    (
                        b.operand,
                        b.operand_column,
                        b.slots,
                        b.slot_column,
                        b.depth,
                        b.width,
                        b.accumulate,
                        at,
                        b.weight_at,
                    )
                )
                at += packed_size(b.depth, b.width)
            ends[-1].append(len(rows))
    table = np.array(rows, np.int64).reshape(-1, len(COLUMNS))
    return Blocks(table, np.array(ends, np.int64), at)
