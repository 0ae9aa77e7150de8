"""What a step of a persistent kernel cannot do without: a barrier of blocks, and the states of all others.

The kernels are written with the barrier and the loads of `rondeau.kernels.cuda`, and do nothing else.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from rondeau.kernels.cuda import compiler
from rondeau.kernels.runtime.devices import load_cupy

from . import clock as clocks
from .report import Row

__all__ = ["KERNELS", "measured", "prepared"]

_MEET = """\
        cuda.syncthreads()
        step += U(1)
        if thread == U(0):
            red_release_add(arrived, U(1), U(1))
            wait_for(arrived, U(1), step * blocks)
        cuda.syncthreads()
"""
_BARRIER = f"""\
def barrier(arrived, T):
    mark_cooperative()
    T, step = U(T), U(0)
    thread, blocks = U(cuda.threadIdx.x), U(cuda.gridDim.x)
    while step < T:
{_MEET}"""
# Every block has some units of the rows, and reads all of them, those of each step from another place.
_EXCHANGE = f"""\
def exchange(states, sums, arrived, T, rows, hidden):
    mark_cooperative()
    T, step, rows, hidden = U(T), U(0), U(rows), U(hidden)
    thread, threads = U(cuda.threadIdx.x), U(cuda.blockDim.x)
    block, blocks = U(cuda.blockIdx.x), U(cuda.gridDim.x)
    units = hidden // blocks
    size = rows * hidden
    total = float32(0)
    while step < T:
        k = thread
        while k < rows * units:
            row = step * rows + k // units
            states[row * hidden + block * units + k % units] = float32(step % U(7))
            k += threads
{_MEET}\
        k = thread * U(4)
        while k < size:
            a, b, c, d = ld_cg_v4(states, (step - U(1)) * size + k)
            total += (a + b) + (c + d)
            k += threads * U(4)
    sums[block * threads + thread] = total
"""


class MeasuredKernel(NamedTuple):
    """A kernel whose blocks wait for one another, before it is compiled; see `KernelSource`."""

    name: str
    source: str
    arrays: tuple[str, ...]
    numbers: tuple[str, ...]
    max_registers: int | None = None

    def type_of(self, name: str) -> tuple[str, int]:
        """Return the type of an array's elements and its number of dimensions."""
        return "uint32" if name == "arrived" else "real", 1


_WARPS = 8
KERNELS = {
    "barrier": MeasuredKernel("barrier", _BARRIER, ("arrived",), ("T",)),
    "exchange": MeasuredKernel("exchange", _EXCHANGE, ("states", "sums", "arrived"), ("T", "rows", "hidden")),
}


def prepared() -> Iterator[Callable[[], object]]:
    """Yield what compiles each kernel."""
    for kernel in KERNELS.values():
        yield functools.partial(compiler.Kernel, kernel, np.float32)


def measured(stand_in: bool, end: float) -> Iterator[Row]:
    """Yield the microseconds of a barrier, and of a barrier and an exchange, by the number of blocks."""
    clock, threads, steps, hidden = clocks.of_cupy(), 32 * _WARPS, 2000, 512
    blocks_of, rows_of = [16, 32, 64, 128], [4, 16]
    if stand_in:
        clock, threads, steps, hidden = clock._replace(warm_up=0, repeats=1), 32, 3, 16
        blocks_of, rows_of = [2], [2]
    barriers: dict[int, float] = {}
    for blocks in blocks_of:
        began = time.monotonic()
        if began > end:
            yield Row("exchange", f"{blocks} blocks", "skipped", "the minutes were over", 0.0)
            continue
        barriers[blocks] = _barrier(clock, blocks, threads, steps)
        figures = {"blocks": blocks, "barrier": barriers[blocks]}
        detail = f"{barriers[blocks]:.3f} us"
        yield Row(
            "exchange", f"a barrier of {blocks} blocks", "measured", detail, time.monotonic() - began, figures
        )
    for blocks in barriers:
        for rows in rows_of:
            began = time.monotonic()
            name = f"{rows} x {hidden} float32 to each of {blocks} blocks"
            if began > end:
                yield Row("exchange", name, "skipped", "the minutes were over", 0.0)
                continue
            both, right = _exchange(clock, blocks, threads, steps, rows, hidden)
            if not right:
                yield Row("exchange", name, "WRONG", "a block has not read what others wrote", 0.0)
                continue
            figures = {"blocks": blocks, "bytes": 4 * rows * hidden, "exchange": both - barriers[blocks]}
            detail = f"{both:.3f} us with the barrier, {both - barriers[blocks]:.3f} without"
            yield Row("exchange", name, "measured", detail, time.monotonic() - began, figures)


def _barrier(clock: clocks.Clock, blocks: int, threads: int, steps: int) -> float:
    arrived = load_cupy().zeros(2, "uint32")
    kernel = compiler.Kernel(KERNELS["barrier"], np.float32)
    given = kernel.argument(arrived)

    def run() -> None:
        arrived[...] = 0
        kernel.launch((blocks, 1), threads, given, steps)

    return 1e3 * clock.measure(run).median / steps


def _exchange(
    clock: clocks.Clock, blocks: int, threads: int, steps: int, rows: int, hidden: int
) -> tuple[float, bool]:
    """Return the microseconds of a step, and whether every block has read what the others wrote."""
    cupy = load_cupy()
    states = cupy.zeros(steps * rows * hidden, "float32")
    sums, arrived = cupy.zeros(blocks * threads, "float32"), cupy.zeros(2, "uint32")
    kernel = compiler.Kernel(KERNELS["exchange"], np.float32)
    given: list[Any] = [kernel.argument(array) for array in (states, sums, arrived)]

    def clear() -> None:
        arrived[...] = 0
        states[...] = -1

    def run() -> None:
        clear()
        kernel.launch((blocks, 1), threads, *given, steps, rows, hidden)

    whole = clock.measure(run).median - clock.measure(clear).median
    read = sums.get().reshape(blocks, threads).sum(axis=1, dtype=np.float64)
    written = sum(step % 7 for step in range(steps)) * rows * hidden
    return 1e3 * whole / steps, bool((read == written).all())
