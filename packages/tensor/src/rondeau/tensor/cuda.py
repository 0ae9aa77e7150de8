"""What PyTorch calls ``torch.cuda``: whether there is a GPU, what it is called, and the memory that it has in use.

There is one device of each type, so the GPU is device 0; on a machine with several, ``CUDA_VISIBLE_DEVICES`` says which
one that is. Its memory is CuPy's pool, which keeps what arrays give back for those that come. PyTorch's
``max_memory_allocated`` is missing, because that pool keeps no record of it.
"""

from __future__ import annotations

from typing import Any

from rondeau.kernels.errors import ArgumentValueError
from rondeau.kernels.runtime.deferred import raise_pending
from rondeau.kernels.runtime.devices import is_available, load_cupy
from rondeau.tensor._devices import device

__all__ = [
    "current_device",
    "device_count",
    "empty_cache",
    "get_device_name",
    "is_available",
    "mem_get_info",
    "memory_allocated",
    "memory_reserved",
    "synchronize",
]


def __dir__() -> list[str]:
    return __all__


def device_count() -> int:
    """Return the number of GPUs that are visible; 0 where none is usable.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> (rt.cuda.device_count() > 0) == rt.cuda.is_available()
    True
    """
    return int(load_cupy().cuda.runtime.getDeviceCount()) if is_available() else 0


def current_device() -> int:
    """Return the number of the GPU that tensors are on: 0.

    Raises
    ------
    RuntimeError
        If no GPU is usable.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> not rt.cuda.is_available() or rt.cuda.current_device() == 0
    True
    """
    load_cupy()
    return 0


def get_device_name(device: str | int | None = None) -> str:
    """Return what a GPU is called, as ``"NVIDIA H200"``.

    Raises
    ------
    RuntimeError
        If no GPU is usable.
    ValueError
        If `device` is not the GPU.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> not rt.cuda.is_available() or bool(rt.cuda.get_device_name())
    True
    """
    cupy = _cupy_for(device)
    name: bytes = cupy.cuda.runtime.getDeviceProperties(0)["name"]
    return name.decode()


def synchronize(device: str | int | None = None) -> None:
    """Wait until all work of the GPU is done.

    Raises
    ------
    RuntimeError
        If no GPU is usable.
    ValueError, IndexError
        If a number that was on the GPU turns out to have been wrong, such as an index out of range: such checks are
        made there, and what they found is told at the next wait.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> if rt.cuda.is_available():
    ...     rt.cuda.synchronize()
    """
    _cupy_for(device).cuda.runtime.deviceSynchronize()
    raise_pending()


def memory_allocated(device: str | int | None = None) -> int:
    """Return the bytes of the GPU's memory that tensors hold; 0 where no GPU is usable.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> rt.cuda.memory_allocated() >= 0
    True
    """
    return int(_cupy_for(device).get_default_memory_pool().used_bytes()) if is_available() else 0


def memory_reserved(device: str | int | None = None) -> int:
    """Return the bytes of the GPU's memory that the pool holds, for tensors that are there and for those to come.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> rt.cuda.memory_reserved() >= rt.cuda.memory_allocated()
    True
    """
    return int(_cupy_for(device).get_default_memory_pool().total_bytes()) if is_available() else 0


def mem_get_info(device: str | int | None = None) -> tuple[int, int]:
    """Return the GPU's free and total memory in bytes.

    Raises
    ------
    RuntimeError
        If no GPU is usable.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> free, total = rt.cuda.mem_get_info() if rt.cuda.is_available() else (0, 0)
    >>> 0 <= free <= total
    True
    """
    free, total = _cupy_for(device).cuda.runtime.memGetInfo()
    return int(free), int(total)


def empty_cache() -> None:
    """Give the memory that the pool holds and no tensor does back to the GPU; nothing where no GPU is usable.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> rt.cuda.empty_cache()
    """
    if is_available():
        load_cupy().get_default_memory_pool().free_all_blocks()


def gpu(where: str | int) -> device:
    """Return the device of an argument that must mean the GPU: a device, or its number, 0.

    Raises
    ------
    ValueError
        If it is anything else.
    """
    if (not isinstance(where, int) and device(where).type == "cuda") or where == 0:
        return device("cuda")
    raise ArgumentValueError(f"expected the GPU, 'cuda' or 0, got device {where!r}")


def _cupy_for(device: str | int | None) -> Any:
    """Return CuPy, for the GPU that `device` must mean.

    Raises
    ------
    RuntimeError
        If no GPU is usable.
    ValueError
        If `device` is anything but the GPU.
    """
    if device is not None:
        gpu(device)
    return load_cupy()
