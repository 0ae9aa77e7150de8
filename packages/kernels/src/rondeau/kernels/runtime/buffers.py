"""Arrays whose memory is used again: the pages of a fresh large array cost as much as the arithmetic on it.

`empty` gives an array of a pool. Its memory goes back when the array *and every view of it* have died, so nobody ever
sees memory change that he still holds.
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

__all__ = ["empty", "empty_cache", "free_bytes"]

ALIGNMENT = 64
"""Bytes; one cache line, and the widest vector."""
POOLED_FROM = 32 * 1024
"""Bytes from which memory is pooled; NumPy and malloc keep smaller pieces at hand themselves."""
MAX_FREE_BYTES = 1 << 29
"""Bytes that the pool keeps at most while nobody uses them: more than the training steps it was measured with need."""

_Piece = tuple[NDArray[np.uint8], int]


class _Pool:
    """Free memory by size; each piece is an array of bytes and the address from which it is used."""

    def __init__(self) -> None:
        self._free: dict[int, list[_Piece]] = {}
        # Reentrant: the collector may run, and let an array die, while this thread is in here.
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
            # At the interpreter's end a module's names are None already.
            if MAX_FREE_BYTES is not None and self.free_bytes + size <= MAX_FREE_BYTES:
                self.free_bytes += size
                self._free.setdefault(size, []).append(piece)

    def clear(self) -> None:
        with self._lock:
            self._free.clear()
            self.free_bytes = 0

    def begin_anew(self) -> None:
        """Forget, in a forked child, what a thread of the parent may have been in the midst of changing."""
        self._lock = threading.RLock()
        self.clear()


_POOL = _Pool()

if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_POOL.begin_anew)


@functools.cache
def _block_type(size: int) -> Any:
    """Give the type of what owns `size` bytes while an array uses them.

    A ctypes array, because before Python 3.12 no class of Python's own can lend memory to NumPy. The array over it and
    all views keep it as their base; when the last of them dies, it does, and its memory goes back.
    """

    def give_back(block: Any, pool: _Pool = _POOL) -> None:
        pool.give_back(size, block.piece)

    return type(f"Block{size}", (ctypes.c_ubyte * size,), {"__del__": give_back})


def _size_class(size: int) -> int:
    """Round up to one of eight sizes per octave, so that batches of slightly different length share memory."""
    step = 1 << max(size.bit_length() - 4, 0)
    return (size + step - 1) // step * step


def empty(shape: int | Sequence[int], dtype: DTypeLike = np.float32) -> NDArray[Any]:
    """Give an array of undefined content, in memory that was used before where there is some.

    Parameters
    ----------
    shape : int or sequence of int
        Its shape.
    dtype : dtype, default float32
        A dtype without Python objects.

    Returns
    -------
    ndarray
        Contiguous in row order; from 32 KiB on aligned to 64 bytes.

    Raises
    ------
    ValueError
        If a dimension is negative (NumPy's), or the dtype holds Python objects.

    Examples
    --------
    >>> empty((2, 3)).shape
    (2, 3)
    """
    dtype = np.dtype(dtype)
    # Types are compared first: whether something is a Sequence takes ten times as long to find out.
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


def empty_cache() -> None:
    """Free the memory that the pool keeps and nobody uses.

    Examples
    --------
    >>> empty_cache()
    >>> free_bytes()
    0
    """
    _POOL.clear()


def free_bytes() -> int:
    """Give the bytes that the pool keeps and nobody uses.

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
