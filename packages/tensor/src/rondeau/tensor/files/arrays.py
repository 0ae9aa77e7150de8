"""Arrays as the bytes of a safetensors file, and back (https://huggingface.co/docs/safetensors)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import safetensors
import safetensors.numpy
from numpy.typing import NDArray

from rondeau.kernels.errors import ArgumentValueError

__all__ = ["DTYPES", "Stored", "decode", "encode", "stored", "widened"]

DTYPES: Mapping[str, str] = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "I8": "<i1",
    "U64": "<u8",
    "U32": "<u4",
    "U16": "<u2",
    "U8": "<u1",
    "BOOL": "?",
}
"""The format's names of the dtypes that NumPy has too."""
_NAMES = {np.dtype(dtype): name for name, dtype in DTYPES.items()}


class Stored(NamedTuple):
    """An array as it lies in a file.

    Attributes
    ----------
    dtype : str
        The format's name of the dtype, as ``"BF16"``.
    shape : tuple of int
    data : bytes
        The elements in row order, each with its lowest byte first.
    """

    dtype: str
    shape: tuple[int, ...]
    data: bytes

    def array(self) -> NDArray[Any] | None:
        """Return the array in this machine's byte order, writable; None where NumPy lacks the dtype."""
        if self.dtype not in DTYPES:
            return None
        if self.dtype == "BOOL":  # a byte other than 0 and 1 would be a boolean that equals neither
            return _shaped(np.frombuffer(self.data, np.uint8) != 0, self.shape)
        found = _shaped(np.frombuffer(self.data, DTYPES[self.dtype]), self.shape)
        return found.astype(found.dtype.newbyteorder("="))


def widened(stored: Stored) -> NDArray[Any] | None:
    """Return an array as `Stored.array` does, float16 and bfloat16 as float32, which holds each of their values."""
    if stored.dtype == "BF16":
        # A bfloat16 is the upper half of a float32.
        bits = np.frombuffer(stored.data, "<u2").astype(np.uint32) << 16
        return _shaped(bits.view(np.float32), stored.shape)
    array = stored.array()
    return array.astype(np.float32) if array is not None and stored.dtype == "F16" else array


def _shaped(array: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    try:
        return array.reshape(shape)
    except ValueError as error:
        raise ArgumentValueError(
            f"has an array of shape {shape!s:.60}, which NumPy lacks ({error})"
        ) from None


def encode(arrays: Mapping[str, NDArray[Any]], metadata: Mapping[str, str] | None = None) -> bytes:
    """Return the content of a safetensors file.

    Parameters
    ----------
    arrays : mapping of str to ndarray
        With any strides, of the dtypes in `DTYPES`.
    metadata : mapping of str to str, optional

    Examples
    --------
    >>> stored, metadata = decode(encode({"weight": np.arange(3.0)[::-1]}, {"made by": "an example"}))
    >>> stored["weight"].array(), metadata
    (array([2., 1., 0.]), {'made by': 'an example'})
    """
    # safetensors writes the memory as it lies: an array in any other order would become garbage (its issue 825).
    # order="C" keeps 0-d arrays 0-d, where ascontiguousarray would not.
    in_order = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    return safetensors.numpy.save(in_order, None if metadata is None else dict(metadata))


def stored(array: NDArray[Any]) -> Stored:
    """Return an array as `encode` writes it."""
    dtype = array.dtype.newbyteorder("<")
    return Stored(_NAMES[dtype], array.shape, array.astype(dtype, copy=False).tobytes())


def decode(content: bytes) -> tuple[dict[str, Stored], dict[str, str]]:
    """Return the arrays of a safetensors file by name, and its metadata.

    Raises
    ------
    ValueError
        If it is not a whole safetensors file.
    """
    try:
        entries = safetensors.deserialize(content)  # type: ignore[no-untyped-call]
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    except (safetensors.SafetensorError, ValueError, RecursionError) as error:
        raise ArgumentValueError(f"is not a whole safetensors file ({error})") from None
    arrays = {
        name: Stored(entry["dtype"], tuple(entry["shape"]), bytes(entry["data"])) for name, entry in entries
    }
    return dict(sorted(arrays.items())), header.get("__metadata__") or {}
