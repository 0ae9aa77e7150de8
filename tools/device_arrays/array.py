"""The array of a device: NumPy's in memory of its own, which refuses what CuPy's refuses.

What indexes and computes imports this class, so its methods import that when they are called.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NoReturn

import numpy as np
from numpy.typing import DTypeLike, NDArray

from . import interface, pinned
from .binding import Given, bind
from .capture import recorded
from .memory import Memory, MemoryPointer, current_device, poison
from .transfers import note_transfer, note_wait

NUMBERS = bool | int | float | complex | np.generic


class UndefinedResultError(AssertionError):
    """CuPy would go on with a result that is not defined.

    An AssertionError, so that no handler of the code under test takes it for NumPy's IndexError, which CuPy has not.
    """


class ndarray:  # noqa: N801 - its name in CuPy
    """An array on a device.

    Parameters
    ----------
    shape : int or tuple of int
    dtype : dtype, default float
    memptr, strides : None
        Not modelled.
    order : {"C", "F"}, default "C"
        The elements are NaN or -1 until they are written.
    """

    __slots__ = ("__weakref__", "_memory", "_storage", "base")
    __array_priority__ = 100
    __hash__ = None  # type: ignore[assignment]

    def __init__(
        self,
        shape: Any,
        dtype: DTypeLike = float,
        memptr: None = None,
        strides: None = None,
        order: Any = "C",
    ) -> None:
        if memptr is not None or strides is not None:
            raise interface.not_modelled("ndarray(memptr=, strides=)")
        self._storage: NDArray[Any] = np.empty(shape, interface.check_dtype(dtype), order)
        poison(self._storage)
        self._memory = Memory(self._storage.nbytes)
        self.base: ndarray | None = None

    def __getattr__(self, name: str) -> Any:
        if name in interface.METHODS_NOT_MODELLED:
            raise interface.not_modelled(f"ndarray.{name}")
        raise AttributeError(f"'cupy.ndarray' object has no attribute {name!r}")

    # ---------------------------------------------------------------- what it is

    @property
    def shape(self) -> tuple[int, ...]:
        """The lengths; a new shape is set without a copy."""
        return self._storage.shape

    @shape.setter
    def shape(self, shape: Any) -> None:
        self._storage = self._storage.view()  # of another array's memory, the shape is its own
        self._storage.shape = shape

    dtype = property(lambda self: self._storage.dtype)
    ndim = property(lambda self: self._storage.ndim)
    size = property(lambda self: self._storage.size)
    itemsize = property(lambda self: self._storage.itemsize)
    nbytes = property(lambda self: self._storage.nbytes)
    strides = property(lambda self: self._storage.strides)
    flags = property(lambda self: Flags(self))
    T = property(lambda self: wrap_array(self._storage.T, self))
    mT = property(lambda self: wrap_array(self._storage.mT, self))  # noqa: N815

    @property
    def device(self) -> Any:
        """Where it is."""
        from .cuda import Device

        return Device(self._memory.device_id)

    @property
    def data(self) -> MemoryPointer:
        """Where its elements begin."""
        return MemoryPointer(self._memory, _address(self._storage))

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return {
            "shape": self.shape,
            "typestr": self.dtype.str,
            "descr": self.dtype.descr,
            "stream": 1,
            "version": 3,
            "strides": None if self.flags.c_contiguous else self.strides,
            "data": (_address(self._storage) if self.size else 0, False),
        }

    @property
    def real(self) -> ndarray:
        """The real part, a view."""
        return self if self.dtype.kind != "c" else wrap_array(self._storage.real, self)

    @real.setter
    def real(self, value: Any) -> None:
        self._storage.real = lower(value)

    @property
    def imag(self) -> ndarray:
        """The imaginary part, a view; zeros, if it has none."""
        storage = self._storage.imag if self.dtype.kind == "c" else np.zeros_like(self._storage)
        return wrap_array(storage, self)

    @imag.setter
    def imag(self, value: Any) -> None:
        self._storage.imag = lower(value)

    # ---------------------------------------------------------------- copies to the host

    def get(
        self, stream: Any = None, order: Any = "C", out: Any = None, blocking: bool = True
    ) -> NDArray[Any]:
        """Return a copy in the host's memory."""
        return self._get("get", order, out, blocking)

    def _get(
        self, what: str, order: Any = "C", out: NDArray[Any] | None = None, blocking: bool = True
    ) -> NDArray[Any]:
        if out is None:
            fortran = order == "F" or (order == "A" and self.flags.fnc)
            out = np.empty(self.shape, self.dtype, order="F" if fortran else "C")
        elif not isinstance(out, np.ndarray):
            raise TypeError("Only numpy.ndarray can be obtained from cupy.ndarray")
        elif out.dtype != self.dtype:
            raise TypeError(f"{out.dtype} array cannot be obtained from {self.dtype} array")
        elif out.shape != self.shape:
            raise ValueError(f"Shape mismatch. Expected shape: {self.shape}, actual shape: {out.shape}")
        if self.size:
            note_transfer("to host", self.nbytes, what)
            if not blocking and pinned.is_pinned(out):
                pinned.copy_to(out, self._storage, poison)
                return out
            note_wait(what)
            pinned.complete()
        np.copyto(out, self._storage)
        return out

    def set(self, arr: Any, stream: Any = None) -> None:
        """Copy an array of the host into this one."""
        if not isinstance(arr, np.ndarray):
            raise TypeError("Only numpy.ndarray can be set to cupy.ndarray")
        if arr.dtype != self.dtype:
            raise TypeError(f"{arr.dtype} array cannot be set to {self.dtype} array")
        if arr.shape != self.shape:
            raise ValueError(f"Shape mismatch. Old shape: {self.shape}, new shape: {arr.shape}")
        if not self.flags.forc:
            raise RuntimeError("Cannot set to non-contiguous array")
        note_transfer("to device", arr.nbytes, "set")
        if pinned.is_pinned(arr):
            pinned.copy_from(arr)
        np.copyto(writeable(self), arr)

    def item(self) -> Any:
        """Return the one element as a number."""
        if self.size != 1:
            raise ValueError("can only convert an array of size 1 to a Python scalar")
        return self._get("item()").item()

    def tolist(self) -> Any:
        """Return the elements as a list."""
        return self._get("tolist()").tolist()

    def tobytes(self, order: Any = "C") -> bytes:
        """Return the elements' bytes."""
        return self._get("tobytes()").tobytes(order)

    def tofile(self, fid: Any, sep: str = "", format: str = "%s") -> None:
        """Write the elements to a file."""
        self._get("tofile()").tofile(fid, sep, format)

    def __bool__(self) -> bool:
        if self.size > 1:
            raise ValueError(
                "The truth value of an array with more than one element is ambiguous. Use a.any() or a.all()"
            )
        return bool(self._get("bool()"))

    def __int__(self) -> int:
        return int(self._get("int()"))

    def __float__(self) -> float:
        return float(self._get("float()"))

    def __complex__(self) -> complex:
        return complex(self._get("complex()"))

    def __bytes__(self) -> bytes:
        return bytes(self._get("bytes()"))

    def __repr__(self) -> str:
        return repr(self._get("repr()"))

    def __str__(self) -> str:
        return str(self._get("str()"))

    def __format__(self, spec: str) -> str:
        return format(self._get("format()"), spec)

    def __reduce__(self) -> Any:
        from .functions import array

        return array, (self._get("pickle", order="A"),)

    # ---------------------------------------------------------------- NumPy's protocols

    def __array__(self, dtype: Any = None, copy: Any = None) -> NoReturn:
        raise TypeError(
            "Implicit conversion to a NumPy array is not allowed. "
            "Please use `.get()` to construct a NumPy array explicitly."
        )

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        from .library import function_for

        function = function_for(ufunc.__name__, "")
        if function is None:
            return NotImplemented
        out = kwargs.get("out", ())
        if "out" in kwargs:
            if len(out) != 1:
                raise ValueError("The 'out' parameter must have exactly one array value")
            kwargs["out"] = out[0]
        if method != "__call__":
            function = getattr(function, method)
        if not all(isinstance(x, ndarray | np.ndarray | NUMBERS) for x in (*inputs, *out)):
            return NotImplemented
        if ufunc.__name__ in interface.COMPARISONS:
            inputs = tuple(x.item() if isinstance(x, np.ndarray) and x.ndim == 0 else x for x in inputs)
        return function(*inputs, **kwargs)

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        from .library import function_for

        function = function_for(func.__name__, func.__module__)
        if function is None or not all(issubclass(t, ndarray | np.ndarray) for t in types):
            return NotImplemented
        return function(*args, **kwargs)

    # ---------------------------------------------------------------- elements

    def __len__(self) -> int:
        if not self.ndim:
            raise TypeError("len() of unsized object")
        return len(self._storage)

    def __iter__(self) -> Iterator[ndarray]:
        if not self.ndim:
            raise TypeError("iteration over a 0-d array")
        return (self[i] for i in range(len(self)))

    @recorded
    def __getitem__(self, index: Any) -> ndarray:
        from .indexing import get

        return get(self, index)

    @recorded
    def __setitem__(self, index: Any, value: Any) -> None:
        from .indexing import update

        update(self, index, value)

    @recorded
    def fill(self, value: Any) -> None:
        """Set all elements to a number, or to an array of zero dimensions."""
        if isinstance(value, ndarray):
            if value.ndim:
                raise ValueError("non-scalar cupy.ndarray cannot be used for fill")
            filled = lower(value)
        else:
            filled = np.asarray(value, self.dtype)
            if filled.ndim:
                raise ValueError("non-scalar numpy.ndarray cannot be used for fill")
        with np.errstate(all="ignore"):
            np.copyto(writeable(self), filled, casting="unsafe")

    # ---------------------------------------------------------------- copies and views

    @recorded
    def astype(
        self, dtype: DTypeLike, order: Any = "K", casting: None = None, subok: None = None, copy: Any = True
    ) -> ndarray:
        """Return the elements in another dtype; itself, if it has it and ``copy`` is false."""
        if casting is not None:
            raise TypeError("casting is not supported yet")
        if subok is not None:
            raise TypeError("subok is not supported yet")
        dtype = interface.check_dtype(dtype)
        if not copy and self.dtype == dtype and (order in "KA" or self.flags[f"{order}_CONTIGUOUS"]):
            return self
        with np.errstate(all="ignore"):
            return wrap_array(lower(self).astype(dtype, order or "K"))

    @recorded
    def copy(self, order: Any = "C") -> ndarray:
        """Return a copy."""
        return wrap_array(lower(self).copy(order))

    def __copy__(self) -> ndarray:
        return self.copy()

    def __deepcopy__(self, memo: Any) -> ndarray:
        return self.copy()

    def view(self, dtype: Any = None, type: Any = None) -> ndarray:
        """Return another array of the same memory."""
        if type is not None:
            raise interface.not_modelled("view(type=)")
        storage = self._storage.view() if dtype is None else self._storage.view(interface.check_dtype(dtype))
        return wrap_array(storage, self)

    @recorded
    def reshape(self, *shape: Any, order: Any = "C", copy: Any = None) -> ndarray:
        """Return the elements in another shape, a view where that can be."""
        storage = lower(self).reshape(*shape, order=order)
        return wrap_array(storage.copy(order) if copy else storage, self)

    def transpose(self, *axes: Any) -> ndarray:
        """Return a view with its dimensions in another order."""
        return wrap_array(lower(self).transpose(*axes), self)


