"""Whether a machine has a GPU that CUDA can use, asked of NVIDIA's driver alone; run before anything is installed.

    python -m tools.cuda_check.driver

The status is 2, after a line that says why, if there is none. It needs nothing but Python.
"""

import ctypes
import sys
from collections.abc import Callable
from typing import Any

__all__ = ["main", "missing"]


def missing(load: Callable[[str], Any] = ctypes.CDLL) -> str | None:
    """Return why there is no GPU, or None if there is one.

    Parameters
    ----------
    load : callable
        Loads a shared library by its name, or raises OSError.
    """
    name = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
    try:
        driver = load(name)
    except OSError:
        return f"NVIDIA's driver ({name}) is not installed"
    if status := driver.cuInit(0):
        return f"NVIDIA's driver finds none (cuInit gives {status})"
    count = ctypes.c_int()
    if status := driver.cuDeviceGetCount(ctypes.byref(count)):
        return f"NVIDIA's driver does not count them (cuDeviceGetCount gives {status})"
    return None if count.value else "NVIDIA's driver finds none"


def main(load: Callable[[str], Any] = ctypes.CDLL) -> int:
    """Say why there is no GPU, if there is none; return the status."""
    if (why := missing(load)) is None:
        return 0
    print(f"nothing was measured, since there is no GPU: {why}")
    return 2


if __name__ == "__main__":
    sys.exit(main())
