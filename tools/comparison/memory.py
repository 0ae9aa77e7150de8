"""The memory high-water mark of a function, from the operating system (Linux)."""

import ctypes
import gc
import sys
from collections.abc import Callable
from pathlib import Path


def peak_of(run: Callable[[], object]) -> int:
    """Return the bytes that a warm call needs above the level before it.

    The level is that of a process that holds nothing between calls: gradients are dropped, pools of free memory
    are emptied, and the allocator gives its free pages back; else what a library keeps would not count. Then the
    high-water mark is reset. Resolution: a page, and the noise of the interpreter, some 100 KB.
    """
    release = getattr(run, "release", None)
    if release is not None:
        release()
    gc.collect()
    if "rondeau.kernels" in sys.modules:
        from rondeau.kernels.runtime import buffers

        buffers.empty_cache()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    before = _status("VmRSS")
    run()
    return max(0, _status("VmHWM") - before)


def _status(field: str) -> int:
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    raise LookupError(field)
