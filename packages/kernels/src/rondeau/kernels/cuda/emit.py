"""Emit: the phases of a scheduled cell as Python source of CUDA kernels, forward and backward.

A block of threads computes a batch row, or a part of its hidden units; each thread takes every ``stride``-th unit, in
all loops the same ones. So what one loop writes for a unit the thread itself reads in the next, and only sums over the
units cross threads. Whatever a phase hands on to a later one passes through memory, as on the CPU.

The parameters of a kernel are the arrays that its phase needs, by their names in `PARAMETERS`. What is not as in
`rondeau.kernels.recurrent.phase_source`:

* The results of a recurrent product have an array of their own, which the phase adds: ``product_k[b, i]`` in forward is
  that of operand k for the i-th of its gates. In backward the product's part of the adjoint of the first state is
  ``product[b, 0]``.
* The incoming gradient of a state's values after every step is an array ``every_NAME[row + b]`` for those states that
  have one.
* A named input is an array ``input_NAME[row + b]``, or ``[b]`` for one of a sequence; its adjoint is
  ``d_input_NAME``.
* The scalars of the run are numbers, ``scalar_NUMBER``.
"""

from __future__ import annotations

from typing import Any, NamedTuple, cast

from rondeau.kernels.cell.schedule import Schedule, Slot
from rondeau.kernels.cell.timeline import Loop, Program, Read
from rondeau.kernels.cuda.functions import MATHEMATICS, WRITTEN
from rondeau.kernels.recurrent.phase_source import PhaseSource

__all__ = ["NUMBERS", "PhaseKernel", "emit"]

NUMBERS = ("key", "substream", "row", "old", "new")
"""The parameters that are integers: those of the run, and then those of the step."""

_PREAMBLE = (
    "b = cuda.blockIdx.x",
    "first = cuda.blockIdx.y * cuda.blockDim.x + cuda.threadIdx.x",
    "stride = cuda.gridDim.y * cuda.blockDim.x",
)


class PhaseKernel(NamedTuple):
    """The kernel of a phase, before it is compiled.

    Attributes
    ----------
    name : str
    source : str
    arrays : tuple of str
        Its first parameters, which are arrays of the cell's dtype, but for ``positions``.
    numbers : tuple of str
        Its other parameters: scalars of the run, and integers in the order of `NUMBERS`.
    sums : bool
        Whether a row must be computed by a single block, since the phase sums over its units.
    """

    name: str
    source: str
    arrays: tuple[str, ...]
    numbers: tuple[str, ...]
    sums: bool

    @property
    def max_registers(self) -> None:
        """The registers that a thread may have: as many as the compiler finds best."""
        return None

    def type_of(self, name: str) -> tuple[str, int]:
        """Return the type of an array's elements, ``"real"`` for the cell's dtype, and its number of dimensions."""
        if name == "positions":
            return "int64", 2
        return "real", 2 if name.startswith(("input_", "d_input_", "every_")) else 3


def emit(
    name: str,
    direction: str,
    schedule: Schedule,
    dtype: Any,
    incoming: frozenset[str] = frozenset(),
    projected: bool = False,
) -> list[PhaseKernel]:
    """Return the kernels of the phases of a direction, ``"forward"`` or ``"backward"``.

    Parameters
    ----------
    name : str
        The name of the cell.
    direction : {"forward", "backward"}
    schedule : Schedule
    dtype : dtype
    incoming : frozenset of str
        The states whose values after every step have an incoming gradient; for backward.
    projected : bool
        Whether the first state is projected: then its whole adjoint is in ``d_states`` when a step of backward begins.
    """
    program: Program = getattr(schedule, direction)
    return [
        _Phase(name, direction, schedule, number, dtype, incoming, projected).kernel()
        for number in range(len(program.phases))
    ]


