"""Timeline: the order in which a step is computed, and the values that must be spilled on the way.

A step is computed in *phases*, separated by the recurrent products, and each phase in *loops* over the hidden units,
separated by the sums over the units. A value belongs to the first loop in which all its operands are available. A later
loop reads it from its location or, if that is overwritten in place, from a *carry*: a lane of its own that lives no
longer than the step.

What is expensive and depends on learned vectors alone is computed once for all rows of a call, in a *prologue* before
the loops of each phase that reads it.

Times are pairs (phase, loop).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from rondeau.kernels.cell.graph import Graph, Rank
from rondeau.kernels.cell.operations import OPERATIONS

__all__ = ["Location", "Loop", "Phase", "Program", "build_program", "vectors_of"]

Time = tuple[int, int]

#: A place in memory, such as ``("slot", ("x", "i"))``, ``("new", "c")`` or ``("carry", 2)``.
Location = tuple[str, object]


class Read(NamedTuple):
    """A node that a loop reads from memory; ``raw`` is true for a slot whose bias has not been added yet."""

    node: int
    location: Location
    raw: bool = False


class Write(NamedTuple):
    """A node that a loop writes to memory; None for zero."""

    location: Location
    node: int | None


class Loop(NamedTuple):
    """One pass over the hidden units, and the values with one number per row that are computed before it."""

    row_reads: tuple[Read, ...]
    row_nodes: tuple[int, ...]
    row_writes: tuple[Write, ...]
    reads: tuple[Read, ...]
    nodes: tuple[int, ...]
    sums: tuple[int, ...]
    writes: tuple[Write, ...]


class Phase(NamedTuple):
    """The part of a step between two products: the values that are constant over the call, then loops.

    The prologue is a loop over the units alone, which writes the vectors that the others read; None if there are none.
    """

    call_nodes: tuple[int, ...]
    prologue: Loop | None
    loops: tuple[Loop, ...]


class Program(NamedTuple):
    """One direction of a cell.

    Attributes
    ----------
    phases : tuple of Phase
    written : dict of Location to int
        The phase in which each location is written.
    carries : dict of int to bool
        The node of every carry, and whether it lives from one phase to another; such a carry needs a lane for each
        batch row.
    vectors : tuple of int
        The nodes that prologues compute.
    row_values : tuple of int
        The nodes with one number per row that are kept, in the order of their locations.
    """

    phases: tuple[Phase, ...]
    written: dict[Location, int]
    carries: dict[int, bool]
    vectors: tuple[int, ...]
    row_values: tuple[int, ...]

    @property
    def num_lanes(self) -> int:
        """The number of lanes per batch row: those of the carries, then those of the vectors."""
        return len(self.carries) + len(self.vectors)


def vectors_of(graph: Graph) -> frozenset[int]:
    """Return the expensive values that depend on learned vectors and scalars alone.

    Examples
    --------
    >>> from rondeau.kernels.cell import cell_math as m
    >>> from rondeau.kernels.cell.trace import trace
    >>> graph = trace(lambda x, r, s, p: m.exp(-p.a) * m.tanh(x.h + p.a), ("h",), ("h",), ("a",))
    >>> [graph.nodes[node].op for node in vectors_of(graph)]
    ['exp']
    """
    alone = set()
    for index, node in enumerate(graph.nodes):
        if node.op == "input":
            is_alone = node.value[0] == "p"
        else:
            is_alone = node.op in OPERATIONS and all(
                arg in alone or graph.rank(arg) == Rank.CALL for arg in node.args
            )
        if is_alone and graph.rank(index) == Rank.UNIT:
            alone.add(index)
    return frozenset(
        index
        for index in alone
        if graph.nodes[index].op in OPERATIONS and OPERATIONS[graph.nodes[index].op].is_expensive
    )


def build_program(
    graph: Graph,
    leaves: Mapping[int, Location],
    writes: Sequence[tuple[Location, int | None]],
    waits: Mapping[int, Sequence[Location]],
    row_values: Sequence[int],
    raw: bool,
) -> Program:
    """Return the program that computes the values to be written, in order.

    Parameters
    ----------
    graph : Graph
    leaves : dict of int to Location
        The nodes that can be read from memory, and where.
    writes : sequence of (Location, int or None)
        The node to write to each location; None for zero. A location that is written no longer holds its leaf.
    waits : dict of int to sequence of Location
        For each leaf that a product computes, the locations that must be written before the product runs.
    row_values : sequence of int
        Nodes with one number per row that are to be kept or, if they are leaves, were kept by the other direction.
    raw : bool
        Whether a slot lacks its bias until it is written.

    Returns
    -------
    Program
    """
    return _Builder(graph, leaves, writes, waits, row_values, raw).build()


class _Builder:
    """Builds a program: when each value is available, where a loop finds it, and what each loop does."""

    def __init__(
        self,
        graph: Graph,
        leaves: Mapping[int, Location],
        writes: Sequence[tuple[Location, int | None]],
        waits: Mapping[int, Sequence[Location]],
        row_values: Sequence[int],
        raw: bool,
    ) -> None:
        self.graph, self.raw = graph, raw
        self.leaves: dict[int, Location] = {node: ("vector", node) for node in vectors_of(graph)} | {**leaves}
        self.writes = [Write(*write) for write in writes]
        self.row_values = list(row_values)
        roots = [node for _, node in self.writes if node is not None]
        roots += [node for node in row_values if node not in leaves]
        self.needed = graph.reach(roots, frozenset(self.leaves))
        self.computed = [n for n in self.needed if n not in self.leaves and graph.nodes[n].op in OPERATIONS]
        self.times = self._find_times(waits)
        self.written = self._find_written()
        self.copies: dict[int, Location] = {}  # the location of a node after its write
        for location, node in self.writes:
            if node is not None and location[0] not in ("d_parameter", "d_input"):
                self.copies.setdefault(node, location)
        self.carries: dict[int, bool] = {}

    def build(self) -> Program:
        """Assemble the loops. The reads of all loops come first: they determine what earlier loops must spill."""
        depths = self._find_depths()
        times = [(phase, loop) for phase, depth in enumerate(depths) for loop in range(depth)]
        reads = {time: self._reads(time) for time in times}
        row_reads = {phase: self._row_reads(phase) for phase in range(len(depths))}
        loops = {
            time: self._loop(time, row_reads[time[0]] if time[1] == 0 else [], reads[time]) for time in times
        }
        phases = []
        for phase, depth in enumerate(depths):
            of_phase = tuple(loops[phase, loop] for loop in range(depth))
            prologue = self._prologue(of_phase)
            call_nodes = self._call_nodes(of_phase if prologue is None else (prologue, *of_phase))
            phases.append(Phase(tuple(call_nodes), prologue, of_phase))
        written = {location: time[0] for location, time in self.written.items()}
        vectors = tuple(n for n in self.needed if self.leaves.get(n, ("",))[0] == "vector")
        return Program(tuple(phases), written, self.carries, vectors, tuple(self.row_values))

    # ---------------------------------------------------------------- when

    def _find_times(self, waits: Mapping[int, Sequence[Location]]) -> dict[int, Time]:
        """Return the time of every needed node; the result of a product comes a phase after what it waits for."""
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
                        awaited = [node_of[location] for location in waits[index]]
                        time = 1 + max((0 if n is None else times[n][0] for n in awaited), default=0), 0
                elif node.op == "sum":
                    phase, loop = times[node.args[0]]
                    time = phase, loop + 1
                elif self.graph.rank(index) != Rank.CALL:
                    time = max(times[arg] for arg in node.args)
                if times[index] != time:
                    times[index], changed = time, True
        return times

    def _find_written(self) -> dict[Location, Time]:
        """Return when each location is written: once its value is known and the leaf it holds has arrived."""
        brought = {location: self.times[node] for node, location in self.leaves.items() if node in self.times}
        return {
            location: max((0, 0) if node is None else self.times[node], brought.get(location, (0, 0)))
            for location, node in self.writes
        }

    def _find_depths(self) -> list[int]:
        """Return the number of loops of each phase, at least one."""
        times = [*self.times.values(), *self.written.values()]
        phases = 1 + max((phase for phase, _ in times), default=0)
        return [1 + max((loop for p, loop in times if p == phase), default=0) for phase in range(phases)]

    # ---------------------------------------------------------------- what a loop does

    def _loop(self, time: Time, row_reads: Sequence[Read], reads: Sequence[Read]) -> Loop:
        """Return the loop at a time; the reads of all loops must be known by then."""
        known = {read.node for read in reads}
        put_by = [node for node in self.carries if self._begin(node) == time]
        leaves = [node for node in put_by if node in self.leaves and node not in known]
        of_rows = self._at(time, Rank.ROW)
        due = [write for write in self.writes if self.written[write.location] == time]
        return Loop(
            row_reads=tuple(row_reads),
            row_nodes=tuple(n for n in of_rows if self.graph.nodes[n].op != "sum"),
            row_writes=(
                *(Write(("row", n), n) for n in of_rows if n in self.row_values),
                *(write for write in due if self._is_of_rows(write.location)),
            ),
            reads=(*reads, *(self._read_leaf(node) for node in leaves)),
            nodes=tuple(self._at(time, Rank.UNIT)),
            sums=tuple(self._sums(time)),
            writes=(
                *(write for write in due if not self._is_of_rows(write.location)),
                *(Write(("carry", node), node) for node in put_by),
            ),
        )

    def _is_of_rows(self, location: Location) -> bool:
        """Return whether a location has one number per row."""
        return location[0] in ("input", "d_input") and location[1] in self.graph.forms.numbers

    def _prologue(self, loops: Iterable[Loop]) -> Loop | None:
        """Return the loop that computes the vectors that these loops read."""
        read = {r.node for loop in loops for r in loop.reads if r.location[0] == "vector"}
        if not read:
            return None
        nodes = [n for n in self.graph.reach(sorted(read)) if self.graph.rank(n) == Rank.UNIT]
        return Loop(
            row_reads=(),
            row_nodes=(),
            row_writes=(),
            reads=tuple(self._read_leaf(n) for n in nodes if self.graph.nodes[n].op == "input"),
            nodes=tuple(n for n in nodes if self.graph.nodes[n].op != "input"),
            sums=(),
            writes=tuple(Write(("vector", n), n) for n in sorted(read)),
        )

    def _at(self, time: Time, rank: Rank) -> list[int]:
        return [n for n in self.computed if self.times[n] == time and self.graph.rank(n) == rank]

    def _sums(self, time: Time) -> list[int]:
        """Return the sums whose terms the loop at a time computes or reads."""
        sums = [n for n in self.computed if self.graph.nodes[n].op == "sum"]
        return [n for n in sums if self.times[self.graph.nodes[n].args[0]] == time]

    # ---------------------------------------------------------------- what a loop reads, and from where

    def _reads(self, time: Time) -> list[Read]:
        """Return the per-unit values that the loop at a time reads from memory."""
        here = self._at(time, Rank.UNIT)
        wanted = {arg for n in here for arg in self.graph.nodes[n].args}
        wanted |= {self.graph.nodes[n].args[0] for n in self._sums(time)}
        wanted |= {
            node for location, node in self.writes if node is not None and self.written[location] == time
        }
        return [
            self._find(n, time) for n in sorted(wanted.difference(here)) if self.graph.rank(n) == Rank.UNIT
        ]

    def _find(self, node: int, time: Time) -> Read:
        """Return where a loop finds a per-unit value; if nowhere, make it a carry."""
        location = self.leaves.get(node)
        if location is not None and self.written.get(location, time) >= time:
            return self._read_leaf(node)
        copy = self.copies.get(node)
        if copy is not None and self.written[copy] < time:
            return Read(node, copy)
        begin = self._begin(node)
        self.carries[node] = self.carries.get(node, False) or begin[0] != time[0]
        return Read(node, ("carry", node))

    def _read_leaf(self, node: int) -> Read:
        location = self.leaves[node]
        return Read(node, location, self.raw and location[0] == "slot")

    def _begin(self, node: int) -> Time:
        """Return when a carry is filled: when its value is computed, or when the location of a leaf is overwritten."""
        return self.written[self.leaves[node]] if node in self.leaves else self.times[node]

    def _row_reads(self, phase: int) -> list[Read]:
        """Return the per-row values that a phase reads from memory: kept by the other direction or an earlier phase."""
        consumers = [n for n in self.computed if self.times[n][0] == phase]
        consumed = {arg for n in consumers for arg in self.graph.nodes[n].args}
        consumed |= {n for location, n in self.writes if n is not None and self.written[location][0] == phase}
        reads = []
        for node in sorted(n for n in consumed if self.graph.rank(n) == Rank.ROW):
            location = self.leaves.get(node, ("row", node))
            if node in self.leaves or self.times[node][0] < phase:
                if location[0] == "row" and node not in self.row_values:
                    self.row_values.append(node)
                reads.append(Read(node, location))
        return reads

    def _call_nodes(self, loops: Iterable[Loop]) -> list[int]:
        """Return the values constant over the call that these loops read."""
        nodes = {n for loop in loops for n in (*loop.nodes, *loop.row_nodes)}
        wanted = {arg for n in nodes for arg in self.graph.nodes[n].args}
        writes = [write for loop in loops for write in (*loop.writes, *loop.row_writes)]
        wanted |= {write.node for write in writes if write.node is not None}
        call = sorted(n for n in wanted if self.graph.rank(n) == Rank.CALL)
        return [n for n in self.graph.reach(call) if self.graph.nodes[n].op != "const"]
