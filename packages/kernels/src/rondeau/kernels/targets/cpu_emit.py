"""Emit: the pointwise row of a scheduled cell as Python source that Numba compiles, forward and backward.

The row is all that is compiled per cell. Both directions have one signature for every cell of a dtype, so that
the drivers of `cpu_run` are compiled once and take a row as an argument.

A row function serves ``count`` batch rows of one step. Slot k of row n is ``gates[n, k]`` (H numbers), slots in
the order of `Schedule.order`; `recurrent` has the second slots of split gates. State i of row n is
``states[n, i]``.
"""

from __future__ import annotations

import keyword
import math
import re
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from rondeau.kernels import scalar
from rondeau.kernels.cache import address_of, cached_njit, kernel_njit
from rondeau.kernels.cell.schedule import Schedule, Slot
from rondeau.kernels.targets.lanes import lanes

__all__ = [
    "BACKWARD_ARGUMENTS",
    "FORWARD_ARGUMENTS",
    "CompiledRow",
    "call_row",
    "emit_backward",
    "emit_forward",
    "row_signature",
]

FORWARD_ARGUMENTS = "gates, recurrent, bias, states, row, old, new, count"
BACKWARD_ARGUMENTS = "gates, recurrent, states, d_states, row, old, new, batch, count"

CODE = {
    "add": "{} + {}", "sub": "{} - {}", "mul": "{} * {}", "div": "{} / {}", "neg": "-{}", "abs": "abs({})",
    "sqrt": "sqrt({})", "exp": "exp({})", "log": "log({})", "sigmoid": "sigmoid({})", "tanh": "tanh({})",
    "relu": "maximum({}, {zero})", "softplus": "softplus({})", "minimum": "minimum({}, {})",
    "maximum": "maximum({}, {})", "where": "{1} if {0} else {2}",
    "lt": "{} < {}", "le": "{} <= {}", "gt": "{} > {}", "ge": "{} >= {}", "eq": "{} == {}", "ne": "{} != {}",
    "and": "{} & {}", "or": "{} | {}", "not": "not {}",
}  # fmt: skip


@kernel_njit(forceinline=True)
def _minimum(a, b):  # type: ignore[no-untyped-def]
    return a if a <= b or a != a else b


@kernel_njit(forceinline=True)
def _maximum(a, b):  # type: ignore[no-untyped-def]
    return a if a >= b or a != a else b


#: What generated source may call.
_FUNCTIONS: dict[str, Any] = {
    **{name: getattr(scalar, name) for name in ("exp", "log", "sigmoid", "softplus", "tanh")},
    "sqrt": math.sqrt, "minimum": _minimum, "maximum": _maximum, "lanes": lanes,
    "float32": numba.float32, "float64": numba.float64, "inf": math.inf, "nan": math.nan,
}  # fmt: skip
_ARGUMENTS = {*FORWARD_ARGUMENTS.split(", "), *BACKWARD_ARGUMENTS.split(", ")}
_RESERVED = frozenset({*_FUNCTIONS, *_ARGUMENTS, "b", "j", "abs", "range"})


def emit_forward(name: str, plan: Schedule, dtype: Any) -> str:
    """Return the source of the forward row: slots and old states in, new states and saved slots out."""
    row = _Row(plan, dtype)
    for slot, node in plan.leaves.items():
        kind, gate = slot
        label = f"a_{gate}" if gate in plan.joint else f"{kind}_{gate}"
        row.may_read(node, f"{row.slot(slot)}[j] + {row.bias(slot)}[j]", label)
    for state in plan.graph.states:
        row.may_read(row.input("s", state), f"{row.state('old', state)}[j]", f"s_{state}")
    writes: list[tuple[str, int | None]] = [(row.slot(slot), node) for slot, node in plan.saved.items()]
    writes += [
        (row.state("new", s), node) for s, node in zip(plan.graph.states, plan.graph.outputs, strict=True)
    ]
    return row.source(_function_name(name, "forward"), FORWARD_ARGUMENTS, writes)


