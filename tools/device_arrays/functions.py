"""CuPy's functions and ufuncs, by NumPy's."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from . import interface, pinned
from .array import NUMBERS, compute, in_c_order, lower, ndarray, wrap, wrap_array, writeable
from .binding import bind
from .capture import recorded
from .indexing import scatter
from .memory import current_device
from .transfers import note_transfer, note_wait


class Ufunc:
    """A ufunc of CuPy's."""

    def __init__(self, name: str) -> None:
        self._ufunc: np.ufunc = getattr(np, name)
        self.name = f"cupy_{self._ufunc.__name__}"
        self.__name__ = self._ufunc.__name__
        self.nin, self.nout, self.nargs = self._ufunc.nin, self._ufunc.nout, self._ufunc.nargs

    def __repr__(self) -> str:
        return f"<ufunc '{self.name}'>"

    @recorded
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Apply it to arrays of the device and numbers."""
        wrong = kwargs.keys() - interface.UFUNC_ARGUMENTS
        if wrong:
            raise TypeError(f"Wrong arguments { {name: kwargs[name] for name in wrong} }")
        if not self.nin <= len(args) <= self.nargs:
            raise TypeError(
                f"Wrong number of arguments for {self.name!r}. It must be either {self.nin} or {self.nargs} "
                f"(with outputs), but given {len(args)}."
            )
        inputs, out = args[: self.nin], args[self.nin :]
        if kwargs.get("out") is not None:
            if out:
                raise ValueError("Cannot specify 'out' as both a positional and keyword argument")
            out = kwargs["out"] if isinstance(kwargs["out"], tuple) else (kwargs["out"],)
            if len(out) != self.nout:
                raise ValueError("The 'out' tuple must have exactly one entry per ufunc output")
        for x in inputs:
            if not isinstance(x, ndarray | NUMBERS):
                raise TypeError(f"Unsupported type {type(x)}")
        for x in out:
            if not isinstance(x, ndarray | None):
                raise TypeError(f"Unsupported type {type(x)}")
        named = {name: value for name, value in kwargs.items() if name != "out"}
        if any(x is not None for x in out):
            for x in out:
                if x is not None and x.shape != np.broadcast_shapes(*(np.shape(lower(i)) for i in inputs)):
                    raise ValueError("Out shape is mismatched")
            named["out"] = tuple(None if x is None else writeable(x) for x in out)
        else:
            named["order"] = "C"
        with np.errstate(all="ignore"):
            found = self._ufunc(*map(lower, inputs), **named)
        results = found if isinstance(found, tuple) else (found,)
        given = (*out, *[None] * (self.nout - len(out)))
        made = tuple(wrap(r) if x is None else x for r, x in zip(results, given, strict=True))
        return made if self.nout > 1 else made[0]

    @recorded
    def at(self, a: ndarray, indices: Any, b: Any = None) -> None:
        """Apply it in place, once for each time that an index names an element."""
        if self.__name__ not in interface.ATOMICS:
            raise NotImplementedError(f"`{self.name}.at` is not supported yet")
        scatter(a, indices, b, self._ufunc)

    def outer(self, A: Any, B: Any, **kwargs: Any) -> Any:
        """Apply it to all pairs."""
        A, B = array(A), array(B)
        return self(A.reshape(A.shape + (1,) * B.ndim), B, **kwargs)

    def reduce(
        self,
        array: ndarray,
        axis: Any = 0,
        dtype: DTypeLike | None = None,
        out: Any = None,
        keepdims: bool = False,
    ) -> Any:
        """Sum or multiply the elements along an axis."""
        return self._method("reduce", 0)(array, axis=axis, dtype=dtype, out=out, keepdims=keepdims)

    def accumulate(
        self, array: ndarray, axis: Any = 0, dtype: DTypeLike | None = None, out: Any = None
    ) -> Any:
        """Sum or multiply the elements along an axis, and keep each step."""
        return self._method("accumulate", 1)(array, axis=axis, dtype=dtype, out=out)

    def reduceat(
        self, array: ndarray, indices: Any, axis: Any = 0, dtype: Any = None, out: Any = None
    ) -> Any:
        """Sum the elements between indices."""
        if self.__name__ == "add":
            raise interface.not_modelled("add.reduceat")
        raise NotImplementedError(f"`{self.name}.reduceat` is not supported yet")

    def _method(self, name: str, position: int) -> Callable[..., Any]:
        if self.__name__ not in interface.REDUCTIONS:
            raise NotImplementedError(f"`{self.name}.{name}` is not supported yet")
        method: Callable[..., Any] = getattr(ndarray, interface.REDUCTIONS[self.__name__][position])
        return method


def function(name: str, parameters: str, of_numpy: Callable[..., Any]) -> Callable[..., Any]:
    """Return one of CuPy's functions."""
    arguments = bind(name, parameters)

    def of_cupy(*args: Any, **kwargs: Any) -> Any:
        given = arguments(*args, **kwargs)
        if name.endswith("_like"):
            given.keywords["shape"] = _shape_like(given.keywords.get("shape"))
        return compute(name, of_numpy, given)

    of_cupy.__name__ = of_cupy.__qualname__ = name
    return recorded(of_cupy)


