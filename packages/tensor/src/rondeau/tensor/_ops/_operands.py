"""Conversion of the arguments of operators to tensors and arrays of a common type."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from rondeau.kernels.errors import ArgumentValueError
from rondeau.kernels.runtime.devices import device_name, is_array, is_of_device, library_of
from rondeau.tensor._arguments import array_of, plain_array
from rondeau.tensor._devices import device_of
from rondeau.tensor._dtypes import as_dtype, get_default_dtype, int64, result_type, scalar_result_type
from rondeau.tensor._graph import Op, Recorded, record, wrap
from rondeau.tensor._limits import check_all_hold, held
from rondeau.tensor._modes import modes

if TYPE_CHECKING:
    from rondeau.tensor._tensor import Tensor


_ndarray = np.ndarray
_NUMBERS = (int, float, bool)
_CAST = Op("to", lambda g, _out, _x, dtype: _astype(g, dtype))


def _astype(g: Any, dtype: Any) -> Any:
    return g.astype(dtype) if not isinstance(g, Recorded) else cast(g, dtype)  # type: ignore[arg-type]


def cast(x: Tensor, dtype: np.dtype[Any]) -> Tensor:
    """Return `x` in another type; `x` itself if it already has that type."""
    before = array_of(x).dtype
    if before == dtype:
        return x
    if dtype.kind != "f":
        return wrap(modes.quiet(x._array.astype, dtype))
    return record(_CAST, modes.quiet(x._array.astype, dtype), (x,), before)


def as_tensor(value: Any) -> Tensor:
    """Return an operand as a tensor: tensors as they are, arrays shared, Python numbers in the default types.

    Raises
    ------
    TypeError
        If it does not consist of numbers.
    ValueError
        For nested lists whose rows differ in length.
    """
    if isinstance(value, Recorded):
        return value  # type: ignore[return-value]
    if is_array(value):
        native = value.dtype.isnative and value.dtype.kind in "biuf"
        return wrap(value if native else value.astype(as_dtype(value.dtype)))
    array = plain_array(value)
    if array.dtype.kind == "u" and not isinstance(value, np.generic):
        check_all_hold(int64, array)
    if isinstance(value, np.generic):
        return wrap(array)
    return wrap(array.astype(get_default_dtype()) if array.dtype.kind == "f" else array)


def value_for(x: Tensor, value: Any) -> Tensor:
    """Return the value of an assignment to `x`, in the type of `x` and on its device.

    Raises
    ------
    RuntimeError
        If it requires a gradient that the type of `x` cannot carry.
    TypeError
        If it does not consist of numbers.
    ValueError
        If the type of `x` cannot hold a number.
    """
    array = x._array
    dtype = array.dtype
    if isinstance(value, Recorded):
        if value._node is not None and dtype.kind != "f":
            raise RuntimeError(f"cannot write a tensor that requires a gradient into one of {dtype}")
        return _moved_to(x, cast(value, dtype))  # type: ignore[arg-type]
    if is_array(value):
        return _moved_to(x, cast(as_tensor(value), dtype))
    # Python numbers are doubles until they are written: their default, float32, would round for a float64 target.
    if type(value) in _NUMBERS:
        return wrap(held(dtype, value)) if type(array) is _ndarray else number_like(array, value)
    numbers = plain_array(value)
    if isinstance(value, np.generic):
        return number_like(array, value.item())
    check_all_hold(dtype, numbers)
    return _moved_to(x, wrap(modes.quiet(numbers.astype, dtype)))


def _moved_to(x: Tensor, value: Tensor) -> Tensor:
    return value if type(value._array) is type(x._array) else value.to(device_of(x._array))


def number_like(array: Any, number: float, what: str = "") -> Tensor:
    """Return a number as a tensor of zero dimensions, in the type and on the device of an array.

    Raises
    ------
    ValueError
        If the type cannot hold it.
    """
    found = held(array.dtype, number, what)
    return wrap(found if type(array) is np.ndarray else library_of(array).asarray(found))


def on_one_device(*operands: Tensor) -> tuple[Tensor, ...]:
    """Return operands of which some are on the GPU there; the others must be numbers, of zero dimensions.

    Raises
    ------
    ValueError
        If they are not. Numbers of the GPU do not go to the CPU, as in PyTorch: that would wait for them.
    """
    arrays = [x._array for x in operands]
    if any(array.ndim and not is_of_device(array) for array in arrays):
        raise different_devices(*arrays)
    return tuple([x.to("cuda") for x in operands])


def different_devices(*arrays: Any) -> ArgumentValueError:
    """Return the error for operands on different devices."""
    devices = " and ".join(dict.fromkeys(map(device_name, arrays)))
    return ArgumentValueError(
        f'expected all tensors on one device, got {devices}: move one with .to("cpu") or .to("cuda")'
    )


def as_float(x: Tensor) -> Tensor:
    """Return `x`, with integers and booleans converted to float32, for functions with a fractional result."""
    return x if array_of(x).dtype.kind == "f" else cast(x, get_default_dtype())


def pair(a: Any, b: Any) -> tuple[Any, Any]:
    """Return two operands in their common type: two tensors, or one and a Python number that its type can hold."""
    if type(b) in _NUMBERS and isinstance(a, Recorded):
        dtype = a._array.dtype
        return a if dtype.kind == "f" else cast(a, scalar_result_type(dtype, b)), b  # type: ignore[arg-type]
    if type(a) in _NUMBERS and isinstance(b, Recorded):
        dtype = b._array.dtype
        return a, b if dtype.kind == "f" else cast(b, scalar_result_type(dtype, a))  # type: ignore[arg-type]
    a, b = as_tensor(a), as_tensor(b)
    if type(a._array) is not type(b._array):
        a, b = on_one_device(a, b)
    dtype = result_type(a._array, b._array)
    return cast(a, dtype), cast(b, dtype)


def no_gradient(g: Any) -> Any:
    """Return zeros like the gradient `g`, whose infinities times 0 would be NaN; recorded if `g` is."""
    return np.where(True, 0.0, g) if isinstance(g, Recorded) else np.zeros_like(g)  # type: ignore[call-overload]


_BITS = {np.dtype(f"float{bits}"): np.dtype(f"int{bits}") for bits in (16, 32, 64)}


def where_kept(g: Any, keep: Any) -> Any:
    """Return the gradient `g` where `keep` is true and 0 elsewhere, even if `g` is infinite; recorded if `g` is.

    The same as ``np.where(keep, g, 0.0)``, in a tenth of the time for unpredictable masks, because it masks bits.
    """
    if type(g) is not np.ndarray or type(keep) is not np.ndarray or g.shape != keep.shape or not g.ndim:
        return np.where(keep, g, 0.0)
    kept = np.empty(g.shape, g.dtype)
    bits = _BITS[g.dtype]
    np.bitwise_and(g.view(bits), np.negative(keep.view(np.int8)), out=kept.view(bits))
    return kept


def constant(value: int, x: Any) -> Any:
    """Return a number as an array in the type of `x`: converting a Python number takes NumPy as long as adding it."""
    found = _CONSTANTS[value].get(x.dtype) if type(x) is _ndarray else None
    return x.dtype.type(value) if found is None else found


_CONSTANTS = {
    value: {np.dtype(dtype): np.full((), value, dtype) for dtype in ("float32", "float64")}
    for value in (0, 1)
}
