"""The CUDA target without a GPU, its kernels typed: compiled for the CPU with the types that they have on a device.

The emulator finds what threads do to one another, and knows no types; here it is the other way about. A row is computed
by three threads, one after the other, or by one if its phase has sums, which then are sums of one term.
"""

import math

import numpy as np
from numba import njit, types
from tools.device_arrays import for_emulator

from rondeau.kernels.cuda import functions
from rondeau.kernels.cuda.compiler import signature_of

_THREADS = 3
_HEAD = """\
    b = cuda.blockIdx.x
    first = cuda.blockIdx.y * cuda.blockDim.x + cuda.threadIdx.x
    stride = cuda.gridDim.y * cuda.blockDim.x
"""
_COMPILED = functions.compiled(njit, {})
_NAMES = {
    **functions.MATHEMATICS, **_COMPILED, "float32": types.float32, "float64": types.float64,
    "sum_of_block_float32": njit(lambda value: value), "sum_of_block_float64": njit(lambda value: value),
    "inf": math.inf, "nan": math.nan,
}  # fmt: skip


class TypedKernel:
    """Stands for `rondeau.kernels.cuda.compiler.Kernel`; runs on arrays of the stand-in for CuPy, or on NumPy's."""

    def __init__(self, phase, dtype):
        assert _HEAD in phase.source
        source = phase.source.replace(_HEAD, "").replace(
            f"{phase.name}(", f"{phase.name}(b, first, stride, ", 1
        )
        namespace = dict(_NAMES)
        exec(compile(source, phase.name, "exec"), namespace)
        thread = types.void(*[types.int64] * 3, *signature_of(phase, dtype).args)
        self.phase = phase
        self._thread = njit(thread, error_model="numpy")(namespace[phase.name])

    @staticmethod
    def argument(array):
        assert array.flags.c_contiguous
        return array if isinstance(array, np.ndarray) else for_emulator(array)[0]

    def launch(self, grid, threads, *arguments):
        stride = 1 if self.phase.sums else _THREADS
        for b in range(grid[0]):
            for first in reversed(range(stride)):
                self._thread(b, first, stride, *arguments)
