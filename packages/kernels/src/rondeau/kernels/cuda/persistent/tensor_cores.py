"""A contraction on tensor cores, with float32 sums: what the number formats of their operands have in common.

An instruction multiplies 16 rows and some of the depth with 8 columns. A lane is q = lane % 4 of group g = lane // 4.
Of the rows it gives those of g and g + 8, of the weights those of column g, and of the sums it holds (g, 2 q),
(g, 2 q + 1) and the same of row g + 8. Along the depth, a register of a row has places that depend on q alone, and
the register of the weights has the same (PTX ISA, "Matrix fragments for mma").

The order of a sum's terms is free. So a lane takes elements that follow one another, as many as fill the registers of
two instructions. It reads them at once, for its two rows, and as many weights of each column. Nothing is exchanged
among lanes.
"""

from __future__ import annotations

import abc
from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from rondeau.kernels.cuda.persistent.contraction import Contraction
from rondeau.kernels.cuda.persistent.span import Span
from rondeau.kernels.cuda.persistent.tile import Tile

__all__ = ["TensorCores"]

_ROWS, _COLUMNS = 16, 8
"""What an instruction multiplies."""
_LANES = 4
"""The lanes that share a row, or a column of the weights."""
_REGISTERS = 4
"""Of a lane, for a row or a column of a pair of instructions."""
_OF_THE_REST = 24
"""Registers that sums and rows share with the numbers of the rest of a step; found by compiling kernels."""
_SKEW = 4
"""Elements between the rows in shared memory, so that those of a warp lie in different banks."""


