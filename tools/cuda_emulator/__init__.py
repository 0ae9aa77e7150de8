"""Runs the Python source of a CUDA kernel, written for `numba.cuda`, without a GPU, and finds what is wrong with it.

For tests. ::

    kernel = Kernel(function)  # or its source
    kernel.launch(grid, block, *arrays_and_numbers, seed=3)

The kernel names ``cuda`` and the functions of `intrinsics` (``ld_acquire``, ``mma_m16n8k8_tf32``, ...) as globals;
whatever they are there, the emulator puts its own in their places. Device functions, closures and records of arrays
(`NamedTuple`) work as with Numba.

How
---
The source is rewritten (`rewriting`) so that each thread is a generator that stops where other threads can take notice:
at barriers, atomic operations, acquires, releases and fences, and at collectives of a warp. All blocks are there at
once, and the thread that goes on is drawn from a seed (`machine`); a schedule may hold one block, warp or thread far
behind the others.

Two accesses to an element, one of them a write and one of them plain, must be ordered: by a barrier, by a release and
its acquire, or by fences. Vector clocks tell whether they are (`clocks`, `memory`), in any schedule that comes to both,
whichever comes first. So plain accesses need no turns of their own, which makes this fast, and a barrier that is
missing shows in nearly every schedule, not in the unlucky ones. What is left to the draw is the order of atomic
operations, and the values that relaxed loads return (`strong`).

What it finds
-------------
* `DataRaceError`, between threads of a block or of several, lanes of a warp included: they run independently unless
  ``lockstep=True``, and even then nothing but ``syncwarp`` orders them. Asynchronous copies count, and views of other
  widths.
* `DeadlockError`, with who waits where; threads that only read the same again and again wait too.
* `DivergenceError`: ``syncthreads`` or a matrix instruction met at two places of the source, or lanes that meet in two
  collectives.
* `WarpError`: masks that disagree, lanes that give nothing.
* `UninitialisedError`: reads of what nobody wrote, in local and shared memory, and in the global memory that
  ``launch(unwritten=...)`` names.
* `OutOfBoundsError`: indices past either end (a negative one does not wrap), and addresses that are not aligned.

Whether the numbers are right is for the test to say.

What it does not model
----------------------
* Types. An integer is Python's, and a float has 64 bits between stores and conversions (``np.float32(x)``), which round
  it. So errors of float32 sums and of the device's functions are not in the numbers, and code that is wrong because of
  its types passes: device functions are tested typed as well, compiled for the CPU.
* The order in which the hardware adds in a matrix instruction: it is one sum in float64, rounded to float32. Operands
  in TF32 are cut to 19 bits, as the hardware cuts them.
* The total order of ``fence.sc``: ``threadfence`` orders as ``fence.acq_rel`` does, so that an algorithm which needs
  more (Dekker's) is found wrong though it is right. Loads never see values of the future.
* A vector access as one: it is as many accesses.
* Time, bank conflicts, caches, registers, and how many blocks a GPU holds at once: here all are resident.
* Clusters and their shared memory, mbarriers, TMA, textures, and launches from a kernel.
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
