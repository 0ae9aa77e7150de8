"""`save` and `load`: any nesting of tensors, arrays and plain values in one file, which is never a pickle."""

from __future__ import annotations

import copy
import hashlib
import io
import json
import os
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

import numpy as np
from numpy.typing import NDArray

from rondeau.kernels.errors import ArgumentTypeError, ArgumentValueError
from rondeau.kernels.runtime.devices import is_array
from rondeau.tensor._devices import device, move, namespace
from rondeau.tensor._modes import no_grad
from rondeau.tensor._random import Generator
from rondeau.tensor._tensor import Tensor
from rondeau.tensor.files import durable
from rondeau.tensor.files.arrays import DTYPES, Stored, decode, encode, stored, widened
from rondeau.tensor.files.structure import pack, unpack

__all__ = ["load", "save"]

_FORMAT = "rondeau 1"
_STARTS_OF_PICKLES = (b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
_FROM_PICKLE = """is a pickle, which could execute anything and is not read. In PyTorch, convert it with
    import torch; from safetensors.torch import save_file
    save_file(torch.load({name!r}), {converted!r})"""


def save(obj: Any, f: str | os.PathLike[str] | BinaryIO) -> None:
    """Write a value to a file.

    The file is a safetensors file: its arrays can be read by anything that reads the format, under the names of the
    keys that lead to them (``model.weight``), and the nesting stands as JSON in its header, beside a SHA-256 of it all.
    A kill or a power cut meanwhile leaves the old file or the new one. Tensors on a GPU are copied to the host, and the
    file is the same as for tensors on the CPU.

    Parameters
    ----------
    obj : object
        Any nesting of dicts (with strings and integers as keys), lists and tuples of tensors, parameters, NumPy arrays
        and scalars, numbers, strings, bytes and None: what `state_dict` of models, optimisers, schedules and samplers
        returns, and what is made of it. A tensor that stands in several places remains one, and tensors and arrays on
        the same memory remain so.
    f : str, path-like or file object
        The file, replaced if it is there, with its mode; or what has been opened for writing in binary mode.

    Raises
    ------
    TypeError
        If `obj` holds anything else, such as a module, a set or a function; the message says where.
    ValueError
        If `obj` contains itself, or is nested deeper than 100 levels.

    See Also
    --------
    load : The way back.

    Examples
    --------
    >>> import tempfile
    >>> from rondeau import tensor as rt
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     rt.save({"step": 3, "weight": rt.ones(2)}, Path(folder) / "run.safetensors")
    ...     rt.load(Path(folder) / "run.safetensors")
    {'step': 3, 'weight': tensor([1., 1.])}
    """
    packed = pack(obj)
    structure = json.dumps(packed.structure, separators=(",", ":"), allow_nan=False)
    digest = _digest(structure, {name: stored(array) for name, array in packed.arrays.items()})
    metadata = {"format": _FORMAT, "structure": structure, "sha256": digest}
    content = encode(packed.arrays, metadata)
    if hasattr(f, "write"):
        _write(f, content)
    else:
        durable.save_file(_checked_path(f), content)


def load(
    f: str | os.PathLike[str] | BinaryIO,
    map_location: Any = None,
    *,
    into: Any = None,
    widen_half: bool = False,
    weights_only: bool = True,
) -> Any:
    """Read a value that `save` wrote, or the tensors of any other safetensors file.

    Parameters
    ----------
    f : str, path-like or file object
        The file; or what has been opened for reading in binary mode.
    map_location : {"cpu", "cuda"}, optional
        The device on which the tensors are to be. Default: the CPU, wherever they were when they were saved, so that
        what was saved with a GPU loads without one; PyTorch raises there. Arrays are NumPy's in any case.
    into : optional
        Where the value goes: anything with ``load_state_dict`` (a model, an optimiser, a schedule, a sampler), a
        generator, a tensor or array of the same shape and dtype, or a dict, list or tuple of such, for the parts of the
        value at the same keys. If one of them does not take its part, all are as they were.
    widen_half : bool
        Whether arrays of float16 and bfloat16 are read as float32, which holds each of their values. bfloat16 cannot be
        read otherwise.
    weights_only : bool
        PyTorch's; True, for nothing else is ever read.

    Returns
    -------
    object
        What was saved. Of a file that something else wrote: a dict of its tensors by name.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    RuntimeError
        If `map_location` is the GPU and none is usable.
    ValueError
        If the file is damaged, is not a safetensors file, or has a dtype that cannot be read; or if a part does not fit
        into what it is for.

    See Also
    --------
    save : The way there.

    Examples
    --------
    >>> import tempfile
    >>> from rondeau import tensor as rt
    >>> generator = rt.Generator(0)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     rt.save(generator.get_state(), Path(folder) / "generator.safetensors")
    ...     drawn = rt.rand(3, generator=generator)
    ...     generator.set_state(rt.load(Path(folder) / "generator.safetensors"))
    >>> rt.equal(drawn, rt.rand(3, generator=generator))
    True
    """
    where = _checked_location(map_location)
    if weights_only is not True:
        raise ArgumentValueError("weights_only must be True: a pickle, which it would allow, is never read")
    if hasattr(f, "read"):
        name, content = str(getattr(f, "name", "the file")), f.read()
    else:
        path = _checked_path(f)
        start, size = durable.read_start(path, 8)
        has_header = 8 + int.from_bytes(start, "little") <= size
        # Where it has none, the start says what is wrong: a large pickle is not read.
        name, content = str(path), durable.read_file(path) if has_header else start
    value = _read(name, content, widen_half, where)
    if into is not None:
        _put_into(into, value)
    return value


def _checked_location(map_location: Any) -> device:
    """Return the device that a `map_location` names.

    Raises
    ------
    ValueError
        If it names none.
    RuntimeError
        If it is a GPU and none is usable.
    """
    try:
        found = device("cpu" if map_location is None else str(map_location))
    except ArgumentValueError:
        raise ArgumentValueError(
            f"map_location must be 'cpu', 'cuda' or None, got {map_location!r:.40}"
        ) from None
    namespace(found)
    return found


def _checked_path(f: Any) -> Path:
    if not isinstance(f, (str, os.PathLike)):
        raise ArgumentTypeError(
            f"f must be a path or a file object opened in binary mode, got {type(f).__name__}"
        )
    if not os.fspath(f):
        raise ArgumentValueError("f must be the path of a file, got ''")
    return Path(f)


def _write(f: Any, content: bytes) -> None:
    """Write all of it: a file object without a buffer may take less at a time."""
    if isinstance(f, io.TextIOBase):
        raise ArgumentTypeError(f"{getattr(f, 'name', 'f')} must be opened in binary mode")
    rest: bytes | memoryview = content
    while (written := f.write(rest)) is not None and written < len(rest):
        if written <= 0:
            raise OSError(f"{getattr(f, 'name', 'the file')} takes no more: {len(rest)} bytes are left")
        rest = memoryview(rest)[written:]


def _digest(structure: str, arrays: Mapping[str, Stored]) -> str:
    """Return the SHA-256 of all that a file holds, whatever its header looks like."""
    found = hashlib.sha256(structure.encode())
    for name, (dtype, shape, data) in sorted(arrays.items()):
        found.update(f"\n{json.dumps(name)} {dtype} {list(shape)} {len(data)}\n".encode())
        found.update(data)
    return found.hexdigest()


# ----------------------------------------------------------------------------------------------------- reading


def _read(name: str, content: bytes, widen_half: bool, where: device) -> Any:
    if not isinstance(content, (bytes, bytearray, memoryview)):
        raise ArgumentTypeError(f"{name} must be opened in binary mode")
    try:
        entries, metadata = _decoded(name, bytes(content))
        structure = _structure_of(metadata, entries)
        arrays = {key: _array_of(key, entry, widen_half) for key, entry in entries.items()}
        return unpack(structure, arrays, where)
    except (ArgumentValueError, RecursionError) as error:
        said = "is nested too deeply" if isinstance(error, RecursionError) else error
        raise ArgumentValueError(f"{name} cannot be loaded: it {said}") from None


def _decoded(name: str, content: bytes) -> tuple[dict[str, Stored], dict[str, str]]:
    try:
        return decode(content)
    except ArgumentValueError:
        # Only now: the length of a header may look like the start of a pickle.
        if content.startswith(_STARTS_OF_PICKLES):
            converted = Path(name).with_suffix(".safetensors").name
            raise ArgumentValueError(_FROM_PICKLE.format(name=name, converted=converted)) from None
        raise


def _structure_of(metadata: Mapping[str, str], entries: Mapping[str, Stored]) -> Any:
    """Return the nesting that a header describes; for a file of something else, all tensors by name."""
    text, digest, version = (metadata.get(key) for key in ("structure", "sha256", "format"))
    if text is None and digest is None and not str(version).startswith("rondeau"):
        return {"$items": [[name, {"$tensor": name}] for name in entries]}
    if version == _FORMAT and text is None:
        raise ArgumentValueError("is damaged: its header lacks the structure")
    if version != _FORMAT or text is None:  # one sign of ours is enough: another may be damaged
        raise ArgumentValueError(
            f"has the format {version!r:.40}, and this version of rondeau reads {_FORMAT!r}"
        )
    if digest != _digest(text, entries):
        raise ArgumentValueError("is damaged: its SHA-256 is not the one in its header")
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except ValueError as error:
        raise ArgumentValueError(f"describes no value ({error})") from None


def _refuse_constant(text: str) -> NoReturn:
    raise ArgumentValueError(f"{text} is not JSON")


def _array_of(name: str, entry: Stored, widen_half: bool) -> NDArray[Any]:
    array = widened(entry) if widen_half else entry.array()
    if array is None:
        hint = ": load it with widen_half=True" if entry.dtype == "BF16" else ""
        raise ArgumentValueError(
            f"has a tensor {name[:60]!r} of {entry.dtype}, which NumPy lacks{hint}; it has {', '.join(DTYPES)}"
        )
    return array


# ----------------------------------------------------------------------------------------------- into what is there


def _put_into(target: Any, value: Any) -> None:
    """Put a value into what is there, or leave all of that as it was."""
    with ExitStack() as undo:  # which goes on where one part cannot be restored
        for path, part, held in _pairs(target, value, "the value"):
            _put(path, part, held, undo)
        undo.pop_all()


def _pairs(target: Any, value: Any, path: str) -> list[tuple[str, Any, Any]]:
    """Return what is to be filled, each with its place and its part of the value."""
    if isinstance(target, Mapping):
        keys = list(target)
        has = isinstance(value, Mapping) and all(key in value for key in keys)
    elif isinstance(target, (list, tuple)):
        keys = list(range(len(target)))
        has = isinstance(value, (list, tuple)) and len(value) == len(target)
    else:
        return [(path, target, value)]
    if not has:
        held = f"the keys {list(value)!r:.80}" if isinstance(value, Mapping) else f"{type(value).__name__}"
        raise ArgumentValueError(f"into: {path} has {held}, expected {keys!r:.80}")
    return [pair for key in keys for pair in _pairs(target[key], value[key], f"{path}[{key!r}]")]


def _put(path: str, target: Any, value: Any, undo: ExitStack) -> None:
    if isinstance(target, (Tensor, np.ndarray)):
        _copy(path, target, value, undo)
    elif callable(getattr(target, "load_state_dict", None)):
        undo.callback(target.load_state_dict, copy.deepcopy(target.state_dict()))
        target.load_state_dict(value)
    elif isinstance(target, Generator):
        undo.callback(target.set_state, target.get_state())
        target.set_state(value)
    else:
        raise ArgumentTypeError(
            f"into: expected something with load_state_dict, a tensor or an array for {path}, got "
            f"{type(target).__name__}"
        )


def _copy(path: str, target: Any, value: Any, undo: ExitStack) -> None:
    array = value._array if isinstance(value, Tensor) else value
    if isinstance(array, np.generic):
        array = np.asarray(array)
    if not is_array(array) or (array.shape, array.dtype) != (target.shape, target.dtype):
        held = f"{array.dtype} of shape {array.shape}" if is_array(array) else type(value).__name__
        raise ArgumentValueError(
            f"into: {path} is {held}, expected {target.dtype} of shape {tuple(target.shape)}"
        )
    if isinstance(target, Tensor):
        undo.callback(_assign, target, target.detach().clone())
        _assign(target, Tensor(move(array, target.device)))
    elif not target.flags.writeable:
        raise ArgumentValueError(f"into: the array for {path} is read-only")
    else:
        undo.callback(np.copyto, target, target.copy())
        np.copyto(target, move(array, "cpu"))


def _assign(tensor: Tensor, values: Tensor) -> None:
    with no_grad():
        tensor.copy_(values)
