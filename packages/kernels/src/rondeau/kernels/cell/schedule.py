"""Schedule: which buffers the products fill, and which values of a step's forward are kept for its backward.

Every gate has a *slot* per row and hidden unit, filled by the input projection. A gate that the step reads only
as ``x.k + r.k`` is *joint*: its recurrent product accumulates into the same slot. A gate whose recurrent part
is read separately (the GRU's n) is *split*: it has a second, recurrent slot. A gate whose recurrent part is not read
is *apart*: it has no recurrent product at all.

An *operand* is a value that recurrent matrices multiply: the first state before the step, or a value that the step
passes to ``r.k(value)``. Its product runs as soon as the operand is known, which cuts the step into phases; see
`timeline`.

Forward also uses the slots to save values for backward: results of the expensive functions go into slots whose own
content backward does not need, so that backward evaluates as few of these functions again as possible.
"""

from __future__ import annotations

import dataclasses
import functools
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from rondeau.kernels.cell.derive import derive
from rondeau.kernels.cell.graph import DISTRIBUTIONS, Graph, Node, Rank
from rondeau.kernels.cell.operations import OPERATIONS
from rondeau.kernels.cell.timeline import Location, Program, build_program, vectors_of

__all__ = ["Operand", "Schedule", "Slot", "make_schedule"]

#: ``("x", gate)``: the gate's slot; ``("r", gate)``: the second slot of a split gate.
Slot = tuple[str, str]

#: The location of inputs by kind, for those that are neither slots nor computed by a product.
_LOCATION_OF_INPUT = {
    "s": "old", "d": "adjoint", "p": "parameter", "u": "input", "k": "scalar", "rate": "rate", "zoneout": "zoneout",
    "normal": "normal", "uniform": "uniform", "mask": "mask", "width": "width",
}  # fmt: skip


