"""What the arguments of operators may be, and the words for those that may not.

What is right passes after one comparison of types; all else is looked at only once something is wrong.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from rondeau.kernels.errors import ArgumentTypeError, ArgumentValueError
from rondeau.tensor._dtypes import float64, int64
from rondeau.tensor._graph import Recorded, unwrap
from rondeau.tensor._limits import check_holds, does_not_fit, shown

Shape = tuple[int, ...]


def described(value: Any) -> str:
    """Return what an argument is, short enough for a message.

    Examples
    --------
    >>> described(1.5), described(None), described(np.zeros(3))
    ('float 1.5', 'None', 'ndarray of float64 of shape (3,)')
    """
    if value is None:
        return "None"
    array = unwrap(value)
    if isinstance(array, np.ndarray):
        return f"{type(value).__name__} of {array.dtype} of shape {array.shape}"
    return f"{type(value).__name__} {shown(value)}"


def integer(value: Any, name: str) -> int:
    """Return an argument that has to be an integer; one of NumPy, or a tensor of one, becomes Python's.

    Raises
    ------
    TypeError
        For anything else, a boolean too: it is a flag in the wrong place.
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
    """Return an argument that has to be an integer from 0.

    Raises
    ------
    TypeError
        If it is no integer.
    ValueError
        If it is negative.
    """
    found = integer(value, name)
    if found < 0:
        raise ArgumentValueError(f"{name} must not be negative, got {found}")
    return found


def number(value: Any, name: str) -> Any:
    """Return an argument that has to be a number, of Python, of NumPy or in an array or tensor of no dimensions.

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
    if isinstance(array, (np.generic, np.ndarray)) and array.ndim == 0 and array.dtype.kind in "biuf":
        return array.item()
    raise ArgumentTypeError(f"{name} must be a number, got {described(value)}")


def sizes(given: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return what was given either as one sequence or as separate numbers."""
    if len(given) == 1 and isinstance(given[0], (tuple, list)):
        return tuple(given[0])
    return given


def shape_of(given: tuple[Any, ...], name: str = "shape", least: int = 0) -> Shape:
    """Return a shape given either as one sequence or as separate numbers.

    Parameters
    ----------
    given : tuple
        What came for ``*size``.
    name : str
        What the message calls it.
    least : int
        The smallest size; -1 where one may be left open.

    Raises
    ------
    TypeError
        If a size is no integer.
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


def integers(values: Any, name: str) -> tuple[int, ...]:
    """Return an argument that has to be a sequence of integers.

    Raises
    ------
    TypeError
        If it is no sequence, or one of something else.
    """
    if (
        isinstance(values, Recorded)
        or not isinstance(values, (Sequence, np.ndarray))
        or isinstance(values, str)
    ):
        raise ArgumentTypeError(f"{name} must be a sequence of integers, got {described(values)}")
    return tuple([integer(value, f"each number in {name}") for value in values])


def array_of(x: Any, name: str = "input") -> Any:
    """Return the array of an argument that has to be a tensor.

    Raises
    ------
    TypeError
        If it is none.
    """
    try:
        return x._array
    except AttributeError:
        raise no_tensor(x, name) from None


def no_tensor(x: Any, name: str = "input") -> ArgumentTypeError:
    """Return the error of an argument that has to be a tensor and is none."""
    return ArgumentTypeError(
        f"argument '{name}' must be Tensor, not {type(x).__name__}: make one with tensor(...)"
    )


def plain_array(value: Any) -> Any:
    """Return a number, or nested lists of numbers, as NumPy reads them.

    Raises
    ------
    TypeError
        If they are no numbers.
    ValueError
        If rows differ in length, or an integer is beyond 64 bits.
    """
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise ArgumentValueError(
            f"rows of one length are needed, got nested sequences that are ragged: {described(value)}"
        ) from error
    if array.dtype.kind == "O":
        for number in array.flat:
            if type(number) is int:  # which NumPy leaves as it is beyond 64 bits
                check_holds(int64, number)
    if array.dtype.kind not in "biuf":
        raise ArgumentTypeError(f"expected a Tensor, an array or a number, got {described(value)}")
    return array


def refused(error: Exception, name: str, *operands: Any) -> ArgumentTypeError | ArgumentValueError:
    """Return what to raise where NumPy refused the operands, arrays or numbers, of an operator.

    Parameters
    ----------
    error : Exception
        NumPy's error, or one that the operator has put into words already: that is returned as it is.
    name : str
        The operator.
    *operands
        Arrays or numbers.
    """
    if isinstance(error, (ArgumentTypeError, ArgumentValueError)):
        return error
    if isinstance(error, ValueError):
        shapes = " and ".join(str(np.shape(x)) for x in operands)
        return ArgumentValueError(f"{name}: shapes {shapes} cannot be broadcast together")
    if isinstance(error, OverflowError):  # a Python integer beside an array
        (dtype,) = [x.dtype for x in operands if hasattr(x, "dtype")]
        (number,) = [x for x in operands if not hasattr(x, "dtype")]
        return ArgumentValueError(f"{does_not_fit(dtype, number, f'{name}: ')}: convert the tensor first")
    kinds = " and ".join(str(x.dtype) if hasattr(x, "dtype") else described(x) for x in operands)
    return ArgumentTypeError(
        f"{name} is not defined for {kinds}: convert first, e.g. with .float() or .bool()"
    )
