"""Batches in page-locked memory of the host, from which a GPU copies by itself while the host goes on."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from types import ModuleType
from typing import Any

import numpy as np

__all__ = ["find_cupy", "pinned"]


def find_cupy() -> ModuleType | None:
    """Return CuPy, which allocates such memory; None where it is not installed, or there is no usable GPU."""
    try:
        cupy = importlib.import_module("cupy")
    except ImportError:
        return None
    return cupy if cupy.cuda.is_available() else None


def pinned(batch: Any, cupy: ModuleType) -> Any:
    """Return a batch with its arrays of numbers copied to pinned memory, each to memory of its own.

    Parameters
    ----------
    batch : object
        Arrays, or a nesting of them in tuples, lists and mappings. Anything else that has ``pin_memory``, as tensors
        have, is asked for it, and all else stays.
    cupy : module
    """
    if isinstance(batch, np.ndarray):
        if batch.dtype.kind not in "biufc":
            return batch
        copy: Any = np.ndarray(batch.shape, batch.dtype, cupy.cuda.alloc_pinned_memory(batch.nbytes))
        copy[...] = batch
        return copy
    if isinstance(batch, Mapping):
        return {key: pinned(part, cupy) for key, part in batch.items()}
    if isinstance(batch, tuple | list):
        parts = [pinned(part, cupy) for part in batch]
        return type(batch)(*parts) if hasattr(batch, "_fields") else type(batch)(parts)
    return batch.pin_memory() if hasattr(batch, "pin_memory") else batch
