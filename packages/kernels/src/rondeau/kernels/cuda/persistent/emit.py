"""Emit: a direction of a scheduled cell as one kernel that runs all steps.

A thread serves one *item*, a batch row and a hidden unit, from the first step to the last; its work at a step is in
`items`. Here is the frame around it: where a thread finds itself, the steps, and between phases the products and the
barriers that they need.

The blocks of a *group* have the same ``rows`` batch rows and the same head, each with other ``units`` hidden units of
it. A product reads what all of them have computed, in the library's own storage, or in `bfloat16` from an array of its
own. So before a product the blocks of a group wait for one another: each adds to a counter when its stores are done,
and waits until all have. A block that has all units of its head needs no other and exchanges through shared memory
alone.

Sums over the units of a row, as in layer normalisation, cross threads and blocks in the same way; see `row_sums`. They
take in all heads, so that the blocks of a row wait for one another, of whichever head they are.

The order of a step is that of the step-by-step kernels: in forward each phase comes after the products that it reads,
in backward each product after the phase that writes its slots' adjoints. A projection of the first state is one product
more, at the end of a step of forward and at the beginning of one of backward; see `features`.

Arrays are flat, and what is kept to compute indices from are 32-bit numbers without a sign, ``U(...)``, which is what
keeps a kernel within its registers: sums and products of such numbers have 64 bits in Numba.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from rondeau.kernels.cell.schedule import Operand, Schedule
from rondeau.kernels.cuda.persistent.contraction import Contraction
from rondeau.kernels.cuda.persistent.features import FeatureSource
from rondeau.kernels.cuda.persistent.plan import Sizes
from rondeau.kernels.cuda.persistent.tile import Tile

__all__ = ["SECOND", "PersistentKernel", "emit_persistent"]

_STEP = ("at", "old", "new", "size")
"""What a step's row of the table says: its first row, those of the states around it, and its number of rows."""
SECOND = "second_"
"""Begins the names of what the second of two layers has for itself."""
_SHARED = ("arrived", "origins", "first_steps", "T", "B", "N", "key", "num_row_values")
"""The parameters that two layers share, besides the named inputs, the scalars of the run, and exchanged operands."""


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
    partial_sums : int
        The elements of memory in which the blocks of a group exchange their parts of the sums over a row's units; zero
        when the kernel begins.
    contractions : tuple of (Operand or None, Contraction)
        None for the projection.

    Of two layers, each has arrays and numbers of its own. Those of the second have names that begin with `SECOND`.
    """

    name: str
    source: str
    arrays: tuple[str, ...]
    numbers: tuple[str, ...]
    tile: Tile
    blocks_of_group: int
    shared: int
    partial_sums: int
    contractions: tuple[tuple[Operand | None, Contraction], ...]

    @property
    def waits(self) -> bool:
        """Whether its blocks wait for one another, so that all of them must be resident at once."""
        return "arrived" in self.arrays

    @property
    def max_registers(self) -> int:
        """The registers that a thread may have."""
        return self.tile.max_registers

    def type_of(self, name: str) -> tuple[str, int]:
        """Return the type of an array's elements, ``"real"`` for the cell's dtype, and its number of dimensions."""
        name = name.removeprefix(SECOND)
        if name in ("steps", "origins", "first_steps"):
            return "int64", 1
        if self.tile.operands == "bfloat16" and name.startswith(("exchange", "weights")):
            return "uint16" if name.startswith("exchange") else "uint32", 1  # their bits, one or two a number
        return "uint32" if name == "arrived" else "real", 1


def emit_persistent(
    name: str,
    direction: str,
    schedule: Schedule,
    sizes: Sizes,
    tile: Tile,
    incoming: frozenset[str] = frozenset(),
) -> PersistentKernel:
    """Return the kernel of a direction in float32 for a layer of some sizes, cut as a tile says.

    Parameters
    ----------
    name : str
        The name of the cell.
    direction : {"forward", "backward"}
    schedule : Schedule
    sizes : Sizes
    tile : Tile
    incoming : frozenset of str
        The states whose values after every step have an incoming gradient; for backward.
    """
    # First with the step's values numbered: the names that the source has then are not free for them.
    numbered = _Source(name, direction, schedule, sizes, tile, incoming, None).kernel()
    taken = set(re.findall(r"[A-Za-z_]\w*", numbered.source))
    return _Source(name, direction, schedule, sizes, tile, incoming, taken).kernel()


def _is_own(name: str) -> bool:
    """Return whether each of two layers has a parameter of this name for itself."""
    return not name.startswith(("input_", "scalar_", "exchange")) and name not in _SHARED


class _Source(FeatureSource):
    """Builds the source of a kernel: its frame of steps, products and barriers around the work of an item."""

    def kernel(self) -> PersistentKernel:
        """Return the kernel."""
        step = self._step()
        lines = [*self._places(), *self._call_lines(), *self._weights()]
        if (self.in_block and self.contractions) or self.row_sums.shared_size:
            lines += self._clear_shared()
        lines += [f"{name} = {value}" for name, value in self.held.items()]
        lines += ["epoch = U(0)", "step = U(0)", *self._begin()]
        lines += [*(f"next_{name} = float32(0)" for name in self.fetched)]
        lines += self._next_step("U(0)")
        lines += ["while step < T:", *(f"    {line}" for line in step)]
        lines += self._end()
        arrays, numbers = tuple(self.arrays), tuple(self.numbers)
        if self.sizes.layers > 1:
            own = [name for name in (*arrays, *numbers) if _is_own(name)]
            arrays += tuple(f"{SECOND}{name}" for name in own if name in arrays)
            numbers += tuple(f"{SECOND}{name}" for name in own if name in numbers)
            lines = [*self._choose_layer(own), *lines]
        head = f"def {self.name}({', '.join((*arrays, *numbers))}):"
        source = "\n".join([head, *(f"    {line}" for line in lines)]) + "\n"
        partial_sums = self.tile.rows * self.row_sums.size_of_row if self.row_sums.waits else 0
        return PersistentKernel(
            self.name, source, arrays, numbers, self.tile, self.blocks, self.shared, partial_sums,
            tuple((operand, contraction) for _, operand, contraction in self.contractions),
        )  # fmt: skip

    @property
    def waits(self) -> bool:
        """Whether blocks wait for one another."""
        return self.row_sums.waits or (bool(self.contractions) and not self.in_block)

    def _choose_layer(self, own: list[str]) -> list[str]:
        """Return the lines with which a block takes what belongs to its layer."""
        return [
            f"groups = U(cuda.gridDim.x) // U({2 * self.blocks})",
            f"is_second = U(cuda.blockIdx.x) // U({self.blocks}) >= groups",
            "if is_second:",
            *(f"    {name} = {SECOND}{name}" for name in own),
        ]

    def _places(self) -> list[str]:
        tile, heads, size = self.tile, self.sizes.heads, self.sizes.of_head
        for name in ("T", "B", "N"):
            self._number(name)
        of_layer = "group" if self.sizes.layers == 1 else "(group - groups if is_second else group)"
        places = [f"first_row = U({of_layer} * U({tile.rows}))"]
        if heads > 1:
            places = [
                f"head = U({of_layer} % U({heads}))",
                f"first_row = U({of_layer} // U({heads}) * U({tile.rows}))",
                f"first_unit = U(head * U({size}))",
            ]
        lines = [
            "T, B, N = U(T), U(B), U(N)",
            "thread = U(cuda.threadIdx.x)",
            "lane, warp = U(thread % U(32)), U(thread // U(32))",
            "block = U(cuda.blockIdx.x)",
            f"group, tile = U(block // U({self.blocks})), U(block % U({self.blocks}))",
            f"shared = cuda.shared.array({self.shared}, float32, 16)",
            f"tile_row, tile_unit = U(thread // U({tile.units})), U(thread % U({tile.units}))",
            *places,
            f"unit = U(tile * U({tile.units}) + tile_unit)",
            f"exists = tile_row < U({tile.rows}) and first_row + tile_row < B and unit < U({size})",
            *self._feature_places(),
            # A thread without an item reads one of its group, and writes nothing.
            f"tile_row = tile_row if tile_row < U({tile.rows}) else U(0)",
            "row = U(first_row + tile_row)",
            f"unit = unit if unit < U({size}) else U({size - 1})",
            *(["unit = U(first_unit + unit)"] if heads > 1 else []),
            "batch_row = row if row < B else U(B - U(1))",
        ]
        if self.waits:
            self._array("arrived")
            lines.append("mark_cooperative()")
        return lines

    def _weights(self) -> list[str]:
        lines: list[str] = []
        for _, _, contraction in self.contractions:
            self._array(f"weights{contraction.name}")
            if contraction.exchange_stride:
                self._array(f"exchange{contraction.name}")
            lines += contraction.begin(self.block_of_row)
        return lines

    def _clear_shared(self) -> list[str]:
        """Return the lines that clear what no item fills: padding, and rows that do not exist."""
        return [
            "k = thread",
            f"while k < U({self.shared}):",
            "    shared[k] = float32(0)",
            f"    k += U({self.tile.threads})",
            "cuda.syncthreads()",
        ]

    def _begin(self) -> list[str]:
        """Return the lines before the first step: states, adjoints, sums."""
        lines = []
        if self.schedule.draws_numbers:
            self._array("origins")
            self._array("first_steps")
            lines += ["origin, first_time = origins[batch_row], first_steps[batch_row]"]
        lines += self._begin_features()
        states = self.graph.states
        if self.is_forward:
            # Those of rows that run backwards begin elsewhere: at the end of their own sequence.
            for state, k in self.kept_states.items():
                base = f"U({k}) * B + " if k else ""
                lines.append(
                    f"state_{state} = {self._array('initial')}[({base}batch_row) * U({self.H}) + unit]"
                )
            if self.projection is None:
                lines += self._put_initial("exists", self.place, f"state_{states[0]}")
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
        lines = [f"next_step = U({number if self.is_forward else f'T - U(1) - ({number})'})"]
        lines += [f"next_{name} = U(steps[U({k}) * T + next_step])" for k, name in enumerate(_STEP)]
        if self.schedule.draws_numbers:
            lines.append("next_time = steps[U(4) * T + next_step]")
        # A thread without such a row fetches nothing: another thread may be writing what it would read.
        fetches = [f"    next_{name} = {value}" for name, value in self.fetched.items()]
        lines += ["if exists and row < next_size:", *fetches] if fetches else []
        return lines + self._fetch_features()

    def _step(self) -> list[str]:
        """Return the lines of a step, and note on the way what it fetches and holds."""
        body: list[str] = []
        last = len(self.program.phases) - 1
        products = [phase for phase, _, _ in self.contractions]
        finish: list[str] = []
        if self.projection is not None and not self.is_forward:
            body += [*self._store_adjoints(), *self._arrive(), *self._wait()]
            body += self._product(self.projection)
            body.append(f"adjoint_{self.graph.states[0]} = {self.projection.result('tile_unit')}")
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
                if state in self.kept_states:
                    body.append(f"state_{state} = {self._operand(output)} if active else state_{state}")
            if self.projection is not None:
                body += [*self._arrive(), *self._wait()]
                body += [*self._product(self.projection), *self._store_features()]
            if 0 in products:
                body += self._arrive()
        moved = [f"{name} = next_{name}" for name in (*_STEP, *self.fetched)]
        if self.schedule.draws_numbers:
            moved.append("time = next_time")
        after = ["if step + U(1) < T:", *(f"    {line}" for line in self._next_step("step + U(1)"))]
        lines = [*moved, "active = exists and row < size"]
        # A block whose rows have all ended, or not begun, takes no part in the step; nor do the others of its group.
        lines += ["if first_row < size:", *(f"    {line}" for line in body)]
        lines += after
        if finish:
            lines += ["if first_row < size:", *(f"    {line}" for line in finish)]
        return [*lines, "step += U(1)"]

    def _arrive(self) -> list[str]:
        """Return the lines with which a block tells its group that its stores are done."""
        return ["cuda.syncthreads()"] if self.in_block else self._arrive_of_blocks()

    def _wait(self) -> list[str]:
        return [] if self.in_block else self._wait_of_blocks()

    def _barrier_of_row(self) -> list[str]:
        if self.row_sums.in_block:
            return ["cuda.syncthreads()", "epoch += U(1)"]
        return [*self._arrive_of_blocks(), *self._wait_of_blocks()]

    def _arrive_of_blocks(self) -> list[str]:
        counter, _ = self._counter
        return [
            "cuda.syncthreads()",
            "epoch += U(1)",
            "if thread == U(0):",
            f"    red_release_add(arrived, {counter}, U(1))",
        ]

    def _wait_of_blocks(self) -> list[str]:
        counter, blocks = self._counter
        return [
            "if thread == U(0):",
            f"    wait_for(arrived, {counter}, epoch * U({blocks}))",
            "cuda.syncthreads()",
        ]

    @property
    def _counter(self) -> tuple[str, int]:
        """The counter of the blocks that wait for one another, and their number: sums are over all heads."""
        heads = self.sizes.heads
        if heads > 1 and self.row_sums.num_barriers:
            return f"group // U({heads}) + U(1)", self.blocks * heads
        return "group + U(1)", self.blocks

    def _product(self, contraction: Contraction) -> list[str]:
        staged = not self.in_block and contraction.is_staged
        return [*(contraction.stage() if staged else ()), *contraction.multiply()]

    def _products_of(self, number: int) -> list[tuple[Operand, Contraction]]:
        """Return the recurrent products before a phase of forward, or after one of backward."""
        return [
            (operand, c) for phase, operand, c in self.contractions if phase == number and operand is not None
        ]

    def _exchange(self, number: int) -> list[str]:
        """Return the lines before a phase of forward: the products that it reads."""
        found = self._products_of(number)
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
        found = self._products_of(number)
        lines = self._wait()
        for operand, contraction in found:
            product = self._product(contraction)
            result = contraction.result("tile_unit" if self.projection is None else "own_feature")
            if operand.node is None and self.projection is not None:
                product += self._keep_adjoint(result)
            elif operand.node is None:
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

    def _end(self) -> list[str]:
        """Return the lines after the last step: what backward leaves."""
        if self.is_forward:
            return []
        H, graph = self.H, self.graph
        lines, of_rows = [], []
        for state, k in self.kept_states.items():
            base = f"U({k}) * B + " if k else ""
            lines.append(f"{self._array('d_states')}[({base}row) * U({H}) + unit] = adjoint_{state}")
        for k, name in enumerate(graph.params):
            index = f"(row * U({len(graph.params)}) + U({k})) * U({H}) + unit"
            lines.append(f"{self._array('d_params')}[{index}] += gradient_{name}")
        for name, kind in graph.inputs.items():
            if kind == "sequence" and name not in graph.forms.constants:
                array = self._array(f"d_input_{name}")
                if name in graph.forms.numbers:
                    of_rows.append(f"{array}[row] += sum_input_{name}")
                else:
                    lines.append(f"{array}[row * U({H}) + unit] += sum_input_{name}")
        lines = ["if exists:", *(f"    {line}" for line in lines)] if lines else []
        if of_rows:
            lines += ["if exists and unit == U(0):", *(f"    {line}" for line in of_rows)]
        return lines + self._end_features()
