"""Prepare: compile the kernels of the checks for a GPU, on a machine without one.

The checks run on arrays of the stand-in for CuPy; their kernels are compiled, which leaves them in the disk cache, and
not launched. So what the checks compute means nothing, and is not looked at.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from unittest.mock import patch

from rondeau.kernels.cuda import compiler

from ..cuda_code import filling_the_cache
from ..device_arrays import installed
from .sections import SECTIONS, Section

__all__ = ["prepare"]


class _Prepared(compiler.Kernel):
    """A kernel that is compiled, and not launched."""

    count = 0
    """Of all of them."""

    def __init__(self, phase: Any, dtype: Any) -> None:
        with filling_the_cache():
            super().__init__(phase, dtype)
        _Prepared.count += 1

    @staticmethod
    def argument(array: Any) -> Any:
        return array

    def resident_blocks(self, threads: int) -> int:
        """Return how many blocks run at once: enough."""
        return 2**31 - 1

    def launch(self, grid: tuple[int, int], threads: int, *arguments: Any) -> None:
        """Do nothing."""


def prepare(names: Iterable[str]) -> int:
    """Compile the kernels of sections for an H100 or H200, and print their numbers; return how many runs failed."""
    failed = 0
    with installed(numba_cuda=False), patch.object(compiler, "Kernel", _Prepared):
        for name in names:
            began, before = time.monotonic(), _Prepared.count
            with SECTIONS[name].allowed_tier():
                for run in _runs(SECTIONS[name]):
                    try:
                        run()
                    except Exception as error:  # the kernels of the others are worth having
                        print(f"{name}: {type(error).__name__}: {error}", flush=True)
                        failed += 1
            seconds = time.monotonic() - began
            print(f"{name:18} {_Prepared.count - before:4} kernels, {seconds:.0f} s", flush=True)
    return failed


def _runs(section: Section) -> Iterator[Callable[[], object]]:
    """Yield what runs all kernels of a section."""
    checks = section.load()
    if callable(checks):
        yield from section.imported().prepared()
    else:
        for case in checks:
            yield functools.partial(case.run, "cuda")
