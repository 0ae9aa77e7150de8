"""The array libraries of the devices: NumPy on the CPU and CuPy, an optional dependency, on a GPU.

Code that serves both calls NumPy's functions, which hand arrays of CuPy's on to CuPy (``__array_function__``,
``__array_ufunc__``). This module has what no such protocol covers. CuPy is imported here, when somebody asks for a GPU,
and in `rondeau.data`, which imports no sibling, for pinned memory; to recognise its arrays, it need not be.
"""

from __future__ import annotations

import functools
import importlib
import sys
from importlib.util import find_spec
from types import ModuleType
from typing import Any, TypeGuard

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "DeviceUnavailableError",
    "beyond_numpy",
    "current_stream",
    "device_name",
    "is_array",
    "is_available",
    "is_of_device",
    "is_writeable",
    "library_of",
    "load_cupy",
    "require_numba_cuda",
    "zeros",
]

_INSTALL = (
    'in the clone of rondeau: python -m pip install -e ".[cuda]" (for CUDA 12: ".[cuda12]") on a machine with an '
    "NVIDIA GPU, or use device='cpu'"
)


class DeviceUnavailableError(RuntimeError):
    """There is no GPU, or what it takes to use one is not installed."""


def is_of_device(value: Any) -> bool:
    """Return whether a value is an array of CuPy's.

    Examples
    --------
    >>> is_of_device(np.zeros(2))
    False
    """
    cupy = sys.modules.get("cupy")
    return cupy is not None and isinstance(value, getattr(cupy, "ndarray", ()))


def is_array(value: Any) -> TypeGuard[NDArray[Any]]:
    """Return whether a value is an array of NumPy's or of CuPy's.

    Examples
    --------
    >>> is_array(np.zeros(2)), is_array(np.float64(2)), is_array([2.0])
    (True, False, False)
    """
    return isinstance(value, np.ndarray) or is_of_device(value)


def library_of(array: Any) -> ModuleType:
    """Return the library of an array: NumPy or CuPy.

    Examples
    --------
    >>> library_of(np.zeros(2)).__name__
    'numpy'
    """
    return sys.modules["cupy"] if is_of_device(array) else np


def is_writeable(array: Any) -> bool:
    """Return whether the elements of an array can be written: it is not read-only, and each has memory of its own.

    CuPy's arrays are never read-only; those that were broadcast share the memory of elements.

    Examples
    --------
    >>> is_writeable(np.zeros(2)), is_writeable(np.broadcast_to(np.zeros(2), (3, 2)))
    (True, False)
    """
    if isinstance(array, np.ndarray):
        return array.flags.writeable
    return not array.size or all(
        stride or size == 1 for stride, size in zip(array.strides, array.shape, strict=True)
    )


def zeros(shape: tuple[int, ...], dtype: Any, like: Any) -> Any:
    """Return zeros on the device of another array.

    It takes any shape, where ``numpy.zeros_like`` will not do: CuPy takes an empty ``shape`` for none given.

    Examples
    --------
    >>> zeros((2,), np.float32, like=np.ones(3))
    array([0., 0.], dtype=float32)
    """
    return np.zeros(shape, dtype) if type(like) is np.ndarray else library_of(like).zeros(shape, dtype)


def device_name(array: Any) -> str:
    """Return ``"cpu"`` or ``"cuda"``, for messages.

    Examples
    --------
    >>> device_name(np.zeros(2))
    'cpu'
    """
    return "cuda" if is_of_device(array) else "cpu"


def is_available() -> bool:
    """Return whether there is a GPU, and what it takes to use one is installed.

    Examples
    --------
    >>> isinstance(is_available(), bool)
    True
    """
    try:
        load_cupy()
    except DeviceUnavailableError:
        return False
    return True


def beyond_numpy(module: str) -> ModuleType:
    """Return a module of what CuPy, which must be loaded, has beyond NumPy: ``"cupyx"`` or one inside it."""
    return importlib.import_module(module)


def current_stream() -> int:
    """Return the address of CuPy's current stream, on which all work is queued; CuPy must be loaded."""
    return int(sys.modules["cupy"].cuda.get_current_stream().ptr)


def load_cupy() -> ModuleType:
    """Return CuPy, where all that a GPU needs is there.

    Raises
    ------
    DeviceUnavailableError
        If CuPy, which holds the arrays, numba-cuda, which compiles the recurrent kernels, or cuBLAS, which multiplies
        matrices and is no part of CuPy's wheels, is not installed, or CuPy finds no usable GPU.
    """
    try:
        import cupy  # type: ignore[import-not-found, unused-ignore]
    except ModuleNotFoundError as error:
        if error.name != "cupy":
            raise _not_importable(error) from error
        raise DeviceUnavailableError(
            f"device 'cuda' needs CuPy, which is not installed: {_INSTALL}"
        ) from error
    except ImportError as error:
        raise _not_importable(error) from error
    require_numba_cuda()
    if not cupy.cuda.is_available():
        raise DeviceUnavailableError(
            f"device 'cuda': CuPy is installed but finds no usable GPU ({_why_no_gpu(cupy)}): it takes an NVIDIA GPU "
            "and a driver for CUDA 13 with the extra cuda, for CUDA 12 with cuda12; or use device='cpu'"
        )
    try:
        _ = cupy.cuda.cublas  # CuPy loads it when it is first asked for
    except ImportError as error:
        raise DeviceUnavailableError(
            f"device 'cuda' needs cuBLAS, which is not installed: {_INSTALL}"
        ) from error
    return cupy  # type: ignore[no-any-return, unused-ignore]


def _not_importable(error: ImportError) -> DeviceUnavailableError:
    """Return the error for a CuPy that is installed and fails; CuPy's own is a page of text about the cause."""
    cause = error.__cause__ or error
    return DeviceUnavailableError(
        f"device 'cuda': CuPy is installed but cannot be imported ({' '.join(str(cause).split())}): {_INSTALL}"
    )


def _why_no_gpu(cupy: ModuleType) -> str:
    """Return what CUDA says, which tells a missing GPU from a driver that is too old."""
    try:
        cupy.cuda.runtime.getDeviceCount()
    except cupy.cuda.runtime.CUDARuntimeError as error:
        return str(error)
    return "none is visible"


def require_numba_cuda() -> None:
    """Raise unless numba-cuda is there, without importing it: that takes long, and only kernels need it.

    What Numba itself still has under the name of ``numba.cuda`` will not do.

    Raises
    ------
    DeviceUnavailableError
        If it is not installed, or NumPy is too new for it.
    """
    if "numba_cuda" in sys.modules:
        return
    if not _is_installed("numba_cuda"):
        raise DeviceUnavailableError(f"device 'cuda' needs numba-cuda, which is not installed: {_INSTALL}")
    if np.lib.NumpyVersion(np.__version__) >= "2.5.0":
        raise DeviceUnavailableError(
            f"device 'cuda' needs NumPy before 2.5, for numba-cuda; got {np.__version__}: {_INSTALL}"
        )


@functools.cache
def _is_installed(module: str) -> bool:
    return find_spec(module) is not None
