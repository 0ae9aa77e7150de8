"""Files of ONNX, read without trust: what a node, an attribute and a tensor say, and no more.

The format is that of protocol buffers: a message is a run of fields, each a number, a kind, and a value. Only the
fields that are used are looked at, graphs inside attributes are not, and nothing is allocated but lists of what is
there; weights stay in the bytes of the file.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rondeau.export._errors import ExportError

__all__ = [
    "FLOATS",
    "INTEGERS",
    "Attribute",
    "Dims",
    "Graph",
    "Input",
    "Node",
    "TensorRecord",
    "read_graph",
    "shown",
    "unpacked_varints",
]

_MOST = 20_000
"""How many nodes, constants, inputs or attributes there may be."""
_MOST_NAMES = 200_000
"""How many inputs and outputs all nodes may have together."""
_MOST_DIMENSIONS = 16

INTEGERS, FLOATS = (6, 7), (1, 10, 11)
"""The types of what a graph reads, by their numbers: int32, int64; float32, float16, float64."""

_VARINT, _EIGHT_BYTES, _BYTES, _FOUR_BYTES = 0, 1, 2, 5

Field = tuple[int, int, Any]
"""A field's number and kind, and its value: an int, or the bytes."""


class TensorRecord(NamedTuple):
    """A constant as the file has it.

    Attributes
    ----------
    name : str
    dims : tuple of int
    data_type : int
    raw : memoryview or None
    numbers : dict of int to list of memoryview or int
        The data in typed fields, by the field's number.
    is_external : bool
    external : dict of str to str
    """

    name: str
    dims: tuple[int, ...]
    data_type: int
    raw: memoryview | None
    numbers: dict[int, list[Any]]
    is_external: bool
    external: dict[str, str]


class Attribute(NamedTuple):
    """An attribute of a node; the fields that it does not have are None."""

    number: float | None
    whole: int | None
    string: str | None
    tensor: TensorRecord | None
    wholes: tuple[int, ...]
    numbers: tuple[float, ...]
    strings: tuple[str, ...]


class Node(NamedTuple):
    """A node: its operator, the names of what it reads and writes, and its attributes."""

    op: str
    domain: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: dict[str, Attribute]


Dims = tuple[int | str | None, ...]


class Input(NamedTuple):
    """An input of the graph; a dimension that is not fixed has a name or is None, and so is an unknown shape."""

    name: str
    data_type: int
    dims: Dims | None


class Graph(NamedTuple):
    """The graph of a model; `shapes` has what the file says of values in it and of its outputs."""

    nodes: list[Node]
    constants: list[TensorRecord]
    inputs: list[Input]
    outputs: list[str]
    shapes: dict[str, Dims | None]
    opset: int


def shown(text: str) -> str:
    r"""Return text of a file as it may stand in a message: quoted, in one line, and short.

    Examples
    --------
    >>> shown("a\nb")
    "'a\\nb'"
    """
    return repr(text if len(text) <= 60 else f"{text[:57]}...")


def read_graph(data: bytes) -> Graph:
    """Return the graph of a file.

    Raises
    ------
    ExportError
        If the bytes are not a model of ONNX, or have more parts than any model of the kinds that are read.
    """
    graphs, opset = [], 0
    for number, kind, value in _fields(memoryview(data)):
        if number == 7 and kind == _BYTES:
            graphs.append(value)
        elif number == 8 and kind == _BYTES:
            version, domain = 0, ""
            for inner, inner_kind, part in _fields(value):
                if inner == 1 and inner_kind == _BYTES:
                    domain = _text(part)
                elif inner == 2 and inner_kind == _VARINT:
                    version = _signed(part)
            if domain in ("", "ai.onnx"):
                opset = version
        elif number == 14 and kind == _BYTES:
            key, text = _pair(value)
            if key == "rondeau" and '"initial": [' in text:
                raise ExportError(
                    "a sequence begins with learned states, which are in the file's metadata and not read"
                )
    if len(graphs) != 1 or opset < 1:
        raise ExportError("this is not a file of ONNX: it has no graph with a version of its operators")
    return _graph(graphs[0], opset)


