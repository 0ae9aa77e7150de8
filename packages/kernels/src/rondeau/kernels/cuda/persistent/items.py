"""Items: the work of a thread of a persistent kernel at a step, and where its numbers lie.

A thread serves one *item*, a batch row and a hidden unit, from the first step to the last. So what the step-by-step
kernels spill to memory are variables here: states, adjoints, the sums of the learned vectors' adjoints, and whatever
one phase hands on to the next. The item's other numbers are fetched while the block waits: slots, and in backward what
forward has left.
"""

from __future__ import annotations

import abc
from typing import Any, cast

from rondeau.kernels.cell.naming import name_values
from rondeau.kernels.cell.schedule import Schedule, Slot
from rondeau.kernels.cell.timeline import Phase, Program, Read, Write
from rondeau.kernels.cuda.persistent.contraction import NEXT_STEP, THIS_STEP
from rondeau.kernels.cuda.persistent.plan import Sizes, contractions_of, row_sums_of, shared_elements, sums_of
from rondeau.kernels.cuda.persistent.tile import Tile
from rondeau.kernels.recurrent.phase_source import CODE, function_name
from rondeau.kernels.recurrent.substreams import NOISE

__all__ = ["ItemSource"]


class ItemSource(abc.ABC):
    """Builds the lines of an item, and notes which parameters they need and what they fetch.

    Parameters
    ----------
    name : str
        The name of the cell.
    direction : {"forward", "backward"}
    schedule : Schedule
    sizes : Sizes
    tile : Tile
    incoming : frozenset of str
        The states whose values after every step have an incoming gradient.
    taken : set of str or None
        Names that no value may have; without them, the step's values are numbered.
    """

    def __init__(
        self,
        name: str,
        direction: str,
        schedule: Schedule,
        sizes: Sizes,
        tile: Tile,
        incoming: frozenset[str],
        taken: set[str] | None,
    ) -> None:
        self.schedule, self.graph, self.tile = schedule, schedule.graph, tile
        self.sizes, self.H = sizes, sizes.hidden
        self.program: Program = getattr(schedule, direction)
        self.is_forward, self.incoming = direction == "forward", incoming
        self.blocks = -(-sizes.of_head // tile.units)
        self.in_block = self.blocks == 1
        self.block_of_row = f"(head * U({self.blocks}) + tile)" if sizes.heads > 1 else "tile"
        self.name = function_name(name, f"{direction}_persistent")
        phases = self.program.phases
        calls = dict.fromkeys(n for phase in phases for n in phase.call_nodes)
        loops = tuple(
            loop
            for phase in phases
            for loop in (*(() if phase.prologue is None else (phase.prologue,)), *phase.loops)
        )
        self.names = name_values(schedule, Phase(tuple(calls), None, loops), taken or set())
        if taken is None:
            self.names = {node: f"_{node}" for node in self.names}
        self.call_nodes = tuple(calls)
        self.arrays: dict[str, None] = {}
        self.numbers: dict[str, None] = {}
        self.fetched: dict[str, str] = {}  # variable -> what it is at a step
        self.held: dict[str, str] = {}  # variable -> what it is for all steps
        self.known: set[int] = set()
        self.contractions = contractions_of(schedule, direction, sizes, tile)
        assert all(c.fits for _, _, c in self.contractions), (name, sizes, tile)
        self.row_sums = row_sums_of(schedule, direction, sizes, tile)
        self.shared = shared_elements(self.contractions)
        if self.row_sums.shared_size:
            self.row_sums.at = self.shared
            self.shared += self.row_sums.shared_size
        of_operands = {operand: c for _, operand, c in self.contractions}
        self.projection = of_operands.pop(None, None)
        self.of_values = {operand.node: c for operand, c in of_operands.items() if operand is not None}
        self.of_first = self.of_values.pop(None, None)
        # A projected state is exchanged, not kept: its features are other threads'.
        kept = [
            state for state in self.graph.states if self.projection is None or state != self.graph.states[0]
        ]
        self.kept_states = {state: self.graph.states.index(state) for state in kept}

    @abc.abstractmethod
    def kernel(self) -> Any:
        """Return the kernel, a `PersistentKernel`."""

    @property
    def place(self) -> str:
        """Where in a row of all units of a head that of a thread is."""
        return "tile_unit" if self.in_block else f"tile * U({self.tile.units}) + tile_unit"

    @abc.abstractmethod
    def _arrive(self) -> list[str]:
        """Return the lines with which a block tells its group that its stores are done."""

    @abc.abstractmethod
    def _barrier_of_row(self) -> list[str]:
        """Return the lines of a barrier of all blocks that have units of a row, which `epoch` counts."""

    def _array(self, name: str) -> str:
        self.arrays.setdefault(name)
        return name

    def _number(self, name: str) -> str:
        self.numbers.setdefault(name)
        return name

    def _call_lines(self) -> list[str]:
        lines = []
        for node in self.call_nodes:
            record = self.graph.nodes[node]
            if record.op != "input":
                value = self._expression(node)
            elif record.value[0] == "width":
                value = f"float32({self.H})"
            else:
                value = self._number(f"scalar_{self.schedule.scalars.index(record.value)}")
            lines.append(f"{self.names[node]} = {value}")
        return lines

    def _state(self, name: str, place: str) -> str:
        """Return the element of a state's storage for the item, at a step's row."""
        index = self.graph.states.index(name)
        base = f"U({index}) * (B + N) + " if index else ""
        return f"{self._array('states')}[({base}{place}) * U({self.H}) + unit]"

    def _pointwise(self, phase: Phase) -> list[str]:
        lines: list[str] = []
        loops = phase.loops if phase.prologue is None else (phase.prologue, *phase.loops)
        for loop in loops:
            for read in (*loop.row_reads, *loop.reads):
                if read.node not in self.known:
                    lines += self._read(read)
                    self.known.add(read.node)
            for node in (*loop.row_nodes, *loop.nodes):
                if node not in self.known:
                    lines.append(f"{self.names[node]} = {self._expression(node)}")
                    self.known.add(node)
            stores = []
            for write in loop.writes:
                always, stored = self._write(write)
                lines += always
                stores += stored
            if stores:
                lines += ["if active:", *(f"    {line}" for line in stores)]
            lines += self._write_rows(loop.row_writes)
            lines += self._add_up(loop.sums)
        return lines

    def _write_rows(self, writes: tuple[Write, ...]) -> list[str]:
        """Return the lines that write values with one number per row, which all threads of the row know."""
        lines, stores = [], []
        for write in writes:
            kind, key = write.location
            value = "float32(0)" if write.node is None else self._operand(write.node)
            if kind == "row":
                # Backward's own, and those that a later phase reads, are variables.
                if self.is_forward and key in self.schedule.kept_rows:
                    is_truth = self.graph.is_truth(int(str(key)))
                    stored = f"float32(1) if {value} else float32(0)" if is_truth else value
                    stores.append(f"{self._array('row_values')}[{self._row_value(key, 'at')}] = {stored}")
            elif self.graph.inputs[str(key)] == "sequence":
                lines.append(f"sum_input_{key} = sum_input_{key} + {value} if active else sum_input_{key}")
            else:
                stores.append(f"{self._array(f'd_input_{key}')}[at + row] = {value}")
        return (
            [*lines, "if active and unit == U(0):", *(f"    {line}" for line in stores)] if stores else lines
        )

    def _row_value(self, node: object, first: str) -> str:
        """Return the place of a value that forward keeps for backward with one number per row."""
        place = self.schedule.kept_rows.index(int(str(node)))
        return f"({first} + row) * U({self._number('num_row_values')}) + U({place})"

    def _add_up(self, sums: tuple[int, ...]) -> list[str]:
        """Return the lines that compute the sums over the units behind the loop that has these."""
        found = sums_of(self.schedule, "forward" if self.is_forward else "backward").get(sums)
        if not found:
            return []
        if self.row_sums.waits:
            self._array("partial_sums")
        self.known.update(node for one in found for node in (*one.inner, one.node))
        terms = {self.names[one.node]: " + ".join(map(self._operand, one.terms)) for one in found}
        return list(self.row_sums.add_up(terms, self.block_of_row, self._barrier_of_row()))

    def _read(self, read: Read) -> list[str]:
        kind, key = read.location
        name = self.names[read.node]
        if kind in ("carry", "vector"):
            return []  # a variable already
        return [f"{name} = {self._value(kind, key, read)}"]

    def _value(self, kind: str, key: object, read: Read) -> str:
        H, graph, schedule = self.H, self.graph, self.schedule
        if kind == "slot":
            where, gate = cast("Slot", key)
            if self.is_forward:
                return self._raw(where, gate)
            array, slots = ("gates", schedule.order) if where == "x" else ("recurrent", schedule.split)
            return self._fetch(f"x_{where}_{gate}", array, len(slots), slots.index(gate))
        if kind == "row":
            place = schedule.kept_rows.index(int(str(key)))
            index = self._row_value(key, "next_at")
            self.fetched.setdefault(f"row_{place}", f"{self._array('row_values')}[{index}]")
            return f"row_{place} != float32(0)" if graph.is_truth(read.node) else f"row_{place}"
        if kind == "value":
            place = schedule.values.index(int(str(key)))
            return self._fetch(f"value_{place}", "values", len(schedule.values), place)
        if kind == "back":
            return f"back_{key}"
        text = str(key)
        if kind == "old":
            if self.is_forward:
                return f"state_{text}"
            self.fetched.setdefault(f"before_{text}", self._state(text, "next_old + row"))
            return f"before_{text}"
        if kind == "new":
            self.fetched.setdefault(f"after_{text}", self._state(text, "next_new + row"))
            return f"after_{text}"
        if kind == "adjoint":
            if text not in self.incoming or text not in self.kept_states:
                return f"adjoint_{text}"
            array = self._array(f"every_{text}")
            self.fetched.setdefault(f"d_{text}", f"{array}[(next_at + row) * U({H}) + unit]")
            return f"adjoint_{text} + d_{text}"
        if kind == "parameter":
            place = graph.params.index(text)
            self.held.setdefault(f"param_{text}", f"{self._array('params')}[U({place * H}) + unit]")
            return f"param_{text}"
        if kind == "mask":
            self.held.setdefault("keep", f"{self._array('mask')}[batch_row * U({H}) + unit]")
            return "keep"
        if kind == "input":
            array, is_number = self._array(f"input_{text}"), text in graph.forms.numbers
            index = "batch_row" if is_number else f"batch_row * U({H}) + unit"
            if graph.inputs[text] == "sequence":
                self.held.setdefault(f"given_{text}", f"{array}[{index}]")
            else:
                index = index.replace("batch_row", "(next_at + row)")
                self.fetched.setdefault(f"given_{text}", f"{array}[{index}]")
            return f"given_{text}"
        self._number("key")
        self._number("substream")
        if kind == "zoneout":
            drawn = (
                f"random_word(key, substream + {graph.states.index(text)}, first_time + time, origin, unit)"
            )
            return f"float32({drawn}) * float32({2.0**-24!r})"
        return f"float32({kind}(key, substream + {NOISE + int(text)}, first_time + time, origin, unit))"

    def _fetch(self, name: str, array: str, count: int, place: int) -> str:
        """Return the variable of a number that is fetched before the step."""
        index = f"((next_at + row) * U({count}) + U({place})) * U({self.H}) + unit"
        self.fetched.setdefault(name, f"{self._array(array)}[{index}]")
        return name

    def _raw(self, where: str, gate: str) -> str:
        """Return the value of a slot: its input part, its product, its bias."""
        schedule = self.schedule
        terms = []
        if where == "x":
            terms.append(self._fetch(f"x_x_{gate}", "gates", len(schedule.order), schedule.order.index(gate)))
        if where == "r" or gate in schedule.joint:
            terms.append(f"z_{where}_{gate}")
        place = schedule.slots.index((where, gate))
        name = f"bias_{where}_{gate}"
        self.held.setdefault(name, f"{self._array('bias')}[U({place * self.H}) + unit]")
        return " + ".join([*terms, name])

    def _write(self, write: Write) -> tuple[list[str], list[str]]:
        """Return the statements of a write that every item runs, and those of an active one alone."""
        kind, key = write.location
        H, graph, schedule = self.H, self.graph, self.schedule
        value = "float32(0)" if write.node is None else self._operand(write.node)
        if kind in ("carry", "vector"):
            return [], []
        if kind == "slot":
            where, gate = cast("Slot", key)
            array, slots = ("gates", schedule.order) if where == "x" else ("recurrent", schedule.split)
            index = f"((at + row) * U({len(slots)}) + U({slots.index(gate)})) * U({H}) + unit"
            stores = [f"{self._array(array)}[{index}] = {value}"]
            return [], stores + ([] if self.is_forward else self._slot_to_operand((where, gate), value))
        if kind == "value":
            place = schedule.values.index(int(str(key)))
            index = f"((at + row) * U({len(schedule.values)}) + U({place})) * U({H}) + unit"
            stores = [f"{self._array('values')}[{index}] = {value}"]
            return [], stores + self.of_values[int(str(key))].put(self.place, value, THIS_STEP)
        text = str(key)
        if kind == "new":
            stores = [f"{self._state(text, 'new + row')} = {value}"]
            if text == graph.states[0] and self.projection is not None:
                stores += self.projection.put(self.place, value, THIS_STEP)
            elif text == graph.states[0] and self.of_first is not None:
                stores += self.of_first.put(self.place, value, NEXT_STEP)
            return [], stores
        if kind == "adjoint":
            return [f"adjoint_{text} = {value} if active else adjoint_{text}"], []
        if kind == "d_parameter":
            return [f"gradient_{text} = gradient_{text} + {value} if active else gradient_{text}"], []
        assert kind == "d_input", kind
        if graph.inputs[text] == "sequence":
            return [f"sum_input_{text} = sum_input_{text} + {value} if active else sum_input_{text}"], []
        return [], [f"{self._array(f'd_input_{text}')}[(at + row) * U({H}) + unit] = {value}"]

    def _put_initial(self, condition: str, place: str, value: str) -> list[str]:
        """Return the lines that put what comes before the first step where the products of the first state read it."""
        if self.of_first is None:
            return []
        # To both buffers: a row that begins later is in neither before.
        buffers = ("U(0)",) if self.in_block else ("U(0)", "U(1)")
        stores = [line for buffer in buffers for line in self.of_first.put(place, value, buffer)]
        return [f"if {condition}:", *(f"    {line}" for line in stores), *self._arrive()] if stores else []

    def _slot_to_operand(self, slot: Slot, value: str) -> list[str]:
        """Return the statements of backward that put a slot's adjoint where the products read it."""
        lines: list[str] = []
        for _, operand, contraction in self.contractions:
            if operand is None:
                continue
            slots = [*(("x", g) for g in operand.joint), *(("r", g) for g in operand.split)]
            if slot in slots:
                first = slots.index(slot) * self.sizes.of_head
                lines += contraction.put(f"U({first}) + {self.place}", value, THIS_STEP)
        return lines

    def _expression(self, node: int) -> str:
        record = self.graph.nodes[node]
        return CODE[record.op].format(*map(self._operand, record.args), zero="float32(0)")

    def _operand(self, node: int) -> str:
        record = self.graph.nodes[node]
        if node not in self.names and record.op == "const":
            return f"float32({record.value!r})"
        return self.names[node]
