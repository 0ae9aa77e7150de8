"""Emit: the pointwise row of a scheduled cell as Python source that Numba compiles, forward and backward.

The row is all that is compiled per cell: one function for each phase of each direction. All have one signature for a
dtype, so that the drivers of `cpu_run` are compiled once and take rows as an argument.

A row function serves ``count`` batch rows of one step, and their hidden units from ``low`` to ``high - 1``:

* ``gates[row + b, k]`` is the k-th slot of batch row b (H numbers), slots in the order of `Schedule.order`;
  `recurrent` has the second slots of split gates, `bias[0]` what is added to each slot, `values` the operands that the
  step computes;
* ``states[i, old + b]`` and ``states[i, new + b]`` are state i before and after the step, ``d_states[i, batch + b]``
  its adjoint, ``d_values[k, batch + b]`` that of an operand;
* ``d_params[batch + b]`` sums the adjoints of the learned vectors ``params[0]`` over time;
* ``row_values[row + b, 0]`` holds what is one number a row, ``carry[batch + b]`` what one loop hands to another;
* ``mask[batch + b, 0]`` is that of recurrent dropout; ``places[row + b]`` the row's time and place in the caller's
  batch, which with ``key`` and ``stream`` determine its random numbers.
"""

from __future__ import annotations

import keyword
import math
import re
from collections.abc import Callable
from typing import Any, cast

import numba
import numpy as np
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from rondeau.kernels import philox, scalar
from rondeau.kernels.cell.schedule import Schedule, Slot
from rondeau.kernels.cell.timeline import Loop, Place, Program, Read, Write
from rondeau.kernels.compiling import address_of, cached_njit, kernel_njit
from rondeau.kernels.targets.lanes import lanes

__all__ = [
    "ARGUMENTS",
    "CompiledRow",
    "call_row",
    "emit",
    "row_signature",
]

_READ = "gates, recurrent, bias, values, row_values, states, params, scalars, carry, mask"
_ARRAYS = f"{_READ}, d_states, d_params, d_values"
ARGUMENTS = f"{_ARRAYS}, places, key, stream, row, old, new, batch, count, low, high"

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


@kernel_njit(forceinline=True, fastmath={"contract", "reassoc"})
def _add_in_any_order(total, term):  # type: ignore[no-untyped-def]
    """Add to a sum whose order the compiler chooses, once for all rows: without that leave it stays scalar."""
    return total + term


#: What generated source may call.
_FUNCTIONS: dict[str, Any] = {
    **{name: getattr(scalar, name) for name in ("exp", "log", "sigmoid", "softplus", "tanh")},
    "sqrt": math.sqrt, "minimum": _minimum, "maximum": _maximum, "lanes": lanes, "add_to": _add_in_any_order,
    "random_word": philox.random_word,
    "float32": numba.float32, "float64": numba.float64, "inf": math.inf, "nan": math.nan,
}  # fmt: skip
_RESERVED = frozenset({*_FUNCTIONS, *ARGUMENTS.split(", "), "b", "j", "abs", "range", "time", "place"})


def emit(name: str, direction: str, plan: Schedule, dtype: Any) -> list[str]:
    """Return the source of the row functions of a direction, ``"forward"`` or ``"backward"``, phase by phase."""
    program: Program = getattr(plan, direction)
    return [_Row(name, direction, plan, number, dtype).source() for number in range(len(program.phases))]


def _function_name(cell: str, direction: str) -> str:
    # Cut, for it becomes part of a file's name; equal names are told apart by their source.
    name = re.sub(r"\W", "_", f"{str(cell)[:64]}_{direction}", flags=re.ASCII)
    return name if name.isidentifier() else f"cell_{name}"


def row_signature(dtype: Any) -> numba.core.typing.templates.Signature:
    """Return the one signature of every row of a dtype."""
    array = types.Array(numba.from_dtype(np.dtype(dtype)), 3, "C")
    kinds = {"places": types.Array(types.int64, 2, "C"), "key": types.uint64}
    kinds |= dict.fromkeys(_ARRAYS.split(", "), array)
    return types.void(*(kinds.get(name, types.intp) for name in ARGUMENTS.split(", ")))


