"""The step of a recurrent layer in C, from the traced graph of its cell."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from rondeau.export._c.functions import CODE
from rondeau.export._c.interface import Argument
from rondeau.export._c.memory import Memory
from rondeau.export._c.names import Names
from rondeau.export._c.text import indented, literal
from rondeau.export._description import Layer
from rondeau.export._evaluation import cell_with_forms
from rondeau.export._folding import fold_constants
from rondeau.kernels.cell.graph import DISTRIBUTIONS, Rank
from rondeau.kernels.cell.schedule import Operand, Slot
from rondeau.kernels.cell.timeline import Location, Loop, Phase, Read, Write

__all__ = ["LayerSource", "product"]

Array = NDArray[Any]


def product(memory: Memory, matrix: Array, x: str, y: str) -> str:
    """Return the statement that adds ``matrix @ x`` to `y`, and keep the matrix."""
    rows, columns = matrix.shape
    return f"@multiply({memory.matrix(matrix)}, {rows}, {columns}, {x}, {y});"


class LayerSource:
    """Writes the function of one layer's step.

    Parameters
    ----------
    layer : Layer
    index : int
        The number of the layer in the model.
    of_ids : bool
        Whether its input is an id, which stands for a one-hot row.
    numbers : frozenset of str
        The named inputs with one number for all units.
    memory : Memory
        Where its weights and its work area go.
    names : Names
    arguments : mapping of str to str
        The argument of each named input.

    Attributes
    ----------
    states : list of (str, int)
        The name and the width of each state in the model's struct.
    """

    def __init__(
        self,
        layer: Layer,
        index: int,
        of_ids: bool,
        numbers: frozenset[str],
        memory: Memory,
        names: Names,
        arguments: Mapping[str, str],
    ) -> None:
        self.layer, self.of_ids, self.numbers, self._memory = layer, of_ids, numbers, memory
        self._choose, self._arguments = names, arguments
        self._cell = cell = cell_with_forms(layer, numbers)
        self._schedule, self._graph = cell.schedule, cell.schedule.graph
        self._program = self._schedule.evaluation
        self.name = f"layer_{index}"
        widths = [layer.outputs] + [layer.hidden] * (len(cell.states) - 1)
        fields = [f"layer_{index}_{name if name.isascii() else k}" for k, name in enumerate(cell.states)]
        self.states = list(zip(fields, widths, strict=True))
        self.index = index
        roots = [*self._graph.outputs, *self._program.vectors]
        self._constants = fold_constants(layer, cell, roots)
        self._addresses = self._lay_out()
        self._used: set[str] = set()
        self._names: dict[int, str] = {}

    def source(self) -> str:
        """Return the function, with ``@`` for the prefix of the model's names."""
        body = self._input_products()
        for number, phase in enumerate(self._program.phases):
            for operand in self._schedule.operands:
                if self._runs_before(operand) == number:
                    body += self._recurrent_products(operand)
            body += ["{", *indented(self._phase(phase)), "}"]
        body += self._end()
        pointers = [
            f"{kind} *const {name} = {address};"
            for name, (kind, address) in self._addresses.items()
            if name in self._used
        ]
        counter = ["int j;"] if any("for (j" in line for line in body) else []
        lines = [f"static void @{self.name}({self.parameters})", "{"]
        return "\n".join([*lines, *indented([*pointers, *counter, *body]), "}", ""])

    @property
    def parameters(self) -> str:
        """The parameters of the function."""
        cell = self._cell
        x = "int32_t id" if self.of_ids else "const float *x"
        states = [f"float *{self._state(k)}" for k in range(len(cell.states))]
        return ", ".join(
            [x, *states, *(f"const float *{other.name}" for other in self.others), "float *work"]
        )

    @property
    def others(self) -> list[Argument]:
        """The arguments between the states and the work area: the named inputs, and the noise."""
        H = self.layer.hidden
        return [
            *(Argument(self._arguments[n], 1 if n in self.numbers else H, n) for n in self._cell.inputs),
            *(Argument(self._draw(*draw), H) for draw in self._cell.draws),
        ]

    # ---------------------------------------------------------------- memory

    def _lay_out(self) -> dict[str, tuple[str, str]]:
        """Reserve the runs of H numbers that the step may use; the type and the address of each, by name."""
        cell, graph, memory, H = self._cell, self._graph, self._memory, self.layer.hidden
        found: dict[str, tuple[str, str]] = {}
        for k in range(len(cell.gates)):
            found[self._gate(k)] = "float", memory.room(H)
        for k in range(len(self._schedule.split)):
            found[self._second(k)] = "float", memory.room(H)
        for k in range(len(cell.states)):
            found[self._new(k)] = "float", memory.room(H)
        for k in range(len(self._schedule.values)):
            found[f"value_{k}"] = "float", memory.room(H)
        for k in range(len(self._program.carries)):
            found[f"carry_{k}"] = "float", memory.room(H)
        if self._program.row_values:
            found["rows"] = "float", memory.room(len(self._program.row_values))
        read = {r.location for phase in self._program.phases for loop in phase.loops for r in loop.reads}
        for k, param in enumerate(cell.params):
            if ("parameter", param) in read:
                found[self._param(k)] = "const float", memory.vector(self.layer.weights.params[k])
        for k, node in enumerate(self._program.vectors):
            found[f"vector_{k}"] = "const float", memory.vector(self._constants[node])
        assert graph.gates == cell.gates
        return found

    def _pointer(self, name: str) -> str:
        self._used.add(name)
        return name

    def _gate(self, k: int) -> str:
        return self._choose.variable("gate", self._cell.gates[k], k)

    def _second(self, k: int) -> str:
        return self._choose.variable("recurrent", self._schedule.split[k], k)

    def _new(self, k: int) -> str:
        return self._choose.variable("new", self._cell.states[k], k)

    def _param(self, k: int) -> str:
        return self._choose.variable("param", self._cell.params[k], k)

    def _state(self, k: int) -> str:
        return self._choose.variable("state", self._cell.states[k], k)

    def _draw(self, kind: str, number: str) -> str:
        return f"{kind}_{self.index}_{number}"

    # ---------------------------------------------------------------- products

    def _input_products(self) -> list[str]:
        """Return the statements that fill the slots with biases and the input's product."""
        cell, weights, H = self._cell, self.layer.weights, self.layer.hidden
        gates, split = len(cell.gates), self._schedule.split
        start = np.zeros((gates + len(split), H), np.float32)
        if weights.bias_ih is not None:
            start[:gates] = weights.bias_ih.reshape(gates, H)
        if weights.bias_hh is not None:
            for k, gate in enumerate(cell.recurrent):
                slot = gates + split.index(gate) if gate in split else cell.gates.index(gate)
                start[slot] += weights.bias_hh[k * H : (k + 1) * H]
        slots, count = self._pointer(self._gate(0)), start.size
        if start.any():
            lines = [f"memcpy({slots}, {self._memory.vector(start)}, {count} * sizeof(float));"]
        else:
            lines = [f"memset({slots}, 0, {count} * sizeof(float));"]
        if self.of_ids:
            columns = self._memory.matrix_of_columns(weights.weight_ih)
            return [*lines, f"@add_column({columns}, {gates * H}, id, {slots});"]
        return [*lines, product(self._memory, weights.weight_ih, "x", slots)]

    def _runs_before(self, operand: Operand) -> int:
        """Return the phase before which an operand's products run."""
        return 0 if operand.node is None else self._program.written["value", str(operand.node)] + 1

    def _recurrent_products(self, operand: Operand) -> list[str]:
        """Return the products of an operand: neighbouring gates together, one for each head."""
        cell, layer, H, heads = self._cell, self.layer, self.layer.hidden, self.layer.num_heads
        if operand.node is None:
            x = self._state(0)
        else:
            x = self._pointer(f"value_{self._schedule.values.index(operand.node)}")
        slots = {cell.gates.index(gate): gate for gate in operand.joint}
        slots |= {len(cell.gates) + self._schedule.split.index(gate): gate for gate in operand.split}
        lines, run = [], list[int]()
        for slot in [*sorted(slots), None]:
            if run and (slot is None or slot != run[-1] + 1 or heads > 1):
                rows = [cell.recurrent.index(slots[k]) * H for k in run]
                matrix = np.concatenate([layer.weights.weight_hh[row : row + H] for row in rows])
                first = self._slot(run[0])
                size, width = len(matrix) // heads, matrix.shape[1]
                for head in range(heads):
                    block = matrix[head * size : (head + 1) * size]
                    lines.append(
                        product(self._memory, block, _moved(x, head * width), _moved(first, head * size))
                    )
                run = []
            if slot is not None:
                run.append(slot)
        return lines

    def _slot(self, slot: int) -> str:
        gates = len(self._cell.gates)
        return self._pointer(self._gate(slot) if slot < gates else self._second(slot - gates))

    def _end(self) -> list[str]:
        """Return the statements that make the new states the old ones."""
        lines, projection = [], self.layer.weights.weight_hr
        for k, (_, width) in enumerate(self.states):
            state, new = self._state(k), self._pointer(self._new(k))
            if k == 0 and projection is not None:
                lines.append(f"memset({state}, 0, {width} * sizeof(float));")
                lines.append(product(self._memory, projection, new, state))
            else:
                lines.append(f"memcpy({state}, {new}, {width} * sizeof(float));")
        return lines

    # ---------------------------------------------------------------- the pointwise part

    def _phase(self, phase: Phase) -> list[str]:
        taken = {*self._addresses, *(other.name for other in self.others)}
        taken |= {self._state(k) for k in range(len(self._cell.states))}
        self._names = self._choose.values(self._schedule, phase, taken)
        return [line for loop in phase.loops for line in self._loop(loop)]

    def _loop(self, loop: Loop) -> list[str]:
        names = self._names
        lines = [self._declare(n, self._location(location)) for n, location, _ in loop.row_reads]
        lines += [self._declare(n, self._expression(n)) for n in loop.row_nodes if n not in self._constants]
        for (_, key), node in loop.row_writes:
            lines.append(f"{self._row(cast('int', key))} = {self._operand(cast('int', node))};")
        lines += [f"float {names[n]} = 0.0f;" for n in loop.sums]
        of_unit = [self._read(read) for read in loop.reads]
        of_unit += [self._declare(n, self._expression(n)) for n in loop.nodes]
        of_unit += [f"{names[n]} += {self._operand(self._graph.nodes[n].args[0])};" for n in loop.sums]
        of_unit += [self._write(write) for write in loop.writes]
        if of_unit:
            lines += [f"for (j = 0; j < {self.layer.hidden}; j++) {{", *indented(of_unit), "}"]
        return lines

    def _declare(self, node: int, value: str) -> str:
        return f"const {'int' if self._graph.is_truth(node) else 'float'} {self._names[node]} = {value};"

    def _read(self, read: Read) -> str:
        value = f"{self._location(read.location)}[j]"
        return self._declare(read.node, f"{value} != 0.0f" if self._graph.is_truth(read.node) else value)

    def _write(self, write: Write) -> str:
        value = self._operand(cast("int", write.node))
        if self._graph.is_truth(cast("int", write.node)):
            value = f"{value} ? 1.0f : 0.0f"
        return f"{self._location(write.location)}[j] = {value};"

    def _row(self, node: int) -> str:
        return f"{self._pointer('rows')}[{self._program.row_values.index(node)}]"

    def _location(self, location: Location) -> str:
        """Return the pointer to a location or, for one number per row, the element."""
        kind, key = location
        name = str(key)
        if kind == "row":
            return self._row(cast("int", key))
        if kind == "input":
            argument = self._arguments[name]
            return f"{argument}[0]" if name in self.numbers else argument
        if kind in DISTRIBUTIONS:
            return self._draw(kind, name)
        if kind == "old":
            return self._state(self._cell.states.index(name))
        if kind == "slot":
            where, gate = cast("Slot", key)
            if where == "x":
                return self._pointer(self._gate(self._cell.gates.index(gate)))
            return self._pointer(self._second(self._schedule.split.index(gate)))
        if kind == "new":
            return self._pointer(self._new(self._cell.states.index(name)))
        if kind == "parameter":
            return self._pointer(self._param(self._cell.params.index(name)))
        number = {
            "carry": lambda: list(self._program.carries).index(cast("int", key)),
            "vector": lambda: self._program.vectors.index(cast("int", key)),
            "value": lambda: self._schedule.values.index(int(name)),
        }[kind]()
        return self._pointer(f"{kind}_{number}")

    def _expression(self, index: int) -> str:
        node = self._graph.nodes[index]
        return CODE[node.op].format(*map(self._operand, node.args))

    def _operand(self, index: int) -> str:
        if index in self._constants and self._graph.rank(index) == Rank.CALL:
            value = self._constants[index]
            return str(int(value)) if isinstance(value, bool) else literal(value)
        return self._names[index]


def _moved(pointer: str, offset: int) -> str:
    return f"{pointer} + {offset}" if offset else pointer