class Operand(NamedTuple):
    """A value that the recurrent matrices of some gates multiply.

    Attributes
    ----------
    node : int or None
        The value; None for the first state before the step.
    joint, split : tuple of str
        The joint and the split gates whose matrices multiply it.
    """

    node: int | None
    joint: tuple[str, ...]
    split: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Schedule:
    """Everything an emitter needs to know about a cell in addition to its graph.

    Attributes
    ----------
    graph : Graph
        Forward and backward; ``graph.outputs`` are the new states.
    operands : tuple of Operand
        The first state before the step comes first, if any gate multiplies it.
    apart : tuple of str
        The gates without a recurrent product.
    leaves : dict of Slot to int
        The node that each slot holds when the step begins or, for the slots of a computed operand, after its product.
    saved : dict of Slot to int
        The node that each slot holds when backward starts; slots that backward does not read are absent.
    adjoints : dict of Slot to int
        The node of the adjoint that backward leaves in each slot; absent where it is zero.
    state_adjoints, param_adjoints, input_adjoints : dict of str to int
        The node of the pointwise part of each old state's adjoint, and of one row's contribution to each parameter's
        and each named input's; absent where it is zero.
    kept : dict
        What a target has derived from the schedule, to find it again.
    """

    graph: Graph
    operands: tuple[Operand, ...]
    apart: tuple[str, ...]
    leaves: dict[Slot, int]
    saved: dict[Slot, int]
    adjoints: dict[Slot, int]
    state_adjoints: dict[str, int]
    param_adjoints: dict[str, int]
    input_adjoints: dict[str, int]
    kept: dict[Any, Any] = field(default_factory=dict, init=False, repr=False)

    @functools.cached_property
    def joint(self) -> tuple[str, ...]:
        """The joint gates, operand by operand."""
        return tuple(gate for operand in self.operands for gate in operand.joint)

    @functools.cached_property
    def split(self) -> tuple[str, ...]:
        """The split gates, operand by operand."""
        return tuple(gate for operand in self.operands for gate in operand.split)

    @functools.cached_property
    def order(self) -> tuple[str, ...]:
        """The gates in the order of the buffers."""
        return self.joint + self.split + self.apart

    @functools.cached_property
    def recurrent(self) -> tuple[str, ...]:
        """The gates that have a recurrent matrix, in the order of the weights."""
        return tuple(gate for gate in self.graph.gates if gate not in self.apart)

    @functools.cached_property
    def is_in_order(self) -> bool:
        """Whether the buffers have the gates in the order of the weights."""
        return self.order == self.graph.gates and self.joint + self.split == self.recurrent

    @functools.cached_property
    def slots(self) -> tuple[Slot, ...]:
        """All slots in the order of the buffers: those of the gates, then the recurrent ones."""
        return tuple(("x", gate) for gate in self.order) + tuple(("r", gate) for gate in self.split)

    @functools.cached_property
    def values(self) -> tuple[int, ...]:
        """The operands that the step computes, in the order of their buffer."""
        return tuple(operand.node for operand in self.operands if operand.node is not None)

    def forward_group(self, operand: Operand) -> int:
        """Return the phase of forward before which an operand's products run."""
        return 0 if operand.node is None else self.forward.written["value", str(operand.node)] + 1

    def backward_group(self, operand: Operand) -> int:
        """Return the phase of backward after which an operand's products run; for the first state, the last one."""
        if operand.node is None:
            return len(self.backward.phases) - 1
        adjoints = [("x", gate) for gate in operand.joint] + [("r", gate) for gate in operand.split]
        return max(self.backward.written["slot", slot] for slot in adjoints)

    def reads_state(self, state: str) -> bool:
        """Return whether the step reads the old value of a state pointwise."""
        return self.graph.find("s", state, self.graph.reach(self.graph.outputs)) is not None

    @functools.cached_property
    def scalars(self) -> tuple[tuple[str, str], ...]:
        """The inputs that are scalars of the run, in the order of the array that holds them."""
        values = [node.value for node in self.graph.nodes if node.op == "input"]
        return tuple(value for value in values if value[0] in ("k", "rate"))

    def has_input(self, kind: str) -> bool:
        """Return whether the step reads an input of a kind, such as ``"zoneout"`` or ``"mask"``."""
        return kind in self._kinds

    @functools.cached_property
    def draws_numbers(self) -> bool:
        """Whether the step draws random numbers, its own or those of zoneout."""
        return not self._kinds.isdisjoint((*DISTRIBUTIONS, "zoneout"))

    @functools.cached_property
    def _kinds(self) -> frozenset[str]:
        return frozenset(node.value[0] for node in self.graph.nodes if node.op == "input")

    @functools.cached_property
    def forward(self) -> Program:
        """The step: slots and old states in; operands, saved slots and new states out."""
        return self._step(self.saved, self.kept_rows)

    @functools.cached_property
    def evaluation(self) -> Program:
        """The step alone: `forward` without what backward needs."""
        return self._step({}, ())

    def _step(self, saved: dict[Slot, int], kept_rows: tuple[int, ...]) -> Program:
        graph = self.graph
        leaves: dict[int, Location] = {node: ("slot", slot) for slot, node in self.leaves.items()}
        leaves |= self._inputs()
        waits = {
            self.leaves[slot]: [("value", str(operand.node))]
            for operand in self.operands
            if operand.node is not None
            for slot in (*(("x", g) for g in operand.joint), *(("r", g) for g in operand.split))
            if slot in self.leaves
        }
        writes: list[tuple[Location, int | None]] = [(("value", str(node)), node) for node in self.values]
        writes += [(("slot", slot), node) for slot, node in saved.items()]
        writes += [(("new", state), node) for state, node in zip(graph.states, graph.outputs, strict=True)]
        return build_program(graph, leaves, writes, waits, kept_rows, raw=True)

    @functools.cached_property
    def backward(self) -> Program:
        """The derivative: saved slots, states and their adjoints in; adjoints of slots, states and parameters out."""
        graph = self.graph
        leaves: dict[int, Location] = {node: ("slot", slot) for slot, node in self.saved.items()}
        leaves |= {node: ("value", str(node)) for node in self.values if node not in leaves}
        for state, output in zip(graph.states, graph.outputs, strict=True):
            leaves.setdefault(output, ("new", state))
        leaves |= self._inputs()
        leaves |= {node: ("row", node) for node in self.kept_rows}
        waits: dict[int, list[Location]] = {}
        for operand in self.operands:
            back = graph.find("back", str(operand.node))
            if back is not None:
                leaves[back] = ("back", str(operand.node))
                waits[back] = [("slot", ("x", gate)) for gate in operand.joint]
                waits[back] += [("slot", ("r", gate)) for gate in operand.split]
        writes: list[tuple[Location, int | None]] = [
            (("slot", slot), self.adjoints.get(slot)) for slot in self.slots
        ]
        writes += [(("adjoint", state), self.state_adjoints.get(state)) for state in graph.states]
        writes += [(("d_parameter", name), node) for name, node in self.param_adjoints.items()]
        writes += [
            (("d_input", name), self.input_adjoints.get(name))
            for name in graph.inputs
            if name not in graph.forms.constants
        ]
        return build_program(graph, leaves, writes, waits, self.kept_rows, raw=False)

    @functools.cached_property
    def kept_rows(self) -> tuple[int, ...]:
        """The values with one number per row that forward keeps for backward."""
        graph = self.graph
        forward = set(graph.reach(graph.outputs))
        rows = _computed_rows(graph, forward)
        given = _given(graph, self.values) | frozenset(self.saved.values()) | rows
        return tuple(i for i in graph.reach(self._roots, given) if i in rows)

    @property
    def _roots(self) -> list[int]:
        """The nodes of all adjoints."""
        found = (self.adjoints, self.state_adjoints, self.param_adjoints, self.input_adjoints)
        return [node for adjoints in found for node in adjoints.values()]

    def _inputs(self) -> dict[int, Location]:
        """Return the locations of the inputs that are neither slots nor computed by a product."""
        return {
            index: (_LOCATION_OF_INPUT[node.value[0]], node.value[1])
            for index, node in enumerate(self.graph.nodes)
            if node.op == "input" and node.value[0] in _LOCATION_OF_INPUT
        }


