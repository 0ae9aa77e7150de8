"""PyTorch's constructors by type, such as `FloatTensor`, from sizes or from data."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from rondeau.kernels.errors import ArgumentTypeError
from rondeau.kernels.runtime.devices import is_array
from rondeau.tensor import _dtypes as dtypes
from rondeau.tensor._arguments import check_not_sizes, described
from rondeau.tensor._creation import empty, tensor
from rondeau.tensor._graph import Recorded, same_memory
from rondeau.tensor._tensor import Tensor


class _OfType(type):
    """The metaclass of the constructors: instances are the tensors of their type."""

    dtype: np.dtype[Any]

    def __instancecheck__(cls, value: object) -> bool:
        return isinstance(value, Tensor) and value.dtype == cls.dtype


class _Typed(metaclass=_OfType):
    dtype: ClassVar[np.dtype[Any]]

    def __new__(cls, *data: Any, device: str | None = None) -> Any:
        name = cls.__name__
        if not data:
            return empty(0, dtype=cls.dtype, device=device)
        (first, *others) = data
        if others or (isinstance(first, (int, np.integer)) and not isinstance(first, bool)):
            return empty(data, dtype=cls.dtype, device=device)
        if isinstance(first, Recorded):
            if first._array.dtype != cls.dtype:
                raise ArgumentTypeError(
                    f"{name} of a tensor of {first._array.dtype}: convert it with .type({name}), or .to(dtype)"
                )
            return same_memory(first)
        if isinstance(first, tuple):
            check_not_sizes(name, first)
        if not (isinstance(first, (list, tuple, range)) or is_array(first)):
            raise ArgumentTypeError(
                f"{name} takes integers as sizes, or a list, an array or a tensor as data, got {described(first)}: "
                "use tensor(value, dtype=...) for a single number"
            )
        return tensor(first, dtype=cls.dtype, device=device)


class FloatTensor(_Typed):
    """Create a float32 tensor, uninitialised with the given sizes or from data: PyTorch's older constructor.

    All tensors of the type are instances of this class.

    Parameters
    ----------
    *data : int, or one list, array or Tensor
        Integers are sizes. Lists and arrays are converted and copied; a Tensor must already have the type, and its
        memory is shared.
    device : {"cpu", "cuda"}, optional

    Returns
    -------
    Tensor

    Raises
    ------
    TypeError
        For a tensor of another type, a single number that is not an integer, or a tuple of integers, which may mean
        sizes or data, because here the shape of a tensor is a tuple.
    ValueError
        If the type cannot hold the data.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> rt.FloatTensor([1, 2]), rt.FloatTensor(2, 3).shape
    (tensor([1., 2.]), (2, 3))
    >>> isinstance(rt.ones(2), rt.FloatTensor)
    True
    """

    dtype = dtypes.float32


class HalfTensor(_Typed):
    """Create a tensor of float16; see `FloatTensor`.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> rt.HalfTensor([1, 2]).dtype
    dtype('float16')
    """

    dtype = dtypes.float16


class DoubleTensor(_Typed):
    """Create a tensor of float64; see `FloatTensor`.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> rt.DoubleTensor([1, 2]).dtype
    dtype('float64')
    """

    dtype = dtypes.float64


class ByteTensor(_Typed):
    """Create a tensor of uint8; see `FloatTensor`.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> rt.ByteTensor([1, 2]).dtype
    dtype('uint8')
    """

    dtype = dtypes.uint8


class CharTensor(_Typed):
    """Create a tensor of int8; see `FloatTensor`.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> rt.CharTensor([1, 2]).dtype
    dtype('int8')
    """

    dtype = dtypes.int8


class ShortTensor(_Typed):
    """Create a tensor of int16; see `FloatTensor`.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> rt.ShortTensor([1, 2]).dtype
    dtype('int16')
    """

    dtype = dtypes.int16


class IntTensor(_Typed):
    """Create a tensor of int32; see `FloatTensor`.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> rt.IntTensor([1, 2]).dtype
    dtype('int32')
    """

    dtype = dtypes.int32


class LongTensor(_Typed):
    """Create a tensor of int64; see `FloatTensor`.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> rt.LongTensor([1, 2]).dtype
    dtype('int64')
    """

    dtype = dtypes.int64


class BoolTensor(_Typed):
    """Create a tensor of bool; see `FloatTensor`.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> rt.BoolTensor([True, False]).dtype
    dtype('bool')
    """

    dtype = dtypes.bool
