"""The source of a phase of a scheduled cell, as far as it is the same on all targets that compile it with Numba.

A phase computes some batch rows of one step, row by row, and of each row one hidden unit after another. Where a run of
H numbers lies is given by names of arrays, which targets share:

* ``gates[row + b, k]`` is the k-th slot of batch row b, with the slots in the order of `Schedule.order`; `recurrent`
  has the second slots of split gates, `bias[0]` the bias of each slot, `values` the operands that the step computes;
* ``states[i, old + b]`` and ``states[i, new + b]`` are state i before and after the step, ``d_states[i, b]`` is its
  adjoint, and ``d_values[k, b]`` that of an operand;
* ``d_params[b]`` sums the adjoints of the learned vectors ``params[0]`` over time;
* ``row_values[row + b, 0]`` has the values with one number per row, ``carry[b]`` those carried between loops and those
  that the prologue computes;
* ``mask[b, 0]`` is the mask of recurrent dropout; ``positions[row + b]`` is the row's time and batch row in the
  caller's batch, which with ``key`` and ``substream`` determine its random numbers.
"""

from __future__ import annotations

import abc
import re
from typing import Any, cast

import numpy as np

from rondeau.kernels.cell.graph import DISTRIBUTIONS
from rondeau.kernels.cell.naming import name_values
from rondeau.kernels.cell.schedule import Schedule, Slot
from rondeau.kernels.cell.timeline import Location, Loop, Program, Read, Write
from rondeau.kernels.recurrent.substreams import NOISE

__all__ = ["CODE", "PhaseSource", "function_name"]

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