class Flags:
    """The layout of an array; CuPy has no ``writeable``."""

    _NAMES = ("C_CONTIGUOUS", "F_CONTIGUOUS", "OWNDATA")

    def __init__(self, array: ndarray) -> None:
        flags = array._storage.flags
        self.c_contiguous, self.f_contiguous = flags.c_contiguous, flags.f_contiguous
        self.owndata = array.base is None
        self.fnc = self.f_contiguous and not self.c_contiguous
        self.forc = self.f_contiguous or self.c_contiguous

    def __getitem__(self, name: str) -> bool:
        if name not in self._NAMES:
            raise KeyError(f"{name} is not defined for cupy.ndarray.flags")
        return bool(getattr(self, name.lower()))


def lower(value: Any) -> Any:
    """Return a value with the storage of its arrays in their places; refuse NumPy's arrays."""
    if isinstance(value, ndarray):
        if value._memory.device_id != current_device():
            raise ValueError(
                f"The device where the array resides ({value._memory.device_id}) is different from the current device "
                f"({current_device()}). Peer access is unavailable between these devices."
            )
        return value._storage
    if isinstance(value, np.ndarray):
        raise TypeError(f"Unsupported type {type(value)}")
    if isinstance(value, tuple | list):
        return type(value)(map(lower, value))
    if isinstance(value, dict):
        return {key: lower(part) for key, part in value.items()}
    return value


