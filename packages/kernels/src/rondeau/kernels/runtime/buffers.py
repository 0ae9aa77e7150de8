"""A pool of reusable memory for arrays: the pages of a new large array cost as much as the arithmetic on it.

`empty` returns an array from the pool. Its memory returns to the pool when the array *and every view of it* have died,
so memory that is still referenced is never reused.
"""

import ctypes
import functools
import math
import operator
import os
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from rondeau.kernels.errors import ArgumentValueError
from rondeau.kernels.runtime.devices import is_of_device, library_of

__all__ = ["empty", "empty_cache", "empty_like", "free_bytes"]

ALIGNMENT = 64
"""In bytes: one cache line, and the widest vector."""
POOLED_FROM = 32 * 1024
"""The size in bytes from which memory is pooled; NumPy and malloc reuse smaller pieces themselves."""
MAX_FREE_BYTES = 1 << 29
"""The most free memory that the pool keeps, in bytes: more than the training steps it was measured with need."""

_Piece = tuple[NDArray[np.uint8], int]


class _Pool:
    """Free memory by size; each piece is an array of bytes and the aligned address inside it."""

    def __init__(self) -> None:
        self._free: dict[int, list[_Piece]] = {}
        # Reentrant: the garbage collector may run, and free an array, while this thread holds the lock.
        self._lock = threading.RLock()
        self.free_bytes = 0

    def take(self, size: int) -> _Piece:
        with self._lock:
            kept = self._free.get(size)
            if kept:
                self.free_bytes -= size
                return kept.pop()
        memory = np.empty(size + ALIGNMENT, np.uint8)
        start = memory.ctypes.data
        return memory, start + -start % ALIGNMENT

    def give_back(self, size: int, piece: _Piece) -> None:
        with self._lock:
            # When the interpreter shuts down, a module's names may already be None.
            if MAX_FREE_BYTES is not None and self.free_bytes + size <= MAX_FREE_BYTES:
                self.free_bytes += size
                self._free.setdefault(size, []).append(piece)

    def clear(self) -> None:
        with self._lock:
            self._free.clear()
            self.free_bytes = 0

    def reset(self) -> None:
        """Start over in a forked child, because a thread of the parent may have been in the middle of a change."""
        self._lock = threading.RLock()
        self.clear()


_POOL = _Pool()

if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_POOL.reset)


@functools.cache
def _block_type(size: int) -> Any:
    """Return the type that owns `size` bytes while an array uses them.

    It is a ctypes array, because before Python 3.12 a class written in Python cannot lend memory to NumPy. The array
    over it and all views keep it as their base; when the last of them dies, so does it, and its memory returns to the
    pool.
    """

    def give_back(block: Any, pool: _Pool = _POOL) -> None:
        pool.give_back(size, block.piece)

    return type(f"Block{size}", (ctypes.c_ubyte * size,), {"__del__": give_back})


def _size_class(size: int) -> int:
    """Round up to one of eight sizes per octave, so that batches of slightly different length share memory."""
    step = 1 << max(size.bit_length() - 4, 0)
    return (size + step - 1) // step * step


def empty(shape: int | Sequence[int], dtype: DTypeLike = np.float32) -> NDArray[Any]:
    """Return an uninitialised array, in reused memory if the pool has some.

    Parameters
    ----------
    shape : int or sequence of int
        The shape.
    dtype : dtype, default float32
        A dtype without Python objects.

    Returns
    -------
    ndarray
        C-contiguous; aligned to 64 bytes if it has 32 KiB or more.

    Raises
    ------
    ValueError
        If a dimension is negative (raised by NumPy), or the dtype holds Python objects.

    Examples
    --------
    >>> empty((2, 3)).shape
    (2, 3)
    """
    dtype = np.dtype(dtype)
    # Compare types first: the check for a Sequence takes ten times as long.
    if type(shape) is int:
        count = shape
    elif type(shape) is tuple or isinstance(shape, Sequence):
        count = math.prod(shape)
    else:
        count = operator.index(shape)
    size = count * dtype.itemsize
    if size < POOLED_FROM:
        return np.empty(shape, dtype)
    if dtype.hasobject:
        raise ArgumentValueError(f"empty: dtype must be one of plain numbers, got {dtype}")
    size = _size_class(size)
    piece = _POOL.take(size)
    block = _block_type(size).from_address(piece[1])
    block.piece = piece
    return np.ndarray(shape, dtype, block)


def empty_like(prototype: Any, shape: tuple[int, ...]) -> Any:
    """Return an uninitialised array with the dtype of another one and on its device; that of a GPU has its own pool.

    Examples
    --------
    >>> empty_like(np.zeros(2), (2, 3)).dtype
    dtype('float64')
    """
    if type(prototype) is not np.ndarray and is_of_device(prototype):
        return library_of(prototype).empty(shape, prototype.dtype)
    return empty(shape, prototype.dtype)


def empty_cache() -> None:
    """Release the free memory that the pool keeps.

    Examples
    --------
    >>> empty_cache()
    >>> free_bytes()
    0
    """
    _POOL.clear()


def free_bytes() -> int:
    """Return the size of the free memory that the pool keeps, in bytes.

    Returns
    -------
    int

    Examples
    --------
    >>> empty_cache()
    >>> array = empty((1024, 1024))
    >>> free_bytes()
    0
    >>> del array
    >>> free_bytes()
    4194304
    """
    return _POOL.free_bytes
