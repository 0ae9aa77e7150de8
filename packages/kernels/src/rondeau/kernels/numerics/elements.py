"""The types of numbers that kernels compute with."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
from numba import types

__all__ = ["ELEMENTS"]

ELEMENTS: Mapping[np.dtype[Any], Any] = MappingProxyType(
    {np.dtype(np.float32): types.float32, np.dtype(np.float64): types.float64}
)
"""NumPy's dtypes, and Numba's types of the same numbers."""
