"""Plan: the products of a persistent kernel and where their operands lie, and its sums over the units of a row."""

from __future__ import annotations

import itertools
from collections import Counter
from typing import NamedTuple

from rondeau.kernels.cell.schedule import Operand, Schedule
from rondeau.kernels.cell.timeline import Program
from rondeau.kernels.cuda.persistent.bfloat16 import Bfloat16
from rondeau.kernels.cuda.persistent.contraction import Contraction
from rondeau.kernels.cuda.persistent.row_sums import RowSums
from rondeau.kernels.cuda.persistent.span import Span
from rondeau.kernels.cuda.persistent.tf32 import Tf32
from rondeau.kernels.cuda.persistent.tile import Tile
from rondeau.kernels.runtime.result_cache import cached_while_alive

__all__ = [
    "Sizes",
    "Sum",
    "contractions_of",
    "features_of_block",
    "row_sums_of",
    "shared_elements",
    "sums_of",
]


class Sizes(NamedTuple):
    """What the kernels of a layer are made for.

    Attributes
    ----------
    hidden : int
        The hidden units, H.
    heads : int
        The heads, which divide the units evenly; a recurrent matrix mixes only those of a head.
    projected : int
        The features of the first state if it is projected, P, otherwise 0. A layer has heads or a projection.
    layers : int
        The layers of these sizes that a launch runs at the same time: 2 for both directions.

    Examples
    --------
    >>> Sizes(hidden=512, heads=4).of_head
    128
    """

    hidden: int
    heads: int = 1
    projected: int = 0
    layers: int = 1

    @property
    def of_head(self) -> int:
        """The units of a head: what the blocks of a group divide among themselves."""
        return self.hidden // self.heads


_KINDS: dict[str, type[Contraction]] = {
    "float32": Contraction,
    "tf32": Tf32,
    "bfloat16": Bfloat16,
}
"""How products are computed, by the number format of their operands."""


