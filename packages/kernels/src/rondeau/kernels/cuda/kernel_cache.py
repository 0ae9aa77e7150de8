"""The disk cache of compiled kernels, under the rules of `rondeau.kernels.runtime.cache`.

An entry holds a kernel for one compute capability: its machine code, and what numba-cuda must know to launch it. The
code is not loaded onto a GPU before the first launch, so an entry can be made where there is none.
"""

from __future__ import annotations

import pickle
from typing import Any

from rondeau.kernels.runtime.cache import DiskCache

__all__ = ["KernelCache"]


class KernelCache(DiskCache):
    """The cache of one dispatcher of numba-cuda's, whose kernels pickle themselves."""

    def _reduced(self, compiled: Any) -> bytes | None:
        return pickle.dumps(compiled)

    def _rebuilt(self, payload: bytes, target_context: Any) -> Any:
        return pickle.loads(payload)
