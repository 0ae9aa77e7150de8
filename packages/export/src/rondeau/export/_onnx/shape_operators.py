"""Operators about sizes and types: what they make of constants, and of sizes that depend on the input."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rondeau.export._onnx.constants import array_of
from rondeau.export._onnx.file import FLOATS, INTEGERS, Node
from rondeau.export._onnx.reading import (
    MOST_SIZES,
    Handler,
    NotReadError,
    Reader,
    sizes_of,
)
from rondeau.export._onnx.values import (
    Constant,
    Data,
    Filled,
    Size,
    Sizes,
    Value,
)

__all__ = ["SHAPE_OPERATORS"]

Array = NDArray[Any]


def _constant(reader: Reader, node: Node, values: list[Value]) -> Value:
    attributes = node.attributes
    if "value" in attributes and attributes["value"].tensor is not None:
        array = array_of(attributes["value"].tensor)
    elif "value_int" in attributes:
        array = np.array(attributes["value_int"].whole or 0, np.int64)
    elif "value_ints" in attributes:
        array = np.array(attributes["value_ints"].wholes, np.int64)
    elif "value_float" in attributes:
        array = np.array(attributes["value_float"].number or 0.0, np.float32)
    elif "value_floats" in attributes:
        array = np.array(attributes["value_floats"].numbers, np.float32)
    else:
        raise NotReadError("has no number or array")
    return Constant(array)


def _constant_of_shape(reader: Reader, node: Node, values: list[Value]) -> Value:
    attribute = node.attributes.get("value")
    if attribute is None or attribute.tensor is None:
        return Filled(0.0)
    array = array_of(attribute.tensor)
    return Filled(float(array.flat[0]) if array.size == 1 else None)


def _shape(reader: Reader, node: Node, values: list[Value]) -> Value:
    (x, *_) = values
    if isinstance(x, Constant):
        numbers: tuple[Size, ...] = x.array.shape
    elif isinstance(x, Data):
        numbers = tuple(reader.size(x, axis) for axis in x.axes)
    else:
        raise NotReadError
    start, end = [node.attributes[n].whole if n in node.attributes else None for n in ("start", "end")]
    return Sizes(numbers[start:end])


def _expand(reader: Reader, node: Node, values: list[Value]) -> Value:
    x = values[0]
    if isinstance(x, Filled):
        return x
    if isinstance(x, Constant) and x.array.size:
        reader.spend(x.array.nbytes)
        if (x.array == x.array.flat[0]).all():
            return Filled(float(x.array.flat[0]))
    if isinstance(x, Sizes) and len(x.numbers) == 1:
        return Filled(x.numbers[0])
    raise NotReadError


def _cast(reader: Reader, node: Node, values: list[Value]) -> Value:
    x, to = values[0], node.attributes["to"].whole if "to" in node.attributes else None
    if isinstance(x, Constant):
        if to not in _CASTS:
            raise NotReadError
        reader.spend(8 * x.array.size)
        with np.errstate(all="ignore"):
            return Constant(x.array.astype(_CASTS[to]))
    if isinstance(x, Data) and to not in (INTEGERS if x.width is None else FLOATS):
        raise NotReadError("changes what the model computes to another type")
    return x


def _arithmetic(reader: Reader, node: Node, values: list[Value]) -> Value:
    a, b = (sizes_of(value) for value in values[:2])
    if a is None or b is None:
        raise NotReadError
    function = {"Mul": _multiply, "Sub": _subtract, "Div": _divide}[node.op]
    if len(a.numbers) != len(b.numbers) and 1 not in (len(a.numbers), len(b.numbers)):
        raise NotReadError
    count = max(len(a.numbers), len(b.numbers)) if a.numbers and b.numbers else 0
    if count > MOST_SIZES:
        raise NotReadError
    pairs = [(a.numbers[k % len(a.numbers)], b.numbers[k % len(b.numbers)]) for k in range(count)]
    return Sizes(tuple(function(one, other) for one, other in pairs), a.is_scalar and b.is_scalar)


def _multiply(a: Size, b: Size) -> Size:
    return _int64_or_unknown(a * b) if isinstance(a, int) and isinstance(b, int) else None


def _subtract(a: Size, b: Size) -> Size:
    return _int64_or_unknown(a - b) if isinstance(a, int) and isinstance(b, int) else None


def _int64_or_unknown(number: int) -> Size:
    return number if -(2**63) <= number < 2**63 else None


def _divide(a: Size, b: Size) -> Size:
    return a // b if isinstance(a, int) and isinstance(b, int) and a >= 0 and b > 0 else None


_CASTS = {1: np.float32, 6: np.int32, 7: np.int64, 11: np.float64}

SHAPE_OPERATORS = {
    "Constant": Handler(_constant, 0, 0),
    "ConstantOfShape": Handler(_constant_of_shape, 1, 1),
    "Shape": Handler(_shape, 1, 1),
    "Expand": Handler(_expand, 2, 2),
    "Tile": Handler(_expand, 2, 2),
    "Cast": Handler(_cast, 1, 1),
    **dict.fromkeys(("Mul", "Sub", "Div"), Handler(_arithmetic, 2, 2)),
}
