"""The CUDA target without a GPU: its kernels in the emulator, in the place of those that numba-cuda compiles."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from rondeau.kernels.cuda import compiler, functions, tiers

from .cuda_emulator import Kernel
from .device_arrays import for_emulator, recorded

__all__ = ["EmulatedKernel", "emulated"]

_NAMES = {
    **functions.MATHEMATICS, **{function.__name__: function for function in functions.WRITTEN},
    "float32": np.float32, "float64": np.float64, "U": np.uint32, "ALL": np.uint32(2**32 - 1), "inf": math.inf,
    "nan": math.nan,
}  # fmt: skip


class EmulatedKernel:
    """Stands for `rondeau.kernels.cuda.compiler.Kernel`; runs on arrays of the stand-in for CuPy, or on NumPy's."""

    seed = 0
    """Of the schedules; a test may set another."""

    def __init__(self, phase: compiler.KernelSource, dtype: Any) -> None:
        self.phase = phase
        self._kernel = Kernel(phase.source, _NAMES)

    @staticmethod
    def argument(array: Any) -> Any:
        """Return an array as `launch` takes it."""
        assert array.flags.c_contiguous
        return array if isinstance(array, np.ndarray) else for_emulator(array)[0]

    def resident_blocks(self, threads: int) -> int:
        """Return how many blocks run at once: all of them, however many there are."""
        return 2**31 - 1

    def launch(self, grid: tuple[int, int], threads: int, *arguments: Any) -> None:
        """Run the kernel."""
        numbers = [int(a) if isinstance(a, int | np.integer) else a for a in arguments]
        recorded(self._kernel.launch)(grid, threads, *numbers, seed=self.seed)


@contextmanager
def emulated(tier: str = "stepwise") -> Iterator[type[EmulatedKernel]]:
    """Run the kernels of the CUDA target in the emulator, by default step by step: a block that waits takes long."""
    before = compiler.Kernel, tiers.ALLOWED
    compiler.Kernel, tiers.ALLOWED = EmulatedKernel, tier  # type: ignore[misc, assignment]
    try:
        yield EmulatedKernel
    finally:
        compiler.Kernel, tiers.ALLOWED = before  # type: ignore[misc]
