"""Emit: the phases of a scheduled cell as Python source for Numba to compile, forward and backward.

Only the phases are compiled for each cell: pointwise functions between which the recurrent products run. All phases of
a dtype have the same signature, so the drivers are compiled once and take the phases as an argument.

A phase computes ``count`` batch rows of one step, from row ``batch`` on, and their hidden units from ``low`` to
``high - 1``. The arrays of `rondeau.kernels.recurrent.phase_source` are fields of a `Storage`; ``inputs`` has the
addresses of the named inputs and then of their adjoints: a step input has the rows of the slots, a sequence input those
of the batch.
"""

from __future__ import annotations

from typing import Any

from rondeau.kernels.cell.schedule import Schedule
from rondeau.kernels.cell.timeline import Program, Read
from rondeau.kernels.cpu.compiled_phase import FUNCTIONS
from rondeau.kernels.cpu.phase_call import ARGUMENTS
from rondeau.kernels.recurrent.phase_source import PhaseSource

__all__ = ["emit"]


def emit(name: str, direction: str, schedule: Schedule, dtype: Any) -> list[str]:
    """Return the source of the phases of a direction, ``"forward"`` or ``"backward"``."""
    program: Program = getattr(schedule, direction)
    return [
        _Phase(name, direction, schedule, number, dtype).source() for number in range(len(program.phases))
    ]


class _Phase(PhaseSource):
    """Builds the source of one phase: a loop over the rows, and in it those over the units."""

    reserved = frozenset({*FUNCTIONS, *ARGUMENTS.split(", "), "b", "j", "abs", "range", "time", "origin"})
    units = "for j in range(low, high):"
    batch_row, scratch_row, shared_row = "batch + b", "batch", "batch"

    def source(self) -> str:
        prologue = [] if self._phase.prologue is None else self._loop(self._phase.prologue)
        num_shared = len(self._lanes)  # those of the prologue, which belong to no row
        body = [line for loop in self._phase.loops for line in self._loop(loop)]
        lanes = [f"{lane} = {run}, {k})" for k, (lane, run) in enumerate(self._lanes.items())]
        lines = [f"def {self.name}({ARGUMENTS}):"]
        lines += [f"    {line}" for line in (*self._call_lines(), *lanes[:num_shared], *prologue)]
        lines += ["    for b in range(count):"]
        lines += [f"        {line}" for line in (*self._position(), *lanes[num_shared:], *body)]
        return "\n".join(lines) + "\n"

    def _array(self, name: str) -> str:
        return f"storage.{name}"

    def _run(self, array: str, row: str, slot: str) -> str:
        return f"lanes(storage.{array}, {row}, {slot}"  # the scope follows, which is the number of the lane

    def _input(self, name: str, adjoint: bool) -> str:
        graph = self._graph
        row = "row" if graph.inputs[name] == "step" else "batch"
        index = list(graph.inputs).index(name) + (len(graph.inputs) if adjoint else 0)
        if name in graph.forms.numbers:
            return f"pointer_at(storage.states, storage.inputs[{index}])[{row} + b]"
        lane = f"{'d_input' if adjoint else 'input'}_{name}"
        self._lanes.setdefault(lane, f"lanes_at(storage.states, storage.inputs[{index}], {row} + b")
        return lane

    def _raw(self, read: Read) -> str:
        return f"{self._location(read.location, read.node)}[j] + {self._bias(read.location[1])}"  # type: ignore[arg-type]

    def _scalar(self, number: int) -> str:
        return f"storage.scalars[0, 0, {number}]"

    def _summed(self, node: int) -> tuple[str, str]:
        name, (term,) = self._names[node], self._graph.nodes[node].args
        return f"{name} = add_to({name}, {self._operand(term)})", ""