def _graph(data: memoryview, opset: int) -> Graph:
    nodes, constants, inputs, outputs = list[Node](), list[TensorRecord](), list[Input](), list[str]()
    shapes: dict[str, Dims | None] = {}
    names = 0
    for count, (number, kind, value) in enumerate(_fields(data)):
        if count > 4 * _MOST:
            raise ExportError(f"the graph has more than {4 * _MOST:,} parts")
        if kind != _BYTES:
            continue
        if number == 1:
            nodes.append(_node(value))
            names += len(nodes[-1].inputs) + len(nodes[-1].outputs)
            if names > _MOST_NAMES:
                raise ExportError(f"nodes have more than {_MOST_NAMES:,} inputs and outputs")
        elif number == 5:
            constants.append(_tensor(value))
        elif number == 11:
            inputs.append(_input(value))
        elif number in (12, 13):
            name, _, dims = _input(value)
            shapes[name] = dims
            if number == 12:
                outputs.append(name)
        elif number == 15:
            raise ExportError("the graph has sparse constants, which are not read")
    for what, found in (("nodes", nodes), ("constants", constants), ("inputs", inputs), ("outputs", outputs)):
        if len(found) > _MOST:
            raise ExportError(f"the graph has {len(found):,} {what}; at most {_MOST:,} are read")
    return Graph(nodes, constants, inputs, outputs, shapes, opset)


def _node(data: memoryview) -> Node:
    op, domain, inputs, outputs, attributes = "", "", list[str](), list[str](), dict[str, Attribute]()
    for number, kind, value in _limited(data):
        if kind != _BYTES:
            continue
        if number == 1:
            inputs.append(_text(value))
        elif number == 2:
            outputs.append(_text(value))
        elif number == 4:
            op = _text(value)
        elif number == 5:
            name, attribute = _attribute(value)
            attributes[name] = attribute
        elif number == 7:
            domain = _text(value)
    return Node(op, domain, tuple(inputs), tuple(outputs), attributes)


def _attribute(data: memoryview) -> tuple[str, Attribute]:
    name, single = "", dict[str, Any]()
    many: dict[str, list[Any]] = {"numbers": [], "wholes": [], "strings": []}
    for number, kind, value in _limited(data):
        if number == 1 and kind == _BYTES:
            name = _text(value)
        elif number == 2 and kind == _FOUR_BYTES:
            single["number"] = _float(value)
        elif number == 3 and kind == _VARINT:
            single["whole"] = _signed(value)
        elif number == 4 and kind == _BYTES:
            single["string"] = _text(value)
        elif number == 5 and kind == _BYTES:
            single["tensor"] = _tensor(value)
        elif number == 7:
            many["numbers"] += _floats(kind, value)
        elif number == 8:
            many["wholes"] += _ints(kind, value)
        elif number == 9 and kind == _BYTES:
            many["strings"].append(_text(value))
    of_one = {field: single.get(field) for field in ("number", "whole", "string", "tensor")}
    return name, Attribute(**of_one, **{field: tuple(values) for field, values in many.items()})  # type: ignore[arg-type]


def _tensor(data: memoryview) -> TensorRecord:
    name, dims, data_type, raw = "", list[int](), 0, None
    numbers: dict[int, list[Any]] = {}
    is_external, external = False, dict[str, str]()
    for count, (number, kind, value) in enumerate(_fields(data)):
        if number == 1:
            dims += _ints(kind, value)
            if len(dims) > _MOST_DIMENSIONS:
                raise ExportError(f"a constant has more than {_MOST_DIMENSIONS} dimensions")
        elif number == 2 and kind == _VARINT:
            data_type = value
        elif number in (4, 5, 7, 10):
            if count > _MOST and kind != _BYTES:
                raise ExportError("a constant has its numbers one by one, rather than packed")
            numbers.setdefault(number, []).append(value)
        elif number == 8 and kind == _BYTES:
            name = _text(value)
        elif number == 9 and kind == _BYTES:
            raw = value
        elif number == 13 and kind == _BYTES:
            key, entry = _pair(value)
            external[key] = entry
            if len(external) > 16:
                raise ExportError(f"constant {shown(name)} has too many entries about where it is")
        elif number == 14 and kind == _VARINT:
            is_external = value == 1
    return TensorRecord(name, tuple(dims), data_type, raw, numbers, is_external, external)


def _pair(data: memoryview) -> tuple[str, str]:
    found = {number: _text(value) for number, kind, value in _limited(data) if kind == _BYTES}
    return found.get(1, ""), found.get(2, "")


def _input(data: memoryview) -> Input:
    name, data_type, dims = "", 0, None
    for number, kind, value in _limited(data):
        if number == 1 and kind == _BYTES:
            name = _text(value)
        elif number == 2 and kind == _BYTES:
            data_type, dims = _type(value)
    return Input(name, data_type, dims)


