"""Emit: a direction of a scheduled cell as one kernel that runs all steps.

A thread serves one *item*, a batch row and a hidden unit, from the first step to the last. So what the step-by-step
kernels put by in memory are variables here: states, adjoints, the sums of the learned vectors' adjoints, and whatever
one phase hands on to the next. The item's other numbers are fetched while the block waits: slots, and in backward what
forward has left.

The blocks of a *group* have the same ``rows`` batch rows, each with other ``units`` hidden units. A product reads what
all of them have computed, in the library's own storage: there is no buffer for the exchange. So before a product the
blocks of a group wait for one another: each counts itself in when its stores are done, and waits until all have. A
block that has all units needs no other and exchanges through shared memory alone.

The order of a step is that of the step-by-step kernels: in forward each phase comes after the products that it reads,
in backward each product after the phase that writes its slots' adjoints.

Arrays are flat, and indices are 32-bit numbers without a sign, which is what keeps a kernel within its registers.
"""

from __future__ import annotations

import re
from typing import NamedTuple, cast

from rondeau.kernels.cell.naming import name_values
from rondeau.kernels.cell.schedule import Operand, Schedule, Slot
from rondeau.kernels.cell.timeline import Phase, Program, Read, Write
from rondeau.kernels.cuda.persistent.contraction import Contraction, Tile
from rondeau.kernels.cuda.persistent.plan import contractions_of, shared_elements
from rondeau.kernels.recurrent.phase_source import CODE, function_name
from rondeau.kernels.recurrent.substreams import NOISE

__all__ = ["PersistentKernel", "emit_persistent"]

_STEP = ("at", "old", "new", "size")
"""What a step's row of the table says: its first row, those of the states around it, and its number of rows."""


class PersistentKernel(NamedTuple):
    """The kernel of a direction, before it is compiled.

    Attributes
    ----------
    name, source : str
    arrays, numbers : tuple of str
        Its parameters, in this order.
    tile : Tile
    blocks_of_group : int
    shared : int
        The elements of shared memory that a block takes.
    contractions : tuple of (Operand, Contraction)
    """

    name: str
    source: str
    arrays: tuple[str, ...]
    numbers: tuple[str, ...]
    tile: Tile
    blocks_of_group: int
    shared: int
    contractions: tuple[tuple[Operand, Contraction], ...]

    def type_of(self, name: str) -> tuple[str, int]:
        """Return the type of an array's elements, ``"real"`` for the cell's dtype, and its number of dimensions."""
        if name in ("steps", "origins", "first_steps"):
            return "int64", 1
        return "uint32" if name == "arrived" else "real", 1


def emit_persistent(
    name: str,
    direction: str,
    schedule: Schedule,
    hidden: int,
    tile: Tile,
    incoming: frozenset[str] = frozenset(),
) -> PersistentKernel:
    """Return the kernel of a direction in float32 for H hidden units, cut as a tile says.

    Parameters
    ----------
    name : str
        The name of the cell.
    direction : {"forward", "backward"}
    schedule : Schedule
        Without sums over the units: see `can_persist`.
    hidden : int
    tile : Tile
    incoming : frozenset of str
        The states whose values after every step have an incoming gradient; for backward.
    """
    # First with the step's values numbered: the names that the source has then are not free for them.
    numbered = _Source(name, direction, schedule, hidden, tile, incoming, None).kernel()
    taken = set(re.findall(r"[A-Za-z_]\w*", numbered.source))
    return _Source(name, direction, schedule, hidden, tile, incoming, taken).kernel()