class TensorCores(Contraction):
    """The product of an operand's rows with the matrices of a block, on tensor cores; see `Contraction`."""

    elements: ClassVar[int]
    """What a lane takes of a row, or of a column of the weights, for a pair of instructions."""
    register: ClassVar[str]
    """The type of what a register holds."""
    mma: ClassVar[str]
    """The intrinsic that multiplies."""

    def __init__(self, name: str, spans: tuple[Span, ...], columns: int, tile: Tile, in_block: bool) -> None:
        super().__init__(name, spans, columns, tile, in_block)
        step = _LANES * self.elements * tile.split
        self.padded = -(-self.depth // step) * step
        self.row_stride = self.padded + _SKEW
        self.column_groups = tile.warps // tile.split
        self.column_tiles = columns // (_COLUMNS * self.column_groups)
        self.groups = self.padded // step
        self.at_once = _ROWS
        # What a warp stores, 2 of each of 8 rows, lies in different banks.
        self.parts_stride = columns if columns % 16 == 8 else columns + 8
        self.adds_parts = tile.rows > _ROWS and tile.split > 1
        if self.adds_parts:
            self.sums_parts = 1
        else:
            self.sums_stride = self.parts_stride

    @staticmethod
    def column_step(tile: Tile) -> int:
        """Return what the number of columns must be a multiple of."""
        return _COLUMNS * (tile.warps // tile.split)

    @property
    def fits(self) -> bool:
        """Whether rows and columns divide as the instruction needs them."""
        return (
            self.tile.rows % _ROWS == 0
            and self.columns % self.column_step(self.tile) == 0
            and 1 <= self.column_tiles <= 8
        )

    @property
    def num_weights(self) -> int:
        """The registers of weights that a lane holds."""
        return self.column_tiles * self.groups * _REGISTERS

    @property
    def sums_size(self) -> int:
        """The elements of shared memory that the sums take; where parts are added up, those of 16 rows as well."""
        return super().sums_size + (self.tile.split * _ROWS * self.parts_stride if self.adds_parts else 0)

    @property
    @abc.abstractmethod
    def read_instructions(self) -> int:
        """What it takes to read and round the elements of two rows."""

    def pack(self, of_block: NDArray[Any]) -> NDArray[Any]:
        """Return the weights of blocks in the order in which lanes read them; see `Contraction.pack`."""
        tile, blocks = self.tile, of_block.shape[0]
        padded = np.zeros_like(of_block, shape=(blocks, self.columns, self.padded))
        padded[:, :, : self.depth] = of_block
        # columns: warp group, tile, lane group; depth: part, group, lane, element
        parts = padded.reshape(
            blocks, self.column_groups, self.column_tiles, _COLUMNS,
            tile.split, self.groups, _LANES, self.elements,
        )  # fmt: skip
        # weight index (tile, group, element), then thread (part, warp group, lane group, lane)
        return parts.transpose(0, 2, 5, 7, 4, 1, 3, 6).reshape(-1)

    def begin(self, blocks_before: str) -> Iterator[str]:
        """Yield the lines that place a lane and load its weights; see `Contraction.begin`."""
        n, tile, step = self.name, self.tile, self.groups * _REGISTERS
        yield f"part{n} = U(warp // U({self.column_groups}))"
        yield f"column{n} = U((warp % U({self.column_groups})) * U({_COLUMNS * self.column_tiles}))"
        yield f"depth{n} = U(part{n} * U({self.padded // tile.split}) + (lane % U(4)) * U({self.elements}))"
        yield f"matrix{n} = cuda.local.array({self.num_weights}, {self.register})"
        yield f"sums{n} = cuda.local.array({4 * self.column_tiles}, float32)"
        yield f"place = U({blocks_before} * U({self.num_weights * tile.threads}) + thread)"
        for column in range(self.column_tiles):
            element = f"place + U({column * step * tile.threads}) + U(k) * U({tile.threads})"
            yield f"for k in range({step}):"
            yield f"    matrix{n}[{column * step} + k] = {self._rounded(f'weights{n}[{element}]')}"

    def _rounded(self, weight: str) -> str:
        """Return the expression of a weight as it is multiplied, given as it is loaded."""
        return weight

    @abc.abstractmethod
    def _find_rows(self) -> Iterator[str]:
        """Yield the lines that find the rows from ``rows_done`` on of which a lane reads."""

    @abc.abstractmethod
    def _read_rows(self, group: int) -> Iterator[str]:
        """Yield the lines that read a group of the depth of two rows, into a0 to a3 and b0 to b3."""

    def multiply(self) -> Iterator[str]:
        """Yield the lines that compute the sums of all rows and leave them in shared memory."""
        n, tile = self.name, self.tile
        lines = [
            f"for k in range({4 * self.column_tiles}):",
            f"    sums{n}[k] = float32(0)",
            *self._find_rows(),
        ]
        for group in range(self.groups):
            lines += [*self._read_rows(group), *self._multiply_group(group)]
        at, row = self.sums_at, f"part{n} * U({tile.rows}) + rows_done"
        if self.adds_parts:
            at, row = at + tile.rows * self.sums_stride, f"part{n} * U({_ROWS})"
        place = f"({row} + lane // U(4)) * U({self.parts_stride}) + column{n} + (lane % U(4)) * U(2)"
        lines += [f"place = U(U({at}) + {place})", f"for c in range({self.column_tiles}):"]
        for k, offset in enumerate((0, 1, 8 * self.parts_stride, 8 * self.parts_stride + 1)):
            lines.append(f"    shared[place + U(c) * U({_COLUMNS}) + U({offset})] = sums{n}[c * 4 + {k}]")
        if self.adds_parts:
            lines += self._add_parts(at)
        yield "rows_done = U(0)"
        yield f"while rows_done < U({tile.rows}):"
        yield from (f"    {line}" for line in (*lines, f"rows_done += U({_ROWS})"))
        if not self.adds_parts:
            yield "cuda.syncthreads()"

    def _multiply_group(self, group: int) -> Iterator[str]:
        """Yield the lines that multiply a group of the depth, in a loop over columns if there are several."""
        n, step = self.name, self.groups * _REGISTERS
        indent, of_sums, of_weights = "", "", ""
        if self.column_tiles > 1:
            yield f"for c in range({self.column_tiles}):"
            indent, of_sums, of_weights = "    ", "c * 4 + ", f"c * {step} + "
        sums = ", ".join(f"sums{n}[{of_sums}{k}]" for k in range(4))
        for k in (0, 2):
            weights = ", ".join(f"matrix{n}[{of_weights}{group * 4 + k + i}]" for i in range(2))
            yield f"{indent}{sums} = {self.mma}(a{k}, b{k}, a{k + 1}, b{k + 1}, {weights}, {sums})"

    def _add_parts(self, at: int) -> Iterator[str]:
        """Yield the lines that add up the parts of the depth of 16 rows, in order, so that others take their place."""
        columns, size = self.columns, _ROWS * self.parts_stride
        parts = (f"shared[place + U({at + part * size})]" for part in range(self.tile.split))
        yield "cuda.syncthreads()"
        yield "k = thread"
        yield f"while k < U({_ROWS * columns}):"
        yield f"    place = U(k // U({columns}) * U({self.parts_stride}) + k % U({columns}))"
        yield f"    shared[U({self.sums_at}) + rows_done * U({columns}) + k] = {' + '.join(parts)}"
        yield f"    k += U({self.tile.threads})"
        yield "cuda.syncthreads()"

    def instructions(self) -> float:
        """Return the instructions of a warp for all rows of a tile; one of matrices counts as four."""
        passes = self.tile.rows // _ROWS
        reads = self.groups * (self.read_instructions + 2 * 4 * self.column_tiles)
        # Of each part of the depth a sum is read and added.
        added = 2 * _ROWS * self.columns * self.tile.split / self.tile.threads
        return passes * (reads + 6 * self.column_tiles + added + 20)

    @property
    def registers(self) -> int:
        """The registers of a lane besides its weights, as far as the rest of a step has no use for them."""
        return max(0, 4 * self.column_tiles + 12 - _OF_THE_REST)
