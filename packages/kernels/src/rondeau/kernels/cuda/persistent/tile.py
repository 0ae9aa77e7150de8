"""Tile: how a persistent kernel is cut into blocks, and a block into warps and lanes."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["WARP", "Tile"]

WARP = 32
"""The lanes of a warp."""


class Tile(NamedTuple):
    """How a persistent kernel is cut.

    Attributes
    ----------
    rows, units : int
        The batch rows and the hidden units of a block. Their product is at most the number of threads.
    warps : int
    split : int
        The warps that share a column, each with its part of the depth.
    lanes : int
        The lanes of a warp that share a column.
    direct : bool
        Whether lanes read their operands straight from global memory.
    operands : {"float32", "tf32", "bfloat16"}
        The number format to which operands and weights are rounded. Tensor cores multiply those of TF32 and bfloat16,
        which have 10 and 7 bits after the point; see `tensor_cores`.
    """

    rows: int
    units: int
    warps: int
    split: int = 1
    lanes: int = 32
    direct: bool = False
    operands: str = "float32"

    @property
    def threads(self) -> int:
        """The threads of a block."""
        return self.warps * WARP

    @property
    def max_registers(self) -> int:
        """The registers that a thread may have, so that a multiprocessor, which has 65,536, has room for a block."""
        return min(255, 65536 // self.threads)
