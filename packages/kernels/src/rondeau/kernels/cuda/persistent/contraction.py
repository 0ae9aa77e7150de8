"""Contraction: a recurrent product as part of a persistent kernel, with its weights in registers for all steps.

A block computes ``rows`` x ``columns`` sums over a depth. Its warps are divided into ``warps / split`` by columns and
``split`` by depth; of a warp, ``lanes`` lanes share a column, each with a part of the warp's depth, and the others have
other columns. So a lane holds ``own_columns * own_depth`` weights. It multiplies them with as many rows at once as give
it 32 sums, which the lanes then add up among themselves: each keeps half of its sums and gives the other half away,
until every sum is in one lane. That takes a shuffle a sum, where a tree for each sum would take five.

A lane reads its operands ``vector`` elements at a time, neighbouring lanes neighbouring elements: from shared memory,
where the block has put its rows, or straight from global memory past the first cache (``direct``), if no other warp of
the block reads them as well.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rondeau.kernels.cuda.persistent.span import Span
from rondeau.kernels.cuda.persistent.tile import WARP, Tile

__all__ = ["NEXT_STEP", "THIS_STEP", "Contraction"]

_SUMS = 32
"""The sums of a lane: as many as there are lanes to add them up."""
THIS_STEP, NEXT_STEP = "step % U(2)", "(step + U(1)) % U(2)"
"""The buffers of operands that pass through an array of their own: that of the step's products, and the other."""


