"""Operators that take parts and put them together: steps, directions, vectors of a table."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rondeau.export._errors import ExportError
from rondeau.export._onnx.file import Node
from rondeau.export._onnx.reading import (
    DIRECTION,
    FEATURES,
    MOST_SIZES,
    Handler,
    NotReadError,
    Reader,
    last_layer,
    positions,
    sizes_of,
)
from rondeau.export._onnx.values import (
    Chain,
    Constant,
    Data,
    Filled,
    Layer,
    Lookup,
    Sizes,
    States,
    Value,
)

__all__ = ["PART_OPERATORS"]

Array = NDArray[Any]


def _slice(reader: Reader, node: Node, values: list[Value]) -> Value:
    x = values[0]
    if isinstance(x, Filled):
        return x
    named = [
        reader.ints(node, values, name, k) for k, name in enumerate(("starts", "ends", "axes", "steps"), 1)
    ]
    starts, ends, axes, steps = named
    if starts is None or ends is None or len(starts) != len(ends):
        raise NotReadError
    axes = tuple(range(len(starts))) if axes is None else axes
    steps = (1,) * len(starts) if steps is None else steps
    if not len(axes) == len(steps) == len(starts) or 0 in steps:
        raise ExportError("Slice has numbers that do not fit each other")
    if isinstance(x, Sizes) and len(starts) == 1 and not x.is_scalar:
        return Sizes(x.numbers[slice(starts[0], ends[0], steps[0])])
    if isinstance(x, Constant):
        chosen = [slice(None)] * x.array.ndim
        for axis, start, end, step in zip(positions(axes, x.array.ndim), starts, ends, steps, strict=True):
            chosen[axis] = slice(start, end, step)
        return Constant(x.array[tuple(chosen)])
    raise NotReadError


def _gather(reader: Reader, node: Node, values: list[Value]) -> Value:
    x, index = values[:2]
    axis = node.attributes["axis"].whole or 0 if "axis" in node.attributes else 0
    if isinstance(x, Constant) and isinstance(index, Data):
        return _look_up(reader, x.array, index, axis)
    number = sizes_of(index)
    if number is None or len(number.numbers) != 1 or not isinstance(number.numbers[0], int):
        raise NotReadError
    where = number.numbers[0]
    sizes = sizes_of(x)
    if sizes is not None and not sizes.is_scalar:
        if not -len(sizes.numbers) <= where < len(sizes.numbers):
            raise ExportError("Gather has an index out of range")
        return Sizes((sizes.numbers[where],), number.is_scalar)
    if isinstance(x, States) and axis == 0 and number.is_scalar:
        if not -len(x.outputs) <= where < len(x.outputs):
            raise NotReadError
        return x.outputs[where]._replace(axes=x.outputs[where].axes[1:])
    if isinstance(x, Data) and where == -1 and number.is_scalar and x.chain is not None:
        return _last_step(x, axis)
    raise NotReadError


def _last_step(x: Data, axis: int) -> Value:
    (position,) = positions((axis,), len(x.axes))
    is_forward = x.chain is not None and x.chain.runs_forwards
    if x.time is None or x.axes[position] != x.time or not is_forward:
        raise NotReadError(
            "takes a part of the data that is not the last step of layers that run forwards over all steps"
        )
    axes = tuple(axis for k, axis in enumerate(x.axes) if k != position)
    return x._replace(axes=axes, is_last=True)


def _look_up(reader: Reader, table: Array, ids: Data, axis: int) -> Value:
    if axis != 0 or ids.chain is not None or ids.width is not None:
        raise NotReadError
    if table.ndim == 1:
        reader.spend(8 * table.size)
        if np.array_equal(table, np.arange(len(table))):
            return ids  # a check of the range
    if table.ndim != 2 or table.dtype.kind != "f" or 0 in table.shape:
        raise NotReadError("has no table of vectors")
    return ids._replace(axes=(*ids.axes, FEATURES), width=table.shape[1], chain=Chain(None, Lookup(table)))


def _one_hot(reader: Reader, node: Node, values: list[Value]) -> Value:
    ids, depth, levels = values
    axis = node.attributes["axis"].whole if "axis" in node.attributes else -1
    if not isinstance(ids, Data) or ids.width is not None or ids.chain is not None or axis != -1:
        raise NotReadError
    if not isinstance(depth, Constant) or not isinstance(levels, Constant):
        raise NotReadError
    if depth.array.size != 1 or depth.array.dtype.kind != "i" or not np.array_equal(levels.array, [0, 1]):
        raise NotReadError
    width = int(depth.array.flat[0])
    if width < 1:
        raise ExportError("OneHot has a depth below 1")
    return ids._replace(axes=(*ids.axes, FEATURES), width=width, one_hot=True)


def _concat(reader: Reader, node: Node, values: list[Value]) -> Value:
    axis = node.attributes["axis"].whole or 0 if "axis" in node.attributes else 0
    if all(isinstance(value, Constant) for value in values):
        arrays = [value.array for value in values if isinstance(value, Constant)]
        ranks = {array.ndim for array in arrays}
        if len(ranks) != 1 or 0 in ranks or len({array.dtype for array in arrays}) != 1:
            raise ExportError("Concat puts together constants that do not fit")
        (position,) = positions((axis,), ranks.pop())
        rest = {array.shape[:position] + array.shape[position + 1 :] for array in arrays}
        if len(rest) != 1:
            raise ExportError("Concat puts together constants that do not fit")
        reader.spend(sum(array.nbytes for array in arrays))
        return Constant(np.concatenate(arrays, position))
    sizes = [sizes_of(value) for value in values]
    if all(one is not None for one in sizes) and axis in (0, -1):
        together = tuple(number for one in sizes if one is not None for number in one.numbers)
        if len(together) > MOST_SIZES:
            raise NotReadError
        return Sizes(together)
    if all(isinstance(value, Filled) for value in values):
        return values[0] if len(set(values)) == 1 else Filled(None)
    if all(isinstance(value, States) for value in values) and axis == 0:
        outputs = tuple(one for value in values if isinstance(value, States) for one in value.outputs)
        if len(outputs) > MOST_SIZES:
            raise NotReadError
        return States(outputs)
    if len(values) == 2 and isinstance(values[0], Data) and isinstance(values[1], Data):
        return _both_directions(values[0], values[1], axis)
    raise NotReadError


def _both_directions(first: Data, second: Data, axis: int) -> Value:
    (position,) = positions((axis,), len(first.axes))
    if first.axes != second.axes or first.axes[position] != FEATURES or first.is_last or second.is_last:
        raise NotReadError
    if first.chain is None or second.chain is None or first.width is None or first.width != second.width:
        raise NotReadError
    joined = first._replace(half=None, width=2 * first.width)
    if first.chain is second.chain and (first.half, second.half) == (0, 1):
        return joined
    one, other = first.chain.block, second.chain.block
    if not isinstance(one, Layer) or not isinstance(other, Layer):
        raise NotReadError
    if first.chain.before is not second.chain.before:
        raise NotReadError
    if one.backward is not None or other.forward is not None or (first.half, second.half) != (None, None):
        raise NotReadError
    layer = one._replace(backward=other.backward)
    if one._replace(forward=None) != other._replace(backward=None) or not layer.directions_fit:
        raise NotReadError("puts together layers that differ")
    return joined._replace(chain=Chain(first.chain.before, layer))


def _split(reader: Reader, node: Node, values: list[Value]) -> Any:
    x = values[0]
    axis = node.attributes["axis"].whole or 0 if "axis" in node.attributes else 0
    if not isinstance(x, Data) or len(node.outputs) != 2 or x.half is not None:
        raise NotReadError
    (position,) = positions((axis,), len(x.axes))
    if x.axes[position] != DIRECTION or last_layer(x).directions != 2:
        raise NotReadError
    return tuple(x._replace(half=k) for k in range(2))


PART_OPERATORS = {
    "Slice": Handler(_slice, 1, 5),
    "Gather": Handler(_gather, 2, 2),
    "OneHot": Handler(_one_hot, 3, 3),
    "Concat": Handler(_concat, 1, 1_000_000),
    "Split": Handler(_split, 1, 2),
}
