"""Element types and how they combine.

A tensor holds one of NumPy's booleans, integers or floats. Mixed arithmetic follows PyTorch, not NumPy: the
*category* (bool < integer < float) decides first, so that int64 with float32 stays float32, and within one
category a tensor with dimensions outranks a zero-dimensional one, which outranks a Python number.
"""

from __future__ import annotations

import builtins
from typing import TYPE_CHECKING, Any

import numpy as np

from rondeau.kernels.errors import ArgumentTypeError, ArgumentValueError

if TYPE_CHECKING:
    from numpy.typing import DTypeLike

type_ = np.dtype[Any]

float16 = np.dtype(np.float16)
float32 = np.dtype(np.float32)
float64 = np.dtype(np.float64)
uint8 = np.dtype(np.uint8)
int8 = np.dtype(np.int8)
int16 = np.dtype(np.int16)
int32 = np.dtype(np.int32)
int64 = np.dtype(np.int64)
bool = np.dtype(np.bool_)  # torch's name

# Each type, mapped to the one object that represents it: operators compare types by identity first.
SUPPORTED: dict[type_, type_] = {
    d: d for d in (float16, float32, float64, uint8, int8, int16, int32, int64, bool)
}
_CATEGORY = {"b": 0, "u": 1, "i": 1, "f": 2}


def names_dtype(text: str) -> builtins.bool:
    """Return whether a text means a dtype to NumPy, and so no device.

    Examples
    --------
    >>> names_dtype("float16"), names_dtype("cuda")
    (True, False)
    """
    try:
        np.dtype(text)
    except Exception:  # NumPy parses it, and raises anything from a TypeError to a SyntaxError
        return False
    return True


def as_dtype(dtype: DTypeLike) -> type_:
    """Return `dtype` as a NumPy dtype that a tensor can hold.

    Raises
    ------
    TypeError
        If it is not a boolean, integer or float of a width that tensors can hold.
    """
    try:
        found = np.dtype(dtype)
    except (
        Exception
    ) as error:  # NumPy parses strings and classes: it may be anything from a TypeError to a SyntaxError
        raise ArgumentTypeError(f"expected a dtype such as 'float32' or np.int64, got {dtype!r}") from error
    supported = SUPPORTED.get(found if found.isnative else found.newbyteorder("="))
    if supported is None:
        raise ArgumentTypeError(
            f"a tensor cannot hold dtype {found}: expected one of "
            f"{', '.join(sorted(str(d) for d in SUPPORTED))}; convert the array first, e.g. array.astype('float32')"
        )
    return supported


#: The names of PyTorch's tensor classes, by type.
CLASSES: dict[type_, str] = {
    float16: "HalfTensor",
    float32: "FloatTensor",
    float64: "DoubleTensor",
    uint8: "ByteTensor",
    int8: "CharTensor",
    int16: "ShortTensor",
    int32: "IntTensor",
    int64: "LongTensor",
    bool: "BoolTensor",
}
_OF_CLASS: dict[str, type_] = {name: dtype for dtype, name in CLASSES.items()}


def type_name(dtype: type_) -> str:
    """Return the name of PyTorch's tensor class for a type.

    Examples
    --------
    >>> type_name(int64)
    'torch.LongTensor'
    """
    return f"torch.{CLASSES[dtype]}"


def type_of(value: Any) -> type_:
    """Do as `as_dtype` does, but also accept one of PyTorch's tensor classes, or its name.

    Raises
    ------
    ValueError
        For the name of another class, such as one of tensors on a GPU.

    Examples
    --------
    >>> type_of("torch.LongTensor"), type_of("float32")
    (dtype('int64'), dtype('float32'))
    """
    name = value.__name__ if isinstance(value, type) else value
    if not isinstance(name, str) or not name.endswith("Tensor"):
        return as_dtype(value)
    found = _OF_CLASS.get(name.removeprefix("torch.").removeprefix("rondeau.tensor."))
    if found is None:
        raise ArgumentValueError(
            f"expected a dtype or the name of a tensor class such as 'torch.FloatTensor', got {name!r}"
        )
    return found


def default_for(array: np.ndarray[Any, Any]) -> type_:
    """Return the type of Python numbers and lists: the default for floats, int64 for integers, bool for booleans."""
    kind = array.dtype.kind
    if kind == "f":
        return _default
    if kind in "iu":
        return int64
    return as_dtype(array.dtype)


_default = float32


def get_default_dtype() -> type_:
    """Return the floating-point type of tensors that are created from Python numbers, or without a `dtype`.

    Returns
    -------
    dtype

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> rt.get_default_dtype()
    dtype('float32')
    """
    return _default


def set_default_dtype(d: DTypeLike) -> None:
    """Set the floating-point type of tensors that are created from Python numbers or without a `dtype`.

    This applies to all threads. New layers create their parameters in it, and it is the type of quotients of integers.
    Arrays keep their own type.

    Parameters
    ----------
    d : dtype_like
        A floating-point type; initially float32. Layers compute in float32 and float64.

    Raises
    ------
    TypeError
        If it is not a floating-point type.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> rt.set_default_dtype(rt.float64)
    >>> rt.tensor([0.1]).dtype, rt.zeros(2).dtype
    (dtype('float64'), dtype('float64'))
    >>> rt.set_default_dtype(rt.float32)
    """
    global _default
    found = None if d is None else as_dtype(d)  # None would be NumPy's own default
    if found is None or found.kind != "f":
        raise ArgumentTypeError(f"the default dtype must be a floating type, got {found}")
    _default = found


def promote(x: type_, y: type_) -> type_:
    """Return the common type of two types of equal rank (both with dimensions, or both without).

    Examples
    --------
    >>> promote(int64, float32)
    dtype('float32')
    """
    if _CATEGORY[x.kind] == _CATEGORY[y.kind]:
        return np.promote_types(x, y)
    return x if _CATEGORY[x.kind] > _CATEGORY[y.kind] else y


def result_type(x: np.ndarray[Any, Any], y: np.ndarray[Any, Any]) -> type_:
    """Return the result type of arithmetic on two arrays, by PyTorch's rule of categories and dimensions."""
    a: type_ = x.dtype
    b: type_ = y.dtype
    if a == b:
        return a
    if (x.ndim == 0) == (y.ndim == 0):
        return promote(a, b)
    with_dimensions, without = (b, a) if x.ndim == 0 else (a, b)
    return without if _CATEGORY[without.kind] > _CATEGORY[with_dimensions.kind] else with_dimensions


def scalar_result_type(x: type_, number: object) -> type_:
    """Return the result type of arithmetic on an array of type `x` and a Python number."""
    category = 2 if isinstance(number, float) else 0 if isinstance(number, (np.bool_, builtins.bool)) else 1
    if category <= _CATEGORY[x.kind]:
        return x
    return _default if category == 2 else int64
