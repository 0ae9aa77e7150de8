"""The devices on which arrays live.

Operators are written with NumPy's functions, which dispatch to the array's own library through NumPy's protocols
(``__array_ufunc__``, ``__array_function__``); so the same code serves NumPy on the CPU and CuPy on CUDA. This module
has what no protocol covers: creating arrays and moving them.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any, Self

import numpy as np

from rondeau.kernels.errors import ArgumentValueError
from rondeau.kernels.runtime.devices import is_of_device, load_cupy
from rondeau.kernels.runtime.transfers import on_host
from rondeau.tensor._modes import modes

_KINDS = ("cpu", "cuda")


class device(str):  # noqa: N801 - torch's name
    """The device of a tensor: the string ``"cpu"`` or ``"cuda"``, with PyTorch's attributes.

    In a ``with`` block, it is the default device.

    Parameters
    ----------
    type : str
        ``"cpu"`` or ``"cuda"``; an index may follow, as in ``"cuda:0"``.
    index : int, optional
        Must be 0: there is one device of each type.

    Attributes
    ----------
    type : str
        The type, without the index.
    index : int or None

    Raises
    ------
    ValueError
        For any other device.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> rt.device("cuda:0").type, rt.device("cuda", 0).index
    ('cuda', 0)
    >>> rt.zeros(2, device=rt.device("cpu")).device
    device(type='cpu')
    >>> rt.zeros(2).device == "cpu"
    True
    """

    __slots__ = ("index", "type")

    type: str
    index: int | None  # type: ignore[assignment]  # torch's, in the place of the method of strings

    def __new__(cls, type: str, index: int | None = None) -> Self:
        if isinstance(type, str):  # an array would compare element by element
            kind, colon, number = type.partition(":")
            if not colon:
                number = "" if index is None else str(index)
            if kind in _KINDS and number in ("", "0") and not (colon and (index is not None or not number)):
                made = super().__new__(cls, f"{kind}:0" if number else kind)
                made.type, made.index = kind, 0 if number else None
                return made
        shown = repr(type) if index is None else f"{type!r}, {index!r}"
        raise ArgumentValueError(f"expected device 'cpu' or 'cuda', got {shown}")

    def __repr__(self) -> str:
        return f"device(type={self.type!r}{'' if self.index is None else f', index={self.index}'})"

    def __reduce__(self) -> Any:
        return device, (str(self),)

    def __enter__(self) -> Self:
        modes.outer_devices.append(modes.device)
        set_default_device(self)
        return self

    def __exit__(self, *_: object) -> None:
        modes.device = modes.outer_devices.pop()


_CPU, _CUDA = device("cpu"), device("cuda")


def set_default_device(device: str | None) -> None:
    """Set the device on which this thread creates tensors from Python numbers, or without a `device`.

    Parameters
    ----------
    device : {"cpu", "cuda"} or None
        None means the CPU, the initial default.

    Raises
    ------
    ValueError
        For an unknown device.
    RuntimeError
        For "cuda" without CuPy, or with CuPy but no usable GPU.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> rt.set_default_device("cpu")
    >>> rt.zeros(2).device
    device(type='cpu')
    """
    modes.device = None if namespace("cpu" if device is None else device) is np else _CUDA


def get_default_device() -> device:
    """Return the device on which this thread creates tensors from Python numbers, or without a `device`.

    Returns
    -------
    device

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> rt.get_default_device()
    device(type='cpu')
    """
    return modes.device or _CPU


def namespace(where: str | None) -> ModuleType:
    """Return the array library of a device.

    Parameters
    ----------
    where : {"cpu", "cuda"} or None
        None means the default device.

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
    if where is None:
        where = modes.device
        if where is None:
            return np
    found = where if isinstance(where, device) else device(where)
    return np if found.type == "cpu" else load_cupy()


def device_of(array: Any) -> device:
    """Return the device that an array lives on."""
    return _CUDA if is_of_device(array) else _CPU


def move(array: Any, where: str | None, non_blocking: bool = False) -> Any:
    """Return `array` on a device, None for the default: itself if it is already there, otherwise a copy.

    Copies to a GPU are queued, and what is queued later finds them done. The host waits for one only where it copies
    from pinned memory and `non_blocking` is false: the caller may then write that memory at once. From other memory,
    CuPy copies by way of pinned memory of its own.
    """
    library = namespace(where)
    if (library is np) != is_of_device(array):
        return array
    if library is np:
        return on_host(array)
    return library.asarray(array, blocking=not non_blocking and lies_in_pinned_memory(array))


def lies_in_pinned_memory(array: Any) -> bool:
    """Return whether an array lies in page-locked memory of the host, which a GPU reads itself."""
    cupy = sys.modules.get("cupy")
    if cupy is None or is_of_device(array) or not cupy.cuda.is_available():
        return False
    return bool(cupy.cuda.pinned_memory.is_memory_pinned(array.ctypes.data))


def pinned(array: Any) -> Any:
    """Return `array` in page-locked memory of the host: itself if it is there, otherwise a copy.

    Raises
    ------
    RuntimeError
        If no GPU is usable, or the array is on one.
    """
    if is_of_device(array):
        raise RuntimeError("pin_memory() is for tensors on the CPU; this one is on cuda: .cpu().pin_memory()")
    library = load_cupy()
    if lies_in_pinned_memory(array):
        return array
    memory = library.cuda.alloc_pinned_memory(array.nbytes)
    copy: Any = np.ndarray(array.shape, array.dtype, memory)
    copy[...] = array
    return copy


_asarray = np.asarray
_HOST = (np.generic, np.ndarray, int, float)


def as_array(value: Any) -> Any:
    """Return `value` as an array of NumPy's own class, or of CuPy's.

    A scalar from a reduction to zero dimensions becomes a 0-d array. A subclass may index and compare by other rules.
    """
    return _asarray(value) if isinstance(value, _HOST) else value
