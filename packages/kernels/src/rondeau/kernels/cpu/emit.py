"""Emit: the phases of a scheduled cell as Python source for Numba to compile, forward and backward.

Only the phases are compiled for each cell: pointwise functions between which the recurrent products run. All phases of
a dtype have the same signature, so the drivers are compiled once and take the phases as an argument.

A phase computes ``count`` batch rows of one step, and their hidden units from ``low`` to ``high - 1``. In the `Storage`

* ``gates[row + b, k]`` is the k-th slot of batch row b (H numbers), with the slots in the order of `Schedule.order`;
  `recurrent` has the second slots of split gates, `bias[0]` the bias of each slot, `values` the operands that the
  step computes;
* ``states[i, old + b]`` and ``states[i, new + b]`` are state i before and after the step, ``d_states[i, batch + b]``
  is its adjoint, and ``d_values[k, batch + b]`` that of an operand;
* ``d_params[batch + b]`` sums the adjoints of the learned vectors ``params[0]`` over time;
* ``row_values[row + b, 0]`` has the values with one number per row, ``carry[batch + b]`` those carried between loops,
  and ``carry[batch]`` also those that the prologue computes;
* ``inputs`` has the addresses of the named inputs and then of their adjoints: a step input has the rows of the slots, a
  sequence input those of the batch;
* ``mask[batch + b, 0]`` is the mask of recurrent dropout; ``positions[row + b]`` is the row's time and batch row in the
  caller's batch, which with ``key`` and ``substream`` determine its random numbers.
"""

from __future__ import annotations

import re
from typing import Any, cast

import numpy as np

from rondeau.kernels.cell.graph import DISTRIBUTIONS
from rondeau.kernels.cell.naming import name_values
from rondeau.kernels.cell.schedule import Schedule, Slot
from rondeau.kernels.cell.timeline import Location, Loop, Program, Read, Write
from rondeau.kernels.cpu.compiled_phase import FUNCTIONS
from rondeau.kernels.cpu.phase_call import ARGUMENTS
from rondeau.kernels.recurrent.substreams import NOISE

__all__ = ["CODE", "emit"]

CODE = {
    "add": "{} + {}", "sub": "{} - {}", "mul": "{} * {}", "div": "{} / {}", "neg": "-{}", "abs": "abs({})",
    "pow": "{} ** {}", "sign": "sign({})", "sqrt": "sqrt({})", "exp": "exp({})", "expm1": "expm1({})",
    "log": "log({})", "log1p": "log1p({})", "sin": "sin({})", "cos": "cos({})", "erf": "erf({})",
    "clamp": "clamp({}, {}, {})", "sigmoid": "sigmoid({})", "tanh": "tanh({})",
    "relu": "maximum({}, {zero})", "softplus": "softplus({})", "minimum": "minimum({}, {})",
    "maximum": "maximum({}, {})", "where": "{1} if {0} else {2}",
    "lt": "{} < {}", "le": "{} <= {}", "gt": "{} > {}", "ge": "{} >= {}", "eq": "{} == {}", "ne": "{} != {}",
    "and": "{} & {}", "or": "{} | {}", "not": "not {}",
}  # fmt: skip

_RESERVED = frozenset({*FUNCTIONS, *ARGUMENTS.split(", "), "b", "j", "abs", "range", "time", "origin"})


def emit(name: str, direction: str, schedule: Schedule, dtype: Any) -> list[str]:
    """Return the source of the phases of a direction, ``"forward"`` or ``"backward"``."""
    program: Program = getattr(schedule, direction)
    return [
        _Phase(name, direction, schedule, number, dtype).source() for number in range(len(program.phases))
    ]


def _function_name(cell: str, direction: str) -> str:
    # Truncated, because it becomes part of a file name; equal names are distinguished by their source.
    name = re.sub(r"\W", "_", f"{str(cell)[:64]}_{direction}", flags=re.ASCII)
    return name if name.isidentifier() else f"cell_{name}"


