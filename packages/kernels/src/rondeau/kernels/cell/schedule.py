"""Schedule: which buffers the products fill, and what of a step's forward is kept for its backward.

Every gate has a *slot* per row and hidden unit, filled by the input projection. A gate that the step reads only
as ``x.k + r.k`` is *joint*: its recurrent product accumulates into the same slot. A gate whose recurrent part
is read apart (the GRU's n) is *split*: it has a second, recurrent slot. A gate whose recurrent part is not read
has no recurrent product at all.

The slots are also where forward leaves what backward wants: results of the expensive functions go into slots
whose own content backward can do without, so that backward evaluates as few of them again as it can.
"""

from __future__ import annotations

from typing import NamedTuple

from rondeau.kernels.cell.derive import derive
from rondeau.kernels.cell.trace import Graph

__all__ = ["Schedule", "Slot", "schedule"]

#: ``("x", gate)``: the gate's slot; ``("r", gate)``: the second slot of a split gate.
Slot = tuple[str, str]

_EXPENSIVE = frozenset(("sigmoid", "tanh", "exp", "log", "softplus"))


class Schedule(NamedTuple):
    """What an emitter needs to know about a cell beyond its graph.

    Attributes
    ----------
    graph : Graph
        Forward and backward; ``graph.outputs`` are the new states.
    joint, split, apart : tuple of str
        The gates by kind: joint, split, and those without a recurrent product. Their concatenation is the order
        of the gates in the buffers.
    leaves : dict of Slot to int
        The node that each slot holds when forward starts.
    saved : dict of Slot to int
        The node that each slot holds when backward starts; slots that backward does not read are absent.
    adjoints : dict of Slot to int
        The node of the adjoint that backward leaves in each slot; absent where it is zero.
    state_adjoints : dict of str to int
        The node of the pointwise part of each old state's adjoint; absent where it is zero.
    """

    graph: Graph
    joint: tuple[str, ...]
    split: tuple[str, ...]
    apart: tuple[str, ...]
    leaves: dict[Slot, int]
    saved: dict[Slot, int]
    adjoints: dict[Slot, int]
    state_adjoints: dict[str, int]

    @property
    def order(self) -> tuple[str, ...]:
        """The gates in the order of the buffers."""
        return self.joint + self.split + self.apart

    @property
    def slots(self) -> tuple[Slot, ...]:
        """All slots in the order of the buffers: those of the gates, then the recurrent ones."""
        return tuple(("x", gate) for gate in self.order) + tuple(("r", gate) for gate in self.split)

    def reads_state(self, state: str) -> bool:
        """Tell whether the step reads the old value of a state pointwise."""
        return _find_input(self.graph, self.graph.reach(self.graph.outputs), ("s", state)) is not None


def schedule(graph: Graph) -> Schedule:
    """Decide the buffers of a traced step.

    Examples
    --------
    >>> from rondeau.kernels.cell import cell_math as m
    >>> from rondeau.kernels.cell.trace import trace
    >>> def gru(x, r, s):
    ...     reset, update = m.sigmoid(x.r + r.r), m.sigmoid(x.z + r.z)
    ...     new = m.tanh(x.n + reset * r.n)
    ...     return (1 - update) * new + update * s.h
    >>> plan = schedule(trace(gru, ("r", "z", "n"), ("h",)))
    >>> plan.joint, plan.split
    (('r', 'z'), ('n',))
    >>> {slot: plan.graph.nodes[node].op for slot, node in plan.saved.items()}
    {('x', 'r'): 'sigmoid', ('x', 'z'): 'sigmoid', ('x', 'n'): 'tanh', ('r', 'n'): 'input'}
    """
    joint_nodes = _find_joint_gates(graph)
    live = graph.reach(graph.outputs)
    joint = tuple(gate for gate in graph.gates if gate in joint_nodes)
    rest = [gate for gate in graph.gates if gate not in joint_nodes]
    split = tuple(gate for gate in rest if _find_input(graph, live, ("r", gate)) is not None)
    apart = tuple(gate for gate in rest if gate not in split)

    leaves: dict[Slot, int] = {("x", gate): joint_nodes[gate] for gate in joint}
    for slot in [("x", gate) for gate in split + apart] + [("r", gate) for gate in split]:
        node = _find_input(graph, live, slot)
        if node is not None:
            leaves[slot] = node

    graph, input_adjoints = derive(graph)
    slots = [("x", gate) for gate in joint + split + apart] + [("r", gate) for gate in split]
    adjoints = {slot: input_adjoints[slot] for slot in slots if slot in input_adjoints}
    state_adjoints = {s: input_adjoints["s", s] for s in graph.states if ("s", s) in input_adjoints}
    saved = _choose_saved(graph, leaves, [*adjoints.values(), *state_adjoints.values()])
    saved = {slot: saved[slot] for slot in slots if slot in saved}
    return Schedule(graph, joint, split, apart, leaves, saved, adjoints, state_adjoints)


def _find_joint_gates(graph: Graph) -> dict[str, int]:
    """Return the node ``x.k + r.k`` of every gate whose parts are read nowhere else."""
    live = graph.reach(graph.outputs)
    readers: dict[int, list[int]] = {index: [] for index in live}
    for index in live:
        for arg in graph.nodes[index].args:
            readers[arg].append(index)
    joint = {}
    for gate in graph.gates:
        x, r = (_find_input(graph, live, (kind, gate)) for kind in "xr")
        if x is None or r is None or x in graph.outputs or r in graph.outputs:
            continue
        if len(readers[x]) == 1 and readers[x] == readers[r] and graph.nodes[readers[x][0]].op == "add":
            joint[gate] = readers[x][0]
    return joint


def _find_input(graph: Graph, live: list[int], value: tuple[str, str]) -> int | None:
    return next((i for i in live if graph.nodes[i].op == "input" and graph.nodes[i].value == value), None)


def _choose_saved(graph: Graph, leaves: dict[Slot, int], roots: list[int]) -> dict[Slot, int]:
    """Give every slot the node that backward will read from it.

    Backward can read the states before and after the step for nothing. Of the expensive values it wants beyond
    those, keep as many as there are slots whose own content is then not wanted.
    """
    given = frozenset(graph.outputs).union(
        index for index, node in enumerate(graph.nodes) if node.op == "input" and node.value[0] in "sd"
    )
    forward = set(graph.reach(graph.outputs))
    slot_of = {node: slot for slot, node in leaves.items()}

    def wanted_leaves(kept: frozenset[int]) -> set[int]:
        return {i for i in graph.reach(roots, given | kept) if i in slot_of and i not in given | kept}

    def room(kept: frozenset[int]) -> int:
        return len(leaves) - len(wanted_leaves(kept)) - len(kept)

    kept = frozenset(
        i for i in graph.reach(roots, given) if i in forward - given and graph.nodes[i].op in _EXPENSIVE
    )
    while kept and room(kept) < 0:
        kept -= {max(kept, key=lambda node: (room(kept - {node}), node))}

    saved = {slot_of[leaf]: leaf for leaf in wanted_leaves(kept)}
    homeless = []
    for node in sorted(kept):
        own = slot_of.get(graph.nodes[node].args[0])
        if own is None or own in saved:
            homeless.append(node)
        else:
            saved[own] = node
    free = [slot for slot in leaves if slot not in saved]
    saved.update(zip(free, homeless, strict=False))
    return saved
