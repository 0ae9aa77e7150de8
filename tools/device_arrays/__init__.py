"""An array library that stands for CuPy in tests, on machines without a GPU.

NumPy computes, but an array behaves as one on a device where code written for NumPy goes wrong::

    with installed(), transfers() as seen:
        import cupy

        x = cupy.asarray(host)  # a copy in memory of its own
        total = float((x * x).sum())
    assert len(seen.to_device) == len(seen.to_host) == 1

It follows CuPy 14.2, whose names, arguments and messages `interface` lists. In tests, the fixture ``device_stand_in``
puts it in CuPy's place.

What it refuses, as CuPy does
-----------------------------
* Implicit conversion: ``np.asarray(x)``, ``np.array([x])``, ``x`` as an index of a list or a size, ``memoryview(x)``.
* NumPy's arrays, of zero dimensions too, beside its own in operators, ufuncs, functions, ``out=`` and assignments.
  Comparisons take NumPy's arrays of zero dimensions; numbers, Python's and NumPy's, go anywhere.
* ``reduce`` and ``accumulate`` of ufuncs other than ``add`` and ``multiply``, ``at`` of those that have no atomic
  operation or not for the dtype, ``where=`` and ``initial=``, ``casting=`` of ``astype``, and what else `interface`
  does not list.
* ``flags.writeable``, ``setflags``, ``ctypes``, ``__array_interface__``, ``resize``, hashing, dtypes such as object,
  strings and dates, iteration over zero dimensions.
* Arrays of another device than the current one.

A reduction or an element is an array of zero dimensions, and reading it as a number is a transfer that waits.
Floating-point warnings are not given: a device has none.

Where it is stricter
--------------------
`UndefinedResultError` is raised where CuPy goes on silently with a result that nobody can mean: indices out of
range (which wrap around), repeated indices that are assigned different values (any of which is kept), and writes to
memory that a broadcast shares. A function of CuPy that is given NumPy's arrays alone is refused, although some of
CuPy's pass them on to NumPy.
Fresh memory (``empty``) is filled with NaN, or -1, and pinned memory that is written before the copy from it is
complete, or read before the copy to it is, shows: the first raises `PinnedMemoryError` when the copy is waited for, and
the second has NaN, or -1.

What it does not model
----------------------
Streams (all work is done at once, but for copies of pinned memory), the order of sums, kernels in CUDA C++
(``RawKernel``, ``ElementwiseKernel``; kernels of numba-cuda run in `tools.cuda_emulator`, for which `for_emulator`
unwraps the arrays), ``cupy.random``, whose bits are its own, graphs and ``fuse``. These raise NotImplementedError, as
do functions that CuPy has and nothing here needed yet: one line of `interface` adds one.
"""

from .array import UndefinedResultError, for_emulator
from .library import installed
from .pinned import PinnedMemoryError
from .transfers import Seen, Transfer, TransferError, Wait, no_transfers, transfers

__all__ = [
    "PinnedMemoryError",
    "Seen",
    "Transfer",
    "TransferError",
    "UndefinedResultError",
    "Wait",
    "for_emulator",
    "installed",
    "no_transfers",
    "transfers",
]