class CompiledRow:
    """A row for its one signature, compiled or loaded from the disk.

    Attributes
    ----------
    address : int
        Where its machine code lies; what `call_row` takes.
    """

    def __init__(self, source: str, dtype: Any) -> None:
        namespace = {**_FUNCTIONS, "__name__": __name__}
        exec(compile(source, "<rondeau row>", "exec"), namespace)
        name = source[len("def ") : source.index("(")]
        self.dispatcher = cached_njit(namespace[name], source=source)
        self.address = address_of(self.dispatcher, row_signature(dtype))


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
    """Source of one row function in the making."""

    def __init__(self, name: str, direction: str, plan: Schedule, phase: int, dtype: Any) -> None:
        program: Program = getattr(plan, direction)
        self._plan, self._graph, self._program = plan, plan.graph, program
        self._phase = program.phases[phase]
        self._number = np.dtype(dtype).name
        suffix = f"_{phase}" if len(program.phases) > 1 else ""
        self._name = _function_name(name, direction + suffix)
        self._lanes: dict[str, str] = {}  # name -> what it views, for all lanes that the function uses
        self._needs_place = False
        self._names: dict[int, str] = {}

    def source(self) -> str:
        """Return the function's source."""
        self._choose_names()
        names = self._names
        body = [line for loop in self._phase.loops for line in self._loop(loop)]
        lines = [f"def {self._name}({ARGUMENTS}):"]
        lines += [f"    {names[n]} = {self._call_value(n)}" for n in self._phase.call_nodes]
        lines += ["    for b in range(count):"]
        if self._needs_place:
            lines += ["        time, place = places[row + b, 0], places[row + b, 1]"]
        lines += [
            f"        {lane} = lanes({view}, {k})" for k, (lane, view) in enumerate(self._lanes.items())
        ]
        lines += [f"        {line}" for line in body]
        return "\n".join(lines) + "\n"

    def _loop(self, loop: Loop) -> list[str]:
        """Return one pass over the hidden units of a row: first what is one number for the row, then the units."""
        names, nodes = self._names, self._graph.nodes
        of_row = [
            f"{names[n]} = {self._place(place, n)}" + (" != 0" if self._graph.is_truth(n) else "")
            for n, place, _ in loop.row_reads
        ]
        of_row += [f"{names[n]} = {self._expression(n)}" for n in loop.row_nodes]
        of_row += [f"{self._place(place, n)} = {names[n]}" for place, n in loop.row_writes if n is not None]
        of_row += [f"{names[n]} = {self._number}(0)" for n in loop.sums]
        of_unit = [f"{names[read.node]} = {self._read(read)}" for read in loop.reads]
        of_unit += [f"{names[n]} = {self._expression(n)}" for n in loop.nodes]
        of_unit += [f"{names[n]} = add_to({names[n]}, {self._operand(nodes[n].args[0])})" for n in loop.sums]
        of_unit += [self._write(write) for write in loop.writes]
        if of_unit:
            of_row += ["for j in range(low, high):", *(f"    {line}" for line in of_unit)]
        return of_row

    def _read(self, read: Read) -> str:
        kind, key = read.place
        if kind == "uniform":
            self._needs_place = True
            stream = f"stream + {self._graph.states.index(str(key))}"
            return (
                f"{self._number}(random_word(key, {stream}, time, place, j)) * {self._number}({2.0**-24!r})"
            )
        value = f"{self._place(read.place, read.node)}[j]"
        if kind == "carry" and self._graph.is_truth(read.node):
            return f"{value} != {self._number}(0)"
        if read.raw:
            slot = cast("Slot", key)
            name = f"bias_{slot[1]}" if slot[0] == "x" else f"second_bias_{slot[1]}"
            value += f" + {self._lane(name, f'bias, 0, {self._plan.slots.index(slot)}')}[j]"
        return value

    def _write(self, write: Write) -> str:
        lane = self._place(write.place, write.node)
        value = f"{self._number}(0)" if write.node is None else self._operand(write.node)
        if write.place[0] == "carry" and self._graph.is_truth(cast("int", write.node)):
            value = f"{self._number}(1) if {value} else {self._number}(0)"
        return f"{lane}[j] += {value}" if write.place[0] == "d_parameter" else f"{lane}[j] = {value}"

    def _place(self, place: Place, node: int | None) -> str:
        """Return the name of the lane at a place; for what is one number a row, where it lies."""
        kind, key = place
        if kind == "row":
            return f"row_values[row + b, 0, {self._program.row_values.index(cast('int', key))}]"
        if kind == "carry":
            index = list(self._program.carries).index(cast("int", key))
            row = "batch + b" if self._program.carries[cast("int", key)] else "batch"
            return self._lane(f"carry_{index}", f"carry, {row}, {index}")
        if kind == "slot":
            where, gate = cast("Slot", key)
            if where == "x":
                return self._lane(f"gate_{gate}", f"gates, row + b, {self._plan.order.index(gate)}")
            return self._lane(f"recurrent_{gate}", f"recurrent, row + b, {self._plan.split.index(gate)}")
        name, graph = str(key), self._graph
        if kind in ("old", "new"):
            return self._lane(f"{kind}_{name}", f"states, {graph.states.index(name)}, {kind} + b")
        if kind == "adjoint":
            return self._lane(f"adjoint_{name}", f"d_states, {graph.states.index(name)}, batch + b")
        if kind == "parameter":
            return self._lane(f"param_{name}", f"params, 0, {graph.params.index(name)}")
        if kind == "d_parameter":
            return self._lane(f"gradient_{name}", f"d_params, batch + b, {graph.params.index(name)}")
        if kind == "mask":
            return self._lane(f"mask_{name}", "mask, batch + b, 0")
        number = self._plan.values.index(int(name))
        if kind == "value":
            return self._lane(f"value_{number}", f"values, row + b, {number}")
        assert kind == "back", kind
        return self._lane(f"back_{number}", f"d_values, {number}, batch + b")

    def _lane(self, name: str, view: str) -> str:
        self._lanes.setdefault(name, view)
        return name

    def _choose_names(self) -> None:
        """Name every value: by the user's variable, by where it is read or written, by its function, or by number."""
        graph, wishes, taken = self._graph, self._wishes(), self._names_of_others()
        for index in self._named():
            op, args, value = graph.nodes[index]
            options = [graph.labels.get(index, ""), *wishes.get(index, ())]
            if op == "input" and value[0] in ("k", "rate", "width"):
                options.append({"k": value[1], "rate": f"rate_{value[1]}", "width": "width"}[value[0]])
            if len(args) == 1 and args[0] in self._names:
                options.append(f"{op}_{self._names[args[0]]}")
            options += [f"v{index}", f"v{index}_"]
            name = next(o for o in options if o and o not in taken and not keyword.iskeyword(o))
            self._names[index] = name
            taken.add(name)

    def _wishes(self) -> dict[int, list[str]]:
        """Return good names for values by where they are read and written."""
        wishes: dict[int, list[str]] = {}
        for read in (read for loop in self._phase.loops for read in loop.reads):
            wishes.setdefault(read.node, []).append(_wish_of_read(read, self._plan))
        forward = frozenset(self._graph.reach(self._graph.outputs))
        for place, node in (write for loop in self._phase.loops for write in loop.writes):
            if node is not None and place[0] not in ("carry", "value"):
                name = _wish_of_write(place)
                wishes.setdefault(node, []).append(name if node in forward else f"d_{name}")
        return wishes

    def _names_of_others(self) -> set[str]:
        """Return the names that are no value's: those of arguments, functions and lanes."""
        graph = self._graph
        taken = set(_RESERVED)
        taken |= {f"{kind}_{g}" for kind in ("gate", "recurrent", "bias", "second_bias") for g in graph.gates}
        taken |= {f"{kind}_{s}" for kind in ("old", "new", "adjoint", "mask") for s in (*graph.states, "h")}
        taken |= {f"{kind}_{p}" for kind in ("param", "gradient") for p in graph.params}
        taken |= {f"{kind}_{k}" for kind in ("carry", "value", "back") for k in range(len(graph.nodes))}
        return taken

    def _named(self) -> list[int]:
        """Return every node that the function holds in a variable, in order."""
        nodes = set(self._phase.call_nodes)
        for loop in self._phase.loops:
            nodes |= {*loop.row_nodes, *loop.nodes, *loop.sums}
            nodes |= {read.node for read in (*loop.row_reads, *loop.reads)}
            nodes |= {n for _, n in loop.row_writes if n is not None}
        return sorted(nodes)

    def _call_value(self, index: int) -> str:
        node = self._graph.nodes[index]
        if node.op != "input":
            return self._expression(index)
        kind, name = node.value
        if kind == "width":
            return f"{self._number}(states.shape[2])"
        return f"scalars[0, 0, {self._plan.scalars.index((kind, name))}]"

    def _expression(self, index: int) -> str:
        node = self._graph.nodes[index]
        return CODE[node.op].format(*map(self._operand, node.args), zero=f"{self._number}(0)")

    def _operand(self, index: int) -> str:
        node = self._graph.nodes[index]
        if index not in self._names and node.op == "const":
            return f"{self._number}({node.value!r})"
        return self._names[index]


_PREFIX_OF_READ = {
    "old": "s_", "adjoint": "d_new_", "parameter": "p_", "uniform": "draw_", "mask": "keep_", "new": "",
}  # fmt: skip


def _wish_of_read(read: Read, plan: Schedule) -> str:
    """Return a good name for what is read from a place."""
    kind, key = read.place
    if kind == "slot":
        where, gate = cast("Slot", key)
        if not read.raw:
            return gate if where == "x" else f"r_{gate}"
        return f"a_{gate}" if gate in plan.joint else f"{where}_{gate}"
    if kind in ("carry", "value", "back"):
        return f"{kind[0]}{read.node}"
    return f"{_PREFIX_OF_READ[kind]}{key}"


def _wish_of_write(place: Place) -> str:
    kind, key = place
    if kind == "slot":
        where, gate = cast("Slot", key)
        return gate if where == "x" else f"r_{gate}"
    return f"p_{key}" if kind == "d_parameter" else str(key)
