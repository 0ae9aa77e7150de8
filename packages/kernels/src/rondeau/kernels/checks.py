"""Argument checks for all kernels, with the same wording: NAME must be ..., got ...; what to do.

`name` is the beginning of the message: the function and its argument, as in ``"cross_entropy: logits"``. An array is
one of NumPy's or of a GPU; the arrays of one call must be on the same device: see `check_one_device`.
"""

from __future__ import annotations

import reprlib
import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rondeau.kernels.errors import ArgumentTypeError, ArgumentValueError
from rondeau.kernels.numerics.elements import ELEMENTS
from rondeau.kernels.runtime.deferred import raise_pending, require
from rondeau.kernels.runtime.devices import device_name, is_array, is_of_device

__all__ = [
    "are_of_device",
    "are_plain",
    "check_array",
    "check_integer",
    "check_number",
    "check_one_device",
    "checked_array",
    "checked_floats",
    "checked_indices",
    "in_row_order",
    "is_count",
    "shown",
]

Array = NDArray[Any]


def is_count(value: Any, at_least: int) -> bool:
    """Return whether a value is an integer of at least `at_least`."""
    is_whole = type(value) is int or (isinstance(value, int | np.integer) and not isinstance(value, bool))
    return is_whole and bool(value >= at_least)


def shown(value: Any) -> str:
    """Return the representation of a value, shortened; Python does not print integers of thousands of digits.

    Examples
    --------
    >>> shown(1.5), shown(10**5000)
    ('1.5', 'an integer of 16610 bits')
    """
    if isinstance(value, int) and value.bit_length() > 4096:
        return f"an integer of {value.bit_length()} bits"
    return reprlib.repr(value)


def check_integer(name: str, value: Any, least: int = -(2**63), most: int = 2**63 - 1) -> None:
    """Raise an error unless a value is an integer from `least` to `most`, by default one of 64 bits.

    Raises
    ------
    TypeError, ValueError
        The message names the argument.

    Examples
    --------
    >>> check_integer("groups", 0, 1, 8)
    Traceback (most recent call last):
        ...
    rondeau.kernels.errors.ArgumentValueError: groups must be from 1 to 8, got 0
    """
    if type(value) is int and least <= value <= most:  # nearly always
        return
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise ArgumentTypeError(f"{name} must be an integer, got {type(value).__name__}: {shown(value)}")
    if not least <= value <= most:
        raise ArgumentValueError(f"{name} must be from {_bound(least)} to {_bound(most)}, got {shown(value)}")


def _bound(number: int) -> str:
    """Return a bound for a message: ``2**63 - 1`` and not its nineteen digits."""
    if abs(number) < 2**53:
        return str(number)
    power = f"{'-' if number < 0 else ''}2**{number.bit_length() - (number < 0)}"
    return power if number < 0 else f"{power} - 1"


def check_number(name: str, value: Any, least: float, most: float) -> None:
    """Raise an error unless a value is a number from `least` to `most`.

    Raises
    ------
    TypeError, ValueError
        The message names the argument.

    Examples
    --------
    >>> check_number("smoothing", 2, 0, 1)
    Traceback (most recent call last):
        ...
    rondeau.kernels.errors.ArgumentValueError: smoothing must be from 0 to 1, got 2
    """
    if type(value) is float and least <= value <= most:  # nearly always
        return
    # Not `numbers.Real`: an isinstance check takes several times as long with it.
    if isinstance(value, bool) or not isinstance(value, float | int | np.floating | np.integer):
        raise ArgumentTypeError(f"{name} must be a number, got {type(value).__name__}: {shown(value)}")
    # As a Python float: comparing a float32 would convert the largest double, which overflows.
    number = value.item() if isinstance(value, np.generic) else value
    if not least <= number <= most:
        raise ArgumentValueError(f"{name} must be from {least} to {most}, got {shown(number)}")


def check_array(name: str, array: Any) -> None:
    """Raise TypeError unless a value is an array.

    Raises
    ------
    TypeError
        The message names the argument.

    Examples
    --------
    >>> check_array("add_rows: ids", [1, 2])
    Traceback (most recent call last):
        ...
    rondeau.kernels.errors.ArgumentTypeError: add_rows: ids must be a numpy array, got list
    """
    if not isinstance(array, np.ndarray) and not is_of_device(array):
        raise ArgumentTypeError(f"{name} must be a numpy array, got {type(array).__name__}")


def check_one_device(function: str, /, **arrays: Any) -> None:
    """Raise ValueError unless the arrays of a call are on the same device; the arguments are those of `are_of_device`.

    Raises
    ------
    ValueError
        The message names two of them, and their devices.

    Examples
    --------
    >>> check_one_device("layer_norm", x=np.ones(2), weight=None)
    """
    are_of_device(function, **arrays)


