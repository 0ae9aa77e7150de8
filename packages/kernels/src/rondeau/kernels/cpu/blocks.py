"""Blocks: the products between a step's phases, each as one line of a table that the drivers walk through.

Before the first phase and after every phase of a row the drivers run a *group* of products: what an operand's matrices
bring to slots in forward, what the adjoints of slots send back to the operand in backward. A table is cut by *shares*:
where threads share the hidden units, each runs the blocks of its own units.

With ``num_heads`` heads a matrix is block-diagonal: the units of a head see the operand's units of that head.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rondeau.kernels.cell.schedule import Operand, Schedule
from rondeau.kernels.product import packed_size

__all__ = [
    "COLUMN",
    "GATES",
    "RECURRENT",
    "Block",
    "Blocks",
    "Part",
    "backward_blocks",
    "forward_blocks",
    "parts_of",
    "unit_cuts",
]

GATES, RECURRENT = 0, 1
"""The buffers of slots: that of all gates, and that of split gates' recurrent parts."""


class Block(NamedTuple):
    """One product: ``depth`` columns by ``width``. Backward reads columns of slots and writes those of the operand."""

    operand: int
    """-1 for the first state, else the index of a value."""
    operand_column: int
    """The first column of the operand."""
    slots: int
    """`GATES` or `RECURRENT`."""
    slot_column: int
    """The first column of that buffer."""
    depth: int
    """How many numbers each result sums over."""
    width: int
    """How many results a row has."""
    accumulate: bool
    """Whether the result is added to what is there."""
    weight_at: int
    """Where its first weight lies among the recurrent weights."""
    packed_at: int = 0
    """Where its first weight lies among the packed ones."""


COLUMN = Block(*range(len(Block._fields)))
"""The column of a table that each field of a block is in."""


class Blocks(NamedTuple):
    """The table of a direction.

    Attributes
    ----------
    table : ndarray of int64, shape (blocks, columns)
        Rows by group, and within a group by share; columns are `COLUMN`.
    ends : ndarray of int64, shape (groups, shares + 1)
        The rows of a share in a group are from ``ends[group, share]`` to ``ends[group, share + 1]``.
    packed_size : int
        Elements that all packed weights take.
    """

    table: NDArray[np.int64]
    ends: NDArray[np.int64]
    packed_size: int


class Part(NamedTuple):
    """The gates of an operand that share a buffer: an operand has one part of each kind at most, and at least one."""

    slots: int
    """`GATES` or `RECURRENT`."""
    gates: int
    """How many."""
    slot_column: int
    """The first column of that buffer."""
    weight_row: int
    """Their first row in the recurrent matrices."""


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
def forward_blocks(schedule: Schedule, hidden: int, width: int, heads: int, cuts: tuple[int, ...]) -> Blocks:
    """Return the products of a step; group g runs before phase g.

    Parameters
    ----------
    schedule : Schedule
    hidden, width : int
        H, and P, what the first state's product multiplies.
    heads : int
    cuts : tuple of int
        Where the hidden units are cut among shares; ``(0, H)`` for none.
    """
    columns = _matrix_columns(hidden, width, heads)

    def group_of(operand: Operand) -> int:
        return 0 if operand.node is None else schedule.forward.written["value", str(operand.node)] + 1

    def blocks_of(index: int, operand: Operand, low: int, high: int) -> Iterator[Block]:
        for part in parts_of(schedule, operand, hidden):
            for row, units, head in _runs(part.gates, hidden, heads, low, high):
                yield Block(
                    index, head * columns, part.slots, part.slot_column + row,
                    depth=columns, width=units, accumulate=part.slots == GATES,
                    weight_at=(part.weight_row + row) * columns,
                )  # fmt: skip

    return _tabulate(schedule, cuts, len(schedule.forward.phases) + 1, group_of, blocks_of)


