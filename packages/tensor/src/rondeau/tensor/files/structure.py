"""Any nesting of plain values, tensors and arrays, as JSON and a flat mapping of arrays.

What JSON has stands for itself: None, bool, str, int, finite floats, lists, and dicts with strings as keys. All else is
an object with one member whose name begins with ``$``:

=============================== ======================================================================================
object                          value
=============================== ======================================================================================
``{"$tensor": name}``           a Tensor on the array of that name; with ``"requires_grad": true`` where it does, and a
                                number as ``"object"`` for a second, third ... tensor on the same memory
``{"$parameter": name}``        as above, another class of Tensor that its package has registered (`register`)
``{"$array": name}``            a NumPy array; one of a GPU becomes one
``{"$scalar": name}``           a NumPy scalar, kept as an array of no dimensions
``{"$tuple": [...]}``           a tuple
``{"$items": [[key, value]]}``  a dict of which a key is an integer or begins with ``$``
``{"$ordered": [[key, ...]]}``  an OrderedDict
``{"$integers": name}``         a list of more than `MOST_IN_JSON` integers
``{"$integer": "0x..."}``       an integer beyond 64 bits
``{"$float": "nan"}``           a number that JSON lacks: ``nan``, ``inf``, ``-inf``
``{"$bytes": name}``            bytes, kept as an array of uint8
=============================== ======================================================================================

A tensor that stands in several places is one tensor after loading too, and tensors and arrays on the same memory share
it again. Memory that overlaps in part does not stay shared. Where a tensor was is not kept: arrays are those of the
host, and whoever puts a value together says on which device its tensors are to be.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rondeau.kernels.errors import ArgumentTypeError, ArgumentValueError
from rondeau.kernels.runtime.devices import is_of_device
from rondeau.kernels.runtime.transfers import on_host
from rondeau.tensor._devices import move
from rondeau.tensor._lazy import class_of
from rondeau.tensor._tensor import Tensor

__all__ = ["MOST_IN_JSON", "Packed", "pack", "register", "unpack"]

MOST_IN_JSON = 1000
"""Longer lists of integers are kept as arrays."""
DEEPEST = 100
"""How deep values may be nested."""

_KINDS_OF_TENSOR: dict[str, type[Tensor]] = {"$tensor": Tensor}
_INTEGERS = np.iinfo(np.int64)


class Packed(NamedTuple):
    """A value taken apart.

    Attributes
    ----------
    structure : object
        What JSON can hold.
    arrays : dict of str to ndarray
    """

    structure: Any
    arrays: dict[str, NDArray[Any]]


def register(tag: str, kind: type[Tensor]) -> None:
    """Have tensors of a class kept apart from plain ones.

    Parameters
    ----------
    tag : str
        Its name in files, beginning with ``$``.
    kind : type
        Called as ``kind(array, requires_grad=...)``.
    """
    _KINDS_OF_TENSOR[tag] = kind


def pack(value: Any) -> Packed:
    """Take a value apart.

    Raises
    ------
    TypeError
        If it holds something that is not in the table above; the message says where.
    ValueError
        If it holds itself, or is nested deeper than `DEEPEST`.

    Examples
    --------
    >>> packed = pack({"step": 3, "weights": (np.arange(2.0),)})
    >>> packed.structure
    {'step': 3, 'weights': {'$tuple': [{'$array': 'weights.0'}]}}
    >>> packed.arrays
    {'weights.0': array([0., 1.])}
    """
    packer = _Packer()
    structure = packer.pack(value, ())
    return Packed(structure, packer.arrays)


class _Packer:
    """Walks through a value, and collects its arrays."""

    def __init__(self) -> None:
        self.arrays: dict[str, NDArray[Any]] = {}
        self._open: set[int] = set()
        self._names_of_memory: dict[tuple[Any, ...], str] = {}
        self._tensors_on: dict[str, list[Tensor]] = {}
        self._tag_of = {kind: tag for tag, kind in _KINDS_OF_TENSOR.items()}

    def pack(self, value: Any, path: tuple[Any, ...]) -> Any:
        """Return a value as JSON; `path` is the keys that lead to it."""
        kind = class_of(value)
        if value is None or kind in (bool, str):
            return value
        if kind is int:
            return value if -(2**63) <= value < 2**63 else {"$integer": hex(value)}
        if kind is float:
            return value if math.isfinite(value) else {"$float": str(value)}
        if kind in (list, tuple, dict, OrderedDict):
            return self._pack_container(value, path)
        if kind in self._tag_of:
            return self._pack_tensor(value, path)
        if kind is bytes:
            return {"$bytes": self._keep(np.frombuffer(value, np.uint8), path)}
        if kind is np.ndarray or is_of_device(value):
            _check_dtype(value, path)
            return {"$array": self._keep(value, path)}
        if isinstance(value, np.generic):
            _check_dtype(value, path)
            return {"$scalar": self._keep(np.asarray(value), path)}
        raise _refusal(value, path)

    def _pack_tensor(self, tensor: Tensor, path: tuple[Any, ...]) -> dict[str, Any]:
        name = self._keep(tensor._array, path)
        packed: dict[str, Any] = {self._tag_of[class_of(tensor)]: name}
        if tensor.requires_grad:
            packed["requires_grad"] = True
        known = self._tensors_on.setdefault(name, [])
        number = next((i for i, other in enumerate(known) if other is tensor), len(known))
        if number == len(known):
            known.append(tensor)
        return packed | {"object": number} if number else packed

    def _pack_container(self, value: Any, path: tuple[Any, ...]) -> Any:
        if id(value) in self._open:
            raise ArgumentValueError(f"save cannot write {_shown(path)}: it contains itself")
        if len(path) >= DEEPEST:
            raise ArgumentValueError(
                f"save cannot write {_shown(path[:3])}...: it is nested deeper than {DEEPEST}"
            )
        self._open.add(id(value))
        try:
            if type(value) is list:
                if len(value) > MOST_IN_JSON and all(type(item) is int for item in value):
                    return self._pack_integers(value, path)
                return self._pack_items(value, path)
            if type(value) is tuple:
                return {"$tuple": self._pack_items(value, path)}
            return self._pack_mapping(value, path)
        finally:
            self._open.discard(id(value))

    def _pack_items(self, items: Iterable[Any], path: tuple[Any, ...]) -> list[Any]:
        return [self.pack(item, (*path, index)) for index, item in enumerate(items)]

    def _pack_integers(self, value: list[int], path: tuple[Any, ...]) -> Any:
        if min(value) < _INTEGERS.min or max(value) > _INTEGERS.max:
            return self._pack_items(value, path)
        return {"$integers": self._keep(np.array(value, np.int64), path)}

    def _pack_mapping(self, value: dict[Any, Any], path: tuple[Any, ...]) -> Any:
        for key in value:
            if type(key) is not str and not (type(key) is int and -(2**63) <= key < 2**63):
                raise ArgumentTypeError(
                    f"save cannot write {_shown(path)}: its keys must be strings, or integers of 64 bits, got "
                    f"{type(key).__name__} {key!r:.40}"
                )
        packed = [[key, self.pack(item, (*path, key))] for key, item in value.items()]
        if type(value) is OrderedDict:
            return {"$ordered": packed}
        if all(type(key) is str and not key.startswith("$") for key in value):
            return dict(packed)
        return {"$items": packed}

    def _keep(self, array: Any, path: tuple[Any, ...]) -> str:
        """Keep an array under the name of its path, once for all that share its memory; return the name."""
        there = is_of_device(array)
        interface = array.__cuda_array_interface__ if there else array.__array_interface__
        memory = (there, interface["data"][0], array.shape, array.strides, array.dtype.str)
        if array.size and memory in self._names_of_memory:
            return self._names_of_memory[memory]
        wanted = ".".join(map(str, path)).encode("utf-8", "backslashreplace").decode() or "value"
        name, number = wanted, 1
        while name in self.arrays or name == "__metadata__":
            number += 1
            name = f"{wanted}~{number}"
        self.arrays[name] = on_host(array)
        if array.size:
            self._names_of_memory[memory] = name
        return name


def unpack(structure: Any, arrays: Mapping[str, NDArray[Any]], device: str = "cpu") -> Any:
    """Put a value together again.

    Parameters
    ----------
    structure : object
        As of `pack`.
    arrays : mapping of str to ndarray
        Shared with the value.
    device : {"cpu", "cuda"}
        Where its tensors are to be; arrays stay those of the host.

    Raises
    ------
    ValueError
        If that is not what `pack` makes.

    Examples
    --------
    >>> unpack(*pack({"step": 3, "weights": (np.arange(2.0),)}))
    {'step': 3, 'weights': (array([0., 1.]),)}
    """
    return _Unpacker(arrays, device).unpack(structure)


class _Unpacker:
    """Walks through what a file holds, of which nothing is taken for granted."""

    def __init__(self, arrays: Mapping[str, NDArray[Any]], device: str) -> None:
        self._arrays, self._device = arrays, device
        self._moved: dict[str, Any] = {}  # the arrays of tensors, where those are
        self._tensors: dict[tuple[Any, ...], Tensor] = {}
        self._readers: dict[str, Callable[[Any], Any]] = {
            "$array": self._array,
            "$scalar": self._scalar,
            "$tuple": lambda given: tuple(self._items(given)),
            "$items": lambda given: dict(self._pairs(given)),
            "$ordered": lambda given: OrderedDict(self._pairs(given)),
            "$integers": lambda given: self._vector(given, np.int64).tolist(),
            "$integer": _read_integer,
            "$float": _read_float,
            "$bytes": lambda given: self._vector(given, np.uint8).tobytes(),
        }

    def unpack(self, packed: Any) -> Any:
        if isinstance(packed, list):
            return self._items(packed)
        if not isinstance(packed, dict):
            return packed
        tag = next(iter(packed), "")
        if not tag.startswith("$"):
            return {key: self.unpack(item) for key, item in packed.items()}
        if tag in _KINDS_OF_TENSOR:
            return self._tensor(tag, packed)
        if len(packed) != 1 or tag not in self._readers:
            hint = "; import rondeau.nn first" if tag == "$parameter" else ""
            raise ArgumentValueError(
                f"holds a {tag[:40]!r}, which this version of rondeau does not know{hint}"
            )
        return self._readers[tag](packed[tag])

    def _items(self, packed: Any) -> list[Any]:
        if not isinstance(packed, list):
            raise ArgumentValueError(f"holds {packed!r:.40} where a list should be")
        return [self.unpack(item) for item in packed]

    def _pairs(self, packed: Any) -> list[tuple[Any, Any]]:
        pairs = []
        for pair in packed if isinstance(packed, list) else [None]:
            if not isinstance(pair, list) or len(pair) != 2 or type(pair[0]) not in (str, int):
                raise ArgumentValueError(f"holds {pair!r:.40} where a key and its value should be")
            pairs.append((pair[0], self.unpack(pair[1])))
        return pairs

    def _tensor(self, tag: str, packed: dict[str, Any]) -> Tensor:
        requires_grad, number = packed.get("requires_grad", False), packed.get("object", 0)
        known = packed.keys() <= {tag, "requires_grad", "object"}
        if not known or not isinstance(requires_grad, bool) or type(number) is not int:
            raise ArgumentValueError(f"holds {packed!r:.60} where a tensor should be")
        array = self._array(packed[tag])
        if requires_grad and array.dtype.kind != "f":
            raise ArgumentValueError(f"holds a tensor of {array.dtype} that requires gradients")
        key = tag, packed[tag], requires_grad, number
        if key not in self._tensors:
            array = self._moved.setdefault(packed[tag], move(array, self._device))
            try:
                self._tensors[key] = _KINDS_OF_TENSOR[tag](array, requires_grad=requires_grad)
            except ArgumentTypeError as error:
                raise ArgumentValueError(f"holds the tensor {packed[tag]!r:.60}, but {error}") from None
        return self._tensors[key]

    def _array(self, name: Any) -> NDArray[Any]:
        if not isinstance(name, str) or name not in self._arrays:
            raise ArgumentValueError(f"lacks the array {name!r:.60}")
        return self._arrays[name]

    def _scalar(self, name: Any) -> Any:
        array = self._array(name)
        if array.ndim:
            raise ArgumentValueError(f"holds an array of shape {array.shape} where a number should be")
        return array[()]

    def _vector(self, name: Any, dtype: Any) -> NDArray[Any]:
        array = self._array(name)
        if array.ndim != 1 or array.dtype != dtype:
            raise ArgumentValueError(
                f"holds an array of {array.dtype} of shape {array.shape} where one dimension of "
                f"{np.dtype(dtype)} should be"
            )
        return array


def _read_integer(text: Any) -> int:
    try:
        return int(text, 16)
    except (TypeError, ValueError):
        raise ArgumentValueError(f"holds {text!r:.40} where a hexadecimal number should be") from None


def _read_float(text: Any) -> float:
    if text not in ("nan", "inf", "-inf"):
        raise ArgumentValueError(f"holds {text!r:.40} where nan, inf or -inf should be")
    return float(text)


def _check_dtype(value: Any, path: tuple[Any, ...]) -> None:
    if value.dtype.kind not in "biuf" or value.dtype.itemsize > 8:
        raise ArgumentTypeError(
            f"save cannot write {_shown(path)}: {type(value).__name__} of {value.dtype}; arrays are of booleans, "
            "integers or floats of up to 64 bits"
        )


def _refusal(value: Any, path: tuple[Any, ...]) -> ArgumentTypeError:
    """Return what to raise for a value that no file holds."""
    kind = type(value)
    if isinstance(value, (set, frozenset)):
        hint = "; write it as a list"
    elif callable(getattr(value, "state_dict", None)):
        hint = "; save its state_dict()"
    elif callable(getattr(value, "get_state", None)):
        hint = "; save its get_state()"
    else:
        hint = "; a file holds dicts, lists, tuples, numbers, strings, bytes, None, tensors and arrays"
    return ArgumentTypeError(
        f"save cannot write {_shown(path)}: a {kind.__module__}.{kind.__qualname__}{hint}".replace(
            "builtins.", ""
        )
    )


def _shown(path: tuple[Any, ...]) -> str:
    """Return where in a value something is, as Python would reach it."""
    return "the value" + "".join(f"[{key!r:.40}]" for key in path)
