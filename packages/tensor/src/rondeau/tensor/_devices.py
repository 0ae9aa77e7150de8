"""Where arrays live.

Operators are written with NumPy's functions, which hand the work to the array's own library through NumPy's
protocols (``__array_ufunc__``, ``__array_function__``); so the same lines serve NumPy on the CPU and CuPy on CUDA.
What no protocol covers, making an array from nothing and moving one, is here.
"""

from __future__ import annotations

from functools import cache
from types import ModuleType
from typing import Any

import numpy as np

from rondeau.kernels.errors import ArgumentValueError


def namespace(device: str | None) -> ModuleType:
    """Return the array library of a device.

    Parameters
    ----------
    device : {"cpu", "cuda"} or None
        None means "cpu".

    Raises
    ------
    ValueError
        For an unknown device.
    RuntimeError
        For "cuda" without CuPy, or with CuPy but no usable GPU.

    Examples
    --------
    >>> namespace("cpu").__name__
    'numpy'
    """
    if device is None:
        return np
    if isinstance(device, str):  # an array would compare element by element
        if device == "cpu":
            return np
        if device == "cuda":
            return _cupy()
    raise ArgumentValueError(f"expected device 'cpu' or 'cuda', got {device!r}")


@cache
def _cupy() -> ModuleType:
    try:
        import cupy  # type: ignore[import-not-found, unused-ignore]
    except ImportError as error:
        raise RuntimeError(
            "device 'cuda' needs CuPy, which is not installed: pip install cupy-cuda13x (or cupy-cuda12x), "
            "or use device='cpu'"
        ) from error
    if not cupy.cuda.is_available():
        raise RuntimeError("device 'cuda': CuPy is installed but finds no usable GPU; use device='cpu'")
    return cupy  # type: ignore[no-any-return, unused-ignore]


def device_of(array: Any) -> str:
    """Return the device that an array lives on."""
    return "cpu" if isinstance(array, np.ndarray) else "cuda"


def move(array: Any, device: str) -> Any:
    """Return `array` on `device`: itself where it already lives there, else a copy."""
    library = namespace(device)
    if device_of(array) == device:
        return array
    return array.get() if library is np else library.asarray(array)


_asarray = np.asarray
_HOST = (np.generic, np.ndarray, int, float)


def as_array(value: Any) -> Any:
    """Return `value` as an array: what a reduction to zero dimensions hands back as a scalar becomes 0-d."""
    return _asarray(value) if isinstance(value, _HOST) else value
