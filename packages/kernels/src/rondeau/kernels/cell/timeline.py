"""Timeline: in which order a row function computes, and what it must put by on the way.

A row function works through *phases*, between which the recurrent products run, and within a phase through *loops*
over the hidden units, between which the sums over the units are known. A value belongs to the first loop in which
all that it needs is there. What a later loop reads again it takes from where it lies, or, where that is overwritten
in place, from a *carry*: a lane of its own that lives no longer than the step.

Times are pairs (phase, loop).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from rondeau.kernels.cell.graph import OPERATIONS, Graph, Rank

__all__ = ["Loop", "Phase", "Place", "Program", "build_program"]

Time = tuple[int, int]

#: Where a value lies, e.g. ``("slot", ("x", "i"))``, ``("new", "c")`` or ``("carry", "2")``.
Place = tuple[str, object]


class Read(NamedTuple):
    """A node that a loop takes from memory; ``raw`` is true for a slot to which its bias is still to be added."""

    node: int
    place: Place
    raw: bool = False


class Write(NamedTuple):
    """A node that a loop leaves in memory, None for zero."""

    place: Place
    node: int | None


class Loop(NamedTuple):
    """One pass over the hidden units, and what is one number for the row and computed before the pass."""

    row_reads: tuple[Read, ...]
    row_nodes: tuple[int, ...]
    row_writes: tuple[Write, ...]
    reads: tuple[Read, ...]
    nodes: tuple[int, ...]
    sums: tuple[int, ...]
    writes: tuple[Write, ...]


class Phase(NamedTuple):
    """What runs between two products: loops, and before them what is one number for the whole call."""

    call_nodes: tuple[int, ...]
    loops: tuple[Loop, ...]


class Program(NamedTuple):
    """One direction of a cell.

    Attributes
    ----------
    phases : tuple of Phase
    written : dict of Place to int
        The phase in which each place is written.
    carries : dict of int to bool
        The node of every carry, and whether it lives from one phase to another: such a carry needs a lane for each
        batch row.
    row_values : tuple of int
        The nodes of one number a row that are kept, in the order of their places.
    """

    phases: tuple[Phase, ...]
    written: dict[Place, int]
    carries: dict[int, bool]
    row_values: tuple[int, ...]


def build_program(
    graph: Graph,
    leaves: Mapping[int, Place],
    writes: Sequence[tuple[Place, int | None]],
    waits: Mapping[int, Sequence[Place]],
    row_values: Sequence[int],
    raw: bool,
) -> Program:
    """Order the computation of what is to be written.

    Parameters
    ----------
    graph : Graph
    leaves : dict of int to Place
        The nodes that can be read from memory, and where.
    writes : sequence of (Place, int or None)
        What is to be written where; None for zero. A place that is written no longer holds its leaf.
    waits : dict of int to sequence of Place
        For a leaf that a product brings: the places that must have been written before the product.
    row_values : sequence of int
        Nodes of one number a row that are to be kept, or, where they are leaves, were kept by the other direction.
    raw : bool
        Whether a slot lacks its bias until it is written.

    Returns
    -------
    Program
    """
    return _Builder(graph, leaves, writes, waits, row_values, raw).build()


class _Builder:
    def __init__(
        self,
        graph: Graph,
        leaves: Mapping[int, Place],
        writes: Sequence[tuple[Place, int | None]],
        waits: Mapping[int, Sequence[Place]],
        row_values: Sequence[int],
        raw: bool,
    ) -> None:
        self.graph, self.leaves, self.raw = graph, leaves, raw
        self.writes = [Write(*write) for write in writes]
        self.row_values = list(row_values)
        roots = [node for _, node in self.writes if node is not None]
        roots += [node for node in row_values if node not in leaves]
        self.needed = graph.reach(roots, frozenset(leaves))
        self.computed = [n for n in self.needed if n not in leaves and graph.nodes[n].op in OPERATIONS]
        self.times = self._find_times(waits)
        brought = {place: self.times[node] for node, place in leaves.items() if node in self.times}
        self.written = {
            place: max((0, 0) if node is None else self.times[node], brought.get(place, (0, 0)))
            for place, node in self.writes
        }
        self.copies: dict[int, Place] = {}  # where a node lies once its write is done
        for place, node in self.writes:
            if node is not None and place[0] != "d_parameter":
                self.copies.setdefault(node, place)
        self.carries: dict[int, bool] = {}

    def build(self) -> Program:
        """Find what every loop reads, which tells what earlier ones must put by, and put the loops together."""
        times = [*self.times.values(), *self.written.values()]
        depths = [
            max((loop for p, loop in times if p == phase), default=0)
            for phase in range(max((p for p, _ in times), default=0) + 1)
        ]
        order = [(phase, loop) for phase, depth in enumerate(depths) for loop in range(depth + 1)]
        reads = {time: [self._find(node, time) for node in sorted(self._wanted(time))] for time in order}
        row_reads = {phase: self._row_reads(phase) for phase in range(len(depths))}
        begins: dict[Time, list[int]] = {}
        for node in self.carries:
            begins.setdefault(self._begin(node), []).append(node)
        phases = []
        for phase, depth in enumerate(depths):
            loops = []
            for number in range(depth + 1):
                time = phase, number
                known = {read.node for read in reads[time]}
                put_by = begins.get(time, [])
                leaves = [
                    Read(n, self.leaves[n], self._is_raw(n))
                    for n in put_by
                    if n in self.leaves and n not in known
                ]
                row_nodes = [n for n in self._at(time, Rank.ROW) if self.graph.nodes[n].op != "sum"]
                loops.append(
                    Loop(
                        row_reads=tuple(row_reads[phase] if number == 0 else ()),
                        row_nodes=tuple(row_nodes),
                        row_writes=tuple(
                            Write(("row", n), n) for n in self._at(time, Rank.ROW) if n in self.row_values
                        ),
                        reads=(*reads[time], *leaves),
                        nodes=tuple(self._at(time, Rank.UNIT)),
                        sums=tuple(self._sums(time)),
                        writes=(
                            *(w for w in self.writes if self.written[w.place] == time),
                            *(Write(("carry", n), n) for n in put_by),
                        ),
                    )
                )
            phases.append(Phase(tuple(self._call_nodes(loops)), tuple(loops)))
        written = {place: time[0] for place, time in self.written.items()}
        return Program(tuple(phases), written, self.carries, tuple(self.row_values))

    def _find_times(self, waits: Mapping[int, Sequence[Place]]) -> dict[int, Time]:
        """Return the time of every needed node; a leaf that a product brings comes a phase after what it waits for."""
        node_of = dict(self.writes)
        times: dict[int, Time] = dict.fromkeys(self.needed, (0, 0))
        changed = True
        while changed:
            changed = False
            for index in self.needed:
                node = self.graph.nodes[index]
                time: Time = (0, 0)
                if index in self.leaves:
                    if index in waits:
                        awaited = [node_of[place] for place in waits[index]]
                        time = 1 + max((0 if n is None else times[n][0] for n in awaited), default=0), 0
                elif node.op == "sum":
                    phase, loop = times[node.args[0]]
                    time = phase, loop + 1
                elif self.graph.rank(index) != Rank.CALL:
                    time = max(times[arg] for arg in node.args)
                if times[index] != time:
                    times[index], changed = time, True
        return times

    def _at(self, time: Time, rank: Rank) -> list[int]:
        return [n for n in self.computed if self.times[n] == time and self.graph.rank(n) == rank]

    def _sums(self, time: Time) -> list[int]:
        """Return the sums whose terms the loop at a time has."""
        sums = [n for n in self.computed if self.graph.nodes[n].op == "sum"]
        return [n for n in sums if self.times[self.graph.nodes[n].args[0]] == time]

    def _wanted(self, time: Time) -> set[int]:
        """Return the values of units that the loop at a time takes from memory."""
        wanted = {arg for n in self._at(time, Rank.UNIT) for arg in self.graph.nodes[n].args}
        wanted |= {self.graph.nodes[n].args[0] for n in self._sums(time)}
        wanted |= {node for place, node in self.writes if node is not None and self.written[place] == time}
        here = set(self._at(time, Rank.UNIT))
        return {n for n in wanted - here if self.graph.rank(n) == Rank.UNIT}

    def _find(self, node: int, time: Time) -> Read:
        """Return where a loop finds a value of units; where nowhere, a carry."""
        place = self.leaves.get(node)
        if place is not None and self.written.get(place, time) >= time:
            return Read(node, place, self._is_raw(node))
        copy = self.copies.get(node)
        if copy is not None and self.written[copy] < time:
            return Read(node, copy)
        begin = self._begin(node)
        self.carries[node] = self.carries.get(node, False) or begin[0] != time[0]
        return Read(node, ("carry", node))

    def _begin(self, node: int) -> Time:
        """Return when a carry is filled: when its value is computed, or overwritten where it lay."""
        return self.written[self.leaves[node]] if node in self.leaves else self.times[node]

    def _is_raw(self, node: int) -> bool:
        return self.raw and self.leaves[node][0] == "slot"

    def _row_reads(self, phase: int) -> list[Read]:
        """Return the numbers of a row that a phase takes from memory: kept by the other direction or another phase."""
        consumers = [n for n in self.computed if self.times[n][0] == phase]
        consumed = {arg for n in consumers for arg in self.graph.nodes[n].args}
        consumed |= {n for place, n in self.writes if n is not None and self.written[place][0] == phase}
        reads = []
        for node in sorted(n for n in consumed if self.graph.rank(n) == Rank.ROW):
            if node in self.leaves or self.times[node][0] < phase:
                if node not in self.row_values:
                    self.row_values.append(node)
                reads.append(Read(node, ("row", node)))
        return reads

    def _call_nodes(self, loops: Iterable[Loop]) -> list[int]:
        """Return what is one number for the call and read in these loops."""
        nodes = {n for loop in loops for n in (*loop.nodes, *loop.row_nodes)}
        wanted = {arg for n in nodes for arg in self.graph.nodes[n].args}
        wanted |= {w.node for loop in loops for w in loop.writes if w.node is not None}
        call = sorted(n for n in wanted if self.graph.rank(n) == Rank.CALL)
        return [n for n in self.graph.reach(call) if self.graph.nodes[n].op != "const"]