def _type(data: memoryview) -> tuple[int, Dims | None]:
    """Return the type and the shape of a value, if it is a tensor."""
    data_type, dims = 0, None
    for number, kind, tensor in _limited(data):
        if number != 1 or kind != _BYTES:
            continue
        for inner, inner_kind, value in _limited(tensor):
            if inner == 1 and inner_kind == _VARINT:
                data_type = value
            elif inner == 2 and inner_kind == _BYTES:
                dims = tuple(_dimension(d) for n, k, d in _limited(value) if n == 1 and k == _BYTES)
                if len(dims) > _MOST_DIMENSIONS:
                    raise ExportError(f"an input has more than {_MOST_DIMENSIONS} dimensions")
    return data_type, dims


def _dimension(data: memoryview) -> int | str | None:
    found: int | str | None = None
    for number, kind, value in _limited(data):
        if number == 1 and kind == _VARINT:
            found = _signed(value) if _signed(value) > 0 else None
        elif number == 2 and kind == _BYTES:
            found = _text(value) or None
    return found


# ---------------------------------------------------------------- the wire format


def _limited(data: memoryview) -> Iterator[Field]:
    """Yield the fields of a message that has few."""
    for count, field in enumerate(_fields(data)):
        if count >= _MOST:
            raise ExportError(f"a part of the file has more than {_MOST:,} fields")
        yield field


def _fields(data: memoryview) -> Iterator[Field]:
    """Yield the fields of a message; the bytes of a field are a view of the file's."""
    position, end = 0, len(data)
    while position < end:
        key, position = _varint(data, position)
        number, kind = key >> 3, key & 7
        if kind == _VARINT:
            value, position = _varint(data, position)
            yield number, kind, value
            continue
        if kind == _BYTES:
            length, position = _varint(data, position)
        elif kind in (_EIGHT_BYTES, _FOUR_BYTES):
            length = 8 if kind == _EIGHT_BYTES else 4
        else:
            raise ExportError("this is not a file of ONNX, or it is damaged: a field has an unknown kind")
        if number == 0 or length > end - position:
            raise ExportError("this is not a file of ONNX, or it is damaged: a field ends after the file")
        yield number, kind, data[position : position + length]
        position += length


def _varint(data: memoryview, position: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if position >= len(data):
            break
        byte = data[position]
        position += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value & (2**64 - 1), position
    raise ExportError("this is not a file of ONNX, or it is damaged: a number has no end")


def _signed(value: int) -> int:
    return value - 2**64 if value >= 2**63 else value


def _float(value: memoryview) -> float:
    return float(struct.unpack("<f", value)[0])


def _floats(kind: int, value: Any) -> list[float]:
    if kind == _FOUR_BYTES:
        return [_float(value)]
    if kind != _BYTES or len(value) % 4 or len(value) > 4 * _MOST:
        raise ExportError("an attribute with numbers is damaged, or has too many")
    return list(struct.unpack(f"<{len(value) // 4}f", value))


def _ints(kind: int, value: Any) -> list[int]:
    if kind == _VARINT:
        return [_signed(value)]
    if kind != _BYTES or len(value) > 10 * _MOST:
        raise ExportError("whole numbers in the file are damaged, or too many")
    return [int(number) for number in unpacked_varints(value)]


def unpacked_varints(data: memoryview) -> NDArray[np.int64]:
    """Return whole numbers that lie side by side."""
    octets = np.frombuffer(data, np.uint8)
    ends = np.flatnonzero(octets < 128)
    starts = np.concatenate([[0], ends[:-1] + 1]) if len(ends) else ends
    sizes = ends - starts + 1
    if len(octets) and (not len(ends) or ends[-1] != len(octets) - 1 or sizes.max() > 10):
        raise ExportError("this is not a file of ONNX, or it is damaged: a number has no end")
    found = np.zeros(len(ends), np.uint64)
    for k in range(int(sizes.max(initial=0))):
        longer = sizes > k
        found[longer] |= (octets[starts[longer] + k] & 127).astype(np.uint64) << np.uint64(7 * k)
    return found.view(np.int64)


def _text(value: memoryview) -> str:
    try:
        return str(value, "utf-8")
    except UnicodeDecodeError as error:
        raise ExportError("a name in the file is not text in UTF-8") from error