def emit_backward(name: str, plan: Schedule, dtype: Any) -> str:
    """Return the source of the backward row: saved slots become adjoints, in place, and so do the states' adjoints."""
    row = _Row(plan, dtype)
    for slot, node in plan.saved.items():
        label = slot[1] if slot[0] == "x" else f"r_{slot[1]}"
        row.may_read(node, f"{row.slot(slot)}[j]", label)
    for state, output in zip(plan.graph.states, plan.graph.outputs, strict=True):
        row.may_read(row.input("d", state), f"{row.adjoint(state)}[j]", f"d_new_{state}")
        row.may_read(row.input("s", state), f"{row.state('old', state)}[j]", f"s_{state}")
        row.may_read(output, f"{row.state('new', state)}[j]", state)
    writes: list[tuple[str, int | None]] = [(row.slot(slot), plan.adjoints.get(slot)) for slot in plan.slots]
    writes += [(row.adjoint(state), plan.state_adjoints.get(state)) for state in plan.graph.states]
    return row.source(_function_name(name, "backward"), BACKWARD_ARGUMENTS, writes)


def _function_name(cell: str, direction: str) -> str:
    # Cut, for it becomes part of a file's name; equal names are told apart by their source.
    name = re.sub(r"\W", "_", f"{str(cell)[:64]}_{direction}", flags=re.ASCII)
    return name if name.isidentifier() else f"cell_{name}"


def row_signature(arguments: str, dtype: Any) -> numba.core.typing.templates.Signature:
    """Return the one signature of every row of a dtype, forward or backward."""
    array = types.Array(numba.from_dtype(np.dtype(dtype)), 3, "C")
    names = arguments.split(", ")
    kinds = [
        array if name in ("gates", "recurrent", "bias", "states", "d_states") else types.intp
        for name in names
    ]
    return types.void(*kinds)


class CompiledRow:
    """A row for its one signature, compiled or loaded from the disk.

    Attributes
    ----------
    address : int
        Where its machine code lies; what `call_row` takes.
    """

    def __init__(self, source: str, arguments: str, dtype: Any) -> None:
        namespace = {**_FUNCTIONS, "__name__": __name__}
        exec(compile(source, "<rondeau row>", "exec"), namespace)
        name = source[len("def ") : source.index("(")]
        self.dispatcher = cached_njit(namespace[name], source=source)
        self.address = address_of(self.dispatcher, row_signature(arguments, dtype))


@intrinsic
def call_row(_: Any, address: Any, arguments: Any) -> tuple[Any, Callable[..., Any]]:
    """Call the row at an address with a tuple of arguments.

    Numba's own first-class functions do the same, but look the function up in Python at each launch (40 us).
    """

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        kinds = tuple(arguments)
        function = context.call_conv.get_function_type(types.void, kinds)
        row = builder.inttoptr(values[0], function.as_pointer())
        context.call_conv.call_function(
            builder, row, types.void, kinds, cgutils.unpack_tuple(builder, values[1], len(kinds))
        )
        return context.get_dummy_value()

    return types.void(address, arguments), generate