class _Phase:
    """Builds the source of one phase."""

    def __init__(self, name: str, direction: str, schedule: Schedule, phase: int, dtype: Any) -> None:
        program: Program = getattr(schedule, direction)
        self._schedule, self._graph, self._program = schedule, schedule.graph, program
        self._phase = program.phases[phase]
        self._number = np.dtype(dtype).name
        suffix = f"_{phase}" if len(program.phases) > 1 else ""
        self._name = _function_name(name, direction + suffix)
        self._lanes: dict[str, str] = {}  # name -> the call that makes each lane, but for its last argument
        self._needs_position = False
        self._names = name_values(schedule, self._phase, self._names_of_others())

    def source(self) -> str:
        """Return the function's source."""
        names = self._names
        prologue = [] if self._phase.prologue is None else self._loop(self._phase.prologue)
        num_shared = len(self._lanes)  # those of the prologue, which belong to no row
        body = [line for loop in self._phase.loops for line in self._loop(loop)]
        lanes = [f"{lane} = {call}, {k})" for k, (lane, call) in enumerate(self._lanes.items())]
        lines = [f"def {self._name}({ARGUMENTS}):"]
        lines += [f"    {names[n]} = {self._call_value(n)}" for n in self._phase.call_nodes]
        lines += [f"    {line}" for line in (*lanes[:num_shared], *prologue)]
        lines += ["    for b in range(count):"]
        if self._needs_position:
            lines += ["        time, origin = storage.positions[row + b, 0], storage.positions[row + b, 1]"]
        lines += [f"        {line}" for line in (*lanes[num_shared:], *body)]
        return "\n".join(lines) + "\n"

    def _loop(self, loop: Loop) -> list[str]:
        """Return one pass over the hidden units of a row: first the values with one number per row, then the units."""
        names, nodes = self._names, self._graph.nodes
        of_row = [
            f"{names[n]} = {self._location(location, n)}" + (" != 0" if self._graph.is_truth(n) else "")
            for n, location, _ in loop.row_reads
        ]
        of_row += [f"{names[n]} = {self._expression(n)}" for n in loop.row_nodes]
        of_row += [self._row_write(write) for write in loop.row_writes]
        of_row += [f"{names[n]} = {self._number}(0)" for n in loop.sums]
        of_unit = [f"{names[read.node]} = {self._read(read)}" for read in loop.reads]
        of_unit += [f"{names[n]} = {self._expression(n)}" for n in loop.nodes]
        of_unit += [f"{names[n]} = add_to({names[n]}, {self._operand(nodes[n].args[0])})" for n in loop.sums]
        of_unit += [self._write(write) for write in loop.writes]
        if of_unit:
            of_row += ["for j in range(low, high):", *(f"    {line}" for line in of_unit)]
        return of_row

    def _read(self, read: Read) -> str:
        kind, key = read.location
        if kind in DISTRIBUTIONS:
            self._needs_position = True
            substream = f"storage.substream + {NOISE + int(str(key))}"
            return f"{self._number}({kind}(storage.key, {substream}, time, origin, j))"
        if kind == "zoneout":
            self._needs_position = True
            substream = f"storage.substream + {self._graph.states.index(str(key))}"
            return (
                f"{self._number}(random_word(storage.key, {substream}, time, origin, j)) "
                f"* {self._number}({2.0**-24!r})"
            )
        value = f"{self._location(read.location, read.node)}[j]"
        if kind == "carry" and self._graph.is_truth(read.node):
            return f"{value} != {self._number}(0)"
        if read.raw:
            slot = cast("Slot", key)
            name = f"bias_{slot[1]}" if slot[0] == "x" else f"second_bias_{slot[1]}"
            value += f" + {self._lane(name, f'bias, 0, {self._schedule.slots.index(slot)}')}[j]"
        return value

    def _write(self, write: Write) -> str:
        lane = self._location(write.location, write.node)
        value = f"{self._number}(0)" if write.node is None else self._operand(write.node)
        if write.location[0] == "carry" and self._graph.is_truth(cast("int", write.node)):
            value = f"{self._number}(1) if {value} else {self._number}(0)"
        return f"{lane}[j] {'+=' if self._accumulates(write.location) else '='} {value}"

    def _row_write(self, write: Write) -> str:
        """Return the statement that writes one number per row."""
        value = f"{self._number}(0)" if write.node is None else self._operand(write.node)
        sign = "+=" if self._accumulates(write.location) else "="
        return f"{self._location(write.location, write.node)} {sign} {value}"

    def _accumulates(self, location: Location) -> bool:
        """Return whether a location sums over the steps."""
        kind, key = location
        return kind == "d_parameter" or (kind == "d_input" and self._graph.inputs[str(key)] == "sequence")

    def _location(self, location: Location, node: int | None) -> str:
        """Return the name of the lane at a location or, for one number per row, the element."""
        kind, key = location
        if kind == "row":
            return f"storage.row_values[row + b, 0, {self._program.row_values.index(cast('int', key))}]"
        if kind == "carry":
            index = list(self._program.carries).index(cast("int", key))
            row = "batch + b" if self._program.carries[cast("int", key)] else "batch"
            return self._lane(f"carry_{index}", f"carry, {row}, {index}")
        if kind == "vector":
            number = self._program.vectors.index(cast("int", key))
            return self._lane(f"vector_{number}", f"carry, batch, {len(self._program.carries) + number}")
        if kind == "slot":
            where, gate = cast("Slot", key)
            if where == "x":
                return self._lane(f"gate_{gate}", f"gates, row + b, {self._schedule.order.index(gate)}")
            return self._lane(f"recurrent_{gate}", f"recurrent, row + b, {self._schedule.split.index(gate)}")
        name, graph = str(key), self._graph
        if kind in ("input", "d_input"):
            row = "row" if graph.inputs[name] == "step" else "batch"
            index = list(graph.inputs).index(name) + (len(graph.inputs) if kind == "d_input" else 0)
            if name in graph.forms.numbers:
                return f"pointer_at(storage.states, storage.inputs[{index}])[{row} + b]"
            lane = f"{'input' if kind == 'input' else 'd_input'}_{name}"
            self._lanes.setdefault(lane, f"lanes_at(storage.states, storage.inputs[{index}], {row} + b")
            return lane
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
        number = self._schedule.values.index(int(name))
        if kind == "value":
            return self._lane(f"value_{number}", f"values, row + b, {number}")
        assert kind == "back", kind
        return self._lane(f"back_{number}", f"d_values, {number}, batch + b")

    def _lane(self, name: str, view: str) -> str:
        self._lanes.setdefault(name, f"lanes(storage.{view}")
        return name

    def _names_of_others(self) -> set[str]:
        """Return the names that values may not have: those of arguments, functions and lanes."""
        graph = self._graph
        taken = set(_RESERVED)
        taken |= {f"{kind}_{g}" for kind in ("gate", "recurrent", "bias", "second_bias") for g in graph.gates}
        taken |= {f"{kind}_{s}" for kind in ("old", "new", "adjoint", "mask") for s in (*graph.states, "h")}
        taken |= {f"{kind}_{p}" for kind in ("param", "gradient") for p in graph.params}
        taken |= {f"{kind}_{u}" for kind in ("input", "d_input") for u in graph.inputs}
        taken |= {
            f"{kind}_{k}" for kind in ("carry", "vector", "value", "back") for k in range(len(graph.nodes))
        }
        return taken

    def _call_value(self, index: int) -> str:
        node = self._graph.nodes[index]
        if node.op != "input":
            return self._expression(index)
        kind, name = node.value
        if kind == "width":
            return f"{self._number}(storage.states.shape[2])"
        return f"storage.scalars[0, 0, {self._schedule.scalars.index((kind, name))}]"

    def _expression(self, index: int) -> str:
        node = self._graph.nodes[index]
        return CODE[node.op].format(*map(self._operand, node.args), zero=f"{self._number}(0)")

    def _operand(self, index: int) -> str:
        node = self._graph.nodes[index]
        if index not in self._names and node.op == "const":
            return f"{self._number}({node.value!r})"
        return self._names[index]
