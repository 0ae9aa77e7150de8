"""Reading and writing safetensors files, which PyTorch and other libraries share."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy
from numpy.typing import NDArray

from rondeau.kernels.errors import ArgumentTypeError, ArgumentValueError

from ._checks import as_array, check_path

# The format's names of dtypes, https://huggingface.co/docs/safetensors. BF16 is read separately: NumPy lacks it.
_DTYPES: dict[str, str] = {
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


def load_safetensors(path: str | os.PathLike[str]) -> dict[str, NDArray[Any]]:
    """Read a safetensors file.

    Parameters
    ----------
    path : str or path-like
        The file, written by `save_safetensors`, PyTorch, or any other library.

    Returns
    -------
    dict of str to ndarray
        Sorted by name. float16 and bfloat16, in which the library does not compute, are converted to float32, which
        is exact.

    Raises
    ------
    FileNotFoundError
        If the file does not exist.
    ValueError
        If it is not a safetensors file, or a tensor has a dtype without an equivalent here (float8).

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_safetensors({"weight": np.arange(3.0)}, Path(folder) / "weights.safetensors")
    ...     load_safetensors(Path(folder) / "weights.safetensors")
    {'weight': array([0., 1., 2.])}
    """
    check_path("path", path)
    path = Path(path)
    try:
        entries = safetensors.deserialize(path.read_bytes())  # type: ignore[no-untyped-call]
    except safetensors.SafetensorError as error:
        raise ArgumentValueError(
            f"{path} is not a whole safetensors file ({error}); a file written by torch.save is a pickle: load it "
            "in PyTorch and write it with safetensors.torch.save_file"
        ) from error
    arrays = {name: _decode(path, name, entry) for name, entry in entries}
    return dict(sorted(arrays.items()))


def _decode(path: Path, name: str, entry: Any) -> NDArray[Any]:
    kind, raw, shape = entry["dtype"], entry["data"], tuple(entry["shape"])
    if kind == "BF16":
        # A bfloat16 is the upper half of a float32.
        return (np.frombuffer(raw, "<u2").astype(np.uint32) << 16).view(np.float32).reshape(shape)
    if kind not in _DTYPES:
        raise ArgumentValueError(
            f"tensor {name!r} of {path} has dtype {kind}; expected BF16, {', '.join(_DTYPES)}: convert it "
            "to one of them before saving"
        )
    array = np.frombuffer(raw, _DTYPES[kind]).reshape(shape)
    return array.astype(np.float32 if kind == "F16" else array.dtype.newbyteorder("="))


def save_safetensors(
    tensors: Mapping[str, Any], path: str | os.PathLike[str], metadata: Mapping[str, str] | None = None
) -> None:
    """Write tensors to a safetensors file, which PyTorch and other libraries can read.

    Parameters
    ----------
    tensors : mapping of str to Tensor or array_like
        For example ``model.state_dict()``. Views may have any strides.
    path : str or path-like
        The file; an existing one is replaced.
    metadata : mapping of str to str, optional
        Stored in the header of the file.

    Raises
    ------
    TypeError
        If a value is not a tensor or array, a name is not a string, or `path` is not a path.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from rondeau import nn
    >>> layer = nn.Linear(3, 2)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     nn.save_safetensors(layer.state_dict(), Path(folder) / "layer.safetensors")
    ...     nn.Linear(3, 2).load_state_dict(Path(folder) / "layer.safetensors")
    <All keys matched successfully>
    """
    check_path("path", path)
    for name, mapping in (("tensors", tensors), ("metadata", {} if metadata is None else metadata)):
        if not isinstance(mapping, Mapping) or not all(isinstance(key, str) for key in mapping):
            raise ArgumentTypeError(
                f"{name} should be a mapping with names (str) as its keys, got {mapping!r:.80}"
            )
    if metadata is not None and not all(isinstance(value, str) for value in metadata.values()):
        raise ArgumentTypeError(f"metadata should be a mapping of str to str, got {dict(metadata)!r:.80}")
    # safetensors writes the raw memory, so an array in any other order would become garbage (its issue #825).
    # order="C" keeps 0-d arrays 0-d; ascontiguousarray would not.
    arrays = {
        name: np.asarray(as_array(f"tensor {name!r}", value), order="C") for name, value in tensors.items()
    }
    Path(path).write_bytes(safetensors.numpy.save(arrays, dict(metadata) if metadata is not None else None))