def arrays_in(value: Any) -> Iterator[ndarray]:
    """Yield the arrays of a value and its parts."""
    if isinstance(value, ndarray):
        yield value
    elif isinstance(value, tuple | list):
        for part in value:
            yield from arrays_in(part)
    elif isinstance(value, dict):
        yield from arrays_in(list(value.values()))


def wrap(found: Any, *sources: ndarray) -> Any:
    """Return what NumPy found, with its arrays and scalars as arrays of the device."""
    if isinstance(found, list):
        return [wrap(part, *sources) for part in found]
    if isinstance(found, tuple):
        return tuple(wrap(part, *sources) for part in found)
    if isinstance(found, np.generic):
        found = np.asarray(found)
    return wrap_array(found, *sources) if isinstance(found, np.ndarray) else found


def wrap_array(storage: NDArray[Any], *sources: ndarray) -> ndarray:
    """Return an array of the device: a view of the source whose memory it has, or else one with memory of its own."""
    made = ndarray.__new__(ndarray)
    made._storage = storage
    owner = next((s for s in sources if np.may_share_memory(s._storage, storage)), None)
    if owner is None:
        interface.check_dtype(storage.dtype)
        made.base, made._memory = None, Memory(storage.nbytes)
        return made
    if owner._storage.flags.writeable and 0 not in storage.strides and storage is not owner._storage:
        storage.flags.writeable = True  # NumPy's diagonal is not, CuPy's is
    made.base = owner if owner.base is None else owner.base
    made._memory = owner._memory
    return made


