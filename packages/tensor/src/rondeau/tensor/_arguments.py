"""Checks of the arguments of operators, and the messages for those that are invalid.

A valid argument passes after one comparison of types; the rest is only examined once something is wrong.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from rondeau.kernels.checks import shown
from rondeau.kernels.errors import ArgumentTypeError, ArgumentValueError
from rondeau.kernels.runtime.devices import is_array
from rondeau.kernels.runtime.transfers import on_host
from rondeau.tensor._dtypes import float64, int64
from rondeau.tensor._graph import Recorded, unwrap
from rondeau.tensor._limits import check_holds, does_not_fit

Shape = tuple[int, ...]


def described(value: Any) -> str:
    """Return a description of an argument that is short enough for a message.

    Examples
    --------
    >>> described(1.5), described(None), described(np.zeros(3))
    ('float 1.5', 'None', 'ndarray of float64 of shape (3,)')
    """
    if value is None:
        return "None"
    array = unwrap(value)
    if is_array(array):
        return f"{type(value).__name__} of {array.dtype} of shape {array.shape}"
    return f"{type(value).__name__} {shown(value)}"


def integer(value: Any, name: str) -> int:
    """Return an argument that must be an integer as a Python int; NumPy integers and tensors of one are accepted.

    Raises
    ------
    TypeError
        For anything else, including a boolean, which is most likely a flag in the wrong place.
    """
    if type(value) is int:
        return value
    if not isinstance(value, (bool, np.bool_)):
        try:
            return operator.index(value)
        except TypeError:
            pass
    raise ArgumentTypeError(f"{name} must be an integer, got {described(value)}")


def count(value: Any, name: str) -> int:
    """Return an argument that must be a non-negative integer.

    Raises
    ------
    TypeError
        If it is not an integer.
    ValueError
        If it is negative.
    """
    found = integer(value, name)
    if found < 0:
        raise ArgumentValueError(f"{name} must not be negative, got {found}")
    return found


def number(value: Any, name: str) -> Any:
    """Return an argument that must be a number, from Python or NumPy, or an array or tensor of zero dimensions.

    Raises
    ------
    TypeError
        For anything else.
    ValueError
        For an integer beyond what a double can hold.
    """
    if isinstance(value, (int, float)):
        check_holds(float64, value, f"{name}: ")
        return value
    array = unwrap(value)
    if (isinstance(array, np.generic) or is_array(array)) and array.ndim == 0 and array.dtype.kind in "biuf":
        return on_host(array).item()
    raise ArgumentTypeError(f"{name} must be a number, got {described(value)}")


def sizes(given: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return sizes that were given either as one sequence or as separate numbers."""
    if len(given) == 1 and isinstance(given[0], (tuple, list)):
        return tuple(given[0])
    return given


def shape_of(given: tuple[Any, ...], name: str = "shape", least: int = 0) -> Shape:
    """Return a shape given either as one sequence or as separate numbers.

    Parameters
    ----------
    given : tuple
        The arguments given for ``*size``.
    name : str
        Its name in the message.
    least : int
        The smallest size allowed; -1 if one may be inferred.

    Raises
    ------
    TypeError
        If a size is not an integer.
    ValueError
        If one is smaller than `least`.
    """
    found = sizes(given)
    for size in found:
        if type(size) is not int or size < least:
            break
    else:
        return found
    whole = tuple([integer(size, f"each size in {name}") for size in found])
    if any(size < least for size in whole):
        raise ArgumentValueError(f"each size in {name} must be at least {least}, got {whole}")
    return whole


def check_not_sizes(name: str, data: tuple[Any, ...]) -> None:
    """Raise TypeError for a tuple that may be a shape or data, which PyTorch distinguishes by its class.

    Raises
    ------
    TypeError
        If it consists only of integers.

    Examples
    --------
    >>> check_not_sizes("Tensor", (2, 3))  # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    rondeau.kernels.errors.ArgumentTypeError: Tensor((2, 3)) may mean sizes or data: use empty((2, 3), dtype=...) ...
    """
    if all(isinstance(size, (int, np.integer)) for size in data):
        raise ArgumentTypeError(
            f"{name}({data}) may mean sizes or data: use empty({data}, dtype=...) for that shape, or "
            f"{name}({list(data)}) for those numbers"
        )


def integers(values: Any, name: str) -> tuple[int, ...]:
    """Return an argument that must be a sequence of integers.

    Raises
    ------
    TypeError
        If it is not a sequence of integers.
    """
    if (
        isinstance(values, Recorded)
        or not isinstance(values, (Sequence, np.ndarray))
        or isinstance(values, str)
    ):
        raise ArgumentTypeError(f"{name} must be a sequence of integers, got {described(values)}")
    return tuple([integer(value, f"each number in {name}") for value in values])


def array_of(x: Any, name: str = "input") -> Any:
    """Return the array of an argument that must be a tensor.

    Raises
    ------
    TypeError
        If it is not a tensor.
    """
    try:
        return x._array
    except AttributeError:
        raise no_tensor(x, name) from None


def no_tensor(x: Any, name: str = "input") -> ArgumentTypeError:
    """Return the error for an argument that must be a tensor and is not."""
    return ArgumentTypeError(
        f"argument '{name}' must be Tensor, not {type(x).__name__}: make one with tensor(...)"
    )


def plain_array(value: Any) -> Any:
    """Return a number, or nested lists of numbers, as NumPy reads them.

    Raises
    ------
    TypeError
        If they are not numbers.
    ValueError
        If rows differ in length, or an integer is beyond 64 bits.
    """
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise ArgumentValueError(
            f"rows of the same length are needed, got ragged nested sequences: {described(value)}"
        ) from error
    if array.dtype.kind == "O":
        for number in array.flat:
            if type(number) is int:  # beyond 64 bits, NumPy keeps it as an object
                check_holds(int64, number)
    if array.dtype.kind not in "biuf":
        raise ArgumentTypeError(f"expected a Tensor, an array or a number, got {described(value)}")
    return array


def refused(error: Exception, name: str, *operands: Any) -> ArgumentTypeError | ArgumentValueError:
    """Return the error to raise when NumPy rejected the operands of an operator.

    Parameters
    ----------
    error : Exception
        NumPy's error, or one that the operator itself raised, which is returned as it is.
    name : str
        The name of the operator.
    *operands
        Arrays or numbers.
    """
    if isinstance(error, (ArgumentTypeError, ArgumentValueError)):
        return error
    if isinstance(error, ValueError):
        shapes = " and ".join(str(np.shape(x)) for x in operands)
        return ArgumentValueError(f"{name}: shapes {shapes} cannot be broadcast together")
    if isinstance(error, OverflowError):  # a Python integer combined with an array
        (dtype,) = [x.dtype for x in operands if hasattr(x, "dtype")]
        (number,) = [x for x in operands if not hasattr(x, "dtype")]
        return ArgumentValueError(f"{does_not_fit(dtype, number, f'{name}: ')}: convert the tensor first")
    kinds = " and ".join(str(x.dtype) if hasattr(x, "dtype") else described(x) for x in operands)
    return ArgumentTypeError(
        f"{name} is not defined for {kinds}: convert first, e.g. with .float() or .bool()"
    )
