"""Matrix instructions of a warp, with the fragment layouts of the PTX ISA ("Matrix Fragments for mma").

A lane is q = lane % 4 in group g = lane // 4. Of an accumulator of 16 x 8, its four registers are rows g and g + 8,
columns 2q and 2q + 1. The products are summed in float64 and rounded to float32 once: the order and the rounding of
the hardware's sums are not specified.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .faults import WarpError
from .meetings import LANES, Collective
from .memory import Array, examine_read
from .scalars import to_float16
from .threads import Thread

_lane = np.arange(LANES)
_g, _q = _lane // 4, _lane % 4


def _stacked(*of_registers: np.ndarray) -> np.ndarray:
    return np.stack(of_registers, axis=1)


# Where the registers of a lane lie in C: (lane, register).
_C_ROWS = _stacked(_g, _g, _g + 8, _g + 8)
_C_COLUMNS = _stacked(2 * _q, 2 * _q + 1, 2 * _q, 2 * _q + 1)
# m16n8k8, one number a register
_A8_ROWS, _A8_COLUMNS = _stacked(_g, _g + 8, _g, _g + 8), _stacked(_q, _q, _q + 4, _q + 4)
_B8_ROWS, _B8_COLUMNS = _stacked(_q, _q + 4), _stacked(_g, _g)
# m16n8k16, two numbers a register, the lower half first: (lane, register, half)
_HALF = np.arange(2)
_A16_ROWS = np.repeat(_A8_ROWS[:, :, None], 2, axis=2)
_A16_COLUMNS = _stacked(2 * _q, 2 * _q, 2 * _q + 8, 2 * _q + 8)[:, :, None] + _HALF
_B16_ROWS = _stacked(2 * _q, 2 * _q + 8)[:, :, None] + _HALF
_B16_COLUMNS = np.repeat(_B8_COLUMNS[:, :, None], 2, axis=2)


def _tf32(registers: list[tuple[Any, ...]]) -> np.ndarray:
    """Return what the hardware reads of 32-bit registers: sign, exponent and 10 bits of the fraction.

    An integer is the register's bits; a float is a float32 in a register.
    """
    bits = np.array(
        [
            [v if isinstance(v, int) else int(np.float32(v).view(np.uint32)) for v in lane]
            for lane in registers
        ],
        np.uint32,
    )
    return (bits & np.uint32(0xFFFFE000)).view(np.float32)


def _halves(registers: list[tuple[Any, ...]]) -> np.ndarray:
    return np.array(registers, np.uint32).view(np.uint16).reshape(LANES, -1, 2)


def _bf16(registers: list[tuple[Any, ...]]) -> np.ndarray:
    return (_halves(registers).astype(np.uint32) << np.uint32(16)).view(np.float32)


def _f16(registers: list[tuple[Any, ...]]) -> np.ndarray:
    return _halves(registers).view(np.float16)


def _mma(name: str, k: int, read: Callable[[list[tuple[Any, ...]]], np.ndarray]) -> Collective:
    """Return D = A B + C of 16 x k by k x 8, from a lane's four registers of A, two of B and four of C."""
    a_places, b_places = (
        ((_A8_ROWS, _A8_COLUMNS), (_B8_ROWS, _B8_COLUMNS))
        if k == 8
        else ((_A16_ROWS, _A16_COLUMNS), (_B16_ROWS, _B16_COLUMNS))
    )

    def compute(given: dict[int, Any]) -> dict[int, Any]:
        if len(given) < LANES:
            raise WarpError(f"{name} needs all {LANES} lanes of a warp, and {len(given)} came")
        lanes = [given[lane] for lane in range(LANES)]
        a, b, c = np.zeros((16, k)), np.zeros((k, 8)), np.zeros((16, 8))
        a[a_places] = read([lane[:4] for lane in lanes])
        b[b_places] = read([lane[4:6] for lane in lanes])
        c[_C_ROWS, _C_COLUMNS] = [lane[6:] for lane in lanes]
        d = (a @ b + c).astype(np.float32)[_C_ROWS, _C_COLUMNS]
        return {lane: tuple(registers) for lane, registers in enumerate(d.tolist())}

    return Collective(name, compute, aligned=True)


MMA_TF32 = _mma("mma.m16n8k8.tf32", 8, _tf32)
MMA_BF16 = _mma("mma.m16n8k16.bf16", 16, _bf16)
MMA_F16 = _mma("mma.m16n8k16.f16", 16, _f16)


def ldmatrix(count: int, transposed: bool) -> Collective:
    """Return ``ldmatrix``: ``count`` matrices of 8 x 8 halves, of which lanes 8 m to 8 m + 7 give the rows of matrix m.

    A lane gives ``(thread, array, index)``: its own, and the address of a row of 16 bytes.
    """
    name = f"ldmatrix.x{count}{'.trans' if transposed else ''}"

    def compute(given: dict[int, Any]) -> dict[int, Any]:
        if len(given) < LANES:
            raise WarpError(f"{name} needs all {LANES} lanes of a warp, and {len(given)} came")
        received = {}
        for lane, (thread, _, _) in given.items():
            g, q = lane // 4, lane % 4
            registers = []
            for matrix in range(count):
                places = ((2 * q, g), (2 * q + 1, g)) if transposed else ((g, 2 * q), (g, 2 * q + 1))
                low, high = (_half(thread, given[8 * matrix + row], column) for row, column in places)
                registers.append(low | high << 16)
            received[lane] = tuple(registers) if count > 1 else registers[0]
        return received

    return Collective(name, compute, aligned=True)


def _half(thread: Thread, row: tuple[Thread, Array, int], column: int) -> int:
    """Read the bits of one element of a row, as ``thread`` does."""
    _, array, index = row
    array.words(index, 16 // array.dtype.itemsize)
    region = array.region
    begin = array.offset + index * array.dtype.itemsize + 2 * column
    word = begin // region.width
    examine_read(array, word, thread)
    return int(region.data[begin]) | int(region.data[begin + 1]) << 8


def to_bf16(value: float) -> int:
    """Return the bits of ``value`` as bf16, rounded to the nearest, ties to even (``cvt.rn.bf16.f32``)."""
    bits = int(np.float32(value).view(np.uint32))
    if value != value:
        return 0x7FFF
    return (bits + 0x7FFF + (bits >> 16 & 1)) >> 16


def from_bf16(bits: int) -> float:
    """Return the number whose bits as bf16 these are."""
    return float(np.uint32(bits << 16).view(np.float32))


def to_f16(value: float) -> int:
    """Return the bits of ``value`` as float16, rounded to the nearest."""
    return int(np.float16(to_float16(value)).view(np.uint16))