def features_of_block(sizes: Sizes, tile: Tile) -> int:
    """Return how many features of a projected state a block computes, which must not be more than its units."""
    step = _KINDS[tile.operands].column_step(tile)
    blocks = -(-sizes.hidden // tile.units)
    return -(-sizes.projected // (blocks * step)) * step


def contractions_of(
    schedule: Schedule, direction: str, sizes: Sizes, tile: Tile
) -> list[tuple[int, Operand | None, Contraction]]:
    """Return the products of a direction: the phase before or after which each comes, its operand, and its cut.

    That with the matrix of a projection has no operand. It comes after the last phase of forward, as if before another
    one, and before the first of backward.
    """
    is_forward, in_block = direction == "forward", tile.units >= sizes.of_head
    kind = _KINDS[tile.operands]
    of_first = features_of_block(sizes, tile) if sizes.projected else tile.units
    found: list[tuple[int, Operand | None, Contraction]] = []
    for number, operand in enumerate(schedule.operands):
        gates = len(operand.joint) + len(operand.split)
        columns = gates * tile.units if is_forward else of_first
        spans = _spans(schedule, operand, is_forward, sizes)
        phase = schedule.forward_group(operand) if is_forward else schedule.backward_group(operand)
        found.append((phase, operand, kind(str(number), spans, columns, tile, in_block)))
    if sizes.projected:
        H, P = sizes.hidden, sizes.projected
        span = Span("states", "new", H, 0, H) if is_forward else Span("d_projected", "at", P, 0, P)
        columns = of_first if is_forward else tile.units
        phase = len(schedule.forward.phases) if is_forward else -1
        found.append((phase, None, kind("_hr", (span,), columns, tile, in_block)))
    contractions = [c for _, _, c in found]
    sizes_of_operands = [-(-c.operand_size // 4) * 4 for c in contractions]
    # The sums of products are in the same place, one after the other. So are operands that a block fetches for each
    # product; in a block that has all units they are written while a step is computed.
    starts = itertools.accumulate(sizes_of_operands[:-1], initial=0) if in_block else itertools.repeat(0)
    sums_at = sum(sizes_of_operands) if in_block else max(sizes_of_operands, default=0)
    for contraction, start in zip(contractions, starts, strict=False):
        contraction.operand_at, contraction.sums_at = start, sums_at
    return found


class Sum(NamedTuple):
    """A sum over the units of a row.

    Attributes
    ----------
    node : int
        The value that it is.
    terms : tuple of int
        What it adds up, of each unit.
    inner : tuple of int
        The values that are computed on the way to it in a step as it is written, and not here.
    """

    node: int
    terms: tuple[int, ...]
    inner: tuple[int, ...]


@cached_while_alive
def sums_of(schedule: Schedule, direction: str) -> dict[tuple[int, ...], list[Sum]]:
    """Return the sums over the units that a direction computes behind each loop, by the loop's own sums.

    Sums that are only added to one another, as the derivative of layer normalisation has them, are one sum, behind the
    last of their loops.
    """
    program: Program = getattr(schedule, direction)
    nodes = schedule.graph.nodes
    loops = [loop for phase in program.phases for loop in phase.loops]
    readers = Counter(
        arg for loop in loops for n in (*loop.row_nodes, *loop.nodes, *loop.sums) for arg in nodes[n].args
    )
    readers.update(
        write.node for loop in loops for write in (*loop.writes, *loop.row_writes) if write.node is not None
    )
    sums = {n: (number, Sum(n, nodes[n].args, ())) for number, loop in enumerate(loops) for n in loop.sums}
    for node in (n for loop in loops for n in loop.row_nodes if nodes[n].op == "add"):
        one, other = nodes[node].args
        if one in sums and other in sums and readers[one] == readers[other] == 1:
            (first, a), (second, b) = sums.pop(one), sums.pop(other)
            inner = (*a.inner, a.node, *b.inner, b.node)
            sums[node] = max(first, second), Sum(node, a.terms + b.terms, inner)
    found: dict[tuple[int, ...], list[Sum]] = {}
    for number, one_sum in sums.values():
        found.setdefault(loops[number].sums, []).append(one_sum)
    return found


def row_sums_of(schedule: Schedule, direction: str, sizes: Sizes, tile: Tile) -> RowSums:
    """Return how a kernel computes the sums over the units of a direction, which may be none."""
    rounds = tuple(len(sums) for sums in sums_of(schedule, direction).values())
    return RowSums(rounds, tile, sizes.heads * -(-sizes.of_head // tile.units))


def shared_elements(contractions: list[tuple[int, Operand | None, Contraction]]) -> int:
    """Return the elements of shared memory that the products take."""
    return max((c.sums_at + c.sums_size for _, _, c in contractions), default=4)


def _spans(schedule: Schedule, operand: Operand, is_forward: bool, sizes: Sizes) -> tuple[Span, ...]:
    """Return where an operand of forward, or the adjoints of its slots in backward, lie in a row."""
    H, offset = sizes.hidden, "" if sizes.heads == 1 else "first_unit"
    if is_forward:
        if sizes.projected:  # masked already, and those of the step before alone
            return (Span("carried", "U(0)", sizes.projected, 0, sizes.projected),)
        if operand.node is None:
            return (Span("states", "old", H, 0, sizes.of_head, offset=offset),)
        first = schedule.values.index(operand.node) * H
        return (Span("values", "at", len(schedule.values) * H, first, sizes.of_head, offset=offset),)
    spans = []
    for array, slots, gates in (
        ("gates", schedule.order, operand.joint),
        ("recurrent", schedule.split, operand.split),
    ):
        if gates:
            first = slots.index(gates[0]) * H
            pieces, apart = (1, 0) if sizes.heads == 1 else (len(gates), H)
            length = len(gates) * sizes.of_head
            spans.append(Span(array, "at", len(slots) * H, first, length, pieces, apart, offset))
    return tuple(spans)