class _Row:
    """Source of one row function in the making: what it may read, under which names, and what it writes."""

    def __init__(self, plan: Schedule, dtype: Any) -> None:
        self._plan, self._graph = plan, plan.graph
        self._number = np.dtype(dtype).name
        self._lanes: dict[str, str] = {}  # name -> what it views, for all lanes that the row may use
        self._reads: dict[int, str] = {}  # node -> the expression that reads it
        self._wishes: dict[
            int, str
        ] = {}  # node -> a name for it, if it has no better one and this one is free
        self._names: dict[int, str] = {}

    def slot(self, slot: Slot) -> str:
        """Return the name of a slot's lane."""
        kind, gate = slot
        if kind == "x":
            return self._lane(f"gate_{gate}", f"gates, row + b, {self._plan.order.index(gate)}")
        return self._lane(f"recurrent_{gate}", f"recurrent, row + b, {self._plan.split.index(gate)}")

    def bias(self, slot: Slot) -> str:
        """Return the name of the lane of a slot's bias."""
        kind, gate = slot
        name = f"bias_{gate}" if kind == "x" else f"second_bias_{gate}"  # no gate's name makes them equal
        return self._lane(name, f"bias, 0, {self._plan.slots.index(slot)}")

    def state(self, when: str, state: str) -> str:
        """Return the name of the lane of a state, ``"old"`` or ``"new"``."""
        return self._lane(f"{when}_{state}", f"states, {self._graph.states.index(state)}, {when} + b")

    def adjoint(self, state: str) -> str:
        """Return the name of the lane of a state's adjoint."""
        return self._lane(f"adjoint_{state}", f"d_states, {self._graph.states.index(state)}, batch + b")

    def may_read(self, node: int | None, lane_expression: str, name: str) -> None:
        """Offer a way to read a node from memory."""
        if node is not None and node not in self._reads:
            self._reads[node] = lane_expression
            self._wishes.setdefault(node, name)

    def input(self, kind: str, name: str) -> int | None:
        """Return the node of an input, None where the graph has none."""
        nodes = enumerate(self._graph.nodes)
        return next((i for i, node in nodes if node.op == "input" and node.value == (kind, name)), None)

    def source(self, name: str, arguments: str, writes: list[tuple[str, int | None]]) -> str:
        """Return the function's source; a write of None is a write of zero."""
        needed = self._graph.reach([node for _, node in writes if node is not None], frozenset(self._reads))
        self._choose_names(needed, writes)
        body = []
        for index in needed:
            if index in self._reads:
                body.append(f"{self._names[index]} = {self._reads[index]}")
            elif self._graph.nodes[index].op != "const":
                body.append(f"{self._names[index]} = {self._expression(index)}")
        body += [
            f"{lane}[j] = {self._number + '(0)' if node is None else self._operand(node)}"
            for lane, node in writes
        ]
        text = "\n".join(body)
        used = [lane for lane in self._lanes if re.search(rf"\b{lane}\[j\]", text)]
        lines = [f"def {name}({arguments}):", "    for b in range(count):"]
        lines += [f"        {lane} = lanes({self._lanes[lane]}, {scope})" for scope, lane in enumerate(used)]
        lines += ["        for j in range(states.shape[2]):"]
        lines += [f"            {line}" for line in body]
        return "\n".join(lines) + "\n"

    def _lane(self, name: str, view: str) -> str:
        self._lanes.setdefault(name, view)
        return name

    def _choose_names(self, needed: list[int], writes: list[tuple[str, int | None]]) -> None:
        """Name every value: by the user's variable, by where it is read or written, by its function, or by number."""
        forward = frozenset(self._graph.reach(self._graph.outputs))
        for lane, node in writes:
            if node is not None:
                kind, _, name = lane.partition("_")
                name = f"r_{name}" if kind == "recurrent" else name
                self._wishes.setdefault(node, name if node in forward else f"d_{name}")
        taken = {*self._lanes, *_RESERVED}
        for index in needed:
            op, args, _ = self._graph.nodes[index]
            wishes = [self._graph.labels.get(index), self._wishes.get(index)]
            if len(args) == 1 and args[0] in self._names:
                wishes.append(f"{op}_{self._names[args[0]]}")
            wishes += [f"v{index}", f"v{index}_"]
            name = next(w for w in wishes if w and w not in taken and not keyword.iskeyword(w))
            self._names[index] = name
            taken.add(name)

    def _expression(self, index: int) -> str:
        node = self._graph.nodes[index]
        return CODE[node.op].format(*map(self._operand, node.args), zero=f"{self._number}(0)")

    def _operand(self, index: int) -> str:
        node = self._graph.nodes[index]
        if index not in self._reads and node.op == "const":
            return f"{self._number}({node.value!r})"
        return self._names[index]
