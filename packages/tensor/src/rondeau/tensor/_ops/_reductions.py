"""Reductions by a ufunc, of arrays of any device."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np


class Reduction(NamedTuple):
    """A reduction: NumPy's method, in half the time of the function, and the function, for arrays of any device.

    Of ufuncs, CuPy has the methods for sums and products alone.
    """

    method: Any
    function: Any


MAXIMUM = Reduction(np.maximum.reduce, np.max)
MINIMUM = Reduction(np.minimum.reduce, np.min)
PRODUCT = Reduction(np.multiply.reduce, np.prod)
ALL = Reduction(np.logical_and.reduce, np.all)
ANY = Reduction(np.logical_or.reduce, np.any)