def _shape_like(shape: Any) -> Any:
    """Return the ``shape`` of functions such as ``zeros_like``, where CuPy takes () and 0 for a shape not given."""
    return shape if shape else None


# ---------------------------------------------------------------------- those that are not NumPy's


def array(
    obj: Any,
    dtype: DTypeLike | None = None,
    copy: Any = True,
    order: Any = "K",
    subok: bool = False,
    ndmin: int = 0,
    *,
    blocking: bool = False,
) -> ndarray:
    """Return an array on the device, a copy of an array or of nested lists."""
    if subok:
        raise NotImplementedError
    if isinstance(obj, ndarray):
        return _of_device(obj, dtype, copy, order, ndmin)
    if hasattr(obj, "__cuda_array_interface__"):
        return _of_device(_described(obj), dtype, copy, order, ndmin)
    if _has_arrays(obj):
        return wrap_array(np.array([_deep(part) for part in obj], dtype, ndmin=ndmin))
    if order in ("K", "A"):
        order = "F" if isinstance(obj, np.ndarray) and obj.flags.fnc else "C"
    host = np.array(obj, dtype, order=order, ndmin=ndmin)
    interface.check_dtype(host.dtype)
    made = wrap_array(host)
    if host.ndim:  # a number is an argument of a kernel
        note_transfer("to device", host.nbytes, "array" if isinstance(obj, np.ndarray) else "array of a list")
        if (
            isinstance(obj, np.ndarray)
            and obj.dtype == host.dtype
            and obj.flags.forc
            and pinned.is_pinned(obj)
        ):
            pinned.copy_from(obj)
    if blocking:
        note_wait("array(blocking=True)")
        pinned.complete()
    return made


def _described(obj: Any) -> ndarray:
    """Return an array over the memory that an object describes."""

    class Description:
        __array_interface__ = obj.__cuda_array_interface__
        owner = obj

    return wrap_array(np.asarray(Description()))


def _of_device(obj: ndarray, dtype: DTypeLike | None, copy: Any, order: Any, ndmin: int) -> ndarray:
    if obj._memory.device_id != current_device():
        from .cuda import Device

        with Device(obj._memory.device_id):
            storage = lower(obj)
        moved = wrap_array(storage.copy())
        return moved.astype(obj.dtype if dtype is None else dtype, copy=False)
    made = obj.astype(obj.dtype if dtype is None else dtype, order=order, copy=bool(copy))
    if copy is False and made is not obj:
        raise ValueError("Unable to avoid copy while creating an array as requested.")
    return made if ndmin <= made.ndim else made.reshape((1,) * (ndmin - made.ndim) + made.shape)


def _has_arrays(obj: Any) -> bool:
    return isinstance(obj, list | tuple) and any(isinstance(x, ndarray) or _has_arrays(x) for x in obj)


def _deep(part: Any) -> Any:
    """Return the storage of nested arrays; CuPy takes nothing else beside them."""
    if isinstance(part, ndarray):
        return lower(part)
    if not isinstance(part, list | tuple):
        raise TypeError(f"Nested array: Unsupported type {type(part)}")
    return [_deep(x) for x in part]


def asarray(
    a: Any, dtype: DTypeLike | None = None, order: Any = None, *, copy: Any = None, blocking: bool = False
) -> ndarray:
    """Return an array on the device: itself, if it is one of this dtype and order."""
    return array(a, dtype, copy, order or "K", blocking=blocking)


