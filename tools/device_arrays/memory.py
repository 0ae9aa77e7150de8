"""The memory of the devices: which device is current, and how much of its memory arrays hold."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
from numpy.typing import NDArray

TOTAL = 16 * 2**30
_BLOCK = 512  # CuPy's pool hands out multiples of it


class CUDARuntimeError(RuntimeError):
    """An error of the CUDA runtime, as ``cupy.cuda.runtime.CUDARuntimeError``."""

    def __init__(self, name: str, text: str) -> None:
        super().__init__(f"{name}: {text}")


class OutOfMemoryError(MemoryError):
    """More memory was asked for than the pool may hold."""


class _State(threading.local):
    device = 0
    pool: MemoryPool | None = None


_state = _State()
_count = 1


def device_count() -> int:
    """Return the number of devices."""
    return _count


def set_device_count(count: int) -> None:
    """Set the number of devices; the first becomes current, and all pools are as new."""
    global _count
    _count, _state.device = count, 0
    _pools[:] = [_Blocks() for _ in range(count)]


def current_device() -> int:
    """Return the device on which this thread makes arrays and computes."""
    return _state.device


def set_current_device(device: int) -> None:
    """Set the device on which this thread makes arrays and computes."""
    if not 0 <= device < _count:
        raise CUDARuntimeError("cudaErrorInvalidDevice", "invalid device ordinal")
    _state.device = device


class _Blocks:
    """What a pool holds of one device."""

    def __init__(self) -> None:
        self.used = 0
        self.free: list[int] = []  # sizes of the blocks that no array holds
        self.limit = 0
        self.lock = threading.Lock()


_pools = [_Blocks()]


class Memory:
    """The memory of an array and its views, given back to the pool when the last of them goes.

    Attributes
    ----------
    device_id : int
    size : int
        Bytes.
    """

    __slots__ = ("_blocks", "device_id", "size")

    def __init__(self, nbytes: int) -> None:
        self.device_id = current_device()
        self.size = -(-nbytes // _BLOCK) * _BLOCK
        self._blocks = blocks = _pools[self.device_id]
        with blocks.lock:
            if self.size in blocks.free:
                blocks.free.remove(self.size)
            elif blocks.limit and blocks.used + sum(blocks.free) + self.size > blocks.limit:
                limit, self.size = blocks.limit, 0
                raise OutOfMemoryError(
                    f"Out of memory allocating {nbytes:,} bytes (limit set to: {limit:,} bytes)."
                )
            blocks.used += self.size

    def __del__(self) -> None:
        if self.size:
            with self._blocks.lock:
                self._blocks.used -= self.size
                self._blocks.free.append(self.size)


class MemoryPool:
    """The pool of the current device."""

    @property
    def _blocks(self) -> _Blocks:
        return _pools[current_device()]

    def used_bytes(self) -> int:
        """Return the bytes that arrays hold."""
        return self._blocks.used

    def free_bytes(self) -> int:
        """Return the bytes that the pool holds and no array does."""
        return sum(self._blocks.free)

    def total_bytes(self) -> int:
        """Return the bytes that the pool holds."""
        return self.used_bytes() + self.free_bytes()

    def n_free_blocks(self) -> int:
        """Return the number of blocks that no array holds."""
        return len(self._blocks.free)

    def free_all_blocks(self, stream: Any = None) -> None:
        """Give the blocks that no array holds back to the device."""
        self._blocks.free.clear()

    def set_limit(self, size: int | None = None, fraction: float | None = None) -> None:
        """Set the most that the pool may hold; 0 is no limit."""
        self._blocks.limit = int(TOTAL * fraction) if fraction is not None else size or 0

    def get_limit(self) -> int:
        """Return the most that the pool may hold; 0 is no limit."""
        return self._blocks.limit

    def malloc(self, size: int) -> MemoryPointer:
        """Take memory; here only arrays do."""
        raise NotImplementedError(
            "tools.device_arrays does not model MemoryPool.malloc: pass it to using_allocator"
        )


def allocating_pool() -> MemoryPool | None:
    """Return the pool from which this thread takes memory; None is the default one."""
    return _state.pool


def allocate_from(pool: MemoryPool | None) -> None:
    """Set the pool from which this thread takes memory; they are all counted together."""
    _state.pool = pool


class MemoryPointer:
    """Where the elements of an array begin, as ``x.data``."""

    def __init__(self, memory: Memory, address: int) -> None:
        self.mem = memory
        self.ptr = address
        self.device_id = memory.device_id


def poison(array: NDArray[Any]) -> None:
    """Fill memory that nobody wrote: with NaN, the integer -1 (the largest, if unsigned), or True."""
    kind = array.dtype.kind
    array.fill(np.nan if kind in "fc" else True if kind == "b" else np.array(-1).astype(array.dtype)[()])