def writeable(array: ndarray) -> NDArray[Any]:
    """Return the storage to write to; refuse what a broadcast shares."""
    storage: NDArray[Any] = lower(array)
    if not storage.size:  # nothing is written
        return storage if storage.flags.writeable else storage.copy()
    shared = any(stride == 0 and n > 1 for stride, n in zip(storage.strides, storage.shape, strict=True))
    if shared or not storage.flags.writeable:
        raise UndefinedResultError(
            f"an array whose elements share memory, by broadcasting to {array.shape}, is written to; CuPy does so "
            "without an error, and leaves any of the values"
        )
    return storage


def for_emulator(*arguments: Any) -> tuple[Any, ...]:
    """Return arguments for `tools.cuda_emulator.Kernel.launch`, which takes NumPy's arrays.

    Parameters
    ----------
    *arguments
        Arrays of the device, whose memory the kernel then changes, numbers, and tuples of them, named ones included.

    Returns
    -------
    tuple

    Raises
    ------
    TypeError
        For an array of NumPy: its memory is not the device's.
    """

    def unwrap(value: Any) -> Any:
        if isinstance(value, np.ndarray):
            raise TypeError(
                f"a kernel is given a NumPy array of shape {value.shape}; expected arrays of the device: cupy.asarray"
            )
        if isinstance(value, ndarray):
            return lower(value)
        if isinstance(value, tuple):
            parts = [unwrap(part) for part in value]
            return type(value)(*parts) if hasattr(value, "_fields") else tuple(parts)
        return value

    return tuple(unwrap(value) for value in arguments)


def _address(storage: NDArray[Any]) -> int:
    address: int = storage.__array_interface__["data"][0]
    return address


def _defers(x: Any, y: Any) -> bool:
    """Return whether the other operand's own operator goes first."""
    missing = object()
    of_y = getattr(y, "__array_ufunc__", missing)
    if of_y is not missing:
        return of_y is None
    return bool(ndarray.__array_priority__ < getattr(y, "__array_priority__", 0))


def _binary(x: Any, y: Any, ufunc: np.ufunc) -> Any:
    other = y if isinstance(x, ndarray) else x
    return NotImplemented if _defers(x, other) else ufunc(x, y)


def _operators(ufunc: np.ufunc) -> tuple[Callable[[Any, Any], Any], ...]:
    def inplace(self: ndarray, other: Any) -> Any:
        from .library import function_for

        function = function_for(ufunc.__name__, "")
        assert function is not None
        return function(self, other, self)

    return (lambda x, y: _binary(x, y, ufunc)), (lambda x, y: _binary(y, x, ufunc)), inplace


def _comparison(ufunc: np.ufunc) -> Callable[[Any, Any], Any]:
    def compare(self: ndarray, other: Any) -> Any:
        if _defers(self, other):
            return NotImplemented
        if ufunc in (np.equal, np.not_equal) and (
            other is None or getattr(type(other), "__eq__", None) is object.__eq__
        ):
            return wrap_array(np.full(self.shape, ufunc is np.not_equal))
        return ufunc(self, other)

    return recorded(compare)