class Contraction:
    """The product of an operand's rows with the matrices of a block, in a kernel.

    Parameters
    ----------
    name : str
        A suffix of its variables.
    spans : tuple of Span
        The operand, span after span along the depth.
    columns : int
        The sums of a row that a block computes.
    tile : Tile
    in_block : bool
        Whether a block has all units, and the operand is in shared memory already.
    """

    def __init__(self, name: str, spans: tuple[Span, ...], columns: int, tile: Tile, in_block: bool) -> None:
        self.name, self.spans, self.columns, self.tile, self.in_block = name, spans, columns, tile, in_block
        self.depth = sum(span.length for span in spans)
        self.vector = self._choose_vector()
        step = tile.lanes * self.vector * tile.split
        self.padded = -(-self.depth // step) * step
        self.column_groups = self.column_step(tile)
        self.own_columns = columns // self.column_groups
        self.own_depth = self.padded // (tile.split * tile.lanes)
        self.at_once = max(1, _SUMS // max(self.own_columns, 1))
        if not self.is_staged:  # what a lane reads for several rows is in its registers too
            self.at_once = max(1, min(self.at_once, _SUMS // self.own_depth))
        while tile.rows % self.at_once:
            self.at_once -= 1
        self.row_stride = self.padded
        self.operand_at = self.sums_at = 0  # where they lie in shared memory: the kernel says
        self.sums_stride, self.sums_parts = columns, tile.split

    @staticmethod
    def column_step(tile: Tile) -> int:
        """Return what the number of columns must be a multiple of."""
        return tile.warps // tile.split * (WARP // tile.lanes)

    @property
    def fits(self) -> bool:
        """Whether the columns and sums divide among warps and lanes."""
        sums = self.at_once * self.own_columns
        return (
            self.columns % self.column_groups == 0
            and 1 <= self.own_columns <= _SUMS
            and (self.tile.lanes == WARP or sums % self.tile.lanes == 0)
        )

    @property
    def num_weights(self) -> int:
        """The weights that a lane holds."""
        return self.own_columns * self.own_depth

    @property
    def is_staged(self) -> bool:
        """Whether the operand passes through shared memory."""
        return self.in_block or not self.tile.direct

    @property
    def operand_size(self) -> int:
        """The elements of shared memory that the operand takes."""
        return self.tile.rows * self.row_stride if self.is_staged else 0

    @property
    def sums_size(self) -> int:
        """The elements of shared memory that the sums take, a set for each part of the depth."""
        return self.sums_parts * self.tile.rows * self.sums_stride

    def _choose_vector(self) -> int:
        """Return the elements of a load: as many as pad the depth least, and four where memory is read in bulk."""
        if self.in_block:
            step = self.tile.lanes * self.tile.split
            return min((4, 2, 1), key=lambda v: (-(-self.depth // (step * v)) * step * v, -v))
        numbers = [n for span in self.spans for n in (span.stride, span.first, span.of_piece, span.apart)]
        return 4 if all(n % 4 == 0 for n in numbers) else 1

    @property
    def exchange_stride(self) -> int:
        """The elements of a row of a buffer, if the operand passes through an array of its own, or 0."""
        return 0

    @property
    def loaded(self) -> int:
        """The bytes that a multiprocessor reads of what other blocks have computed."""
        return 4 * self.tile.rows * self.depth * (1 if self.is_staged else self.column_groups)

    # ---------------------------------------------------------------- the weights

    def pack(self, of_block: NDArray[Any]) -> NDArray[Any]:
        """Return the weights of blocks, (blocks, columns, depth), in the order in which lanes read them.

        The result is flat; a lane's weight i is ``threads`` elements after its weight i - 1, so that the lanes of a
        warp read neighbours.
        """
        tile, blocks = self.tile, of_block.shape[0]
        padded = np.zeros_like(of_block, shape=(blocks, self.columns, self.padded))
        padded[:, :, : self.depth] = of_block
        groups = self.own_depth // self.vector
        # columns: warp group, lane group, own; depth: part, group, lane, element
        parts = padded.reshape(
            blocks, tile.warps // tile.split, WARP // tile.lanes, self.own_columns,
            tile.split, groups, tile.lanes, self.vector,
        )  # fmt: skip
        # weight index (own column, group, element), then thread (part, warp group, lane group, lane)
        ordered = parts.transpose(0, 3, 5, 7, 4, 1, 2, 6)
        return ordered.reshape(-1)

    def begin(self, blocks_before: str) -> Iterator[str]:
        """Yield the lines that place a lane and load its weights.

        Parameters
        ----------
        blocks_before : str
            The number of this block among those with weights of their own.
        """
        n, tile = self.name, self.tile
        yield f"part{n} = U(warp // U({tile.warps // tile.split}))"
        group = f"(warp % U({tile.warps // tile.split})) * U({WARP // tile.lanes}) + lane // U({tile.lanes})"
        yield f"column{n} = U(({group}) * U({self.own_columns}))"
        of_part, of_lane = self.padded // tile.split, f"(lane % U({tile.lanes})) * U({self.vector})"
        yield f"depth{n} = U(part{n} * U({of_part}) + {of_lane})"
        yield f"matrix{n} = cuda.local.array({self.num_weights}, float32)"
        yield f"sums{n} = cuda.local.array({self.at_once * self.own_columns}, float32)"
        if not self.is_staged:
            yield f"read{n} = cuda.local.array({self.at_once * self.own_depth}, float32)"
        yield f"place = U({blocks_before} * U({self.num_weights * tile.threads}) + thread)"
        step = self.own_depth  # a nest that is small enough to be unrolled
        for column in range(self.own_columns):
            yield f"for k in range({step}):"
            element = f"place + U({column * step * tile.threads}) + U(k) * U({tile.threads})"
            yield f"    matrix{n}[{column * step} + k] = weights{n}[{element}]"

    # ---------------------------------------------------------------- the product of a step

    def put(self, place: str, value: str, buffer: str) -> list[str]:
        """Return the statements that put an element of an operand where the product reads it, if that is elsewhere.

        Parameters
        ----------
        place : str
            Where in the thread's row.
        value : str
        buffer : str
            Which of two buffers, if the operand has them: `THIS_STEP`, `NEXT_STEP`, or a number.
        """
        if not self.in_block:
            return []
        return [f"shared[U({self.operand_at}) + tile_row * U({self.row_stride}) + {place}] = {value}"]

    def stage(self) -> Iterator[str]:
        """Yield the lines that bring the rows of the operand to shared memory."""
        tile, v = self.tile, self.vector
        names = [f"o{k}" for k in range(v)]
        yield f"k = thread * U({v})"
        yield f"while k < U({tile.rows * self.padded}):"
        yield f"    y = k % U({self.padded})"
        yield f"    read_row = first_row + k // U({self.padded})"
        yield "    read_row = read_row if read_row < size else size - U(1)"
        yield from (f"    {line}" for line in self._load("read_row", names))
        yield f"    place = U({self.operand_at}) + k // U({self.padded}) * U({self.row_stride}) + y"
        for k, name in enumerate(names):
            yield f"    shared[place + U({k})] = {name}"
        yield f"    k += U({tile.threads * v})"
        yield "cuda.syncthreads()"

    def _load(self, row: str, names: list[str]) -> Iterator[str]:
        """Yield the lines that load ``vector`` elements of a row from element y on; zeros past the depth."""
        begin = 0
        guarded = len(self.spans) > 1 or self.padded != self.depth
        for number, span in enumerate(self.spans):
            load = "ld_cg_v4" if self.vector == 4 else "ld_cg"
            line = f"{', '.join(names)} = {load}({span.array}, {span.element(row, begin)})"
            begin += span.length
            if guarded:
                yield f"{'if' if number == 0 else 'elif'} y < U({begin}):"
                yield f"    {line}"
            else:
                yield line
        if guarded:
            yield "else:"
            yield f"    {' = '.join(names)} = float32(0)"

    def multiply(self) -> Iterator[str]:
        """Yield the lines that compute the sums of all rows and leave them in shared memory."""
        n, tile, v = self.name, self.tile, self.vector
        groups, count = self.own_depth // v, self.at_once
        yield "rows_done = U(0)"
        yield f"while rows_done < U({tile.rows}):"
        lines = [f"for k in range({count * self.own_columns}):", f"    sums{n}[k] = float32(0)"]
        if self.is_staged:
            lines.append(f"place = U(U({self.operand_at}) + rows_done * U({self.padded}) + depth{n})")
        else:
            for r in range(count):
                lines += [
                    f"read_row = first_row + rows_done + U({r})",
                    "read_row = read_row if read_row < size else size - U(1)",
                ]
                for group in range(groups):
                    first = r * self.own_depth + group * v
                    lines.append(f"y = depth{n} + U({group * tile.lanes * v})")
                    lines += self._load("read_row", [f"read{n}[{first + k}]" for k in range(v)])
        # A nest for each load is small enough to be unrolled, and makes few blocks of code. Where the operand is in
        # registers it has one row: not all of those with several are unrolled for compute capability 10.
        of_nest = count if self.is_staged else 1
        for group, first in itertools.product(range(groups), range(0, count, of_nest)):
            if self.is_staged:
                operand = f"shared[place + U(r) * U({self.padded}) + U({group * tile.lanes * v}) + U(k)]"
            else:
                operand = f"read{n}[r * {self.own_depth} + {group * v} + k]"
            lines += [
                f"for r in range({first}, {first + of_nest}):",
                f"    for k in range({v}):",
                f"        e = {operand}",
                f"        for c in range({self.own_columns}):",
                f"            sums{n}[r * {self.own_columns} + c] += "
                f"e * matrix{n}[c * {self.own_depth} + {group * v} + k]",
            ]
        lines += self._reduce()
        lines.append(f"rows_done += U({count})")
        yield from (f"    {line}" for line in lines)
        yield "cuda.syncthreads()"

    def _reduce(self) -> list[str]:
        """Return the lines that add up the sums over the lanes of a column, and store them."""
        n, lanes, lines = self.name, self.tile.lanes, []
        current, bit = self.at_once * self.own_columns, self.tile.lanes // 2
        total = current
        while bit:
            lines.append(f"upper = (lane & U({bit})) != U(0)")
            # In the end a lane has ceil(total / lanes) sums: the first of what is left stays below, the second above.
            half = max(bit, 1) * -(-total // lanes) if lanes == WARP else current // 2
            half = min(half, current)
            both = current - half
            if both:
                lines += [
                    f"for k in range({both}):",
                    f"    low, high = sums{n}[k], sums{n}[k + {half}]",
                    f"    sums{n}[k] = (high if upper else low)"
                    f" + cuda.shfl_xor_sync(ALL, low if upper else high, {bit})",
                ]
            if half > both:
                lines += [
                    f"for k in range({both}, {half}):",
                    f"    low = sums{n}[k]",
                    f"    sums{n}[k] = (float32(0) if upper else low)"
                    f" + cuda.shfl_xor_sync(ALL, low if upper else float32(0), {bit})",
                ]
            current, bit = half, bit // 2
        place = (
            f"shared[U({self.sums_at}) + (part{n} * U({self.tile.rows}) + rows_done + j // U({self.own_columns}))"
            f" * U({self.columns}) + column{n} + j % U({self.own_columns})]"
        )
        for k in range(current):
            index = f"lane % U({lanes})" if current == 1 else f"(lane % U({lanes})) * U({current}) + U({k})"
            lines.append(f"j = {index}")
            if total < lanes * current:
                lines += [f"if j < U({total}):", f"    {place} = sums{n}[{k}]"]
            else:
                lines.append(f"{place} = sums{n}[{k}]")
        return lines

    def instructions(self) -> float:
        """Return the instructions of a warp for all rows of a tile."""
        sums = self.at_once * self.own_columns
        loads = self.at_once * self.own_depth / self.vector * (1 if self.vector == 4 else self.vector)
        # Of each sum a multiply-add for each of the depth, and to add it up a shuffle, a choice and an addition.
        return self.tile.rows // self.at_once * (sums * self.own_depth + loads + 3 * sums + 20)

    @property
    def registers(self) -> int:
        """The registers of a lane besides its weights."""
        return self.at_once * (self.own_columns + (0 if self.is_staged else self.own_depth))

    def result(self, column: str) -> str:
        """Return the expression of a row's sum: over the parts of the depth, in order."""
        size = self.tile.rows * self.sums_stride
        return " + ".join(
            f"shared[U({self.sums_at + part * size}) + tile_row * U({self.sums_stride}) + {column}]"
            for part in range(self.sums_parts)
        )
