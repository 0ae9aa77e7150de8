"""The error function of arrays, which NumPy does not have."""

import math
from typing import Any

import numpy as np
from numba import types
from numpy.typing import NDArray

from rondeau.kernels.checks import check_array, in_row_order
from rondeau.kernels.errors import ArgumentTypeError
from rondeau.kernels.numerics.elements import ELEMENTS, Element
from rondeau.kernels.ops.arrays import erf as arrays
from rondeau.kernels.runtime.devices import is_of_device
from rondeau.kernels.runtime.signatures import array_type, compiled_per_dtype

__all__ = ["erf"]


def _signature_of_filling(element: Element) -> Any:
    flat = array_type(element.dtype, 1)
    return types.void(flat, flat)


@compiled_per_dtype(_signature_of_filling)
def _fill(x, out):  # type: ignore[no-untyped-def]
    for i in range(x.size):
        out[i] = math.erf(x[i])


def erf(x: Any) -> NDArray[Any]:
    """Return erf of every element.

    Parameters
    ----------
    x : ndarray or NumPy scalar of float16, float32 or float64
        Any shape and strides. float16 is computed in float32 and rounded once.

    Returns
    -------
    ndarray
        With the shape and dtype of `x`.

    Raises
    ------
    TypeError
        If it is not an array of one of these dtypes.

    Examples
    --------
    >>> erf(np.array([0.0, -10.0, np.inf])).tolist()
    [0.0, -1.0, 1.0]
    """
    x = np.asarray(x) if isinstance(x, np.generic) else x
    check_array("erf: x", x)
    wide = x.astype(np.float32) if x.dtype == np.float16 else x
    if wide.dtype not in ELEMENTS:
        raise ArgumentTypeError(
            f"erf: x must be float16, float32 or float64, got {x.dtype}; convert it with astype"
        )
    if is_of_device(wide):
        return arrays.erf(wide).astype(x.dtype, copy=False)  # type: ignore[no-any-return]
    out = np.empty(wide.shape, wide.dtype)
    _fill[wide.dtype](in_row_order(wide).reshape(-1), out.reshape(-1))
    return out.astype(x.dtype, copy=False)
