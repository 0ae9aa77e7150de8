"""Blocks: the products between a step's phases, each as one line of a table that the drivers run through.

Before the first phase and after every phase the drivers run a *group* of products: in forward from operands to slots,
in backward from the adjoints of slots to operands. A table is divided into *shares*: if threads share the hidden units,
each runs the blocks of its own units.

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
from rondeau.kernels.runtime.result_cache import cached_while_alive

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
"""The buffers of slots: one for all gates, and one for the recurrent parts of split gates."""


class Block(NamedTuple):
    """One product of ``depth`` by ``width`` columns. Backward reads the columns of slots and writes the operand's."""

    operand: int
    """-1 for the first state, otherwise the index of a value."""
    operand_column: int
    """The first column of the operand."""
    slots: int
    """`GATES` or `RECURRENT`."""
    slot_column: int
    """The first column of that buffer."""
    depth: int
    """The number of terms in each result."""
    width: int
    """The number of results per row."""
    accumulate: bool
    """Whether to add the result to the existing values."""
    weight_at: int
    """The index of its first weight among the recurrent weights."""
    packed_at: int = 0
    """The index of its first weight among the packed weights."""


COLUMN = Block(*range(len(Block._fields)))
"""The column of a table for each field of a block."""


class Blocks(NamedTuple):
    """The table of a direction.

    Attributes
    ----------
    table : ndarray of int64, shape (blocks, columns)
        Rows by group, and within a group by share; columns are `COLUMN`.
    ends : ndarray of int64, shape (groups, shares + 1)
        The rows of a share in a group are from ``ends[group, share]`` to ``ends[group, share + 1]``.
    packed_size : int
        The number of elements of all packed weights.
    """

    table: NDArray[np.int64]
    ends: NDArray[np.int64]
    packed_size: int


class Part(NamedTuple):
    """The gates of an operand that share a buffer: an operand has one or both kinds of part."""

    slots: int
    """`GATES` or `RECURRENT`."""
    gates: int
    """The number of gates."""
    slot_column: int
    """The first column of that buffer."""
    weight_row: int
    """Their first row in the recurrent matrices."""


@functools.lru_cache(maxsize=256)
def unit_cuts(hidden: int, shares: int, lanes: int = 16) -> tuple[int, ...]:
    """Return where to divide the hidden units for a number of threads: at multiples of vectors, as evenly as possible.

    Examples
    --------
    >>> unit_cuts(65, 2)
    (0, 32, 65)
    """
    vectors = -(-hidden // lanes)
    shares = max(1, min(shares, vectors))
    return tuple(min(hidden, vectors * share // shares * lanes) for share in range(shares + 1))


@cached_while_alive
def forward_blocks(schedule: Schedule, hidden: int, width: int, heads: int, cuts: tuple[int, ...]) -> Blocks:
    """Return the products of a step; group g runs before phase g.

    Parameters
    ----------
    schedule : Schedule
    hidden, width : int
        H, and P, the width of the first state in its product.
    heads : int
    cuts : tuple of int
        Where the hidden units are divided among shares; ``(0, H)`` for a single share.
    """
    columns = _matrix_columns(hidden, width, heads)

    def blocks_of(index: int, operand: Operand, low: int, high: int) -> Iterator[Block]:
        for part in parts_of(schedule, operand, hidden):
            for row, units, head in _runs(part.gates, hidden, heads, low, high):
                yield Block(
                    index, head * columns, part.slots, part.slot_column + row,
                    depth=columns, width=units, accumulate=part.slots == GATES,
                    weight_at=(part.weight_row + row) * columns,
                )  # fmt: skip

    return _tabulate(schedule, cuts, len(schedule.forward.phases) + 1, schedule.forward_group, blocks_of)


@cached_while_alive
def backward_blocks(
    schedule: Schedule, hidden: int, width: int, heads: int, projected: bool, cuts: tuple[int, ...]
) -> Blocks:
    """Return the products of a step's backward; group g runs after phase g, that of the first state after the last.

    The parameters are those of `forward_blocks`; ``projected`` is whether the first state's adjoint comes only from the
    product. Without heads, `cuts` divide the operand's columns.
    """
    columns = _matrix_columns(hidden, width, heads)

    def blocks_of(index: int, operand: Operand, low: int, high: int) -> Iterator[Block]:
        # The first product overwrites the adjoint, unless the phase has left a part of it there.
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

    return _tabulate(schedule, cuts, len(schedule.backward.phases), schedule.backward_group, blocks_of)


def _matrix_columns(hidden: int, width: int, heads: int) -> int:
    """Return the number of columns that are stored of a gate's matrix."""
    return hidden // heads if heads > 1 else width


def parts_of(schedule: Schedule, operand: Operand, hidden: int) -> Iterator[Part]:
    """Yield the parts of an operand in the order of the weights, that of the joint gates first."""
    if operand.joint:
        first = schedule.joint.index(operand.joint[0])
        yield Part(GATES, len(operand.joint), first * hidden, first * hidden)
    if operand.split:
        first = schedule.split.index(operand.split[0])
        weight_row = (len(schedule.joint) + first) * hidden
        yield Part(RECURRENT, len(operand.split), first * hidden, weight_row)


def _runs(gates: int, hidden: int, heads: int, low: int, high: int) -> list[tuple[int, int, int]]:
    """Return the runs of slot columns of units ``low`` to ``high - 1``: first column, length and head of each."""
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
    """Make the table of the blocks of all operands, by group and within a group by share."""
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
