"""Checks of the arguments of layers and functions: their types, and the ranges of numbers.

Each check takes the name of the argument, with which its message begins, and the argument.
"""

from __future__ import annotations

import math
import os
import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rondeau.kernels.checks import check_integer, check_one_device, shown
from rondeau.kernels.errors import ArgumentTypeError, ArgumentValueError
from rondeau.kernels.runtime.devices import is_of_device
from rondeau.kernels.runtime.transfers import on_host
from rondeau.tensor import Tensor

__all__ = [
    "as_array",
    "check_devices",
    "check_epsilon",
    "check_fits",
    "check_flags",
    "check_integer",
    "check_number",
    "check_path",
    "check_probability",
    "check_sizes",
    "check_tensor",
    "checked_list",
    "kind_of",
]

# Not the abstract classes of `numbers`: an isinstance check takes several times as long with them.
_INTEGERS = (int, np.integer)
_NUMBERS = (*_INTEGERS, float, np.floating)

_LARGEST_SIZE = 2**31 - 1
"""A bound that keeps every position, and every product of two sizes, within 64 bits."""


def kind_of(value: Any) -> str:
    """Return the name of a value's type, with the module if it is from another library: ``"torch.Tensor"``.

    >>> kind_of(3), kind_of(np.ones(2))
    ('int', 'numpy.ndarray')
    """
    kind = type(value)
    ours = kind.__module__ == "builtins" or kind.__module__.startswith("rondeau.")
    return kind.__name__ if ours else f"{kind.__module__}.{kind.__name__}"


def check_tensor(name: str, value: Any) -> None:
    """Raise TypeError unless `value` is a Tensor.

    Raises
    ------
    TypeError
        The message names the argument.

    Examples
    --------
    >>> check_tensor("input", [1.0, 2.0])
    Traceback (most recent call last):
        ...
    rondeau.kernels.errors.ArgumentTypeError: input must be a Tensor, got list; make one with ...
    """
    if not isinstance(value, Tensor):
        hint = "" if value is None else "; make one with rondeau.tensor.tensor(...)"
        raise ArgumentTypeError(f"{name} must be a Tensor, got {kind_of(value)}{hint}")


def check_devices(function: str, /, **arrays: Any) -> None:
    """Raise ValueError unless the Tensors and arrays among some arguments, given by name, are on the same device.

    Raises
    ------
    ValueError
        The message names the arguments and their devices.

    Examples
    --------
    >>> check_devices("linear", input=Tensor([1.0]), bias=None)
    """
    if "cupy" in sys.modules:
        check_one_device(
            function, **{name: getattr(value, "_array", value) for name, value in arrays.items()}
        )


def as_host_array(name: str, value: Any) -> NDArray[Any]:
    """Return what `as_array` returns, in the host's memory: numbers of a GPU are copied, which waits for it.

    Examples
    --------
    >>> as_host_array("lengths", [3, 2])
    array([3, 2])
    """
    array = as_array(name, value)
    return on_host(array)  # type: ignore[no-any-return]


def as_array(name: str, value: Any) -> NDArray[Any]:
    """Return the array of a Tensor, an array, nested lists of numbers, or another library's CPU tensor.

    Those of a GPU stay there.

    Raises
    ------
    TypeError
        If NumPy cannot read it as numbers.

    Examples
    --------
    >>> as_array("ids", [[1, 2], [3]])
    Traceback (most recent call last):
        ...
    rondeau.kernels.errors.ArgumentTypeError: ids must be a Tensor or an array of numbers, got a ragged list
    """
    if isinstance(value, Tensor):
        return value._array  # type: ignore[no-any-return]
    try:
        array = value if is_of_device(value) else np.asarray(value)
    except ValueError:
        kind = type(value).__name__
        raise ArgumentTypeError(
            f"{name} must be a Tensor or an array of numbers, got a ragged {kind}"
        ) from None
    except (TypeError, RuntimeError) as error:
        raise ArgumentTypeError(
            f"{name} cannot be read as a NumPy array ({error}); convert it first, for a PyTorch tensor by "
            ".detach().cpu().float()"
        ) from error
    if array.dtype.kind not in "fiub":
        raise ArgumentTypeError(
            f"{name} must be a Tensor or an array of numbers, got {_described(value, array)}"
        )
    return array


def _described(value: Any, array: NDArray[Any]) -> str:
    kind = type(value).__name__
    return f"{kind} of {array.dtype}" if isinstance(value, np.ndarray | list | tuple) else kind


def check_number(name: str, value: Any) -> None:
    """Raise an error unless `value` is a real number, or if it is an integer too large for a float.

    Raises
    ------
    TypeError, ValueError
        The message names the argument.

    Examples
    --------
    >>> check_number("eps", None)
    Traceback (most recent call last):
        ...
    rondeau.kernels.errors.ArgumentTypeError: eps must be a number, got NoneType: None
    """
    if type(value) is float:  # nearly always
        return
    if isinstance(value, bool) or not isinstance(value, _NUMBERS):
        raise ArgumentTypeError(f"{name} must be a number, got {type(value).__name__}: {shown(value)}")
    if isinstance(value, int) and abs(value) > sys.float_info.max:  # compared exactly
        raise ArgumentValueError(
            f"{name} must be at most {sys.float_info.max:.3g} in size, got an integer of {value.bit_length()} bits"
        )