def _method(name: str, parameters: str) -> Callable[..., Any]:
    arguments = bind(name, parameters)
    of_numpy = getattr(np.ndarray, name, None) or getattr(np, name)

    def method(self: ndarray, *args: Any, **kwargs: Any) -> Any:
        return compute(name, of_numpy, arguments(*args, **kwargs), self)

    method.__name__ = method.__qualname__ = name
    return recorded(method)


def compute(name: str, of_numpy: Callable[..., Any], given: Given, *first: ndarray) -> Any:
    """Call one of NumPy's functions, or methods on ``first``, on the storage of arrays of the device."""
    out = given.keywords.get("out")
    if out is not None:
        if not isinstance(out, ndarray):
            raise TypeError("Output arguments type must be cupy.ndarray")
        writeable(out)
    positional = [*first, *given.positional]
    if name in ("argmax", "argmin") and given.keywords.pop("dtype", None) is not None:
        raise interface.not_modelled(f"{name}(dtype=)")
    if name in ("take", "repeat"):
        positional[1] = _host_indices(name, positional[1])
    if name == "repeat" and isinstance(positional[1], ndarray):
        note_wait("the sum of repeats")
    if name in interface.WAITING:
        note_wait(name)
    try:
        with np.errstate(all="ignore"):
            found = of_numpy(*map(lower, positional), **lower(given.keywords))
    except IndexError as error:
        raise undefined(error) from error
    except np.linalg.LinAlgError as error:
        if name not in ("inv", "solve"):
            raise UndefinedResultError(f"{error}; CuPy returns some numbers without an error") from error
        found = np.full_like(lower(positional[-1]), np.nan)
    if out is not None:
        return out
    if name in interface.ARRAYS_OF_ZERO_DIMENSIONS and not isinstance(found, np.ndarray):
        found = np.asarray(found)
    sources = [*arrays_in(positional), *arrays_in(given.keywords)]
    if isinstance(found, np.ndarray) and name not in interface.KEEP_ORDER and not _is_view(found, sources):
        found = in_c_order(found)
    return wrap(found, *sources)


def in_c_order(found: NDArray[Any]) -> NDArray[Any]:
    """Return an array in C order, as CuPy's are, where NumPy's have the order of the operands."""
    return found if found.flags.c_contiguous else found.copy("C")


def _is_view(found: NDArray[Any], sources: list[ndarray]) -> bool:
    return any(np.may_share_memory(source._storage, found) for source in sources)


def _host_indices(name: str, indices: Any) -> Any:
    """Return indices on the host as an array of the device, as ``take`` and ``repeat`` send them."""
    if isinstance(indices, np.ndarray) and name == "repeat":
        raise TypeError("'repeats' does not accept numpy.ndarray; convert with cupy.array() first")
    if isinstance(indices, list | tuple | np.ndarray):
        from .functions import array

        return array(indices, dtype=np.int64)
    return indices


def undefined(error: IndexError) -> Exception:
    """Return the error for one of NumPy's: CuPy has none for an index in an array that is out of range."""
    if "out of bounds" in str(error) and not isinstance(error, np.exceptions.AxisError):
        return UndefinedResultError(f"{error}; CuPy wraps it around without an error")
    return error


for _name, _parameters in interface.METHODS.items():
    setattr(ndarray, _name, _method(_name, _parameters))
for _name, _ufunc in {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "truediv": np.true_divide,
    "floordiv": np.floor_divide,
    "mod": np.remainder,
    "pow": np.power,
    "matmul": np.matmul,
    "divmod": np.divmod,
    "and": np.bitwise_and,
    "or": np.bitwise_or,
    "xor": np.bitwise_xor,
    "lshift": np.left_shift,
    "rshift": np.right_shift,
}.items():
    for _prefix, _operator in zip(("", "r", "i"), _operators(_ufunc), strict=True):
        if (_prefix, _name) not in {("i", "matmul"), ("i", "divmod")}:
            setattr(ndarray, f"__{_prefix}{_name}__", _operator)
for _name, _ufunc in {
    "lt": np.less,
    "le": np.less_equal,
    "gt": np.greater,
    "ge": np.greater_equal,
    "eq": np.equal,
    "ne": np.not_equal,
}.items():
    setattr(ndarray, f"__{_name}__", _comparison(_ufunc))
for _name, _ufunc in {
    "neg": np.negative,
    "pos": np.positive,
    "abs": np.absolute,
    "invert": np.invert,
}.items():
    setattr(ndarray, f"__{_name}__", (lambda ufunc: lambda self: ufunc(self))(_ufunc))
