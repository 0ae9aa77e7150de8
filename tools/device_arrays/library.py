"""The modules ``cupy``, ``cupyx`` and ``numba_cuda``, and their place among Python's modules while a test runs."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import numpy as np

from . import capture, cuda, functions, interface, memory, pinned
from .array import ndarray


class _Module(ModuleType):
    """A module of CuPy's, which tells apart what CuPy lacks and what is not modelled (None: all else)."""

    def __init__(
        self, name: str, content: dict[str, Any], not_modelled: frozenset[str] | None = None
    ) -> None:
        super().__init__(name)
        self.__path__: list[str] = []  # a package: `import cupy.cuda` works
        self.__dict__.update(content)
        self._not_modelled = not_modelled

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("_") and (self._not_modelled is None or name in self._not_modelled):
            raise interface.not_modelled(f"{self.__name__}.{name}")
        raise AttributeError(
            f"module {self.__name__!r} has no attribute {name!r} in CuPy {interface.VERSION}"
        )


class _NumbaCuda(ModuleType):
    """What stands for numba-cuda, so that a GPU counts as usable."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(f"module 'numba_cuda' has no attribute {name!r}")
        raise NotImplementedError(
            f"tools.device_arrays does not model numba_cuda.{name}: its kernels run in tools.cuda_emulator"
        )


_STANDS_FOR = ("cupy", "cupyx", "numba_cuda")
"""The packages whose places the stand-in takes."""


def _content() -> dict[str, Any]:
    content = {name: getattr(np, name) for name in interface.SAME_AS_NUMPY}
    content |= {name: functions.Ufunc(name) for name in interface.UFUNCS}
    content |= {
        name: functions.function(name, parameters, getattr(np, name))
        for name, parameters in interface.FUNCTIONS.items()
    }
    content |= {name: capture.recorded(getattr(functions, name)) for name in interface.WRITTEN_OUT}
    return content | {"ndarray": ndarray, "asanyarray": content["asarray"], "__version__": interface.VERSION}


def _build() -> dict[str, ModuleType]:
    pool = memory.MemoryPool()
    pinned_pool = _PinnedPool()
    runtime = _Module(
        "cupy.cuda.runtime",
        {
            "CUDARuntimeError": memory.CUDARuntimeError,
            "deviceSynchronize": cuda.device_synchronize,
            "getDevice": memory.current_device,
            "getDeviceCount": cuda.get_device_count,
            "getDeviceProperties": cuda.get_device_properties,
            "is_hip": False,
            "memGetInfo": cuda.memory_info,
            "runtimeGetVersion": lambda: 13000,
            "driverGetVersion": lambda: 13000,
            "setDevice": memory.set_current_device,
        },
    )
    of_cuda = _Module(
        "cupy.cuda",
        {
            "Device": cuda.Device,
            "Event": cuda.Event,
            "Graph": capture.Graph,
            "MemoryPointer": memory.MemoryPointer,
            "MemoryPool": memory.MemoryPool,
            "Stream": cuda.Stream,
            "alloc_pinned_memory": pinned.allocate,
            "cublas": _Module("cupy.cuda.cublas", {}),
            "get_current_stream": cuda.get_current_stream,
            "get_device_id": cuda.get_device_id,
            "get_elapsed_time": cuda.get_elapsed_time,
            "is_available": cuda.is_available,
            "runtime": runtime,
            "using_allocator": capture.using_allocator,
            "pinned_memory": _Module(
                "cupy.cuda.pinned_memory", {"is_memory_pinned": pinned.is_memory_pinned}
            ),
            "memory": _Module("cupy.cuda.memory", {"OutOfMemoryError": memory.OutOfMemoryError}),
        },
    )
    linalg = _Module(
        "cupy.linalg",
        {
            name: functions.function(name, parameters, getattr(np.linalg, name))
            for name, parameters in interface.LINALG.items()
        },
    )
    modules: dict[str, ModuleType] = {
        "cupy": _Module(
            "cupy",
            _content()
            | {
                "cuda": of_cuda,
                "linalg": linalg,
                "get_array_module": get_array_module,
                "get_default_memory_pool": lambda: pool,
                "get_default_pinned_memory_pool": lambda: pinned_pool,
                "is_available": cuda.is_available,
            },
            interface.NOT_MODELLED,
        ),
        "cupy.cuda": of_cuda,
        "cupy.cuda.runtime": runtime,
        "cupy.linalg": linalg,
    }
    special = _Module("cupyx.scipy.special", {"erf": capture.recorded(functions.erf)})
    scipy = _Module("cupyx.scipy", {"special": special})
    of_cupyx = {
        "scatter_add": capture.recorded(functions.scatter_add),
        "scatter_max": capture.recorded(functions.scatter_max),
        "scatter_min": capture.recorded(functions.scatter_min),
        "empty_pinned": empty_pinned,
        "zeros_pinned": zeros_pinned,
        "scipy": scipy,
    }
    modules |= {
        "cupyx": _Module("cupyx", of_cupyx),
        "cupyx.scipy": scipy,
        "cupyx.scipy.special": special,
        "numba_cuda": _NumbaCuda("numba_cuda"),
    }
    return modules


def function_for(name: str, module: str) -> Callable[..., Any] | None:
    """Return CuPy's function for one of NumPy's, by the names of the function and its module."""
    place: Any = MODULES["cupy"]
    for part in [*module.split(".")[1:], name]:
        place = getattr(place, part, None)
    if place is None or place is getattr(np, name, None):
        return None
    found: Callable[..., Any] = place
    return found


def get_array_module(*args: Any) -> ModuleType:
    """Return CuPy if one of the arguments is an array of the device, NumPy otherwise."""
    return MODULES["cupy"] if any(isinstance(x, ndarray) for x in args) else np


def empty_pinned(shape: Any, dtype: Any = float, order: Any = "C") -> Any:
    """Return an array of the host in pinned memory."""
    size = int(np.prod(shape))
    flat = np.frombuffer(pinned.allocate(size * np.dtype(dtype).itemsize), dtype, size)
    memory.poison(flat)
    return flat.reshape(shape, order=order)


def zeros_pinned(shape: Any, dtype: Any = float, order: Any = "C") -> Any:
    """Return zeros of the host in pinned memory."""
    made = empty_pinned(shape, dtype, order)
    made[...] = 0
    return made


class _PinnedPool:
    """The pool of pinned memory, which holds nothing that is not in use."""

    def free_all_blocks(self) -> None:
        """Give back what nobody uses."""

    def n_free_blocks(self) -> int:
        """Return 0."""
        return 0


MODULES = _build()


@contextmanager
def installed(devices: int = 1, numba_cuda: bool = True) -> Iterator[ModuleType]:
    """Put the stand-in in the place of ``cupy`` and ``cupyx``, and of ``numba_cuda``, which is only said to be there.

    Parameters
    ----------
    devices : int, default 1
    numba_cuda : bool, default True
        Whether the place of ``numba_cuda`` is taken too; otherwise the real one is used, if it is installed.

    Yields
    ------
    module
        What ``import cupy`` gives inside.

    Raises
    ------
    PinnedMemoryError
        At the end, if pinned memory was written before a copy from it was waited for.
    """
    taken = _STANDS_FOR if numba_cuda else _STANDS_FOR[:-1]
    before = {name: module for name, module in sys.modules.items() if name.split(".")[0] in taken}
    for name in before:
        del sys.modules[name]
    sys.modules.update({name: module for name, module in MODULES.items() if name.split(".")[0] in taken})
    memory.set_device_count(devices)
    try:
        yield MODULES["cupy"]
    finally:
        for name in [name for name in sys.modules if name.split(".")[0] in taken]:
            del sys.modules[name]
        sys.modules.update(before)
        memory.set_device_count(1)
        capture.reset()
        pinned.reset()
