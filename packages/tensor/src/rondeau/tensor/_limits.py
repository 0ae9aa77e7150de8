"""The numbers that an element type can hold, and the errors for those that it cannot.

A Python number is checked wherever it enters a tensor: NumPy would wrap it around, or turn NaN into some integer. An
array or a tensor is converted without a check, because its owner chose its type.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from rondeau.kernels.checks import shown
from rondeau.kernels.errors import ArgumentValueError
from rondeau.kernels.runtime.deferred import require
from rondeau.kernels.runtime.devices import is_of_device
from rondeau.kernels.runtime.transfers import on_host
from rondeau.tensor._dtypes import SUPPORTED, type_

Number = int | float | bool


def _bounds(dtype: type_) -> tuple[int, int]:
    """Return the smallest and the largest number that a type can hold, before rounding."""
    if dtype.kind == "b":
        return 0, 1
    if dtype.kind != "f":
        return int(np.iinfo(dtype).min), int(np.iinfo(dtype).max)
    # A number less than half a unit in the last place beyond the largest is rounded to it.
    places = np.finfo(dtype).nmant + 2
    infinite = ((1 << places) - 1) << (int(np.finfo(dtype).maxexp) - places)
    return 1 - infinite, infinite - 1


_BOUNDS = {dtype: _bounds(dtype) for dtype in SUPPORTED}


def check_holds(dtype: type_, number: Number, what: str = "") -> None:
    """Raise ValueError for a number that a type cannot hold; integers drop fractions, and booleans accept any number.

    Parameters
    ----------
    dtype : dtype
    number : int, float or bool
    what : str
        The beginning of the message, such as ``"full: "``.

    Raises
    ------
    ValueError
        If the number is out of range for the type, or is infinite or NaN and the type is an integer type.

    Examples
    --------
    >>> check_holds(np.dtype("uint8"), 300)
    Traceback (most recent call last):
        ...
    rondeau.kernels.errors.ArgumentValueError: 300 does not fit uint8, which holds 0 to 255
    """
    low, high = _BOUNDS[dtype]
    if low <= number <= high or dtype.kind == "b":
        return
    if dtype.kind != "f" or isinstance(number, int) or math.isfinite(number):
        raise does_not_fit(dtype, number, what)


def check_array_holds(dtype: type_, number: Any, what: str = "") -> None:
    """Do as `check_holds` does, for an array of zero dimensions, without a wait for the device that it may be on.

    Examples
    --------
    >>> check_array_holds(np.dtype("uint8"), np.array(300))
    Traceback (most recent call last):
        ...
    rondeau.kernels.errors.ArgumentValueError: 300 does not fit uint8, which holds 0 to 255
    """
    if not is_of_device(number):
        check_holds(dtype, number.item(), what)
    elif dtype.kind != "b":
        low, high = map(float, _BOUNDS[dtype])
        wide = number.astype(np.float64)
        fits = np.logical_and(low <= wide, wide <= high)
        if dtype.kind == "f":
            fits = np.logical_or(fits, np.logical_not(np.isfinite(wide)))
        require(fits, lambda: does_not_fit(dtype, on_host(number).item(), what))


def held(dtype: type_, number: Number, what: str = "") -> Any:
    """Return a number as a 0-d array of a type.

    Raises
    ------
    ValueError
        As for `check_holds`.
    """
    check_holds(dtype, number, what)
    return np.asarray(int(number) if dtype.kind in "iu" else number, dtype)


def check_all_hold(dtype: type_, numbers: Any) -> None:
    """Do as `check_holds` does, for Python numbers that NumPy has read; beyond float32 they become infinite.

    Raises
    ------
    ValueError
        If an integer type cannot hold one of them.
    """
    if dtype.kind not in "iu" or numbers.dtype.kind == "b" or numbers.dtype == dtype or not numbers.size:
        return
    low, high = _BOUNDS[dtype]
    if not (low <= numbers.min().item() and numbers.max().item() <= high):  # for NaN neither is true
        for number in numbers.flat:
            check_holds(dtype, number.item())


def does_not_fit(dtype: type_, number: Any, what: str = "") -> ArgumentValueError:
    """Return the error for a number that a type cannot hold."""
    if dtype.kind == "f":
        limits = f"whose largest number is {np.finfo(dtype).max:.4g}"
    else:
        low, high = _BOUNDS[dtype]
        limits = f"which holds {low} to {high}"
    return ArgumentValueError(f"{what}{shown(number)} does not fit {dtype}, {limits}")