class _Source:
    """Builds the source of a kernel; without names that are taken, the step's values are numbered."""

    def __init__(
        self,
        name: str,
        direction: str,
        schedule: Schedule,
        hidden: int,
        tile: Tile,
        incoming: frozenset[str],
        taken: set[str] | None,
    ) -> None:
        self.schedule, self.graph, self.H, self.tile = schedule, schedule.graph, hidden, tile
        self.program: Program = getattr(schedule, direction)
        self.is_forward, self.incoming = direction == "forward", incoming
        self.blocks = -(-hidden // tile.units)
        self.in_block = self.blocks == 1
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
        self.contractions = contractions_of(schedule, direction, hidden, tile)
        assert all(c.fits for _, _, c in self.contractions), (name, hidden, tile)
        self.shared = shared_elements(self.contractions)

    # ---------------------------------------------------------------- the source

    def kernel(self) -> PersistentKernel:
        """Return the kernel."""
        step = self._step()
        lines = [*self._places(), *self._call_lines(), *self._weights()]
        if self.in_block and self.contractions:
            lines += self._clear_shared()
        lines += [f"{name} = {value}" for name, value in self.held.items()]
        lines += self._begin()
        lines += ["epoch = U(0)", "step = U(0)", *(f"next_{name} = float32(0)" for name in self.fetched)]
        lines += self._next_step("U(0)")
        lines += ["while step < T:", *(f"    {line}" for line in step)]
        lines += self._end()
        arrays = tuple(self.arrays)
        numbers = tuple(self.numbers)
        head = f"def {self.name}({', '.join((*arrays, *numbers))}):"
        source = "\n".join([head, *(f"    {line}" for line in lines)]) + "\n"
        return PersistentKernel(
            self.name, source, arrays, numbers, self.tile, self.blocks, self.shared,
            tuple((operand, contraction) for _, operand, contraction in self.contractions),
        )  # fmt: skip

    def _array(self, name: str) -> str:
        self.arrays.setdefault(name)
        return name

    def _number(self, name: str) -> str:
        self.numbers.setdefault(name)
        return name

    def _places(self) -> list[str]:
        tile = self.tile
        for name in ("T", "B", "N"):
            self._number(name)
        lines = [
            "T, B, N = U(T), U(B), U(N)",
            "thread = U(cuda.threadIdx.x)",
            "lane, warp = thread % U(32), thread // U(32)",
            f"group, tile = U(cuda.blockIdx.x) // U({self.blocks}), U(cuda.blockIdx.x) % U({self.blocks})",
            f"shared = cuda.shared.array({self.shared}, float32, 16)",
            f"tile_row, tile_unit = thread // U({tile.units}), thread % U({tile.units})",
            f"first_row = group * U({tile.rows})",
            f"unit = tile * U({tile.units}) + tile_unit",
            f"exists = tile_row < U({tile.rows}) and first_row + tile_row < B and unit < U({self.H})",
            # A thread without an item reads one of its group, and writes nothing.
            f"tile_row = tile_row if tile_row < U({tile.rows}) else U(0)",
            "row = first_row + tile_row",
            f"unit = unit if unit < U({self.H}) else U({self.H - 1})",
            "batch_row = row if row < B else B - U(1)",
        ]
        if self.contractions and not self.in_block:
            self._array("arrived")
            lines.append("mark_cooperative()")
        return lines

    def _weights(self) -> list[str]:
        lines: list[str] = []
        for _, _, contraction in self.contractions:
            self._array(f"weights{contraction.name}")
            lines += contraction.begin("tile")
        return lines

    def _clear_shared(self) -> list[str]:
        """Return the lines that clear what no item fills: the padding of the depth, and rows that do not exist."""
        end = max(contraction.sums_at for _, _, contraction in self.contractions)
        return [
            "k = thread",
            f"while k < U({end}):",
            "    shared[k] = float32(0)",
            f"    k += U({self.tile.threads})",
            "cuda.syncthreads()",
        ]

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

    def _begin(self) -> list[str]:
        """Return the lines before the first step: states, adjoints, sums."""
        lines = []
        if self.schedule.draws_numbers:
            self._array("origins")
            self._array("first_steps")
            lines += ["origin, first_time = origins[batch_row], first_steps[batch_row]"]
        states = self.graph.states
        if self.is_forward:
            # Those of rows that run backwards begin elsewhere: at the end of their own sequence.
            for k, state in enumerate(states):
                base = f"U({k}) * B + " if k else ""
                lines.append(
                    f"state_{state} = {self._array('initial')}[({base}batch_row) * U({self.H}) + unit]"
                )
            if self.in_block:
                stores = self._to_operand(None, f"state_{states[0]}")
                lines += (
                    ["if exists:", *(f"    {line}" for line in stores), "cuda.syncthreads()"]
                    if stores
                    else []
                )
        else:
            lines += [f"adjoint_{state} = float32(0)" for state in states]
            lines.append("if exists:")
            for k, state in enumerate(states):
                base = f"U({k}) * B + " if k else ""
                place = f"{self._array('d_states')}[({base}row) * U({self.H}) + unit]"
                lines.append(f"    adjoint_{state} = {place}")
            lines += [f"gradient_{name} = float32(0)" for name in self.graph.params]
            for name, kind in self.graph.inputs.items():
                if kind == "sequence" and name not in self.graph.forms.constants:
                    lines.append(f"sum_input_{name} = float32(0)")
        return lines

    def _next_step(self, number: str) -> list[str]:
        """Return the lines that read a step's row of the table and fetch its numbers."""
        self._array("steps")
        lines = [f"next_step = {number}"]
        if not self.is_forward:
            lines.append("next_step = T - U(1) - next_step")
        lines += [f"next_{name} = U(steps[U({k}) * T + next_step])" for k, name in enumerate(_STEP)]
        if self.schedule.draws_numbers:
            lines.append("next_time = steps[U(4) * T + next_step]")
        # Who has no such row fetches nothing: another thread may be writing what it would read.
        fetches = [f"    next_{name} = {value}" for name, value in self.fetched.items()]
        return [*lines, "if exists and row < next_size:", *fetches] if fetches else lines

    def _step(self) -> list[str]:
        """Return the lines of a step, and note on the way what it fetches and holds."""
        body: list[str] = []
        last = len(self.program.phases) - 1
        products = [phase for phase, _, _ in self.contractions]
        finish: list[str] = []
        for number, phase in enumerate(self.program.phases):
            if self.is_forward:
                body += self._exchange(number)
            body += self._pointwise(phase)
            if not self.is_forward:
                if number in products:
                    body += self._arrive()
                    if number == last:
                        finish = self._exchange_back(number)
                    else:
                        body += self._exchange_back(number)
            elif number < last and number + 1 in products:
                body += self._arrive()
        if self.is_forward:
            for state, output in zip(self.graph.states, self.graph.outputs, strict=True):
                body.append(f"state_{state} = {self._operand(output)} if active else state_{state}")
            if 0 in products:
                body += self._arrive()
        moved = [f"{name} = next_{name}" for name in (*_STEP, *self.fetched)]
        if self.schedule.draws_numbers:
            moved.append("time = next_time")
        after = ["if step + U(1) < T:", *(f"    {line}" for line in self._next_step("step + U(1)"))]
        lines = [*moved, "active = exists and row < size"]
        # A block whose rows have all ended, or not begun, has no part in the step: its group is of one mind.
        lines += ["if first_row < size:", *(f"    {line}" for line in body)]
        lines += after
        if finish:
            lines += ["if first_row < size:", *(f"    {line}" for line in finish)]
        return [*lines, "step += U(1)"]

    def _arrive(self) -> list[str]:
        """Return the lines with which a block tells its group that its stores are done."""
        if self.in_block:
            return ["cuda.syncthreads()"]
        return [
            "cuda.syncthreads()",
            "epoch += U(1)",
            "if thread == U(0):",
            "    red_release_add(arrived, group + U(1), U(1))",
        ]

    def _wait(self) -> list[str]:
        if self.in_block:
            return []
        return [
            "if thread == U(0):",
            f"    wait_for(arrived, group + U(1), epoch * U({self.blocks}))",
            "cuda.syncthreads()",
        ]

    def _product(self, contraction: Contraction) -> list[str]:
        staged = not self.in_block and contraction.is_staged
        return [*(contraction.stage() if staged else ()), *contraction.multiply()]

    def _exchange(self, number: int) -> list[str]:
        """Return the lines before a phase of forward: the products that it reads."""
        found = [(operand, c) for phase, operand, c in self.contractions if phase == number]
        if not found:
            return []
        lines = self._wait()
        for operand, contraction in found:
            lines += self._product(contraction)
            for place, gate in enumerate((*operand.joint, *operand.split)):
                where = "x" if gate in operand.joint else "r"
                lines.append(
                    f"z_{where}_{gate} = {contraction.result(f'U({place * self.tile.units}) + tile_unit')}"
                )
            if len(found) > 1:
                lines.append("cuda.syncthreads()")  # before the next product takes the place of the sums
        return lines

    def _exchange_back(self, number: int) -> list[str]:
        """Return the lines after a phase of backward: the products of the adjoints that it has written."""
        found = [(operand, c) for phase, operand, c in self.contractions if phase == number]
        lines = self._wait()
        for operand, contraction in found:
            product = self._product(contraction)
            result = contraction.result("tile_unit")
            if operand.node is None:
                first = self.graph.states[0]
                product.append(
                    f"adjoint_{first} = adjoint_{first} + ({result}) if active else adjoint_{first}"
                )
            else:
                product.append(f"back_{operand.node} = {result}")
            if len(found) > 1:
                product.append("cuda.syncthreads()")
            lines += product
        if all(operand.node is None for operand, _ in found):
            self._number("needs_initial")
            lines = ["if step + U(1) < T or needs_initial != 0:", *(f"    {line}" for line in lines)]
        return lines

    # ---------------------------------------------------------------- the pointwise part

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
        return lines

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
            if text not in self.incoming:
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
            if self.in_block and not self.is_forward:
                stores += self._slot_to_operand((where, gate), value)
            return [], stores
        if kind == "value":
            place = schedule.values.index(int(str(key)))
            index = f"((at + row) * U({len(schedule.values)}) + U({place})) * U({H}) + unit"
            stores = [f"{self._array('values')}[{index}] = {value}"]
            return [], stores + (self._to_operand(int(str(key)), value) if self.in_block else [])
        text = str(key)
        if kind == "new":
            stores = [f"{self._state(text, 'new + row')} = {value}"]
            if self.in_block and text == graph.states[0]:
                stores += self._to_operand(None, value)
            return [], stores
        if kind == "adjoint":
            return [f"adjoint_{text} = {value} if active else adjoint_{text}"], []
        if kind == "d_parameter":
            return [f"gradient_{text} = gradient_{text} + {value} if active else gradient_{text}"], []
        assert kind == "d_input", kind
        if graph.inputs[text] == "sequence":
            return [f"sum_input_{text} = sum_input_{text} + {value} if active else sum_input_{text}"], []
        return [], [f"{self._array(f'd_input_{text}')}[(at + row) * U({H}) + unit] = {value}"]

    def _to_operand(self, node: int | None, value: str) -> list[str]:
        """Return the statements that put a value where the products of a block read it."""
        return [
            f"shared[U({c.operand_at}) + tile_row * U({c.row_stride}) + unit] = {value}"
            for _, operand, c in self.contractions
            if operand.node == node
        ]

    def _slot_to_operand(self, slot: Slot, value: str) -> list[str]:
        lines = []
        for _, operand, c in self.contractions:
            slots = [*(("x", g) for g in operand.joint), *(("r", g) for g in operand.split)]
            if slot in slots:
                place = slots.index(slot) * self.H
                lines.append(
                    f"shared[U({c.operand_at + place}) + tile_row * U({c.row_stride}) + unit] = {value}"
                )
        return lines

    def _end(self) -> list[str]:
        """Return the lines after the last step: what backward leaves."""
        if self.is_forward:
            return []
        H, graph = self.H, self.graph
        lines = []
        for k, state in enumerate(graph.states):
            base = f"U({k}) * B + " if k else ""
            lines.append(f"{self._array('d_states')}[({base}row) * U({H}) + unit] = adjoint_{state}")
        for k, name in enumerate(graph.params):
            index = f"(row * U({len(graph.params)}) + U({k})) * U({H}) + unit"
            lines.append(f"{self._array('d_params')}[{index}] += gradient_{name}")
        for name, kind in graph.inputs.items():
            if kind == "sequence" and name not in graph.forms.constants:
                lines.append(f"{self._array(f'd_input_{name}')}[row * U({H}) + unit] += sum_input_{name}")
        return ["if exists:", *(f"    {line}" for line in lines)]

    # ---------------------------------------------------------------- values

    def _expression(self, node: int) -> str:
        record = self.graph.nodes[node]
        return CODE[record.op].format(*map(self._operand, record.args), zero="float32(0)")

    def _operand(self, node: int) -> str:
        record = self.graph.nodes[node]
        if node not in self.names and record.op == "const":
            return f"float32({record.value!r})"
        return self.names[node]