class _Phase(PhaseSource):
    """Builds the kernel of one phase."""

    reserved = frozenset({
        *MATHEMATICS, *(function.__name__ for function in WRITTEN), *NUMBERS, "abs", "range", "cuda", "b", "j",
        "first", "stride", "time", "origin", "float32", "float64", "inf", "nan", "product",
        "gates", "recurrent", "bias", "values", "row_values", "states", "params", "carry", "mask",
        "d_states", "d_params", "d_values", "positions",
    })  # fmt: skip
    units = "for j in range(first, states.shape[2], stride):"
    batch_row = scratch_row = shared_row = "b"

    def __init__(
        self,
        name: str,
        direction: str,
        schedule: Schedule,
        phase: int,
        dtype: Any,
        incoming: frozenset[str],
        projected: bool,
    ) -> None:
        super().__init__(name, direction, schedule, phase, dtype)
        self._arrays: dict[str, None] = {"states": None}  # in the order of their first use
        self._others: dict[str, None] = {}
        first = schedule.graph.states[0]
        self._incoming = incoming - {first} if projected else incoming
        has_product = not projected and any(operand.node is None for operand in schedule.operands)
        self._with_product = frozenset({first}) if has_product else frozenset()
        program: Program = getattr(schedule, direction)
        self._written = {location for location, written in program.written.items() if written < phase}

    def kernel(self) -> PhaseKernel:
        """Return the kernel."""
        source = self.source()
        sums = any(loop.sums for loop in self._phase.loops)
        return PhaseKernel(self.name, source, tuple(self._arrays), self._numbers(), sums)

    def source(self) -> str:
        loops = (
            self._phase.loops if self._phase.prologue is None else (self._phase.prologue, *self._phase.loops)
        )
        call = self._call_lines()
        body = [line for loop in loops for line in self._loop(loop)]
        lanes = [f"{lane} = {run}" for lane, run in self._lanes.items()]
        lines = [*_PREAMBLE, *self._position(), *call, *lanes, *body]
        for number in ("row", "old", "new"):
            if any(f"{number} + b" in line for line in lines):
                self._others[number] = None
        head = f"def {self.name}({', '.join((*self._arrays, *self._numbers()))}):"
        return "\n".join([head, *(f"    {line}" for line in lines)]) + "\n"

    def _numbers(self) -> tuple[str, ...]:
        scalars = [name for name in self._others if name not in NUMBERS]
        return (*scalars, *(name for name in NUMBERS if name in self._others))

    # ---------------------------------------------------------------- how it reaches memory

    def _array(self, name: str) -> str:
        (self._others if name in NUMBERS else self._arrays).setdefault(name)
        return name

    def _run(self, array: str, row: str, slot: str) -> str:
        return f"{self._array(array)}[{row}, {slot}]"

    def _input(self, name: str, adjoint: bool) -> str:
        array = self._array(f"{'d_input' if adjoint else 'input'}_{name}")
        row = "row + b" if self._graph.inputs[name] == "step" else "b"
        if name in self._graph.forms.numbers:
            return f"{array}[{row}, 0]"
        self._lanes.setdefault(f"lane_{array}", f"{array}[{row}]")
        return f"lane_{array}"

    def _loop(self, loop: Loop) -> list[str]:
        lines = super()._loop(loop)
        self._written |= {write.location for write in loop.writes}
        return lines

    def _read(self, read: Read) -> str:
        value = super()._read(read)
        kind, key = read.location
        if kind != "adjoint" or read.location in self._written:  # what the step wrote is complete
            return value
        state = cast("str", key)
        if state in self._incoming:
            self._lanes.setdefault(f"lane_every_{state}", f"{self._array(f'every_{state}')}[row + b]")
            value += f" + lane_every_{state}[j]"
        if state in self._with_product:
            value += f" + {self._lane('product_back', 'product', 'b', '0')}[j]"
        return value

    def _raw(self, read: Read) -> str:
        slot = cast("Slot", read.location[1])
        where, gate = slot
        terms = [] if where == "r" else [f"{self._location(read.location, read.node)}[j]"]
        for number, operand in enumerate(self._schedule.operands):
            gates = operand.joint if where == "x" else operand.split
            if gate in gates:
                index = (operand.joint + operand.split).index(gate)
                terms.append(
                    f"{self._lane(f'product_{where}_{gate}', f'product_{number}', 'b', str(index))}[j]"
                )
        return " + ".join([*terms, self._bias(slot)])

    def _summed(self, node: int) -> tuple[str, str]:
        name, (term,) = self._names[node], self._graph.nodes[node].args
        complete = f"{name} = sum_of_block_{self._number}({name})"
        return f"{name} = {name} + {self._operand(term)}", complete

    def _once(self, statement: str) -> str:
        return f"if first == 0: {statement}"

    def _scalar(self, number: int) -> str:
        self._others.setdefault(f"scalar_{number}")
        return f"scalar_{number}"

    def _names_of_others(self) -> set[str]:
        graph = self._graph
        taken = super()._names_of_others() | {"product_back"}
        taken |= {f"scalar_{number}" for number in range(len(self._schedule.scalars))}
        taken |= {f"product_{where}_{gate}" for where in "xr" for gate in graph.gates}
        taken |= {f"product_{number}" for number in range(len(self._schedule.operands))}
        taken |= {f"{kind}every_{state}" for kind in ("", "lane_") for state in graph.states}
        taken |= {f"lane_{kind}_{name}" for kind in ("input", "d_input") for name in graph.inputs}
        return taken
