"""Operations of PTX that Numba does not offer, under the names that a kernel's module gives to its inline assembly.

A name ends in ``_cta`` where the scope is the block, and has none where it is the GPU. Loads of several elements take
one address, a multiple of their size, and are so many loads to the memory model, as in PTX.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from . import copies, matrices, meetings, strong
from .machine import Machine
from .meetings import FULL
from .memory import Array
from .namespace import Launched, Request, suspends
from .threads import Thread

_VECTOR = 16  # bytes of the widest access


def _loading(acquire: bool, narrow: bool) -> Callable[[Array, Any], Request]:
    @suspends
    def operation(array: Array, index: Any) -> Request:
        return Machine.perform, strong.load, array, index, acquire, narrow

    return operation


def _storing(release: bool, narrow: bool) -> Callable[[Array, Any, Any], Request]:
    @suspends
    def operation(array: Array, index: Any, value: Any) -> Request:
        return Machine.perform, strong.change, array, index, lambda _: value, False, release, narrow, False

    return operation


def _adding(acquire: bool, release: bool, narrow: bool) -> Callable[[Array, Any, Any], Request]:
    @suspends
    def operation(array: Array, index: Any, value: Any) -> Request:
        def add(before: Any) -> Any:
            return before + value

        return Machine.perform, strong.change, array, index, add, acquire, release, narrow

    return operation


def _exchanging(acquire: bool, release: bool) -> Callable[[Array, Any, Any, Any], Request]:
    @suspends
    def operation(array: Array, index: Any, old: Any, value: Any) -> Request:
        return Machine.perform, strong.compare_and_swap, array, index, old, value, acquire, release

    return operation


def _load_strong_vector(thread: Thread, array: Array, index: int, count: int) -> tuple[Any, ...]:
    array.words(index, count)
    return tuple(strong.load(thread, array, index + k) for k in range(count))


def _loading_vector(count: int) -> Callable[[Array, int], Request]:
    @suspends
    def operation(array: Array, index: int) -> Request:
        return Machine.perform, _load_strong_vector, array, index, count

    return operation


def _loading_weak_vector(count: int) -> Callable[[Array, int], tuple[Any, ...]]:
    def operation(array: Array, index: int) -> tuple[Any, ...]:
        array.words(index, count)
        return tuple(array[index + k] for k in range(count))

    return operation


def _load_pairs(array: Array, index: int) -> tuple[int, ...]:
    """Load eight elements of 16 bits, two a register."""
    array.words(index, 8)
    return tuple(array[index + k] | array[index + k + 1] << 16 for k in (0, 2, 4, 6))


@suspends
def spin() -> Request:
    """Do nothing, in a loop that waits."""
    return (Machine.pause,)


def mark_cooperative() -> None:
    """Ask for a launch with all blocks resident, which this machine always does."""


@suspends
def barrier_sync(number: int, count: int) -> Request:
    """Wait at a barrier of the block until ``count`` threads have arrived (``barrier.sync``)."""
    return meetings.named_barrier, number, count, True


@suspends
def barrier_arrive(number: int, count: int) -> Request:
    """Arrive at a barrier of the block, and go on (``barrier.arrive``)."""
    return meetings.named_barrier, number, count, False


def _multiplying(collective: meetings.Collective) -> Callable[..., Request]:
    @suspends
    def operation(*registers: Any) -> Request:
        if len(registers) != 10:
            raise TypeError(
                f"{collective.name} takes 4 registers of A, 2 of B and 4 of C; {len(registers)} came"
            )
        return meetings.collective, FULL, collective, registers

    return operation


def pack_bf16x2(low: float, high: float) -> int:
    """Round two numbers to bf16, in one register."""
    return matrices.to_bf16(low) | matrices.to_bf16(high) << 16


def pack_f16x2(low: float, high: float) -> int:
    """Round two numbers to float16, in one register."""
    return matrices.to_f16(low) | matrices.to_f16(high) << 16


def cvt_rna_tf32(x: float) -> float:
    """Round to TF32: to the nearest of 10 bits after the point, ties away from zero."""
    if not math.isfinite(x):
        return x
    bits = int(np.float32(x).view(np.uint32))
    return float(np.uint32((bits + 0x1000) & 0xFFFFE000).view(np.float32))


def umulhi(a: int, b: int) -> int:
    """Return the upper 32 bits of a product of 32-bit words."""
    return (int(a) & FULL) * (int(b) & FULL) >> 32


def intrinsics(launched: Launched) -> dict[str, Any]:
    """Return the intrinsics by their names."""

    def cp_async16(target: Array, at: int, source: Array, origin: int) -> None:
        copies.begin(launched.machine.current, target, at, source, origin, _VECTOR)

    def cp_async_commit_group() -> None:
        copies.commit(launched.machine.current)

    def cp_async_wait_group(pending: int) -> None:
        copies.wait(launched.machine.current, pending)

    def cp_async_wait_all() -> None:
        copies.commit(launched.machine.current)
        copies.wait(launched.machine.current, 0)

    def loading_matrices(count: int, transposed: bool) -> Callable[[Array, int], Request]:
        collective = matrices.ldmatrix(count, transposed)

        @suspends
        def operation(array: Array, index: int) -> Request:
            return meetings.collective, FULL, collective, (launched.machine.current, array, index)

        return operation

    found: dict[str, Any] = {
        "ld_acquire": _loading(True, False),
        "ld_acquire_cta": _loading(True, True),
        "ld_relaxed": _loading(False, False),
        "ld_relaxed_cta": _loading(False, True),
        "ld_volatile": _loading(False, False),
        "ld_relaxed_v2": _loading_vector(2),
        "ld_relaxed_v4": _loading_vector(4),
        "ld_volatile_v4": _loading_vector(4),
        "ld_cg": lambda array, index: array[index],
        "ld_cg_v2": _loading_weak_vector(2),
        "ld_cg_v4": _loading_weak_vector(4),
        "ld_cg_v4_b32": _load_pairs,
        "st_relaxed": _storing(False, False),
        "st_relaxed_cta": _storing(False, True),
        "st_release": _storing(True, False),
        "st_release_cta": _storing(True, True),
        "red_add": _adding(False, False, False),
        "red_release_add": _adding(False, True, False),
        "red_release_add_cta": _adding(False, True, True),
        "atom_add_acquire": _adding(True, False, False),
        "atom_add_acq_rel": _adding(True, True, False),
        "atom_cas_acquire": _exchanging(True, False),
        "atom_cas_acq_rel": _exchanging(True, True),
        "spin": spin,
        "mark_cooperative": mark_cooperative,
        "barrier_sync": barrier_sync,
        "barrier_arrive": barrier_arrive,
        "cp_async16": cp_async16,
        "cp_async_commit_group": cp_async_commit_group,
        "cp_async_wait_group": cp_async_wait_group,
        "cp_async_wait_all": cp_async_wait_all,
        "mma_m16n8k8_tf32": _multiplying(matrices.MMA_TF32),
        "mma_m16n8k16_bf16": _multiplying(matrices.MMA_BF16),
        "mma_m16n8k16_f16": _multiplying(matrices.MMA_F16),
        "to_bf16": matrices.to_bf16,
        "from_bf16": matrices.from_bf16,
        "pack_bf16x2": pack_bf16x2,
        "pack_f16x2": pack_f16x2,
        "umulhi": umulhi,
        "cvt_rna_tf32": cvt_rna_tf32,
    }
    for count in (1, 2, 4):
        found[f"ldmatrix_x{count}"] = loading_matrices(count, False)
        found[f"ldmatrix_x{count}_trans"] = loading_matrices(count, True)
    return found
