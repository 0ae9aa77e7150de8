"""Runs the Python source of a CUDA kernel, written for `numba.cuda`, without a GPU, and finds what is wrong with it.

For tests: a kernel that passes here exchanges what it exchanges in order, whatever the schedule. ::

    kernel = Kernel(function)  # or its source
    kernel.launch(grid, block, *arrays_and_numbers, seed=3)

The kernel names ``cuda`` and the intrinsics of `intrinsics` (``ld_acquire``, ``mma_m16n8k8_tf32``, ...) as globals;
whatever they are there, the emulator puts its own in their places. Device functions, closures and records of arrays
(`NamedTuple`) work as with Numba.

How --- The source is rewritten (`rewriting`) so that each thread is a generator that stops where other threads can
take notice: at barriers, at atomic operations, acquires, releases and fences, and at collectives of a warp. All
blocks are there at once, and the thread that goes on is drawn from a seed (`machine`); a schedule may hold one block,
warp or thread far behind the others. Two accesses to the same element, one of them a plain store or load and one a
store, must be ordered by barriers, by a release and its acquire, or by fences: vector clocks decide that exactly
(`clocks`, `memory`), under any schedule that reaches both. So plain accesses need no turns of their own, which makes
this fast, and a missing barrier shows in nearly every schedule, not in the unlucky ones. What is left to the draw is
the order of atomic operations and the values that weak loads return (`strong`).

What it finds ------------- `DataRaceError`, between threads of a block or of several, lanes of a warp included: they
run independently unless ``lockstep=True``, and even then nothing but ``syncwarp`` orders them. Asynchronous copies
and elements of other widths count. `DeadlockError`, with who waits where; threads that only read the same again and
again wait too. `DivergenceError`, a barrier or collective met at two places of the source. `WarpError`, masks that
disagree or lanes that give nothing. `UninitialisedError`, reads of what nobody wrote, in local and shared memory, and
in global memory that ``launch(unwritten=...)`` names. `OutOfBoundsError`, indices past either end (a negative one
does not wrap) and addresses that are not aligned. Numbers are left to the test.

What it does not model
----------------------
* Types. An integer is Python's and a float has 64 bits between stores and conversions (``np.float32(x)``), where it
  is rounded. So errors of float32 sums and of the device's functions are not in the numbers, and code that is wrong
  because of its types passes: device functions are tested typed as well, compiled for the CPU.
* The order in which the hardware adds in a matrix instruction: one sum in float64, rounded to float32. TF32 operands
  are cut to 19 bits, as the hardware does.
* The total order of ``fence.sc``: ``threadfence`` orders as ``fence.acq_rel`` does, so an algorithm that needs more
  (Dekker's) is found wrong though it is right. Loads never see values of the future.
* What a vector load of the hardware may do as one: it is as many loads.
* Time, bank conflicts, caches, registers, and how many blocks a GPU holds at once: here all are resident.
* Clusters, distributed shared memory, mbarriers and TMA, ``bar.red``, textures, dynamic parallelism, warps of other
  sizes.
"""

from .faults import (
    DataRaceError,
    DeadlockError,
    DivergenceError,
    KernelError,
    OutOfBoundsError,
    UninitialisedError,
    WarpError,
)
from .kernel import Kernel, Statistics

__all__ = [
    "DataRaceError",
    "DeadlockError",
    "DivergenceError",
    "Kernel",
    "KernelError",
    "OutOfBoundsError",
    "Statistics",
    "UninitialisedError",
    "WarpError",
]