def make_schedule(graph: Graph) -> Schedule:
    """Return the schedule of a traced step.

    Examples
    --------
    >>> from rondeau.kernels.cell import cell_math as m
    >>> from rondeau.kernels.cell.trace import trace
    >>> def gru(x, r, s):
    ...     reset, update = m.sigmoid(x.r + r.r), m.sigmoid(x.z + r.z)
    ...     new = m.tanh(x.n + reset * r.n)
    ...     return (1 - update) * new + update * s.h
    >>> schedule = make_schedule(trace(gru, ("r", "z", "n"), ("h",)))
    >>> schedule.joint, schedule.split
    (('r', 'z'), ('n',))
    >>> {slot: schedule.graph.nodes[node].op for slot, node in schedule.saved.items()}
    {('x', 'r'): 'sigmoid', ('x', 'z'): 'sigmoid', ('x', 'n'): 'tanh', ('r', 'n'): 'input'}
    """
    live = graph.reach(graph.outputs)
    recurrent = graph.recurrent_parts
    joint_nodes = _find_joint_gates(graph, live, recurrent)
    operands = _find_operands(graph, recurrent, joint_nodes)
    apart = tuple(gate for gate in graph.gates if gate not in recurrent)

    leaves: dict[Slot, int] = {}
    for gate in graph.gates:
        if gate in joint_nodes:
            leaves["x", gate] = joint_nodes[gate]
            continue
        node = graph.find("x", gate, live)
        if node is not None:
            leaves["x", gate] = node
        if gate in recurrent:
            leaves["r", gate] = recurrent[gate]

    values = tuple(operand.node for operand in operands if operand.node is not None)
    graph, found = derive(graph)
    draft = Schedule(graph, operands, apart, leaves, {}, {}, {}, {}, {})
    draft = dataclasses.replace(
        draft,
        adjoints={slot: found[slot] for slot in draft.slots if slot in found},
        state_adjoints={s: found["s", s] for s in graph.states if ("s", s) in found},
        param_adjoints={p: found["p", p] for p in graph.params if ("p", p) in found},
        input_adjoints={u: found["u", u] for u in graph.inputs if ("u", u) in found},
    )
    saved = _choose_saved(graph, leaves, values, draft._roots)
    return dataclasses.replace(draft, saved={slot: saved[slot] for slot in draft.slots if slot in saved})


