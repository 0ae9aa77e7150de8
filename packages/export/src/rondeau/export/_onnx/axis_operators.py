"""Operators that turn, add, take away and put together dimensions."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rondeau.export._errors import ExportError
from rondeau.export._onnx.file import Dims, Node
from rondeau.export._onnx.reading import (
    DIRECTION,
    FEATURES,
    Handler,
    NotReadError,
    Reader,
    last_layer,
    positions,
    sizes_of,
)
from rondeau.export._onnx.values import (
    Axis,
    Constant,
    Data,
    Filled,
    Size,
    Sizes,
    States,
    Value,
)

__all__ = ["AXIS_OPERATORS"]

Array = NDArray[Any]


def _transpose(reader: Reader, node: Node, values: list[Value]) -> Value:
    x = values[0]
    order = node.attributes["perm"].wholes if "perm" in node.attributes else None
    if isinstance(x, Filled):
        return x
    if isinstance(x, Constant):
        order = tuple(reversed(range(x.array.ndim))) if order is None else order
        _check_order(order, x.array.ndim)
        return Constant(x.array.transpose(order))
    if not isinstance(x, Data):
        raise NotReadError
    order = tuple(reversed(range(len(x.axes)))) if order is None else order
    _check_order(order, len(x.axes))
    return x._replace(axes=tuple(x.axes[k] for k in order))


def _squeeze(reader: Reader, node: Node, values: list[Value]) -> Value:
    x, axes = values[0], reader.ints(node, values, "axes", 1)
    if isinstance(x, Filled):
        return x
    if isinstance(x, Sizes):
        return Sizes(x.numbers, is_scalar=len(x.numbers) == 1)
    if isinstance(x, Constant):
        chosen = positions(axes, x.array.ndim) if axes is not None else None
        if chosen is not None and any(x.array.shape[k] != 1 for k in chosen):
            raise ExportError("Squeeze takes away a dimension that is not 1")
        return Constant(x.array.squeeze(None if chosen is None else tuple(chosen)))
    if isinstance(x, States):
        x = _one(x)
    if not isinstance(x, Data) or axes is None:
        raise NotReadError
    chosen = positions(axes, len(x.axes))
    for k in chosen:
        if not (x.axes[k] == DIRECTION and (x.half is not None or last_layer(x).directions == 1)):
            raise NotReadError("takes away a dimension that is not one of a single direction")
    return x._replace(axes=tuple(axis for k, axis in enumerate(x.axes) if k not in chosen))


def _unsqueeze(reader: Reader, node: Node, values: list[Value]) -> Value:
    x, axes = values[0], reader.ints(node, values, "axes", 1)
    if isinstance(x, Filled):
        return x
    if isinstance(x, Sizes) and x.is_scalar:
        return Sizes(x.numbers)
    if not isinstance(x, Constant) or axes is None or x.array.ndim + len(axes) > 16:
        raise NotReadError
    rank = x.array.ndim + len(axes)
    return Constant(np.expand_dims(x.array, tuple(positions(axes, rank))))


def _reshape(reader: Reader, node: Node, values: list[Value]) -> Value:
    x, shape = values[0], sizes_of(values[1]) if len(values) > 1 else None
    if isinstance(x, Filled):
        return x
    if shape is None or len(shape.numbers) > 16:
        raise NotReadError
    if isinstance(x, Sizes):
        return Sizes(x.numbers, is_scalar=not shape.numbers)
    if isinstance(x, Constant):
        if not x.array.flags.c_contiguous:
            reader.spend(x.array.nbytes)
        return Constant(_reshaped(x.array, shape))
    if isinstance(x, Data):
        return _reshape_data(reader, x, shape.numbers, reader.shapes.get(node.outputs[0]))
    raise NotReadError


def _reshape_data(reader: Reader, x: Data, shape: tuple[Size, ...], said: Dims | None) -> Value:
    """Follow the two ways in which axes are put together: directions with features, and steps with rows."""
    for axes in _reshapings(x):
        width = x.width
        if DIRECTION in x.axes and DIRECTION not in axes:
            assert width is not None
            width *= last_layer(x).directions
        after = x._replace(axes=axes, width=width)
        if len(axes) == len(shape) and _is_shape(reader, x, after, shape, said):
            return after
    raise NotReadError("changes the shape in a way that is not read")


def _reshapings(x: Data) -> list[tuple[Axis, ...]]:
    found: list[tuple[Axis, ...]] = [x.axes]
    if x.axes[-2:] == (DIRECTION, FEATURES) and x.half is None:
        found.append((*x.axes[:-2], FEATURES))
    if len(x.axes) > 2 and x.axes[-1] == FEATURES and all(isinstance(axis, str) for axis in x.axes):
        together = tuple(axis for axis in x.axes[:-1] if isinstance(axis, str))
        if DIRECTION not in together:
            found.append((together, FEATURES))
    if len(x.axes) == 2 and isinstance(x.axes[0], tuple):
        found.append((*x.axes[0], x.axes[1]))
    return found


def _is_shape(reader: Reader, before: Data, after: Data, shape: tuple[Size, ...], said: Dims | None) -> bool:
    """Whether the numbers of a new shape stand for these axes; of one of them at most that may only be likely.

    PyTorch's newer exporter writes the length of its example where a sequence may have any: such a number is taken
    for the length, if what the file says of the other dimensions leaves nothing else.
    """
    names = said if said is not None and len(said) == len(shape) else (None,) * len(shape)
    likely = 0
    for position, (axis, number) in enumerate(zip(after.axes, shape, strict=True)):
        size = reader.size(after, axis)
        if number == 0:
            if position >= len(before.axes) or before.axes[position] != axis:
                return False
        elif number is None or number == -1:
            is_input = isinstance(axis, str) and axis not in (FEATURES, DIRECTION)
            name = reader.dimension(after, axis) if is_input else None  # type: ignore[arg-type]
            likely += not (isinstance(name, str) and name == names[position])
        elif number != size:
            if isinstance(number, int) and isinstance(size, int):
                return False
            likely += 1
    return likely <= 1


def _one(states: States) -> Data:
    """Return the only state of an output."""
    if len(states.outputs) != 1:
        raise NotReadError("reads the memory cells, or the states of several layers")
    return states.outputs[0]


def _check_order(order: tuple[int, ...], rank: int) -> None:
    if sorted(order) != list(range(rank)):
        raise ExportError(f"Transpose has an order that does not fit {rank} dimensions")


def _reshaped(array: Array, shape: Sizes) -> Array:
    if any(not isinstance(number, int) for number in shape.numbers):
        raise NotReadError
    numbers = [int(number) for number in shape.numbers]  # type: ignore[arg-type]
    if any(number == 0 and k >= array.ndim for k, number in enumerate(numbers)):
        raise ExportError("Reshape keeps a dimension that there is not")
    numbers = [array.shape[k] if number == 0 else number for k, number in enumerate(numbers)]
    try:
        return array.reshape(numbers)
    except ValueError as error:
        raise ExportError("Reshape of a constant does not fit its size") from error


AXIS_OPERATORS = {
    "Transpose": Handler(_transpose, 1, 1),
    "Squeeze": Handler(_squeeze, 1, 2),
    "Unsqueeze": Handler(_unsqueeze, 1, 2),
    "Reshape": Handler(_reshape, 2, 2),
}