@functools.lru_cache(maxsize=256)
def backward_blocks(
    schedule: Schedule, hidden: int, width: int, heads: int, projected: bool, cuts: tuple[int, ...]
) -> Blocks:
    """Return the products of a step's backward; group g runs after phase g, that of the first state after the last.

    Parameters are those of `forward_blocks`; ``projected`` tells whether the first state's adjoint comes from the
    product alone. Without heads, `cuts` are those of the operand's columns.
    """
    columns, phases = _matrix_columns(hidden, width, heads), len(schedule.backward.phases)

    def group_of(operand: Operand) -> int:
        if operand.node is None:
            return phases - 1
        adjoints = [("x", gate) for gate in operand.joint] + [("r", gate) for gate in operand.split]
        return max(schedule.backward.written["slot", slot] for slot in adjoints)

    def blocks_of(index: int, operand: Operand, low: int, high: int) -> Iterator[Block]:
        # The first product of all overwrites, unless the row has left a part of the adjoint there.
        accumulate = operand.node is None and not projected
        for part in parts_of(schedule, operand, hidden):
            if heads == 1:
                yield Block(
                    index, low, part.slots, part.slot_column,
                    depth=part.gates * hidden, width=high - low, accumulate=accumulate,
                    weight_at=part.weight_row * columns + low,
                )  # fmt: skip
                accumulate = True
                continue
            for gate in range(part.gates):
                for column, units, head in _runs(1, hidden, heads, low, high):
                    row = gate * hidden + head * columns
                    yield Block(
                        index, column, part.slots, part.slot_column + row,
                        depth=columns, width=units, accumulate=accumulate,
                        weight_at=(part.weight_row + row) * columns + column - head * columns,
                    )  # fmt: skip
                accumulate = True

    return _tabulate(schedule, cuts, phases, group_of, blocks_of)


def _matrix_columns(hidden: int, width: int, heads: int) -> int:
    """Return how many columns a gate's matrix is kept with."""
    return hidden // heads if heads > 1 else width


def parts_of(schedule: Schedule, operand: Operand, hidden: int) -> Iterator[Part]:
    """Yield the parts of an operand, that of the joint gates first, as the weights lie."""
    if operand.joint:
        first = schedule.joint.index(operand.joint[0])
        yield Part(GATES, len(operand.joint), first * hidden, first * hidden)
    if operand.split:
        first = schedule.split.index(operand.split[0])
        weight_row = (len(schedule.joint) + first) * hidden
        yield Part(RECURRENT, len(operand.split), first * hidden, weight_row)


def _runs(gates: int, hidden: int, heads: int, low: int, high: int) -> list[tuple[int, int, int]]:
    """Return the runs of slot columns of units ``low`` to ``high - 1``: first column, how many, and of which head."""
    if heads == 1 and high - low == hidden:
        return [(0, gates * hidden, 0)]
    runs = []
    size = hidden // heads
    for gate in range(gates):
        for head in range(heads):
            first, last = max(low, head * size), min(high, (head + 1) * size)
            if last > first:
                runs.append((gate * hidden + first, last - first, head))
    return runs


def _tabulate(
    schedule: Schedule,
    cuts: tuple[int, ...],
    groups: int,
    group_of: Callable[[Operand], int],
    blocks_of: Callable[[int, Operand, int, int], Iterator[Block]],
) -> Blocks:
    """Write the blocks of all operands down by group, and within a group by share."""
    rows: list[Block] = []
    ends: list[list[int]] = []
    packed_at = 0
    for group in range(groups):
        ends.append([len(rows)])
        operands = [operand for operand in schedule.operands if group_of(operand) == group]
        for low, high in itertools.pairwise(cuts):
            for operand in operands:
                index = -1 if operand.node is None else schedule.values.index(operand.node)
                for block in blocks_of(index, operand, low, high):
                    rows.append(block._replace(packed_at=packed_at))
                    packed_at += packed_size(block.depth, block.width)
            ends[-1].append(len(rows))
    table = np.array(rows, np.int64).reshape(-1, len(COLUMN))
    return Blocks(table, np.array(ends, np.int64), packed_at)