def ascontiguousarray(a: Any, dtype: DTypeLike | None = None) -> ndarray:
    """Return a C-contiguous array on the device, of one dimension at least."""
    return array(a, dtype, None, "C", ndmin=1)


def asfortranarray(a: Any, dtype: DTypeLike | None = None) -> ndarray:
    """Return a Fortran-contiguous array on the device."""
    return array(a, dtype, None, "F")


def asnumpy(a: Any, stream: Any = None, order: Any = "C", out: Any = None, *, blocking: bool = True) -> Any:
    """Return an array of the host: a copy of one on the device."""
    if isinstance(a, ndarray):
        return a.get(stream, order, out, blocking)
    host = np.asarray(a, order=order)
    if out is None:
        return host
    out[...] = host
    return out


def empty(shape: Any, dtype: DTypeLike = float, order: Any = "C") -> ndarray:
    """Return an array with NaN or -1 in it, until it is written."""
    return ndarray(shape, dtype, order=order)


def empty_like(
    prototype: ndarray,
    dtype: DTypeLike | None = None,
    order: Any = "K",
    subok: None = None,
    shape: Any = None,
) -> ndarray:
    """Return an array like another one, with NaN or -1 in it until it is written."""
    made = wrap_array(np.empty_like(lower(prototype), dtype, order, shape=_shape_like(shape)))
    fresh = ndarray(made.shape, made.dtype)
    made[...] = fresh
    return made


def where(condition: ndarray, x: Any = None, y: Any = None) -> Any:
    """Return elements of one or the other; or the indices that are true, for which it waits."""
    if (x is None) != (y is None):
        raise ValueError("Must provide both 'x' and 'y' or neither.")
    if x is None:
        return condition.nonzero()
    condition = condition.astype(bool, copy=False)  # a number has no astype in CuPy either
    for value in (condition, x, y):
        if not isinstance(value, ndarray | NUMBERS):
            raise TypeError(f"Unsupported type {type(value)}")
    return wrap(in_c_order(np.where(lower(condition), lower(x), lower(y))))


def copyto(dst: ndarray, src: Any, casting: Any = "same_kind", where: Any = None) -> None:
    """Copy elements, with broadcasting."""
    if isinstance(src, np.ndarray):
        if src.size != 1:
            raise ValueError("non-scalar numpy.ndarray cannot be used for copyto")
        src = src.squeeze()[()]
    if not isinstance(dst, ndarray):
        raise TypeError(f"Unsupported type {type(dst)}")
    with np.errstate(all="ignore"):
        np.copyto(writeable(dst), lower(src), casting, True if where is None else lower(where))


def repeat(a: ndarray, repeats: Any, axis: Any = None) -> Any:
    """Repeat elements."""
    return a.repeat(repeats, axis)


def put_along_axis(arr: ndarray, indices: ndarray, values: Any, axis: int) -> None:
    """Set elements that indices along an axis name."""
    shape = [1] * arr.ndim
    index: list[Any] = []
    for i, size in enumerate(arr.shape):
        index.append(
            indices
            if i == axis % arr.ndim
            else wrap(np.arange(size).reshape(*shape[:i], -1, *shape[i + 1 :]))
        )
    arr[tuple(index)] = values


def erf(x: ndarray) -> Any:
    """Return the error function of each element, as ``cupyx.scipy.special.erf``."""
    if not isinstance(x, ndarray | NUMBERS):
        raise TypeError(f"Unsupported type {type(x)}")
    values = lower(x)
    return wrap(np.asarray(np.frompyfunc(math.erf, 1, 1)(values), np.result_type(values, np.float32)))


def scatter_add(a: ndarray, slices: Any, value: Any) -> None:
    """Add values to elements, once for each time that an index names one."""
    scatter(a, slices, value, np.add)


def scatter_max(a: ndarray, slices: Any, value: Any) -> None:
    """Raise elements to values, of all that an index names."""
    scatter(a, slices, value, np.maximum)


def scatter_min(a: ndarray, slices: Any, value: Any) -> None:
    """Lower elements to values, of all that an index names."""
    scatter(a, slices, value, np.minimum)
