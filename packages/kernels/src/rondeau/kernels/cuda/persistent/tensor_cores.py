"""A contraction on tensor cores: ``mma.m16n8k8`` in TF32, with float32 sums.

The instruction multiplies 16 rows and 8 of the depth with 8 columns. A lane is q = lane % 4 of group g = lane // 4. Of
the rows it gives (g, q), (g + 8, q), (g, q + 4), (g + 8, q + 4), of the weights (q, g), (q + 4, g), and of the sums it
holds (g, 2 q), (g, 2 q + 1) and the same of row g + 8 (PTX ISA, "Matrix fragments for mma.m16n8k8").

The order of a sum's terms is free. So of every 16 of the depth a lane takes the four that follow one another from 4 q
on: it reads them at once, for its two rows, and they are its part of two instructions, as four weights are of each
column. Nothing is exchanged among lanes.

TF32 has the exponent of float32 and 10 bits after the point. Operands and weights are rounded to it, to nearest; the
hardware would cut them off. Sums, states and gradients are float32.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rondeau.kernels.cuda.persistent.contraction import Contraction, Run, Tile

__all__ = ["TensorCores"]

_ROWS, _COLUMNS, _DEPTH = 16, 8, 16
"""What a pair of instructions multiplies."""
_SKEW = 4
"""Elements between the rows in shared memory, so that those of a warp lie in different banks."""


class TensorCores(Contraction):
    """The product of an operand's rows with the matrices of a block, on tensor cores; see `Contraction`."""

    def __init__(self, name: str, runs: tuple[Run, ...], columns: int, tile: Tile, in_block: bool) -> None:
        super().__init__(name, runs, columns, tile, in_block)
        step = _DEPTH * tile.split
        self.padded = -(-self.depth // step) * step
        self.row_stride = self.padded + _SKEW
        self.column_groups = tile.warps // tile.split
        self.column_tiles = columns // (_COLUMNS * self.column_groups)
        self.groups = self.padded // step
        self.at_once = _ROWS

    @staticmethod
    def column_step(tile: Tile) -> int:
        """Return what the number of columns must be a multiple of."""
        return _COLUMNS * (tile.warps // tile.split)

    @property
    def fits(self) -> bool:
        """Whether rows, columns and depth divide as the instruction needs them."""
        return (
            self.tile.rows % _ROWS == 0
            and self.columns % self.column_step(self.tile) == 0
            and 1 <= self.column_tiles <= 8
            and (self.in_block or self.vector == 4)
        )

    @property
    def num_weights(self) -> int:
        """The weights that a lane holds."""
        return self.column_tiles * self.groups * 4

    def _choose_vector(self) -> int:
        return 4 if self.in_block else super()._choose_vector()

    def pack(self, of_block: NDArray[Any]) -> NDArray[Any]:
        """Return the weights of blocks in the order in which lanes read them; see `Contraction.pack`."""
        tile, blocks = self.tile, of_block.shape[0]
        padded = np.zeros_like(of_block, shape=(blocks, self.columns, self.padded))
        padded[:, :, : self.depth] = of_block
        # columns: warp group, tile, lane group; depth: part, group, lane, element
        parts = padded.reshape(
            blocks, self.column_groups, self.column_tiles, _COLUMNS, tile.split, self.groups, 4, 4
        )
        # weight index (tile, group, element), then thread (part, warp group, lane group, lane)
        return parts.transpose(0, 2, 5, 7, 4, 1, 3, 6).reshape(-1)

    def begin(self, blocks_before: str) -> Iterator[str]:
        """Yield the lines that place a lane and load its weights; see `Contraction.begin`."""
        n, tile, step = self.name, self.tile, self.groups * 4
        yield f"part{n} = warp // U({self.column_groups})"
        yield f"column{n} = (warp % U({self.column_groups})) * U({_COLUMNS * self.column_tiles})"
        yield f"depth{n} = part{n} * U({self.padded // tile.split}) + (lane % U(4)) * U(4)"
        yield f"matrix{n} = cuda.local.array({self.num_weights}, float32)"
        yield f"sums{n} = cuda.local.array({4 * self.column_tiles}, float32)"
        yield f"place = {blocks_before} * U({self.num_weights * tile.threads}) + thread"
        for column in range(self.column_tiles):
            yield f"for k in range({step}):"
            element = f"place + U({column * step * tile.threads}) + U(k) * U({tile.threads})"
            yield f"    matrix{n}[{column * step} + k] = cvt_rna_tf32(weights{n}[{element}])"

    def multiply(self) -> Iterator[str]:
        """Yield the lines that compute the sums of all rows and leave them in shared memory."""
        n, tile, step = self.name, self.tile, self.groups * 4
        yield "rows_done = U(0)"
        yield f"while rows_done < U({tile.rows}):"
        lines = [f"for k in range({4 * self.column_tiles}):", f"    sums{n}[k] = float32(0)"]
        if self.is_staged:
            first = f"U({self.operand_at}) + (rows_done + lane // U(4)) * U({self.row_stride}) + depth{n}"
            lines += [f"place = {first}"]
        else:
            for half, name in ((0, "read_row"), (8, "other_row")):
                lines += [
                    f"{name} = first_row + rows_done + lane // U(4) + U({half})",
                    f"{name} = {name} if {name} < size else size - U(1)",
                ]
        for group in range(self.groups):
            names = [[f"{letter}{k}" for k in range(4)] for letter in "ab"]
            if self.is_staged:
                for of_row, half in zip(names, (0, 8), strict=True):
                    for k, name in enumerate(of_row):
                        at = half * self.row_stride + group * _DEPTH + k
                        lines.append(f"{name} = cvt_rna_tf32(shared[place + U({at})])")
            else:
                lines.append(f"y = depth{n} + U({group * _DEPTH})")
                for of_row, row in zip(names, ("read_row", "other_row"), strict=True):
                    lines += self._load(row, of_row)
                    lines += [f"{name} = cvt_rna_tf32({name})" for name in of_row]
            lines.append(f"for c in range({self.column_tiles}):")
            results = ", ".join(f"sums{n}[c * 4 + {k}]" for k in range(4))
            for k in (0, 2):
                weights = ", ".join(f"matrix{n}[c * {step} + {group * 4 + k + i}]" for i in range(2))
                rows = f"a{k}, b{k}, a{k + 1}, b{k + 1}"
                lines.append(f"    {results} = mma_m16n8k8_tf32({rows}, {weights}, {results})")
        place = (
            f"place = U({self.sums_at}) + (part{n} * U({tile.rows}) + rows_done + lane // U(4)) * U({self.columns})"
            f" + column{n} + (lane % U(4)) * U(2)"
        )
        lines += [place, f"for c in range({self.column_tiles}):"]
        for k, offset in enumerate((0, 1, 8 * self.columns, 8 * self.columns + 1)):
            lines.append(f"    shared[place + U(c) * U({_COLUMNS}) + U({offset})] = sums{n}[c * 4 + {k}]")
        lines.append(f"rows_done += U({_ROWS})")
        yield from (f"    {line}" for line in lines)
        yield "cuda.syncthreads()"

    def instructions(self) -> float:
        """Return the instructions of a warp for all rows of a tile; one of matrices counts as four."""
        passes = self.tile.rows // _ROWS
        return passes * (self.groups * (2 + 8 + 2 * 4 * self.column_tiles) + 6 * self.column_tiles + 20)

    @property
    def registers(self) -> int:
        """The registers of a lane besides its weights."""
        return 4 * self.column_tiles + 12
