"""Reading and writing safetensors files, which PyTorch and other libraries share."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from rondeau.kernels.errors import ArgumentTypeError, ArgumentValueError
from rondeau.kernels.runtime.transfers import on_host
from rondeau.tensor.files import durable
from rondeau.tensor.files.arrays import DTYPES, Stored, decode, encode, widened

from ._checks import as_array, check_path


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
    >>> from pathlib import Path
    >>> import numpy as np
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_safetensors({"weight": np.arange(3.0)}, Path(folder) / "weights.safetensors")
    ...     load_safetensors(Path(folder) / "weights.safetensors")
    {'weight': array([0., 1., 2.])}
    """
    check_path("path", path)
    path = Path(path)
    try:
        entries, _ = decode(durable.read_file(path))
    except ArgumentValueError as error:
        raise ArgumentValueError(
            f"{path} {error}; a file written by torch.save is a pickle: load it in PyTorch and write it with "
            "safetensors.torch.save_file"
        ) from None
    return {name: _widened(path, name, entry) for name, entry in entries.items()}


def _widened(path: Path, name: str, entry: Stored) -> NDArray[Any]:
    array = widened(entry)
    if array is None:
        raise ArgumentValueError(
            f"tensor {name!r} of {path} has dtype {entry.dtype}; expected BF16, {', '.join(DTYPES)}: convert it "
            "to one of them before saving"
        )
    return array


def save_safetensors(
    tensors: Mapping[str, Any], path: str | os.PathLike[str], metadata: Mapping[str, str] | None = None
) -> None:
    """Write tensors to a safetensors file, which PyTorch and other libraries can read.

    Parameters
    ----------
    tensors : mapping of str to Tensor or array_like
        For example ``model.state_dict()``. Views may have any strides. What is on a GPU is copied to the host.
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
                f"{name} must be a mapping with names (str) as its keys, got {mapping!r:.80}"
            )
    if metadata is not None and not all(isinstance(value, str) for value in metadata.values()):
        raise ArgumentTypeError(f"metadata must be a mapping of str to str, got {dict(metadata)!r:.80}")
    arrays = {name: on_host(as_array(f"tensor {name!r}", value)) for name, value in tensors.items()}
    durable.save_file(Path(path), encode(arrays, metadata))
