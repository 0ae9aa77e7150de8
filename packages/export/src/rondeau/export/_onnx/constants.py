"""The constants of a file as arrays; sizes are compared with the bytes that are there before anything is made."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rondeau.export._errors import ExportError
from rondeau.export._onnx.file import TensorRecord, shown, unpacked_varints

__all__ = ["ExternalData", "array_of"]

Array = NDArray[Any]

_TYPES = {1: "<f4", 6: "<i4", 7: "<i8", 9: "|b1", 10: "<f2", 11: "<f8"}
_BOOL = 9

_MOST_NUMBERS = 1_000_000
"""How many whole numbers a constant may have one by one; what is larger is in ``raw_data``."""
_FIELDS = {1: 4, 6: 5, 7: 7, 9: 5, 10: 5, 11: 10}
"""The field that has the numbers of a type, if they are not in ``raw_data``."""


class ExternalData:
    """The files in one folder that constants may be in; each byte of them is read at most once."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._left = folder.resolve(), dict[Path, int]()

    def read(self, record: TensorRecord, size: int) -> bytes:
        """Return the data of a constant."""
        name, location = shown(record.name), record.external.get("location", "")
        try:
            path = (self._folder / location).resolve()
            is_inside = bool(location) and path.is_relative_to(self._folder) and path.is_file()
            offset = int(record.external.get("offset", "0"))
            length = int(record.external.get("length", str(size)))
            there = path.stat().st_size if is_inside else 0
        except (OSError, ValueError, RuntimeError) as error:
            raise ExportError(f"constant {name} says wrongly where its data is") from error
        if not is_inside:
            raise ExportError(
                f"constant {name} is in {shown(location)}, which is not a file in the folder of the model"
            )
        left = self._left.get(path, there)
        if offset < 0 or length != size or offset + length > there or length > left:
            raise ExportError(
                f"constant {name} asks for {size:,} bytes from byte {offset:,} of {shown(location)}, which has "
                f"{there:,}, each for one constant"
            )
        self._left[path] = left - length
        with path.open("rb") as file:
            if length and _has_hole(file.fileno(), offset, length):
                raise ExportError(
                    f"constant {name} is where {shown(location)} has a hole, which has a size but no data: copy the "
                    "file without holes"
                )
            file.seek(offset)
            return file.read(length)


def _has_hole(file: int, offset: int, length: int) -> bool:
    """Return whether a part of a file is sparse, where the system can tell: it would be zeros without end."""
    if not hasattr(os, "SEEK_HOLE"):
        return False
    return os.lseek(file, offset, os.SEEK_HOLE) < offset + length


def array_of(record: TensorRecord, external: ExternalData | None = None) -> Array:
    """Return a constant, as a view of the file's bytes where that is possible.

    Parameters
    ----------
    record : TensorRecord
    external : ExternalData, optional
        The other files that may hold its data; by default none may.

    Raises
    ------
    ExportError
        If the type is not read, or the data is not as long as the shape says.
    """
    name = shown(record.name)
    if record.data_type not in _TYPES:
        raise ExportError(f"constant {name} is of type {record.data_type}, which is not read")
    dtype = np.dtype(_TYPES[record.data_type])
    if any(size < 0 for size in record.dims):
        raise ExportError(f"constant {name} has a negative dimension")
    count = math.prod(record.dims)
    if record.is_external:
        if external is None:
            raise ExportError(
                f"constant {name} is in another file, {shown(record.external.get('location', ''))}: pass "
                "external_data=True to read it"
            )
        data: Any = external.read(record, count * dtype.itemsize)
    elif record.raw is not None:
        data = record.raw
    else:
        return _from_numbers(record, dtype, count)
    if len(data) != count * dtype.itemsize:
        raise ExportError(
            f"constant {name} has {len(data):,} bytes, and its shape asks for {count * dtype.itemsize:,}"
        )
    if not count:
        return _shaped(np.zeros(0, dtype), record)
    if record.data_type == _BOOL and np.frombuffer(data, np.uint8).max() > 1:
        raise ExportError(f"constant {name} has truth values that are neither 0 nor 1")
    return _shaped(np.frombuffer(data, dtype), record)


def _shaped(array: Array, record: TensorRecord) -> Array:
    """Return an array of the right number of elements in its shape, which NumPy may not be able to hold."""
    try:
        return array.reshape(record.dims)
    except ValueError as error:
        raise ExportError(f"constant {shown(record.name)} has a shape that is too large") from error


def _from_numbers(record: TensorRecord, dtype: np.dtype[Any], count: int) -> Array:
    """Return the array of a constant with a number each in a field of its type."""
    parts = record.numbers.get(_FIELDS[record.data_type], [])
    if sum(
        len(part) for part in parts if isinstance(part, memoryview)
    ) > _MOST_NUMBERS and record.data_type not in (1, 11):
        raise ExportError(
            f"constant {shown(record.name)} has more than {_MOST_NUMBERS:,} whole numbers one by one"
        )
    found: list[Array] = []
    for part in parts:
        if record.data_type in (1, 11):
            if not isinstance(part, memoryview) or len(part) % dtype.itemsize:
                raise ExportError(f"constant {shown(record.name)} is damaged")
            found.append(np.frombuffer(part, dtype))
        else:
            is_packed = isinstance(part, memoryview)
            found.append(unpacked_varints(part) if is_packed else np.array([part], np.uint64).view(np.int64))
    array = np.concatenate(found) if found else np.zeros(0, dtype)
    if array.size != count:
        raise ExportError(
            f"constant {shown(record.name)} has {array.size:,} numbers, and its shape asks for {count:,}"
        )
    if record.data_type == 10:
        array = array.astype(np.uint16).view("<f2")
    return _shaped(array.astype(dtype, copy=False), record)