class PhaseSource(abc.ABC):
    """Builds the source of one phase; a target says how its functions begin, and how they reach memory.

    Parameters
    ----------
    name : str
        The name of the cell.
    direction : {"forward", "backward"}
    schedule : Schedule
    phase : int
        The number of the phase.
    dtype : dtype
    """

    reserved: frozenset[str]
    """The names that no value may have, besides those that depend on the cell."""
    units: str
    """The head of the loop over the hidden units."""
    batch_row: str
    """The row of an array that has one for each batch row."""
    scratch_row: str
    """The row of ``carry`` for what lives no longer than a row's phase."""
    shared_row: str
    """The row of ``carry`` for what a prologue computes."""

    def __init__(self, name: str, direction: str, schedule: Schedule, phase: int, dtype: Any) -> None:
        program: Program = getattr(schedule, direction)
        self._schedule, self._graph, self._program = schedule, schedule.graph, program
        self._phase = program.phases[phase]
        self._number = np.dtype(dtype).name
        suffix = f"_{phase}" if len(program.phases) > 1 else ""
        self.name = function_name(name, direction + suffix)
        self._lanes: dict[str, str] = {}  # name -> the run that it stands for
        self._needs_position = False
        self._names = name_values(schedule, self._phase, self._names_of_others())

    # ---------------------------------------------------------------- what a target adds

    @abc.abstractmethod
    def source(self) -> str:
        """Return the function's source."""

    @abc.abstractmethod
    def _array(self, name: str) -> str:
        """Return the expression of an array, or of another argument."""

    @abc.abstractmethod
    def _run(self, array: str, row: str, slot: str) -> str:
        """Return the run of H numbers ``array[row, slot]``, as the value of a lane."""

    @abc.abstractmethod
    def _input(self, name: str, adjoint: bool) -> str:
        """Return the lane of a named input or of its adjoint or, for one number per row, the element."""

    @abc.abstractmethod
    def _raw(self, read: Read) -> str:
        """Return the value of a slot whose bias has not been added yet."""

    @abc.abstractmethod
    def _summed(self, node: int) -> tuple[str, str]:
        """Return the statement that adds a unit's term to a sum, and the one after the loop that completes it."""

    @abc.abstractmethod
    def _scalar(self, number: int) -> str:
        """Return the value of a scalar of the run, given its place in `Schedule.scalars`."""

    def _once(self, statement: str) -> str:
        """Return the statement such that only one of those that compute a row runs it."""
        return statement

    # ---------------------------------------------------------------- the lines of a loop

    def _loop(self, loop: Loop) -> list[str]:
        """Return one pass over the hidden units of a row: first the values with one number per row, then the units."""
        names = self._names
        of_row = [
            f"{names[n]} = {self._location(location, n)}" + (" != 0" if self._graph.is_truth(n) else "")
            for n, location, _ in loop.row_reads
        ]
        of_row += [f"{names[n]} = {self._expression(n)}" for n in loop.row_nodes]
        of_row += [self._once(self._row_write(write)) for write in loop.row_writes]
        of_row += [f"{names[n]} = {self._number}(0)" for n in loop.sums]
        of_unit = [f"{names[read.node]} = {self._read(read)}" for read in loop.reads]
        of_unit += [f"{names[n]} = {self._expression(n)}" for n in loop.nodes]
        sums = [self._summed(n) for n in loop.sums]
        of_unit += [add for add, _ in sums]
        of_unit += [self._write(write) for write in loop.writes]
        if of_unit:
            of_row += [self.units, *(f"    {line}" for line in of_unit)]
        return of_row + [complete for _, complete in sums if complete]

    def _read(self, read: Read) -> str:
        kind, key = read.location
        if kind in DISTRIBUTIONS:
            return f"{self._number}({self._drawn(kind, NOISE + int(str(key)))})"
        if kind == "zoneout":
            word = self._drawn("random_word", self._graph.states.index(str(key)))
            return f"{self._number}({word}) * {self._number}({2.0**-24!r})"
        if read.raw:
            return self._raw(read)
        value = f"{self._location(read.location, read.node)}[j]"
        if kind == "carry" and self._graph.is_truth(read.node):
            return f"{value} != {self._number}(0)"
        return value

    def _drawn(self, function: str, substream: int) -> str:
        """Return a random number of the row's position and the unit."""
        self._needs_position = True
        return f"{function}({self._array('key')}, {self._array('substream')} + {substream}, time, origin, j)"

    def _position(self) -> list[str]:
        """Return the statement that reads a row's position, if random numbers need it."""
        if not self._needs_position:
            return []
        positions = self._array("positions")
        return [f"time, origin = {positions}[row + b, 0], {positions}[row + b, 1]"]

    def _bias(self, slot: Slot) -> str:
        """Return a slot's bias."""
        name = f"bias_{slot[1]}" if slot[0] == "x" else f"second_bias_{slot[1]}"
        return f"{self._lane(name, 'bias', '0', str(self._schedule.slots.index(slot)))}[j]"

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
            index = self._program.row_values.index(cast("int", key))
            return f"{self._array('row_values')}[row + b, 0, {index}]"
        if kind == "carry":
            index = list(self._program.carries).index(cast("int", key))
            row = self.batch_row if self._program.carries[cast("int", key)] else self.scratch_row
            return self._lane(f"carry_{index}", "carry", row, str(index))
        if kind == "vector":
            number = self._program.vectors.index(cast("int", key))
            return self._lane(
                f"vector_{number}", "carry", self.shared_row, str(len(self._program.carries) + number)
            )
        if kind == "slot":
            where, gate = cast("Slot", key)
            if where == "x":
                return self._lane(f"gate_{gate}", "gates", "row + b", str(self._schedule.order.index(gate)))
            return self._lane(
                f"recurrent_{gate}", "recurrent", "row + b", str(self._schedule.split.index(gate))
            )
        name, graph = str(key), self._graph
        if kind in ("input", "d_input"):
            return self._input(name, kind == "d_input")
        if kind in ("old", "new"):
            return self._lane(f"{kind}_{name}", "states", str(graph.states.index(name)), f"{kind} + b")
        if kind == "adjoint":
            return self._lane(f"adjoint_{name}", "d_states", str(graph.states.index(name)), self.batch_row)
        if kind == "parameter":
            return self._lane(f"param_{name}", "params", "0", str(graph.params.index(name)))
        if kind == "d_parameter":
            return self._lane(f"gradient_{name}", "d_params", self.batch_row, str(graph.params.index(name)))
        if kind == "mask":
            return self._lane(f"mask_{name}", "mask", self.batch_row, "0")
        number = self._schedule.values.index(int(name))
        if kind == "value":
            return self._lane(f"value_{number}", "values", "row + b", str(number))
        assert kind == "back", kind
        return self._lane(f"back_{number}", "d_values", str(number), self.batch_row)

    def _lane(self, name: str, array: str, row: str, slot: str) -> str:
        self._lanes.setdefault(name, self._run(array, row, slot))
        return name

    # ---------------------------------------------------------------- values

    def _names_of_others(self) -> set[str]:
        """Return the names that values may not have: those of arguments, functions and lanes."""
        graph = self._graph
        taken = set(self.reserved)
        taken |= {f"{kind}_{g}" for kind in ("gate", "recurrent", "bias", "second_bias") for g in graph.gates}
        taken |= {f"{kind}_{s}" for kind in ("old", "new", "adjoint", "mask") for s in (*graph.states, "h")}
        taken |= {f"{kind}_{p}" for kind in ("param", "gradient") for p in graph.params}
        taken |= {f"{kind}_{u}" for kind in ("input", "d_input") for u in graph.inputs}
        taken |= {
            f"{kind}_{k}" for kind in ("carry", "vector", "value", "back") for k in range(len(graph.nodes))
        }
        return taken

    def _call_lines(self) -> list[str]:
        """Return the statements that compute what is one number for the whole call."""
        return [f"{self._names[n]} = {self._call_value(n)}" for n in self._phase.call_nodes]

    def _call_value(self, index: int) -> str:
        node = self._graph.nodes[index]
        if node.op != "input":
            return self._expression(index)
        kind, name = node.value
        if kind == "width":
            return f"{self._number}({self._array('states')}.shape[2])"
        return self._scalar(self._schedule.scalars.index((kind, name)))

    def _expression(self, index: int) -> str:
        node = self._graph.nodes[index]
        return CODE[node.op].format(*map(self._operand, node.args), zero=f"{self._number}(0)")

    def _operand(self, index: int) -> str:
        node = self._graph.nodes[index]
        if index not in self._names and node.op == "const":
            return f"{self._number}({node.value!r})"
        return self._names[index]


def function_name(cell: str, direction: str) -> str:
    """Return a name for a function of a cell, whatever the cell's own is.

    Examples
    --------
    >>> function_name("my cell", "forward")
    'my_cell_forward'
    """
    # Truncated, because it becomes part of a file name; equal names are distinguished by their source.
    name = re.sub(r"\W", "_", f"{str(cell)[:64]}_{direction}", flags=re.ASCII)
    return name if name.isidentifier() else f"cell_{name}"
