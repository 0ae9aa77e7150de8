"""The machine code of kernels, made on a machine without a GPU, and what it says about them.

For tests. NVIDIA's compiler and linker come as wheels and need no GPU (extra ``cuda-check``), but
numba-cuda asks the driver which device it compiles for; `pretended_device` answers in its place, and
`filling_the_cache` does so for kernels that a device will find compiled. ::

    if missing() is None:
        for code in machine_code(phase, "float32"):
            print(code.architecture, code.registers, code.stack, code.spills)

It is the code that `rondeau.kernels.cuda.compiler` launches on a GPU of that architecture, down to the options.
"""

from __future__ import annotations

import importlib
import re
import struct
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any, NamedTuple
from unittest.mock import patch

from numba.core.caching import NullCache

from rondeau.kernels.cuda import compiler
from rondeau.kernels.runtime.devices import DeviceUnavailableError

__all__ = [
    "ARCHITECTURES",
    "MachineCode",
    "filling_the_cache",
    "instructions",
    "machine_code",
    "missing",
    "pretended_device",
]

ARCHITECTURES = {"sm_80": (8, 0, ""), "sm_90": (9, 0, "a"), "sm_100": (10, 0, "a")}
"""The architectures of the A100, the H100 and H200, and the B200, as numba-cuda compiles for them."""

_INSTRUCTION = 16
"""Bytes of an instruction, on all of them."""
_IS_CODE = 4
"""The flag of a section of an ELF file that holds code (``SHF_EXECINSTR``)."""

_LIBRARIES = {
    "cudart": "nvidia-cuda-runtime",
    "nvrtc": "nvidia-cuda-nvrtc",
    "nvvm": "nvidia-nvvm",
    "nvJitLink": "nvidia-nvjitlink",
}


class MachineCode(NamedTuple):
    """What became of a kernel.

    Attributes
    ----------
    architecture : str
        Such as ``"sm_90"``.
    registers : int
        The registers of a thread.
    stack : int
        Bytes of a thread's stack, which lies in memory: arrays of a thread that are indexed at run time, and calls.
    spills : int
        Bytes that are stored to memory, or loaded again, because registers do not suffice.
    shared : int
        Bytes of shared memory that a block takes.
    instructions : int
        The length of the code in instructions of 16 bytes, with what fills it up to a multiple of 128 bytes.
    """

    architecture: str
    registers: int
    stack: int
    spills: int
    shared: int
    instructions: int


def missing() -> str | None:
    """Return what must be installed before `machine_code` can be called, or None if nothing is missing.

    Examples
    --------
    >>> from tools.cuda_code import missing
    >>> missing() is None or "pip install" in missing()
    True
    """
    how = 'python -m pip install -e ".[cuda-check]"'
    try:
        loader = importlib.import_module("cuda.pathfinder")
    except ImportError:
        return f"numba-cuda is not installed: {how}"
    for library, wheel in _LIBRARIES.items():
        try:
            loader.load_nvidia_dynamic_lib(library)
        except loader.DynamicLibNotFoundError:
            return f"{wheel} is not installed: {how}"
    try:
        compiler.load_numba_cuda()
    except DeviceUnavailableError as error:
        return str(error)
    return None


@contextmanager
def pretended_device(capability: tuple[int, int] = (9, 0)) -> Iterator[None]:
    """Let numba-cuda compile as if a device of a compute capability were there; what it compiles is kept nowhere."""
    with (
        _answers(capability, lambda kernel: None),
        patch.object(compiler, "KernelCache", lambda *_: NullCache()),
    ):
        yield


@contextmanager
def filling_the_cache(capability: tuple[int, int] = (9, 0)) -> Iterator[None]:
    """Let kernels be compiled for devices of a compute capability and saved on disk, where those will find them.

    The device needs the same versions of everything that is in the key; see `rondeau.kernels.runtime.cache`.
    """
    with _answers(capability, lambda kernel: kernel.library.get_cubin()):
        yield


@contextmanager
def _answers(capability: tuple[int, int], bind: Callable[[Any], object]) -> Iterator[None]:
    """Answer for the driver; `bind` does what may be done in the place of loading a kernel onto the device."""
    compiler.load_numba_cuda()
    from numba.cuda import codegen, dispatcher

    device = SimpleNamespace(compute_capability=capability)
    context = SimpleNamespace(device=device)
    with (
        patch.object(dispatcher, "get_current_device", lambda: device),
        patch.object(codegen, "devices", SimpleNamespace(get_context=lambda: context)),
        patch.object(dispatcher._Kernel, "bind", bind),
    ):
        yield


def machine_code(
    phase: compiler.KernelSource, dtype: Any, architectures: Iterable[str] = tuple(ARCHITECTURES)
) -> list[MachineCode]:
    """Return what becomes of a kernel on each of some architectures.

    Parameters
    ----------
    phase : KernelSource
    dtype : dtype
        That of the arrays.
    architectures : iterable of str
        Of `ARCHITECTURES`; all of them by default.

    Raises
    ------
    DeviceUnavailableError
        If numba-cuda is not installed.
    """
    compiled = _compiled(phase, dtype)
    return [_assembled(compiled, architecture, phase.max_registers) for architecture in architectures]


def instructions(phase: compiler.KernelSource, dtype: Any, architecture: str) -> list[str]:
    """Return the instructions of a kernel's PTX, such as ``"fma.rn.f32"``, in their order.

    Parameters and errors are those of `machine_code`, but of one architecture.
    """
    with warnings.catch_warnings():
        # Of a kernel whose blocks meet, numba-cuda says that a library is left out, which is machine code already.
        warnings.filterwarnings("ignore", "Not adding .*libcudadevrt")
        ptx = _compiled(phase, dtype).inspect_lto_ptx(ARCHITECTURES[architecture])
    return re.findall(r"^\t(?:@!?%p\d+ )?([a-z][\w.]*)[ ;]", ptx, re.MULTILINE)


def _compiled(phase: compiler.KernelSource, dtype: Any) -> Any:
    with pretended_device():
        (compiled,) = compiler.Kernel(phase, dtype).compiled.overloads.values()
    return compiled


def _assembled(compiled: Any, architecture: str, max_registers: int | None) -> MachineCode:
    from cuda.core import Linker, LinkerOptions, ObjectCode

    capability = ARCHITECTURES[architecture]
    options = LinkerOptions(
        arch="sm_{}{}{}".format(*capability), link_time_optimization=True, max_register_count=max_registers,
        ptxas_options=["-v"],
    )  # fmt: skip
    linker = Linker(ObjectCode.from_ltoir(compiled.library.get_ltoir(capability)), options=options)
    cubin = linker.link("cubin").code
    log = linker.get_info_log()
    # One line for the kernel, and one for each function that it calls.
    frames = re.findall(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads", log)
    (registers,) = re.findall(r"Used (\d+) registers", log)
    return MachineCode(
        architecture,
        int(registers),
        sum(int(stack) for stack, _, _ in frames),
        sum(int(stored) + int(loaded) for _, stored, loaded in frames),
        sum(map(int, re.findall(r"(\d+) bytes smem", log))),
        _size_of_code(cubin) // _INSTRUCTION,
    )


def _size_of_code(cubin: bytes) -> int:
    """Return the bytes of the sections of an ELF file that hold code."""
    (first,) = struct.unpack_from("<Q", cubin, 0x28)
    size, count = struct.unpack_from("<HH", cubin, 0x3A)
    sections = [struct.unpack_from("<IIQQQQ", cubin, first + number * size) for number in range(count)]
    return sum(length for _, _, flags, _, _, length in sections if flags & _IS_CODE)
