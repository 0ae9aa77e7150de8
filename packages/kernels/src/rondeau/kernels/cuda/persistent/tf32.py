"""A contraction with operands in TF32: ``mma.m16n8k8``, a number a register.

TF32 has the exponent of float32 and 10 bits after the point. Operands and weights are rounded to it, to nearest, when
they are read; the hardware would cut them off. So of every 16 of the depth a lane takes the four from 4 q on.
"""

from __future__ import annotations

from collections.abc import Iterator

from rondeau.kernels.cuda.persistent.tensor_cores import TensorCores

__all__ = ["Tf32"]


class Tf32(TensorCores):
    """The product of an operand's rows with the matrices of a block, rounded to TF32; see `TensorCores`."""

    elements, register, mma = 4, "float32", "mma_m16n8k8_tf32"

    @property
    def read_instructions(self) -> int:
        """What it takes to read and round the elements of two rows."""
        return 2 + 8

    @property
    def fits(self) -> bool:
        """Whether rows, columns and depth divide as the instruction and the loads need them."""
        return super().fits and (self.in_block or self.vector == 4)

    def _choose_vector(self) -> int:
        return 4 if self.in_block else super()._choose_vector()

    def _rounded(self, weight: str) -> str:
        return f"cvt_rna_tf32({weight})"

    def _find_rows(self) -> Iterator[str]:
        if self.is_staged:
            row = "(rows_done + lane // U(4))"
            yield f"place = U(U({self.operand_at}) + {row} * U({self.row_stride}) + depth{self.name})"
        else:
            for half, name in ((0, "read_row"), (8, "other_row")):
                yield f"{name} = first_row + rows_done + lane // U(4) + U({half})"
                yield f"{name} = {name} if {name} < size else size - U(1)"

    def _read_rows(self, group: int) -> Iterator[str]:
        first = 4 * self.elements * group
        if not self.is_staged:
            yield f"y = depth{self.name} + U({first})"
        for letter, row, half in (("a", "read_row", 0), ("b", "other_row", 8)):
            names = [f"{letter}{k}" for k in range(4)]
            if self.is_staged:
                for k, name in enumerate(names):
                    yield f"{name} = cvt_rna_tf32(shared[place + U({half * self.row_stride + first + k})])"
            else:
                yield from self._load(row, names)
                yield from (f"{name} = cvt_rna_tf32({name})" for name in names)