def are_of_device(function: str, /, **arrays: Any) -> bool:
    """Return whether the arrays of a call are on a GPU, where its array program runs instead of its kernel.

    Parameters
    ----------
    function : str
        The beginning of the message.
    **arrays
        By name; what is not an array, such as None, does not count.

    Raises
    ------
    ValueError
        If they are on different devices; the message names both.

    Examples
    --------
    >>> are_of_device("layer_norm", x=np.ones(2), weight=None)
    False
    """
    if "cupy" not in sys.modules:  # in every call of most programs: an answer in no time
        return False
    devices = {name: device_name(array) for name, array in arrays.items() if is_array(array)}
    first = next(iter(devices), "")
    for name, device in devices.items():
        if device != devices[first]:
            raise ArgumentValueError(
                f"{function}: {first} is on {devices[first]} and {name} is on {device}; move one, with "
                '.to("cuda") or .to("cpu")'
            )
    return "cuda" in devices.values()


def checked_array(name: str, array: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """Return an array of this shape and dtype as a kernel needs it: see `in_row_order`.

    Raises
    ------
    TypeError
        If it is not an array, or has another dtype.
    ValueError
        If it has another shape.

    Examples
    --------
    >>> checked_array("weight", np.ones(3), (2,), np.dtype(np.float64))
    Traceback (most recent call last):
        ...
    rondeau.kernels.errors.ArgumentValueError: weight must have shape (2,), got (3,)
    """
    # The usual case first: a run checks a dozen arrays.
    if type(array) is np.ndarray and array.dtype == dtype and array.shape == shape:
        flags = array.flags
        if flags.c_contiguous and flags.aligned:
            return array
    check_array(name, array)
    if array.dtype != dtype:
        raise ArgumentTypeError(f"{name} must be {dtype}, got {array.dtype}; convert it with astype")
    if array.shape != shape:
        raise ArgumentValueError(f"{name} must have shape {shape}, got {array.shape}")
    return in_row_order(array)


def are_plain(arrays: Sequence[Any], shapes: Sequence[tuple[int, ...]], dtype: np.dtype[Any]) -> bool:
    """Return whether `checked_array` would return all of some arrays of the host as they are; None stands for none.

    One answer for many costs less than a check of each.

    Examples
    --------
    >>> are_plain((np.ones(3), None), ((3,), (2,)), np.dtype(np.float64))
    True
    """
    for array, shape in zip(arrays, shapes, strict=True):
        if array is None:
            continue
        if type(array) is not np.ndarray or array.dtype != dtype or array.shape != shape:
            return False
        flags = array.flags
        if not (flags.c_contiguous and flags.aligned):
            return False
    return True


def checked_floats(name: str, array: Any, form: str) -> Array:
    """Return an array of float32 or float64 with the number of dimensions that `form` shows, such as ``"(N, C)"``.

    Raises
    ------
    TypeError
        If it is not an array, or has another dtype.
    ValueError
        If it has a different number of dimensions.

    Examples
    --------
    >>> checked_floats("layer_norm: x", np.ones(3), "(N, C)")
    Traceback (most recent call last):
        ...
    rondeau.kernels.errors.ArgumentValueError: layer_norm: x must have shape (N, C), got (3,)
    """
    check_array(name, array)
    if array.dtype not in ELEMENTS:
        raise ArgumentTypeError(
            f"{name} must be float32 or float64, got {array.dtype}; convert it with astype"
        )
    if array.ndim != form.count(",") + 1:
        raise ArgumentValueError(f"{name} must have shape {form}, got {array.shape}")
    return in_row_order(array)


def checked_indices(
    indices: Array, number: int, error: Callable[[Any], Exception], ignored: int | None = None
) -> Array:
    """Return indices, all of which can be used with `number` elements or are `ignored`.

    Parameters
    ----------
    indices : ndarray of integers
        Any shape.
    number : int
        The number of elements; indices are from 0 to below it.
    error : callable
        Returns the error for an index out of range. On a GPU it is raised when the program next reads from there, and
        until then such an index is replaced by 0: see `rondeau.kernels.runtime.deferred`.
    ignored : int, optional
        An index out of range that is allowed.

    Returns
    -------
    ndarray
        The indices themselves on the CPU; int64 on a GPU.

    Examples
    --------
    >>> checked_indices(np.array([0, 3]), 3, lambda wrong: IndexError(f"no element {wrong}"))
    Traceback (most recent call last):
        ...
    IndexError: no element 3
    """
    if not indices.size:
        return indices
    if type(indices) is np.ndarray and indices.min() >= 0 and indices.max() < number:
        return indices
    of_device = is_of_device(indices)
    if of_device:  # CuPy may wrap numbers around that a shorter type does not hold
        indices = indices.astype(np.int64, copy=False)
    outside = (indices < 0) | (indices >= number)
    if ignored is not None:
        outside &= indices != ignored
    at = np.argmax(outside)
    wrong = indices.reshape(-1)[at]
    require(~outside.reshape(-1)[at], lambda: error(wrong))
    if not of_device:
        return indices
    if number == 0:
        raise_pending()
    return np.where(outside, 0, indices)


def in_row_order(array: Array) -> Array:
    """Return an array as kernels need it, C-contiguous and aligned: itself or a copy."""
    if type(array) is not np.ndarray and is_of_device(array):
        return array if array.flags.c_contiguous else array.copy()
    array = np.ascontiguousarray(array)
    # A field of a structured array may not be aligned to the addresses at which a kernel reads numbers.
    return array if array.flags.aligned else array.copy()
