"""``cuda`` in a kernel: numba.cuda's names.

A function that is marked `suspends` returns a request to the machine, which the rewritten source yields.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from . import meetings, strong, warps
from .faults import KernelError
from .local import LocalArray, LocalGrid, local_array
from .machine import Machine
from .meetings import FULL, LANES, Collective
from .memory import Array, Region
from .scalars import ScalarType
from .threads import Dim3

_STATIC_BYTES = 48 * 1024  # of shared memory that a kernel may declare
_F = TypeVar("_F", bound=Callable[..., Any])
Request = tuple[Any, ...]


def suspends(function: _F) -> _F:
    """Mark a function that returns a request."""
    function.suspends = True  # type: ignore[attr-defined]
    return function


class Launched:
    """Holds the machine that runs."""

    machine: Machine


def _dtype_of(dtype: Any) -> np.dtype[Any]:
    found: np.dtype[Any] = dtype.dtype if isinstance(dtype, ScalarType) else np.dtype(dtype)
    return found


class _Shared:
    """``cuda.shared``."""

    def __init__(self, launched: Launched) -> None:
        self._launched = launched

    def array(self, shape: Any, dtype: Any, alignment: int = 16, *, site: tuple[int, int]) -> Array:
        """Return the block's array that is declared at ``site``; for shape 0 a view of the launch's dynamic memory."""
        block = self._launched.machine.current.block
        kind = _dtype_of(dtype)
        sizes = tuple(int(size) for size in shape) if isinstance(shape, tuple) else (int(shape),)
        if sizes == (0,):
            if block.dynamic is None:
                raise KernelError("dynamic shared memory, and the launch gives none")
            return block.dynamic.view(kind)
        if site not in block.shared:
            data = np.zeros(math.prod(sizes) * kind.itemsize, np.uint8)
            total = sum(array.region.data.size for array in block.shared.values()) + data.size
            if total > _STATIC_BYTES:
                raise KernelError(
                    f"{total} bytes of static shared memory, of which a block has {_STATIC_BYTES}"
                )
            region = Region(
                block.machine, f"the shared array of line {site[0]}", data, kind.itemsize, written=False
            )
            block.shared[site] = region.view(kind, 0, sizes)
        return block.shared[site]

    array.declares = True  # type: ignore[attr-defined]


class _Local:
    """``cuda.local``."""

    @staticmethod
    def array(shape: Any, dtype: Any, alignment: int = 0) -> LocalArray | LocalGrid:
        """Return an array of the thread alone, of unset elements."""
        return local_array(shape, _dtype_of(dtype))


def _changing(function: Callable[[Any, Any], Any]) -> Any:
    """Return an atomic operation that replaces an element by ``function(element, value)``."""

    def operation(array: Array, index: Any, value: Any) -> Request:
        return Machine.perform, strong.change, array, index, lambda before: function(before, value)

    return staticmethod(suspends(operation))


class _Atomic:
    """``cuda.atomic``: relaxed, with the scope of the GPU."""

    add = _changing(lambda before, value: before + value)
    sub = _changing(lambda before, value: before - value)
    and_ = _changing(lambda before, value: before & value)
    or_ = _changing(lambda before, value: before | value)
    xor = _changing(lambda before, value: before ^ value)
    exch = _changing(lambda before, value: value)
    max = _changing(max)
    min = _changing(min)
    inc = _changing(lambda before, value: 0 if before >= value else before + 1)
    dec = _changing(lambda before, value: value if before == 0 or before > value else before - 1)

    @staticmethod
    @suspends
    def cas(array: Array, index: Any, old: Any, value: Any) -> Request:
        """Store ``value`` if the element is ``old``."""
        return Machine.perform, strong.compare_and_swap, array, index, old, value

    @staticmethod
    @suspends
    def compare_and_swap(array: Array, old: Any, value: Any) -> Request:
        """Store ``value`` in element 0 if that is ``old``."""
        return _Atomic.cas(array, 0, old, value)


class _Grid:
    """``cuda.cg.this_grid()``."""

    @staticmethod
    @suspends
    def sync() -> Request:
        """Wait for every thread of the grid."""
        return (meetings.sync_grid,)


class _CooperativeGroups:
    """``cuda.cg``."""

    @staticmethod
    def this_grid() -> _Grid:
        """Return the group of all threads."""
        return GRID


GRID = _Grid()


def _of_value(collective: Collective) -> Any:
    def operation(mask: int, value: Any) -> Request:
        return meetings.collective, mask, collective, value

    return staticmethod(suspends(operation))


def _of_value_and_place(collective: Collective) -> Any:
    def operation(mask: int, value: Any, place: int) -> Request:
        return meetings.collective, mask, collective, (value, place)

    return staticmethod(suspends(operation))


class Cuda:
    """``cuda``.

    Parameters
    ----------
    launched : Launched
    """

    warpsize = LANES
    atomic = _Atomic
    local = _Local
    cg = _CooperativeGroups

    def __init__(self, launched: Launched) -> None:
        self._launched = launched
        self.shared = _Shared(launched)

    @property
    def threadIdx(self) -> Dim3:  # noqa: D102
        return self._launched.machine.current.index

    @property
    def blockIdx(self) -> Dim3:  # noqa: D102
        return self._launched.machine.current.block.index

    @property
    def blockDim(self) -> Dim3:  # noqa: D102
        return self._launched.machine.block_dim

    @property
    def gridDim(self) -> Dim3:  # noqa: D102
        return self._launched.machine.grid_dim

    @property
    def laneid(self) -> int:  # noqa: D102
        return self._launched.machine.current.lane

    def grid(self, ndim: int) -> Any:
        """Return the thread's place in the grid, of one to three dimensions."""
        block, thread, size = self.blockIdx, self.threadIdx, self.blockDim
        places = tuple(b * n + t for b, n, t in zip(block, size, thread, strict=True))
        return places[0] if ndim == 1 else places[:ndim]

    def gridsize(self, ndim: int) -> Any:
        """Return the number of threads in each dimension."""
        sizes = tuple(g * n for g, n in zip(self.gridDim, self.blockDim, strict=True))
        return sizes[0] if ndim == 1 else sizes[:ndim]

    @staticmethod
    @suspends
    def syncthreads() -> Request:  # noqa: D102
        return (meetings.sync_threads,)

    @staticmethod
    @suspends
    def syncthreads_count(value: Any) -> Request:
        """Wait for the block, and return how many gave something true."""
        return meetings.sync_threads, sum, int(bool(value))

    @staticmethod
    @suspends
    def syncthreads_and(value: Any) -> Request:
        """Wait for the block, and return whether all gave something true."""
        return meetings.sync_threads, lambda values: int(all(values)), int(bool(value))

    @staticmethod
    @suspends
    def syncthreads_or(value: Any) -> Request:
        """Wait for the block, and return whether any gave something true."""
        return meetings.sync_threads, lambda values: int(any(values)), int(bool(value))

    @staticmethod
    @suspends
    def syncwarp(mask: int = FULL) -> Request:  # noqa: D102
        return meetings.collective, mask, warps.SYNC, None

    @staticmethod
    @suspends
    def threadfence() -> Request:  # noqa: D102
        return Machine.fence, False

    threadfence_system = threadfence

    @staticmethod
    @suspends
    def threadfence_block() -> Request:  # noqa: D102
        return Machine.fence, True

    @staticmethod
    @suspends
    def activemask() -> Request:  # noqa: D102
        return (Machine.active_mask,)

    @staticmethod
    @suspends
    def nanosleep(nanoseconds: int) -> Request:  # noqa: D102
        return (Machine.pause,)

    shfl_sync = _of_value_and_place(warps.SHUFFLE)
    shfl_up_sync = _of_value_and_place(warps.SHUFFLE_UP)
    shfl_down_sync = _of_value_and_place(warps.SHUFFLE_DOWN)
    shfl_xor_sync = _of_value_and_place(warps.SHUFFLE_XOR)
    all_sync = _of_value(warps.ALL)
    any_sync = _of_value(warps.ANY)
    eq_sync = _of_value(warps.EQ)
    ballot_sync = _of_value(warps.BALLOT)
    match_any_sync = _of_value(warps.MATCH_ANY)
    match_all_sync = _of_value(warps.MATCH_ALL)

    def lanemask_lt(self) -> int:
        """Return the mask of the lanes before the thread's own."""
        return (1 << self.laneid) - 1

    @staticmethod
    def popc(value: int) -> int:
        """Count the bits that are set."""
        return int(value).bit_count()

    @staticmethod
    def clz(value: int) -> int:
        """Count the zeros at the head of 32 bits."""
        return 32 - (int(value) & FULL).bit_length()

    @staticmethod
    def ffs(value: int) -> int:
        """Return the place of the lowest bit that is set, counted from 1; 0 if none is."""
        return (int(value) & -int(value)).bit_length()

    @staticmethod
    def brev(value: int) -> int:
        """Reverse 32 bits."""
        return int(f"{int(value) & FULL:032b}"[::-1], 2)

    @staticmethod
    def selp(condition: Any, a: Any, b: Any) -> Any:
        """Return a if the condition is true, else b."""
        return a if condition else b

    @staticmethod
    def fma(a: float, b: float, c: float) -> float:
        """Return a b + c, which a store rounds."""
        return a * b + c


def _weak_load(array: Array, index: Any) -> Any:
    return array[index]


def _weak_store(array: Array, index: Any, value: Any) -> None:
    array[index] = value


# Cache hints order nothing: a value that another thread writes meanwhile is a race with any of them.
for _name in ("ldca", "ldcg", "ldcs", "ldlu", "ldcv"):
    setattr(Cuda, _name, staticmethod(_weak_load))
for _name in ("stwb", "stcg", "stcs", "stwt"):
    setattr(Cuda, _name, staticmethod(_weak_store))
