"""An array library that stands for CuPy in tests, on machines without a GPU.

NumPy computes, but where code written for NumPy would go wrong on a device, these arrays go wrong too. They follow
CuPy 14.2, whose names and arguments `interface` lists. In tests, the fixture ``device_stand_in`` puts the library in
CuPy's place.

>>> import numpy as np
>>> from tools.device_arrays import installed, transfers
>>> with installed(), transfers() as seen:
...     import cupy
...
...     x = cupy.asarray(np.arange(3.0))  # a copy, in memory of its own
...     total = float((x * x).sum())
>>> total, len(seen.to_device), len(seen.to_host)
(5.0, 1, 1)
>>> x + np.ones(3)
Traceback (most recent call last):
TypeError: Unsupported type <class 'numpy.ndarray'>

What it refuses, as CuPy does
-----------------------------
* Implicit conversion: ``np.asarray(x)``, ``np.array([x])``, ``memoryview(x)``, ``x`` as the index of a list or as a
  size.
* NumPy's arrays, those of zero dimensions too, beside its own: in operators, ufuncs, functions, ``out=`` and
  assignments. Comparisons accept NumPy's arrays of zero dimensions. Numbers, Python's and NumPy's, go anywhere.
* ``reduce`` and ``accumulate`` of ufuncs other than ``add`` and ``multiply``; ``at`` of ufuncs, and for dtypes, without
  an atomic operation; ``where=``, ``initial=``, ``casting=`` of ``astype``; and every name and keyword that
  `interface` does not list.
* ``flags.writeable``, ``setflags``, ``ctypes``, ``__array_interface__``, ``resize``, hashing, iteration over an array
  of zero dimensions, and dtypes such as object, strings and dates.
* Arrays of a device other than the current one.

``shape=()`` and ``shape=0`` of ``zeros_like`` and its kin count as not given, as in CuPy.

A reduction or an element is an array of zero dimensions, and to read it as a number is a transfer that waits. There are
no floating-point warnings. The solution of a singular system is NaN, without an error.

Where it is stricter
--------------------
* `UndefinedResultError` is raised where CuPy silently computes what no program can rely on: indices out of range, which
  it wraps around; repeated indices that are assigned different values, of which it keeps any; writes to elements that
  share memory after a broadcast; and the assignment of memory to memory that it overlaps.
* Fresh memory, as of ``empty``, holds NaN or -1.
* What ``add.at`` and `cupyx.scatter_add` add to an element comes in a random order, as from atomic operations.
* Copies from and to pinned memory are complete only when they have been waited for. If the source is written before
  that, the wait raises `PinnedMemoryError`; a destination that is read before that holds NaN or -1.
* A graph's launch writes over all that was allocated in its capture, which must come from a pool that lives as long as
  the graph: `UndefinedResultError` where it is the default pool, or gone. Nothing is copied from or to the host then.
* Functions refuse arguments that are all NumPy's, although some of CuPy's pass them on to NumPy.

What it does not model
----------------------
* Arithmetic is NumPy's: also where a device rounds sums in another order, converts NaN to other integers, or raises no
  error for a negative power of an integer.
* Streams: work is done at once and in the order of the calls, except copies of pinned memory and what is captured.
* Kernels in CUDA C++ (``RawKernel``, ``ElementwiseKernel``), ``cupy.random``, graphs in graphs, ``fuse``, and functions
  that nothing has needed yet raise NotImplementedError; to add a function is one line in `interface`. Kernels of
  numba-cuda run in `tools.cuda_emulator`, for which `for_emulator` unwraps the arrays and `recorded` makes a launch one
  that streams capture; ``numba_cuda`` is only there to be found.
"""

from .array import UndefinedResultError, for_emulator
from .capture import recorded
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
    "recorded",
    "transfers",
]