def _find_joint_gates(graph: Graph, live: list[int], recurrent: dict[str, int]) -> dict[str, int]:
    """Return the node ``x.k + r.k`` of every gate whose parts are read nowhere else."""
    readers: dict[int, list[int]] = {index: [] for index in live}
    for index in live:
        for arg in graph.nodes[index].args:
            readers[arg].append(index)
    joint = {}
    for gate, r in recurrent.items():
        x = graph.find("x", gate, live)
        if x is None or x in graph.outputs or r in graph.outputs:
            continue
        if len(readers[x]) == 1 and readers[x] == readers[r] and graph.nodes[readers[x][0]].op == "add":
            joint[gate] = readers[x][0]
    return joint


def _find_operands(graph: Graph, recurrent: dict[str, int], joint: dict[str, int]) -> tuple[Operand, ...]:
    """Return the operands: the first state, then the computed values in the order of computation."""
    gates_of: dict[int | None, list[str]] = {}
    for gate, index in recurrent.items():
        node = graph.nodes[index]
        gates_of.setdefault(node.args[0] if node.op == "product" else None, []).append(gate)
    return tuple(
        Operand(
            value,
            tuple(gate for gate in gates_of[value] if gate in joint),
            tuple(gate for gate in gates_of[value] if gate not in joint),
        )
        for value in sorted(gates_of, key=lambda value: -1 if value is None else value)
    )


def _given(graph: Graph, values: tuple[int, ...]) -> frozenset[int]:
    """Return what backward has at little cost: states, their adjoints, operands, vectors, and inputs without a slot.

    The noise of the step is not among them, because it would be drawn again.
    """
    inputs = {
        index
        for index, node in enumerate(graph.nodes)
        if node.op == "input" and node.value[0] not in ("x", "r", *DISTRIBUTIONS)
    }
    return vectors_of(graph).union(graph.outputs, values, inputs)


def _computed_rows(graph: Graph, among: set[int]) -> frozenset[int]:
    """Return the values with one number per row that are computed, rather than given."""
    return frozenset(i for i in among if graph.rank(i) == Rank.ROW and graph.nodes[i].op != "input")


def _is_expensive(node: Node) -> bool:
    if node.op == "input":
        return node.value[0] in DISTRIBUTIONS
    return node.op in OPERATIONS and OPERATIONS[node.op].is_expensive


def _noisy(graph: Graph) -> set[int]:
    """Return the values that the noise of the step enters, except truth values."""
    noisy: set[int] = set()
    for index, node in enumerate(graph.nodes):
        if (node.op == "input" and node.value[0] in DISTRIBUTIONS) or not noisy.isdisjoint(node.args):
            noisy.add(index)
    return {index for index in noisy if not graph.is_truth(index)}


def _choose_saved(
    graph: Graph, leaves: dict[Slot, int], values: tuple[int, ...], roots: list[int]
) -> dict[Slot, int]:
    """Choose the node that each slot holds for backward.

    Of the expensive values that backward needs and cannot read elsewhere, as many are kept as there are slots whose own
    content backward then does not need. A cheap value that backward reads counts as expensive if noise enters it: where
    it is kept, the noise is not drawn again.
    """
    forward = set(graph.reach(graph.outputs))
    given = _given(graph, values) | _computed_rows(graph, forward)
    slot_of = {node: slot for slot, node in leaves.items()}

    def wanted_leaves(kept: frozenset[int]) -> set[int]:
        return {i for i in graph.reach(roots, given | kept) if i in slot_of and i not in given | kept}

    def room(kept: frozenset[int]) -> int:
        return len(leaves) - len(wanted_leaves(kept)) - len(kept)

    wanted = graph.reach(roots, given)
    read = {arg for i in wanted if i not in forward for arg in graph.nodes[i].args}
    worth = {i for i in wanted if _is_expensive(graph.nodes[i])} | (read & _noisy(graph))
    kept = frozenset(i for i in worth if i in forward - given and graph.rank(i) == Rank.UNIT)
    while kept and room(kept) < 0:
        kept -= {max(kept, key=lambda node: (room(kept - {node}), node))}

    saved = {slot_of[leaf]: leaf for leaf in wanted_leaves(kept)}
    homeless = []
    for node in sorted(kept):
        own = slot_of.get(graph.nodes[node].args[0]) if graph.nodes[node].args else None
        if own is None or own in saved:
            homeless.append(node)
        else:
            saved[own] = node
    free = [slot for slot in leaves if slot not in saved]
    saved.update(zip(free, homeless, strict=False))
    return saved
