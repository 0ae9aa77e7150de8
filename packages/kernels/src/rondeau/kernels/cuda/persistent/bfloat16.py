"""A contraction with operands in bfloat16: ``mma.m16n8k16``, two numbers a register.

bfloat16 is the upper half of a float32: 7 bits after the point. Weights are rounded to it, to nearest, and take half of
the registers. That is done before the launch: in a kernel, the loads of all float32 weights come before the first is
rounded, and take the registers that were to be saved. Of every 32 of the depth a lane takes the eight from 8 q on.

Where blocks exchange their results, these pass through an array of their own in bfloat16: half of the bytes that a
multiprocessor reads. Each number is rounded once, by the thread that computes it. The array has two buffers, of which
the products of a step read one: a block that is ahead by a step writes to the other, and by more than that no block is
ahead. Rows are as long as the padded depth, and zero where no unit writes, as are rows that do not exist, so that loads
need no bounds.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rondeau.kernels.cuda.persistent.contraction import THIS_STEP
from rondeau.kernels.cuda.persistent.tensor_cores import TensorCores

__all__ = ["Bfloat16", "bfloat16_pairs"]


def bfloat16_pairs(low: NDArray[np.float32], high: NDArray[np.float32]) -> NDArray[np.uint32]:
    """Return two arrays rounded to bfloat16, to nearest, ties to even, in the halves of one array of uint32.

    Examples
    --------
    >>> one, two = np.float32([1.0, np.nan]), np.float32([2.0, 1.0 + 2.0**-9])
    >>> [hex(pair) for pair in bfloat16_pairs(one, two)]
    ['0x40003f80', '0x3f807fff']
    """
    return _upper_half(low) >> np.uint32(16) | _upper_half(high)


def _upper_half(x: NDArray[np.float32]) -> NDArray[np.uint32]:
    bits = np.ascontiguousarray(x, like=x).view(np.uint32)
    rounded = bits + (np.uint32(0x7FFF) + (bits >> np.uint32(16) & np.uint32(1)))
    return np.where(x == x, rounded, np.uint32(0x7FFF0000)) & np.uint32(0xFFFF0000)


class Bfloat16(TensorCores):
    """The product of an operand's rows with the matrices of a block, rounded to bfloat16; see `TensorCores`."""

    elements, register, mma = 8, "U", "mma_m16n8k16_bf16"

    @property
    def fits(self) -> bool:
        """Whether rows and columns divide as the instruction needs them; there is no way through shared memory."""
        return super().fits and self.is_staged == self.in_block

    @property
    def read_instructions(self) -> int:
        """What it takes to read the elements of two rows, and to round them where they are float32."""
        return 4 + 8 if self.in_block else 2

    @property
    def exchange_stride(self) -> int:
        """The elements of a row of a buffer, if the operand passes through an array of its own, or 0."""
        return 0 if self.in_block else self.padded

    @property
    def loaded(self) -> int:
        """The bytes that a multiprocessor reads of what other blocks have computed."""
        return 2 * self.tile.rows * self.padded * self.column_groups

    def put(self, place: str, value: str, buffer: str) -> list[str]:
        """Return the statements that put an element of an operand where the product reads it; see `Contraction.put`."""
        if self.in_block:
            return super().put(place, value, buffer)
        row = f"((group * U({self.tile.rows}) + tile_row) * U(2) + {buffer})"
        return [f"exchange{self.name}[{row} * U({self.exchange_stride}) + {place}] = to_bf16({value})"]

    def pack(self, of_block: NDArray[Any]) -> NDArray[Any]:
        """Return the weights of blocks, two a number, in the order in which lanes read them; see `Contraction.pack`."""
        packed = super().pack(of_block).reshape(-1, 2, self.tile.threads)
        return bfloat16_pairs(packed[:, 0], packed[:, 1]).reshape(-1)

    def _find_rows(self) -> Iterator[str]:
        row = "rows_done + lane // U(4)"
        if self.in_block:
            yield f"place = U(U({self.operand_at}) + ({row}) * U({self.row_stride}) + depth{self.name})"
        else:
            row = f"(group * U({self.tile.rows}) + {row}) * U(2) + {THIS_STEP}"
            yield f"place = U(({row}) * U({self.exchange_stride}) + depth{self.name})"

    def _read_rows(self, group: int) -> Iterator[str]:
        first = 4 * self.elements * group
        for letter, half in (("a", 0), ("b", 8)):
            names = [f"{letter}{k}" for k in range(4)]
            if self.in_block:
                at = half * self.row_stride + first
                for k, name in enumerate(names):
                    pair = (f"shared[place + U({at + 2 * k + i})]" for i in range(2))
                    yield f"{name} = pack_bf16x2({', '.join(pair)})"
            else:
                at = half * 2 * self.exchange_stride + first
                yield f"{', '.join(names)} = ld_cg_v4_b32(exchange{self.name}, place + U({at}))"
