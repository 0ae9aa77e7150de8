"""The CUDA target without a GPU: its kernels in the emulator, in the place of those that numba-cuda compiles."""

import math
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from tools.cuda_emulator import Kernel
from tools.device_arrays import for_emulator

from rondeau.kernels.cuda import compiler, functions

NAMES = {
    **functions.MATHEMATICS, **{function.__name__: function for function in functions.WRITTEN},
    "float32": np.float32, "float64": np.float64, "inf": math.inf, "nan": math.nan,
}  # fmt: skip


class EmulatedKernel:
    """Stands for `rondeau.kernels.cuda.compiler.Kernel`; runs on arrays of the stand-in for CuPy, or on NumPy's."""

    seed = 0
    """Of the schedules; a test may set another."""

    def __init__(self, phase, dtype):
        self.phase = phase
        self._kernel = Kernel(phase.source, NAMES)

    @staticmethod
    def argument(array):
        assert array.flags.c_contiguous
        return array if isinstance(array, np.ndarray) else for_emulator(array)[0]

    def launch(self, grid, threads, *arguments):
        numbers = [int(a) if isinstance(a, int | np.integer) else a for a in arguments]
        self._kernel.launch(grid, threads, *numbers, seed=self.seed)


@contextmanager
def emulated() -> Iterator[type[EmulatedKernel]]:
    """Run the kernels of the CUDA target in the emulator."""
    before, compiler.Kernel = compiler.Kernel, EmulatedKernel
    try:
        yield EmulatedKernel
    finally:
        compiler.Kernel = before