def check_fits(name: str, value: float, dtype: Any) -> None:
    """Raise ValueError for a finite number beyond the largest of a floating-point dtype.

    Raises
    ------
    ValueError
        The message names the argument.

    Examples
    --------
    >>> check_fits("leak", 1e300, "float32")
    Traceback (most recent call last):
        ...
    rondeau.kernels.errors.ArgumentValueError: leak 1e+300 does not fit float32, whose largest number is 3.403e+38
    """
    largest = np.finfo(dtype).max.item()
    number = value.item() if isinstance(value, np.generic) else value
    if abs(number) > largest and not math.isinf(number):
        raise ArgumentValueError(
            f"{name} {number!r} does not fit {dtype}, whose largest number is {largest:.4g}"
        )


def check_epsilon(name: str, value: Any) -> None:
    """Raise an error unless `value` can be added to a variance: a number that is finite and not negative.

    Raises
    ------
    TypeError, ValueError
        The message names the argument.

    Examples
    --------
    >>> check_epsilon("batch_norm: eps", -1e-5)
    Traceback (most recent call last):
        ...
    rondeau.kernels.errors.ArgumentValueError: batch_norm: eps must be a finite number of at least 0, got -1e-05
    """
    check_number(name, value)
    # As a Python float: comparing a float32 would convert the largest double, which overflows.
    number = value.item() if isinstance(value, np.generic) else value
    if not 0 <= number <= sys.float_info.max:
        raise ArgumentValueError(f"{name} must be a finite number of at least 0, got {shown(value)}")


def check_flags(prefix: str = "", /, **flags: Any) -> None:
    """Raise TypeError unless every flag, given by name, is True or False: ``"no"`` would count as True.

    Raises
    ------
    TypeError
        The message names the argument.

    Examples
    --------
    >>> check_flags("max_pool2d: ", ceil_mode="no")
    Traceback (most recent call last):
        ...
    rondeau.kernels.errors.ArgumentTypeError: max_pool2d: ceil_mode must be True or False, got 'no'
    """
    for name, flag in flags.items():
        if not isinstance(flag, bool | np.bool_):
            raise ArgumentTypeError(f"{prefix}{name} must be True or False, got {shown(flag)}")


def check_probability(name: str, value: Any) -> None:
    """Raise ValueError unless `value` is a number from 0 to 1.

    Raises
    ------
    ValueError
        The message names the argument.

    Examples
    --------
    >>> check_probability("p", 1.5)
    Traceback (most recent call last):
        ...
    rondeau.kernels.errors.ArgumentValueError: p must be a probability, from 0 to 1, got 1.5
    """
    if isinstance(value, bool) or not isinstance(value, _NUMBERS) or not 0 <= value <= 1:
        raise ArgumentValueError(f"{name} must be a probability, from 0 to 1, got {shown(value)}")


def check_sizes(least: int = 1, /, **sizes: Any) -> None:
    """Raise an error unless every size, given by name, is an integer from `least` (1, or 0) to 2**31 - 1.

    Raises
    ------
    TypeError
        If a size is not an integer; the message names it.
    ValueError
        If one is too small or too large.

    Examples
    --------
    >>> check_sizes(input_size=3, hidden_size=0)
    Traceback (most recent call last):
        ...
    rondeau.kernels.errors.ArgumentValueError: hidden_size must be greater than zero, got 0
    """
    for name, size in sizes.items():
        if isinstance(size, bool) or not isinstance(size, _INTEGERS):
            raise ArgumentTypeError(f"{name} should be of type int, got: {type(size).__name__}")
        if size < least:
            bound = "greater than zero" if least == 1 else f"at least {least}"
            raise ArgumentValueError(f"{name} must be {bound}, got {size}")
        if size > _LARGEST_SIZE:
            raise ArgumentValueError(f"{name} must be at most {_LARGEST_SIZE}, got {size}")


def checked_list(name: str, values: Any, kind: type, what: str) -> list[Any]:
    """Return the items of an iterable as a list, after checking their type; `what` names them in the message.

    Raises
    ------
    TypeError
        If `values` is not iterable, or yields an item of another type; the message gives its position.

    Examples
    --------
    >>> checked_list("modules", [1], str, "modules")
    Traceback (most recent call last):
        ...
    rondeau.kernels.errors.ArgumentTypeError: modules must be an iterable of modules, but number 0 is int
    """
    try:
        iterator = iter(values)
    except TypeError:
        raise ArgumentTypeError(
            f"{name} must be an iterable of {what}, got {type(values).__name__}"
        ) from None
    found = list(iterator)
    for i, value in enumerate(found):
        if not isinstance(value, kind):
            raise ArgumentTypeError(
                f"{name} must be an iterable of {what}, but number {i} is {type(value).__name__}"
            )
    return found


def check_path(name: str, value: Any) -> None:
    """Raise TypeError unless `value` is a path.

    Raises
    ------
    TypeError
        The message names the argument.

    Examples
    --------
    >>> check_path("path", 3)
    Traceback (most recent call last):
        ...
    rondeau.kernels.errors.ArgumentTypeError: path must be a str or a path-like object, got int
    """
    if not isinstance(value, str | os.PathLike):
        raise ArgumentTypeError(f"{name} must be a str or a path-like object, got {type(value).__name__}")
