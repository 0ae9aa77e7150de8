"""The compiler of kernels: with `intrinsics`, the only module that calls numba-cuda, so that it can be replaced.

numba-cuda is imported when the first kernel is needed; the kernel itself is compiled, or loaded from disk. Arrays are
CuPy's; none is allocated here. Work is launched on CuPy's current stream, and nothing waits for it.
"""

from __future__ import annotations

import functools
import importlib
import linecache
import math
import warnings
from typing import Any, Protocol

import numpy as np

from rondeau.kernels.cuda import functions
from rondeau.kernels.cuda.kernel_cache import KernelCache
from rondeau.kernels.runtime.compiling import compile_or_load
from rondeau.kernels.runtime.devices import current_stream, require_numba_cuda

__all__ = ["Kernel", "KernelSource", "load_numba_cuda", "python_function", "signature_of"]

_INTRINSICS = "rondeau.kernels.cuda.intrinsics"
"""Imported with numba-cuda, which it imports itself."""

_CONFIGURATIONS = 1024
"""Pairs of a grid and a stream that a kernel keeps: a batch whose sequences end has a grid for each of its sizes."""


class KernelSource(Protocol):
    """A kernel before it is compiled, such as `PhaseKernel` and `PersistentKernel`."""

    @property
    def name(self) -> str:
        """The name of the function."""

    @property
    def source(self) -> str:
        """Its Python source."""

    @property
    def arrays(self) -> tuple[str, ...]:
        """Its first parameters."""

    @property
    def numbers(self) -> tuple[str, ...]:
        """Its other parameters."""

    @property
    def max_registers(self) -> int | None:
        """The registers that a thread may have; None for as many as the compiler finds best."""

    def type_of(self, name: str) -> tuple[str, int]:
        """Return the type of an array's elements, ``"real"`` for the kernel's dtype, and its number of dimensions."""


class Kernel:
    """A kernel, compiled for the device that is current, or loaded from disk if that was done before.

    Parameters
    ----------
    phase : KernelSource
    dtype : dtype
        That of the arrays.

    Raises
    ------
    DeviceUnavailableError
        If numba-cuda is not installed.
    """

    def __init__(self, phase: KernelSource, dtype: Any) -> None:
        cuda = load_numba_cuda()
        self.phase = phase
        self.compiled = cuda.jit(python_function(phase), max_registers=phase.max_registers)
        key = _key_of(phase, self.compiled.targetoptions)
        self.compiled._cache = KernelCache(__name__, phase.name, key, (_INTRINSICS,))
        compile_or_load(self.compiled.compile, signature_of(phase, dtype).args)
        # As numba-cuda leaves a kernel that is declared with its signature: a launch asks for no types.
        self.compiled._specialized = True
        self.compiled.disable_compile()
        self._resident: dict[int, int] = {}
        configure = functools.partial(_configure, self.compiled)
        self._configured = functools.lru_cache(_CONFIGURATIONS)(configure)

    @staticmethod
    def argument(array: Any) -> Any:
        """Return an array as `launch` takes it; to convert it once is cheaper than at every launch.

        It must be in C order and of the dtype that the kernel was compiled for: a launch does not look at it again.
        """
        assert array.flags.c_contiguous, f"strides {array.strides} of shape {array.shape}"
        return load_numba_cuda().as_cuda_array(array, sync=False)

    def resident_blocks(self, threads: int) -> int:
        """Return how many blocks of so many threads the device can hold at once; it asks the driver only once."""
        if threads not in self._resident:
            (compiled,) = self.compiled.overloads.values()
            self._resident[threads] = compiled.max_cooperative_grid_blocks(threads)
        return self._resident[threads]

    def launch(self, grid: tuple[int, int], threads: int, *arguments: Any) -> None:
        """Launch the kernel on CuPy's current stream.

        Parameters
        ----------
        grid : (int, int)
            The number of blocks: rows, and parts of a row.
        threads : int
            The number of threads in a block, a multiple of 32.
        *arguments
            What `argument` returned, then integers.
        """
        self._configured(grid, threads, current_stream())(*arguments)


def signature_of(phase: KernelSource, dtype: Any) -> Any:
    """Return the types of a kernel's parameters."""
    from numba import types

    number = types.float32 if np.dtype(dtype) == np.float32 else types.float64

    def type_of(name: str) -> Any:
        kind, dimensions = phase.type_of(name)
        return types.Array(number if kind == "real" else getattr(types, kind), dimensions, "C")

    def type_of_number(name: str) -> Any:
        if name.startswith("scalar_"):
            return number
        return types.uint64 if name == "key" else types.int64

    return types.void(*map(type_of, phase.arrays), *map(type_of_number, phase.numbers))


def _key_of(phase: KernelSource, options: dict[str, Any]) -> str:
    """Return what determines a kernel's machine code, besides its types, the device and the sources of this package."""
    from numba.cuda.cudadrv import nvvm

    versions = importlib.import_module("numba_cuda").__version__, nvvm.NVVM().get_version()
    return f"{versions}\n{sorted(options.items())}\n{phase.source}"


def python_function(phase: KernelSource) -> Any:
    """Return a phase's kernel as a Python function, with the device functions that it may call."""
    from numba import types

    cuda = load_numba_cuda()
    namespace = {
        **functions.MATHEMATICS, **_device_functions(), "cuda": cuda, "float32": types.float32,
        "float64": types.float64, "U": np.uint32, "ALL": np.uint32(2**32 - 1), "inf": math.inf, "nan": math.nan,
        "__name__": __name__,
    }  # fmt: skip
    place = f"<rondeau kernel {phase.name}>"
    # Numba reads the source of what it compiles, for its messages.
    linecache.cache[place] = len(phase.source), None, phase.source.splitlines(keepends=True), place
    exec(compile(phase.source, place, "exec"), namespace)
    return namespace[phase.name]


@functools.cache
def _device_functions() -> dict[str, Any]:
    cuda = load_numba_cuda()
    intrinsics = importlib.import_module(_INTRINSICS)

    instructions = {name: getattr(intrinsics, name) for name in intrinsics.__all__}
    made = functions.compiled(cuda.jit(device=True, forceinline=True), {"cuda": cuda, **instructions})
    return {**instructions, **made}


@functools.cache
def load_numba_cuda() -> Any:
    """Return the module ``numba.cuda`` of numba-cuda.

    Raises
    ------
    DeviceUnavailableError
        If it is not installed.
    """
    require_numba_cuda()
    # It puts numba-cuda in the place of Numba's own `numba.cuda`. Python imports it at its start if numba-cuda is
    # among the site packages, and not if it is in a folder of PYTHONPATH.
    importlib.import_module("_numba_cuda_redirector")
    from numba import cuda

    return cuda


def _configure(compiled: Any, grid: tuple[int, int], threads: int, stream: int) -> Any:
    """Return a kernel that is ready to launch on the stream at an address."""
    with warnings.catch_warnings():
        # A step is a small piece of work, and numba-cuda warns of every grid of fewer than 128 blocks.
        warnings.filterwarnings("ignore", "Grid size")
        return compiled[grid, threads, load_numba_cuda().external_stream(stream) if stream else 0]
