"""Naming: the names of a step's values in generated source, chosen so that it reads as the author would write it."""

from __future__ import annotations

import keyword
from typing import cast

from rondeau.kernels.cell.schedule import Schedule, Slot
from rondeau.kernels.cell.timeline import Location, Loop, Phase, Read

__all__ = ["name_values"]

_PREFIX_OF_READ = {
    "old": "s_", "adjoint": "d_new_", "parameter": "p_", "input": "u_", "zoneout": "draw_", "normal": "normal_",
    "uniform": "uniform_", "mask": "keep_", "new": "",
}  # fmt: skip
_PREFIX_OF_WRITE = {"d_parameter": "p_", "d_input": "u_"}


def name_values(schedule: Schedule, phase: Phase, taken: set[str]) -> dict[int, str]:
    """Return a name for every value that a phase holds in a variable.

    The candidates are, in this order: the step's variable that held the value, the location where it is read or
    written, its operation and operand, its number. The first that is free is taken.

    Parameters
    ----------
    schedule : Schedule
    phase : Phase
    taken : set of str
        Names that no value may have.

    Returns
    -------
    dict of int to str
        The name of each node.
    """
    graph, wishes, taken = schedule.graph, _wishes(schedule, phase), set(taken)
    names: dict[int, str] = {}
    for index in _nodes_in_variables(phase):
        op, args, value = graph.nodes[index]
        options = [graph.labels.get(index, ""), *wishes.get(index, ())]
        if op == "input" and value[0] in ("k", "rate", "width"):
            options.append({"k": value[1], "rate": f"rate_{value[1]}", "width": "width"}[value[0]])
        if len(args) == 1 and args[0] in names:
            options.append(f"{op}_{names[args[0]]}")
        options += [f"v{index}", f"v{index}_"]
        name = next(o for o in options if o and o not in taken and not keyword.iskeyword(o))
        names[index] = name
        taken.add(name)
    return names


def _nodes_in_variables(phase: Phase) -> list[int]:
    """Return every node that a phase holds in a variable, in order."""
    nodes = set(phase.call_nodes)
    for loop in _all_loops(phase):
        nodes |= {*loop.row_nodes, *loop.nodes, *loop.sums}
        nodes |= {read.node for read in (*loop.row_reads, *loop.reads)}
        nodes |= {n for _, n in loop.row_writes if n is not None}
    return sorted(nodes)


def _all_loops(phase: Phase) -> tuple[Loop, ...]:
    return phase.loops if phase.prologue is None else (phase.prologue, *phase.loops)


def _wishes(schedule: Schedule, phase: Phase) -> dict[int, list[str]]:
    """Return candidate names for values, from the locations where they are read and written."""
    graph = schedule.graph
    wishes: dict[int, list[str]] = {}
    for read in (read for loop in _all_loops(phase) for read in (*loop.row_reads, *loop.reads)):
        wishes.setdefault(read.node, []).append(_wish_of_read(read, schedule))
    forward = frozenset(graph.reach(graph.outputs))
    for location, node in (write for loop in phase.loops for write in loop.writes):
        if node is not None and location[0] not in ("carry", "value", "vector"):
            name = _wish_of_write(location)
            wishes.setdefault(node, []).append(name if node in forward else f"d_{name}")
    return wishes


def _wish_of_read(read: Read, schedule: Schedule) -> str:
    """Return a candidate name for a value, from the location where it is read."""
    kind, key = read.location
    if kind == "slot":
        where, gate = cast("Slot", key)
        if not read.raw:
            return gate if where == "x" else f"r_{gate}"
        return f"a_{gate}" if gate in schedule.joint else f"{where}_{gate}"
    if kind == "vector":
        return ""  # the prologue, which computes it, has named it
    if kind in ("carry", "value", "back", "row"):
        return f"{kind[0]}{read.node}"
    return f"{_PREFIX_OF_READ[kind]}{key}"


def _wish_of_write(location: Location) -> str:
    kind, key = location
    if kind == "slot":
        where, gate = cast("Slot", key)
        return gate if where == "x" else f"r_{gate}"
    return f"{_PREFIX_OF_WRITE.get(kind, '')}{key}"
