"""Functions that create tensors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from rondeau.kernels.errors import ArgumentTypeError, ArgumentValueError
from rondeau.tensor._arguments import array_of, count, number, shape_of
from rondeau.tensor._devices import namespace
from rondeau.tensor._dtypes import as_dtype, default_for, get_default_dtype, int64
from rondeau.tensor._graph import Recorded
from rondeau.tensor._limits import check_holds, held
from rondeau.tensor._modes import modes
from rondeau.tensor._tensor import Tensor, array_from


def tensor(
    data: Any, *, dtype: DTypeLike | None = None, device: str | None = None, requires_grad: bool = False
) -> Tensor:
    """Return a new tensor with a copy of the data.

    Parameters
    ----------
    data : array_like or Tensor
        Python numbers and lists become float32, int64 or bool; arrays and tensors keep their type.
    dtype : dtype_like, optional
    device : {"cpu", "cuda"}, optional
    requires_grad : bool
        Whether to collect gradients in ``.grad``.

    Returns
    -------
    Tensor
        A leaf that shares no memory with `data`.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> rt.tensor([[1.0, 2.0], [3.0, 4.0]])
    tensor([[1., 2.],
            [3., 4.]])
    """
    if isinstance(data, Recorded):
        data = data._array
    array = array_from(data, dtype, device or modes.device)
    if isinstance(data, type(array)) and np.may_share_memory(array, data):
        array = array.copy()
    return Tensor(array, requires_grad)


def from_numpy(array: np.ndarray[Any, Any]) -> Tensor:
    """Return a tensor that shares the memory of an array.

    Parameters
    ----------
    array : ndarray

    Returns
    -------
    Tensor

    Raises
    ------
    TypeError
        If `array` is not a NumPy array.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> import numpy as np
    >>> a = np.zeros(2)
    >>> t = rt.from_numpy(a)
    >>> a[0] = 7
    >>> t.tolist()
    [7.0, 0.0]
    """
    if not isinstance(array, np.ndarray):
        raise ArgumentTypeError(
            f"from_numpy expects an ndarray, got {type(array).__name__}; use tensor() for other data"
        )
    return Tensor(array)


def as_tensor(data: Any, dtype: DTypeLike | None = None, device: str | None = None) -> Tensor:
    """Return data as a tensor, without a copy if the memory can be shared.

    Parameters
    ----------
    data : array_like or Tensor
        NumPy's arrays, and CuPy's, which are on the GPU.
    dtype : dtype_like, optional
    device : {"cpu", "cuda"}, optional

    Returns
    -------
    Tensor
        `data` itself if it already is a tensor of that type.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> t = rt.zeros(2)
    >>> rt.as_tensor(t) is t
    True
    """
    if isinstance(data, Tensor):
        return data.to(dtype=dtype, device=device or modes.device)
    return Tensor(array_from(data, dtype, device or modes.device))


def zeros(
    *size: Any, dtype: DTypeLike | None = None, device: str | None = None, requires_grad: bool = False
) -> Tensor:
    """Return a tensor of zeros.

    Parameters
    ----------
    *size : int, or one sequence of int
        The shape.
    dtype : dtype_like, optional
        `get_default_dtype` by default, initially float32.
    device : {"cpu", "cuda"}, optional
    requires_grad : bool

    Returns
    -------
    Tensor

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> rt.zeros(2, 3).shape
    (2, 3)
    """
    return Tensor(namespace(device).zeros(shape_of(size), _float(dtype)), requires_grad)


def ones(
    *size: Any, dtype: DTypeLike | None = None, device: str | None = None, requires_grad: bool = False
) -> Tensor:
    """Return a tensor of ones.

    Parameters
    ----------
    *size : int, or one sequence of int
        The shape.
    dtype : dtype_like, optional
        `get_default_dtype` by default, initially float32.
    device : {"cpu", "cuda"}, optional
    requires_grad : bool

    Returns
    -------
    Tensor

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> rt.ones(2).tolist()
    [1.0, 1.0]
    """
    return Tensor(namespace(device).ones(shape_of(size), _float(dtype)), requires_grad)


def empty(
    *size: Any, dtype: DTypeLike | None = None, device: str | None = None, requires_grad: bool = False
) -> Tensor:
    """Return an uninitialised tensor.

    Parameters
    ----------
    *size : int, or one sequence of int
        The shape.
    dtype : dtype_like, optional
        `get_default_dtype` by default, initially float32.
    device : {"cpu", "cuda"}, optional
    requires_grad : bool

    Returns
    -------
    Tensor

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> rt.empty(2, dtype="int64").dtype
    dtype('int64')
    """
    return Tensor(namespace(device).empty(shape_of(size), _float(dtype)), requires_grad)


def full(
    size: int | Sequence[int],
    fill_value: float,
    *,
    dtype: DTypeLike | None = None,
    device: str | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """Return a tensor filled with one value.

    Parameters
    ----------
    size : int or sequence of int
        The shape.
    fill_value : number
    dtype : dtype_like, optional
        By default `get_default_dtype` for a float, int64 for an integer and bool for a boolean.
    device : {"cpu", "cuda"}, optional
    requires_grad : bool

    Returns
    -------
    Tensor

    Raises
    ------
    ValueError
        If the type cannot hold the number.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> rt.full((2,), 7).tolist()
    [7, 7]
    """
    value = number(fill_value, "fill_value")
    found = default_for(np.asarray(value)) if dtype is None else as_dtype(dtype)
    filled = namespace(device).full(shape_of((size,), "size"), held(found, value, "full: ")[()], found)
    return Tensor(filled, requires_grad)


def _float(dtype: DTypeLike | None) -> np.dtype[Any]:
    return get_default_dtype() if dtype is None else as_dtype(dtype)


def like(other: Tensor, dtype: DTypeLike | None, device: str | None, requires_grad: bool) -> dict[str, Any]:
    """Return the options that create a tensor with the type and device of another, unless others are given."""
    found = array_of(other, "other").dtype if dtype is None else as_dtype(dtype)
    where = other.device if device is None else device
    return {"dtype": found, "device": where, "requires_grad": requires_grad}


def zeros_like(
    other: Tensor, *, dtype: DTypeLike | None = None, device: str | None = None, requires_grad: bool = False
) -> Tensor:
    """Return zeros with the shape, type and device of another tensor.

    Parameters
    ----------
    other : Tensor
    dtype : dtype_like, optional
    device : {"cpu", "cuda"}, optional
        Those of `other` by default.
    requires_grad : bool

    Returns
    -------
    Tensor

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> rt.zeros_like(rt.tensor([1, 2])).tolist()
    [0, 0]
    """
    return zeros(array_of(other, "other").shape, **like(other, dtype, device, requires_grad))


def ones_like(
    other: Tensor, *, dtype: DTypeLike | None = None, device: str | None = None, requires_grad: bool = False
) -> Tensor:
    """Return ones with the shape, type and device of another tensor.

    Parameters
    ----------
    other : Tensor
    dtype : dtype_like, optional
    device : {"cpu", "cuda"}, optional
        Those of `other` by default.
    requires_grad : bool

    Returns
    -------
    Tensor

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> rt.ones_like(rt.tensor([5, 6])).tolist()
    [1, 1]
    """
    return ones(array_of(other, "other").shape, **like(other, dtype, device, requires_grad))


def empty_like(
    other: Tensor, *, dtype: DTypeLike | None = None, device: str | None = None, requires_grad: bool = False
) -> Tensor:
    """Return an uninitialised tensor with the shape, type and device of another.

    Parameters
    ----------
    other : Tensor
    dtype : dtype_like, optional
    device : {"cpu", "cuda"}, optional
        Those of `other` by default.
    requires_grad : bool

    Returns
    -------
    Tensor

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> rt.empty_like(rt.zeros(2, 3)).shape
    (2, 3)
    """
    return empty(array_of(other, "other").shape, **like(other, dtype, device, requires_grad))


def full_like(
    other: Tensor,
    fill_value: float,
    *,
    dtype: DTypeLike | None = None,
    device: str | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """Return a tensor filled with one value, with the shape, type and device of another.

    Parameters
    ----------
    other : Tensor
    fill_value : number
    dtype : dtype_like, optional
    device : {"cpu", "cuda"}, optional
        Those of `other` by default.
    requires_grad : bool

    Returns
    -------
    Tensor

    Raises
    ------
    ValueError
        If the type cannot hold the number.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> rt.full_like(rt.zeros(2), 3).tolist()
    [3.0, 3.0]
    """
    return full(array_of(other, "other").shape, fill_value, **like(other, dtype, device, requires_grad))


def arange(
    start: float,
    end: float | None = None,
    step: float = 1,
    *,
    dtype: DTypeLike | None = None,
    device: str | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """Return evenly spaced numbers from `start` up to, but not including, `end`.

    Parameters
    ----------
    start, end, step : number
        A single argument is `end`, with `start` 0.
    dtype : dtype_like, optional
        By default int64 if all are integers, otherwise `get_default_dtype`. Integers drop the fractions of `start` and
        `step`.
    device : {"cpu", "cuda"}, optional
    requires_grad : bool

    Returns
    -------
    Tensor
        One dimension.

    Raises
    ------
    ValueError
        If the step is 0, an end is not finite, or the type cannot hold a number.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> rt.arange(3).tolist(), rt.arange(1, 2, 0.5).tolist()
    ([0, 1, 2], [1.0, 1.5])
    """
    if end is None:
        start, end = 0, start
    start, end, step = number(start, "start"), number(end, "end"), number(step, "step")
    if not math.isfinite(end - start) or not step or not math.isfinite(step):
        raise ArgumentValueError(
            f"arange needs finite ends and a step other than 0, got {start}, {end}, {step}"
        )
    if dtype is None:
        whole = all(isinstance(v, int) for v in (start, end, step))
        found = np.dtype(np.int64) if whole else get_default_dtype()
    else:
        found = as_dtype(dtype)
    return Tensor(_steps(namespace(device), start, end, step, found), requires_grad)


def _steps(library: Any, start: float, end: float, step: float, dtype: np.dtype[Any]) -> Any:
    """Return the numbers of `arange`. As in PyTorch, they are counted in float64; integers drop all fractions first."""
    if dtype.kind == "b":
        raise ArgumentTypeError("arange of bool: use an integer or floating dtype")
    first, stride = (start, step) if dtype.kind == "f" else (int(start), int(step))
    if not stride:
        raise ArgumentValueError(f"arange of {dtype} drops the fraction of its step {step}, which leaves 0")
    whole = dtype == int64
    steps = -((first - int(end)) // stride) if whole else math.ceil((end - start) / step)
    if steps <= 0:
        return library.zeros(0, dtype)
    for value in (first, first + stride * (steps - 1)):
        check_holds(dtype, value, "arange: ")
    if steps == 1:
        return library.full(1, first, dtype)
    if dtype.kind == "f":  # NumPy accepts no integers beyond 64 bits
        first, stride = float(first), float(stride)
    return (first + stride * library.arange(steps)).astype(dtype)


def linspace(
    start: float,
    end: float,
    steps: int,
    *,
    dtype: DTypeLike | None = None,
    device: str | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """Return evenly spaced numbers, both ends included.

    Parameters
    ----------
    start, end : number
    steps : int
        The number of values.
    dtype : dtype_like, optional
        `get_default_dtype` by default, initially float32.
    device : {"cpu", "cuda"}, optional
    requires_grad : bool

    Returns
    -------
    Tensor
        One dimension.

    Raises
    ------
    ValueError
        If an end is not finite, or the type cannot hold it.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> rt.linspace(0, 1, 3).tolist()
    [0.0, 0.5, 1.0]
    """
    start, end, steps = number(start, "start"), number(end, "end"), count(steps, "steps")
    found = _float(dtype)
    if found.kind == "b":
        raise ArgumentTypeError("linspace of bool: use an integer or floating dtype")
    check_holds(found, start, "linspace: ")
    check_holds(found, end, "linspace: ")
    if not math.isfinite(end - start):
        raise ArgumentValueError(f"linspace needs finite ends, got {start} and {end}")
    return Tensor(namespace(device).linspace(float(start), float(end), steps).astype(found), requires_grad)


def eye(
    n: int,
    m: int | None = None,
    *,
    dtype: DTypeLike | None = None,
    device: str | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """Return a matrix with ones on the diagonal.

    Parameters
    ----------
    n : int
        The number of rows.
    m : int, optional
        The number of columns; `n` by default.
    dtype : dtype_like, optional
        `get_default_dtype` by default, initially float32.
    device : {"cpu", "cuda"}, optional
    requires_grad : bool

    Returns
    -------
    Tensor

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> rt.eye(2).tolist()
    [[1.0, 0.0], [0.0, 1.0]]
    """
    n = count(n, "n")
    m = n if m is None else count(m, "m")
    return Tensor(namespace(device).eye(n, m, dtype=_float(dtype)), requires_grad)
