"""What a graph computes, as a chain of blocks: followed node by node, without computing anything of it but shapes.

Constants are turned and cut as nodes say, within a budget of bytes; sizes are followed from the input's shape to where
they are used; and what a node makes of the input is the chain that it has gone through, with its axes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rondeau.export._errors import ExportError
from rondeau.export._onnx.constants import array_of
from rondeau.export._onnx.file import FLOATS, INTEGERS, Dims, Graph, Input, Node, shown
from rondeau.export._onnx.recurrent_operators import GATES, layer_of
from rondeau.export._onnx.values import (
    Affine,
    Axis,
    Chain,
    Constant,
    Data,
    Filled,
    Function,
    Layer,
    Lookup,
    Normalisation,
    Size,
    Sizes,
    States,
    Unknown,
    Value,
)

__all__ = ["interpret"]

Array = NDArray[Any]

_MOST_SIZES = 64
"""How many whole numbers may be about a shape."""

FEATURES, DIRECTION = "features", "direction"


def interpret(graph: Graph, constants: Mapping[str, Array], budget: int) -> tuple[Data, Mapping[str, Input]]:
    """Return what the first output of a graph is, and the inputs.

    Parameters
    ----------
    graph : Graph
    constants : mapping of str to ndarray
    budget : int
        How many bytes may be made of constants.

    Raises
    ------
    ExportError
        If the output is not that of a chain of blocks, or there are outputs besides it that are not states.
    """
    inputs = {value.name: value for value in graph.inputs if value.name not in constants}
    values: dict[str, Value] = {name: Constant(array) for name, array in constants.items()}
    values |= {name: _input_value(value) for name, value in inputs.items()}
    values[""] = Unknown("an input that is left out")
    reader = _Reader(inputs, graph.shapes, graph.opset, budget)
    for node in graph.nodes:
        found = reader.read(node, [_known(values, name, node.op) for name in node.inputs])
        for name, value in zip(node.outputs, found, strict=False):
            if not name:  # an output that is left out
                continue
            if name in values:
                raise ExportError(f"two values have the name {shown(name)}")
            values[name] = value
    if not graph.outputs:
        raise ExportError("the graph has no output")
    first, *others = [_known(values, name, "the graph") for name in graph.outputs]
    for name, value in zip(graph.outputs[1:], others, strict=True):
        if not (isinstance(value, States) or (isinstance(value, Unknown) and value.of_states)):
            raise ExportError(
                f"output {shown(name)} is neither the first nor a state: a chain of modules has one output"
            )
    if isinstance(first, Unknown):
        raise ExportError(f"the output of the graph depends on what is not read: {first.reason}")
    if not isinstance(first, Data) or first.chain is None:
        raise ExportError("the output of the graph is not computed from its input by blocks that are read")
    return first, inputs


def _known(values: Mapping[str, Value], name: str, reader: str) -> Value:
    found = values.get(name)
    if found is None:
        raise ExportError(f"{shown(reader)} reads {shown(name)}, which nothing before it gives")
    return found


def _input_value(value: Input) -> Value:
    if value.dims is None:
        return Unknown(f"input {shown(value.name)} has no shape")
    if value.data_type in INTEGERS:
        axes: tuple[Axis, ...] = tuple(f"{k}" for k in range(len(value.dims)))
        return Data(value.name, axes, None)
    if value.data_type not in FLOATS or not value.dims:
        return Unknown(
            f"input {shown(value.name)} is of type {value.data_type} with {len(value.dims)} dimensions"
        )
    width = value.dims[-1] if isinstance(value.dims[-1], int) else None
    return Data(value.name, (*(f"{k}" for k in range(len(value.dims) - 1)), FEATURES), width)


class _Reader:
    """Finds the value of every node's outputs."""

    def __init__(
        self, inputs: Mapping[str, Input], shapes: Mapping[str, Dims | None], opset: int, budget: int
    ) -> None:
        self._inputs, self._shapes, self._opset, self._budget = inputs, shapes, opset, budget

    def read(self, node: Node, values: list[Value]) -> tuple[Value, ...]:
        """Return the values of a node's outputs; fewer than there are where the others are not read."""
        if node.domain not in ("", "ai.onnx"):
            return self._unknown(node, values, f"of {shown(node.domain)} is not read")
        handler = _HANDLERS.get(node.op)
        if handler is None:
            return self._unknown(node, values)
        least, most = _INPUTS[node.op]
        if not least <= len(values) <= most:
            raise ExportError(f"{node.op} has {len(values)} inputs, which is not the number that it may have")
        needed = values if node.op == "Concat" else values[:least]
        for value in needed:
            if isinstance(value, Unknown):
                return self._many(node, Unknown(value.reason, value.of_states or _is_state(values)))
        try:
            found = handler(self, node, values)
        except _NotReadError as reason:
            return self._unknown(node, values, str(reason) or "is not read here")
        return found if isinstance(found, tuple) and not hasattr(found, "_fields") else (found,)

    def _unknown(self, node: Node, values: list[Value], why: str = "is not read") -> tuple[Value, ...]:
        return self._many(node, Unknown.of(node.op, why)._replace(of_states=_is_state(values)))

    @staticmethod
    def _many(node: Node, value: Value) -> tuple[Value, ...]:
        return (value,) * len(node.outputs)

    # ---------------------------------------------------------------- attributes and constants

    def _spend(self, count: int) -> None:
        """Take bytes that are made of constants from the budget."""
        self._budget -= count
        if self._budget < 0:
            raise ExportError("the graph makes more of its constants than their bytes allow")

    def _ints(self, node: Node, values: list[Value], name: str, position: int) -> tuple[int, ...] | None:
        """Return whole numbers that are an attribute in old files and an input in new ones; None if absent."""
        attribute = node.attributes.get(name)
        if attribute is not None:
            return attribute.wholes
        if len(values) <= position or (isinstance(values[position], Unknown) and not node.inputs[position]):
            return None
        sizes = _sizes(values[position])
        if sizes is None or any(not isinstance(number, int) for number in sizes.numbers):
            raise _NotReadError(f"depends on {name} that are not known")
        return tuple(int(number) for number in sizes.numbers)  # type: ignore[arg-type]

    def size(self, data: Data, axis: Axis) -> Size:
        """Return the size of an axis: a number if it is fixed, otherwise the axis itself."""
        if axis == FEATURES:
            return data.width
        if axis == DIRECTION:
            return _last_layer(data).directions
        if isinstance(axis, tuple):
            return None
        number = self._dimension(data, axis)
        return number if isinstance(number, int) else f"{data.source}.{axis}"

    def _dimension(self, data: Data, axis: str) -> int | str | None:
        """Return what the file says of an axis of the input."""
        dims = self._inputs[data.source].dims
        return None if dims is None else dims[int(axis)]

    # ---------------------------------------------------------------- shapes

    def shape(self, node: Node, values: list[Value]) -> Value:
        (x, *_) = values
        if isinstance(x, Constant):
            numbers: tuple[Size, ...] = x.array.shape
        elif isinstance(x, Data):
            numbers = tuple(self.size(x, axis) for axis in x.axes)
        else:
            raise _NotReadError
        start, end = [node.attributes[n].whole if n in node.attributes else None for n in ("start", "end")]
        return Sizes(numbers[start:end])

    def constant(self, node: Node, values: list[Value]) -> Value:
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
            raise _NotReadError("has no number or array")
        return Constant(array)

    def constant_of_shape(self, node: Node, values: list[Value]) -> Value:
        attribute = node.attributes.get("value")
        if attribute is None or attribute.tensor is None:
            return Filled(0.0)
        array = array_of(attribute.tensor)
        return Filled(float(array.flat[0]) if array.size == 1 else None)

    def expand(self, node: Node, values: list[Value]) -> Value:
        x = values[0]
        if isinstance(x, Filled):
            return x
        if isinstance(x, Constant) and x.array.size and (x.array == x.array.flat[0]).all():
            return Filled(float(x.array.flat[0]))
        if isinstance(x, Sizes) and len(x.numbers) == 1:
            return Filled(x.numbers[0])
        raise _NotReadError

    def cast(self, node: Node, values: list[Value]) -> Value:
        x, to = values[0], node.attributes["to"].whole if "to" in node.attributes else None
        if isinstance(x, Constant):
            if to not in _CASTS:
                raise _NotReadError
            self._spend(8 * x.array.size)
            with np.errstate(all="ignore"):
                return Constant(x.array.astype(_CASTS[to]))
        if isinstance(x, Data) and to not in (INTEGERS if x.width is None else FLOATS):
            raise _NotReadError("changes what the model computes to another type")
        return x

    def arithmetic(self, node: Node, values: list[Value]) -> Value:
        a, b = (_sizes(value) for value in values[:2])
        if a is None or b is None:
            raise _NotReadError
        function = {"Mul": _multiply, "Sub": _subtract, "Div": _divide}[node.op]
        if len(a.numbers) != len(b.numbers) and 1 not in (len(a.numbers), len(b.numbers)):
            raise _NotReadError
        count = max(len(a.numbers), len(b.numbers)) if a.numbers and b.numbers else 0
        if count > _MOST_SIZES:
            raise _NotReadError
        pairs = [(a.numbers[k % len(a.numbers)], b.numbers[k % len(b.numbers)]) for k in range(count)]
        return Sizes(tuple(function(one, other) for one, other in pairs), a.is_scalar and b.is_scalar)

    # ---------------------------------------------------------------- axes

    def transpose(self, node: Node, values: list[Value]) -> Value:
        x = values[0]
        order = node.attributes["perm"].wholes if "perm" in node.attributes else None
        if isinstance(x, Filled):
            return x
        if isinstance(x, Constant):
            order = tuple(reversed(range(x.array.ndim))) if order is None else order
            _check_order(order, x.array.ndim)
            return Constant(x.array.transpose(order))
        if not isinstance(x, Data):
            raise _NotReadError
        order = tuple(reversed(range(len(x.axes)))) if order is None else order
        _check_order(order, len(x.axes))
        return x._replace(axes=tuple(x.axes[k] for k in order))

    def squeeze(self, node: Node, values: list[Value]) -> Value:
        x, axes = values[0], self._ints(node, values, "axes", 1)
        if isinstance(x, Filled):
            return x
        if isinstance(x, Sizes):
            return Sizes(x.numbers, is_scalar=len(x.numbers) == 1)
        if isinstance(x, Constant):
            chosen = _positions(axes, x.array.ndim) if axes is not None else None
            if chosen is not None and any(x.array.shape[k] != 1 for k in chosen):
                raise ExportError("Squeeze takes away a dimension that is not 1")
            return Constant(x.array.squeeze(None if chosen is None else tuple(chosen)))
        if isinstance(x, States):
            x = self._one(x)
        if not isinstance(x, Data) or axes is None:
            raise _NotReadError
        chosen = _positions(axes, len(x.axes))
        for k in chosen:
            if not (x.axes[k] == DIRECTION and (x.half is not None or _last_layer(x).directions == 1)):
                raise _NotReadError("takes away a dimension that is not one of a single direction")
        return x._replace(axes=tuple(axis for k, axis in enumerate(x.axes) if k not in chosen))

    def unsqueeze(self, node: Node, values: list[Value]) -> Value:
        x, axes = values[0], self._ints(node, values, "axes", 1)
        if isinstance(x, Filled):
            return x
        if isinstance(x, Sizes) and x.is_scalar:
            return Sizes(x.numbers)
        if not isinstance(x, Constant) or axes is None or x.array.ndim + len(axes) > 16:
            raise _NotReadError
        rank = x.array.ndim + len(axes)
        return Constant(np.expand_dims(x.array, tuple(_positions(axes, rank))))

    def reshape(self, node: Node, values: list[Value]) -> Value:
        x, shape = values[0], _sizes(values[1]) if len(values) > 1 else None
        if isinstance(x, Filled):
            return x
        if shape is None or len(shape.numbers) > 16:
            raise _NotReadError
        if isinstance(x, Sizes):
            return Sizes(x.numbers, is_scalar=not shape.numbers)
        if isinstance(x, Constant):
            if not x.array.flags.c_contiguous:
                self._spend(x.array.nbytes)
            return Constant(_reshaped(x.array, shape))
        if isinstance(x, Data):
            return self._reshape_data(x, shape.numbers, self._shapes.get(node.outputs[0]))
        raise _NotReadError

    def _reshape_data(self, x: Data, shape: tuple[Size, ...], said: Dims | None) -> Value:
        """Follow the two ways in which axes are put together: directions with features, and steps with rows."""
        for axes in self._reshapings(x):
            width = x.width
            if DIRECTION in x.axes and DIRECTION not in axes:
                assert width is not None
                width *= _last_layer(x).directions
            after = x._replace(axes=axes, width=width)
            if len(axes) == len(shape) and self._is_shape(x, after, shape, said):
                return after
        raise _NotReadError("changes the shape in a way that is not read")

    def _reshapings(self, x: Data) -> list[tuple[Axis, ...]]:
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

    def _is_shape(self, before: Data, after: Data, shape: tuple[Size, ...], said: Dims | None) -> bool:
        """Whether the numbers of a new shape stand for these axes; of one of them at most that may only be likely.

        PyTorch's newer exporter writes the length of its example where a sequence may have any: such a number is taken
        for the length, if what the file says of the other dimensions leaves nothing else.
        """
        names = said if said is not None and len(said) == len(shape) else (None,) * len(shape)
        likely = 0
        for position, (axis, number) in enumerate(zip(after.axes, shape, strict=True)):
            size = self.size(after, axis)
            if number == 0:
                if position >= len(before.axes) or before.axes[position] != axis:
                    return False
            elif number is None or number == -1:
                is_input = isinstance(axis, str) and axis not in (FEATURES, DIRECTION)
                name = self._dimension(after, axis) if is_input else None  # type: ignore[arg-type]
                likely += not (isinstance(name, str) and name == names[position])
            elif number != size:
                if isinstance(number, int) and isinstance(size, int):
                    return False
                likely += 1
        return likely <= 1

    # ---------------------------------------------------------------- parts

    def slice(self, node: Node, values: list[Value]) -> Value:
        x = values[0]
        if isinstance(x, Filled):
            return x
        named = [
            self._ints(node, values, name, k) for k, name in enumerate(("starts", "ends", "axes", "steps"), 1)
        ]
        starts, ends, axes, steps = named
        if starts is None or ends is None or len(starts) != len(ends):
            raise _NotReadError
        axes = tuple(range(len(starts))) if axes is None else axes
        steps = (1,) * len(starts) if steps is None else steps
        if not len(axes) == len(steps) == len(starts) or 0 in steps:
            raise ExportError("Slice has numbers that do not fit each other")
        if isinstance(x, Sizes) and len(starts) == 1 and not x.is_scalar:
            return Sizes(x.numbers[slice(starts[0], ends[0], steps[0])])
        if isinstance(x, Constant):
            chosen = [slice(None)] * x.array.ndim
            for axis, start, end, step in zip(
                _positions(axes, x.array.ndim), starts, ends, steps, strict=True
            ):
                chosen[axis] = slice(start, end, step)
            return Constant(x.array[tuple(chosen)])
        raise _NotReadError

    def gather(self, node: Node, values: list[Value]) -> Value:
        x, index = values[:2]
        axis = node.attributes["axis"].whole or 0 if "axis" in node.attributes else 0
        if isinstance(x, Constant) and isinstance(index, Data):
            return self._look_up(x.array, index, axis)
        number = _sizes(index)
        if number is None or len(number.numbers) != 1 or not isinstance(number.numbers[0], int):
            raise _NotReadError
        where = number.numbers[0]
        sizes = _sizes(x)
        if sizes is not None and not sizes.is_scalar:
            if not -len(sizes.numbers) <= where < len(sizes.numbers):
                raise ExportError("Gather has an index out of range")
            return Sizes((sizes.numbers[where],), number.is_scalar)
        if isinstance(x, States) and axis == 0 and number.is_scalar:
            if not -len(x.outputs) <= where < len(x.outputs):
                raise _NotReadError
            return x.outputs[where]._replace(axes=x.outputs[where].axes[1:])
        if isinstance(x, Data) and where == -1 and number.is_scalar and x.chain is not None:
            return self._last_step(x, axis)
        raise _NotReadError

    def _last_step(self, x: Data, axis: int) -> Value:
        (position,) = _positions((axis,), len(x.axes))
        layers = [block for block in x.chain.blocks() if isinstance(block, Layer)] if x.chain else []
        is_forward = not any(layer.backward or layer.has_lengths for layer in layers)
        if x.time is None or x.axes[position] != x.time or not is_forward:
            raise _NotReadError(
                "takes a part of the data that is not the last step of layers that run forwards over all steps"
            )
        axes = tuple(axis for k, axis in enumerate(x.axes) if k != position)
        return x._replace(axes=axes, is_last=True)

    def _look_up(self, table: Array, ids: Data, axis: int) -> Value:
        if axis != 0 or ids.chain is not None or ids.width is not None:
            raise _NotReadError
        if table.ndim == 1 and np.array_equal(table, np.arange(len(table))):
            return ids  # a check of the range
        if table.ndim != 2 or table.dtype.kind != "f" or 0 in table.shape:
            raise _NotReadError("has no table of vectors")
        return ids._replace(
            axes=(*ids.axes, FEATURES), width=table.shape[1], chain=Chain(None, Lookup(table))
        )

    def one_hot(self, node: Node, values: list[Value]) -> Value:
        ids, depth, levels = values
        axis = node.attributes["axis"].whole if "axis" in node.attributes else -1
        known = isinstance(depth, Constant) and isinstance(levels, Constant)
        if (
            not isinstance(ids, Data)
            or ids.width is not None
            or ids.chain is not None
            or axis != -1
            or not known
        ):
            raise _NotReadError
        if depth.array.size != 1 or levels.array.tolist() != [0, 1] or depth.array.dtype.kind != "i":  # type: ignore[union-attr]
            raise _NotReadError
        width = int(depth.array.flat[0])  # type: ignore[union-attr]
        if width < 1:
            raise ExportError("OneHot has a depth below 1")
        return ids._replace(axes=(*ids.axes, FEATURES), width=width, one_hot=True)

    def concat(self, node: Node, values: list[Value]) -> Value:
        axis = node.attributes["axis"].whole or 0 if "axis" in node.attributes else 0
        if all(isinstance(value, Constant) for value in values):
            arrays = [value.array for value in values if isinstance(value, Constant)]
            ranks = {array.ndim for array in arrays}
            if len(ranks) != 1 or 0 in ranks or len({array.dtype for array in arrays}) != 1:
                raise ExportError("Concat puts together constants that do not fit")
            (position,) = _positions((axis,), ranks.pop())
            rest = {array.shape[:position] + array.shape[position + 1 :] for array in arrays}
            if len(rest) != 1:
                raise ExportError("Concat puts together constants that do not fit")
            self._spend(sum(array.nbytes for array in arrays))
            return Constant(np.concatenate(arrays, position))
        sizes = [_sizes(value) for value in values]
        if all(one is not None for one in sizes) and axis in (0, -1):
            together = tuple(number for one in sizes if one is not None for number in one.numbers)
            if len(together) > _MOST_SIZES:
                raise _NotReadError
            return Sizes(together)
        if all(isinstance(value, Filled) for value in values):
            return values[0] if len(set(values)) == 1 else Filled(None)
        if all(isinstance(value, States) for value in values) and axis == 0:
            outputs = tuple(one for value in values if isinstance(value, States) for one in value.outputs)
            if len(outputs) > _MOST_SIZES:
                raise _NotReadError
            return States(outputs)
        if len(values) == 2 and isinstance(values[0], Data) and isinstance(values[1], Data):
            return self._both_directions(values[0], values[1], axis)
        raise _NotReadError

    def _both_directions(self, first: Data, second: Data, axis: int) -> Value:
        (position,) = _positions((axis,), len(first.axes))
        if first.axes != second.axes or first.axes[position] != FEATURES or first.is_last or second.is_last:
            raise _NotReadError
        if first.chain is None or second.chain is None or first.width is None or first.width != second.width:
            raise _NotReadError
        joined = first._replace(half=None, width=2 * first.width)
        if first.chain is second.chain and (first.half, second.half) == (0, 1):
            return joined
        one, other = first.chain.block, second.chain.block
        if (
            not (isinstance(one, Layer) and isinstance(other, Layer))
            or first.chain.before is not second.chain.before
        ):
            raise _NotReadError
        if one.backward is not None or other.forward is not None or (first.half, second.half) != (None, None):
            raise _NotReadError
        layer = one._replace(backward=other.backward)
        if one._replace(forward=None) != other._replace(backward=None) or not layer.directions_fit:
            raise _NotReadError("puts together layers that differ")
        return joined._replace(chain=Chain(first.chain.before, layer))

    def split(self, node: Node, values: list[Value]) -> Any:
        x = values[0]
        axis = node.attributes["axis"].whole or 0 if "axis" in node.attributes else 0
        if not isinstance(x, Data) or len(node.outputs) != 2 or x.half is not None:
            raise _NotReadError
        (position,) = _positions((axis,), len(x.axes))
        if x.axes[position] != DIRECTION or _last_layer(x).directions != 2:
            raise _NotReadError
        return tuple(x._replace(half=k) for k in range(2))

    def _one(self, states: States) -> Data:
        if len(states.outputs) != 1:
            raise _NotReadError("reads the memory cells, or the states of several layers")
        return states.outputs[0]

    # ---------------------------------------------------------------- blocks

    def _rows(self, value: Value) -> Data:
        """Return data whose last axis is of features, ready for a block."""
        if (
            not isinstance(value, Data)
            or value.axes[-1:] != (FEATURES,)
            or value.one_hot
            or value.half is not None
        ):
            raise _NotReadError
        if DIRECTION in value.axes or value.width is None:
            raise _NotReadError
        return value

    def matmul(self, node: Node, values: list[Value]) -> Value:
        x, w = values
        data = self._rows(x)
        if not isinstance(w, Constant):
            raise _NotReadError("multiplies two values that depend on the input")
        return self._affine(data, w.array.T, None)

    def _affine(self, x: Data, weight: Array, bias: Array | None) -> Data:
        if weight.ndim != 2 or weight.dtype.kind != "f" or weight.shape[1] != x.width or weight.shape[0] < 1:
            raise ExportError(f"a product has a matrix of shape {weight.T.shape} after {x.width} features")
        return x._replace(width=len(weight), chain=Chain(x.chain, Affine(weight, bias)))

    def gemm(self, node: Node, values: list[Value]) -> Value:
        x, w = values[:2]
        data = self._rows(x)
        alpha, beta = [
            node.attributes[name].number if name in node.attributes else 1.0 for name in ("alpha", "beta")
        ]
        turned = bool(node.attributes["transB"].whole) if "transB" in node.attributes else False
        if len(data.axes) != 2 or not isinstance(w, Constant) or w.array.ndim != 2 or alpha != 1 or beta != 1:
            raise _NotReadError("is more than a product with a bias")
        if "transA" in node.attributes and node.attributes["transA"].whole:
            raise _NotReadError
        weight = w.array if turned else w.array.T
        after = self._affine(data, weight, None)
        has_bias = len(values) > 2 and bool(node.inputs[2])
        return self._with_bias(after, values[2]) if has_bias else after

    def add(self, node: Node, values: list[Value]) -> Value:
        a, b = values
        if _sizes(a) is not None and _sizes(b) is not None:
            raise _NotReadError
        return self._with_bias(a, b) if isinstance(b, Constant) else self._with_bias(b, a)

    def _with_bias(self, x: Value, bias: Value) -> Value:
        if not isinstance(x, Data) or not isinstance(bias, Constant) or x.chain is None:
            raise _NotReadError("adds what is not a bias")
        block, array = x.chain.block, bias.array
        if not isinstance(block, Affine) or block.bias is not None or array.dtype.kind != "f":
            raise _NotReadError("adds a constant that is not the bias of a product")
        if array.ndim < 1 or array.ndim > len(x.axes) or array.size != x.width or array.shape[-1] != x.width:
            raise _NotReadError("adds a constant that is not the bias of a product")
        return x._replace(chain=Chain(x.chain.before, block._replace(bias=array.reshape(-1))))

    def normalise(self, node: Node, values: list[Value]) -> Value:
        x = self._rows(values[0])
        axis = node.attributes["axis"].whole if "axis" in node.attributes else -1
        eps = node.attributes["epsilon"].number if "epsilon" in node.attributes else 1e-5
        vectors = [
            value.array if isinstance(value, Constant) else None
            for value, name in zip(values[1:], node.inputs[1:], strict=True)
            if name
        ]
        if axis not in (-1, len(x.axes) - 1) or not vectors or len(vectors) > 2 or eps is None or not eps > 0:
            raise _NotReadError("normalises over other dimensions than the last")
        if any(v is None or v.shape != (x.width,) or v.dtype.kind != "f" for v in vectors):
            raise _NotReadError("has weights that do not fit")
        weight = vectors[0]
        assert weight is not None
        block = Normalisation(weight, vectors[1] if len(vectors) == 2 else None, eps)
        return x._replace(chain=Chain(x.chain, block))

    def activation(self, node: Node, values: list[Value]) -> Value:
        x = self._rows(values[0])
        name, attributes = _FUNCTIONS[node.op], node.attributes
        parameters: tuple[float, ...] = ()
        if node.op in ("Softmax", "LogSoftmax"):
            axis = attributes["axis"].whole if "axis" in attributes else (-1 if self._opset >= 13 else 1)
            if axis not in (-1, len(x.axes) - 1):
                raise _NotReadError("works along another dimension than the last")
        if node.op == "LeakyRelu":
            slope = attributes["alpha"].number if "alpha" in attributes else 0.01
            if slope is None:
                raise _NotReadError
            parameters = (slope,)
        if node.op == "Gelu" and "approximate" in attributes:
            name = "gelu_tanh" if attributes["approximate"].string == "tanh" else name
        return x._replace(chain=Chain(x.chain, Function(name, parameters)))

    def same(self, node: Node, values: list[Value]) -> Value:
        return values[0]

    def dropout(self, node: Node, values: list[Value]) -> Value:
        is_training = values[2] if len(values) > 2 and node.inputs[2] else Constant(np.array(False))
        if not isinstance(is_training, Constant) or is_training.array.any():
            raise _NotReadError("is that of training")
        return values[0]

    def recurrent(self, node: Node, values: list[Value]) -> Any:
        x = values[0]
        if (
            not isinstance(x, Data)
            or len(x.axes) != 3
            or x.axes[2] != FEATURES
            or x.half is not None
            or x.is_last
        ):
            raise _NotReadError("reads what is not steps, rows and features in this order")
        time = x.axes[0]
        if (
            not isinstance(time, str)
            or not isinstance(x.axes[1], str)
            or x.time not in (None, time)
            or DIRECTION in x.axes
        ):
            raise _NotReadError("runs over another dimension than the layer before it")
        if x.one_hot and x.chain is not None:
            raise _NotReadError
        given = dict(zip(("W", "R", "B", "lengths", "h", "c", "P"), values[1:], strict=False))
        given = {
            name: value
            for (name, value), read in zip(given.items(), node.inputs[1:], strict=False)
            if read and (node.op == "LSTM" or name in ("W", "R", "B", "lengths", "h"))
        }
        arrays: dict[str, Array | None] = dict.fromkeys("WRBP")
        for name in arrays.keys() & given.keys():
            value = given[name]
            if not isinstance(value, Constant) or value.array.dtype.kind != "f":
                raise _NotReadError(f"has {name} that is not a constant")
            arrays[name] = value.array
        layer = layer_of(node, arrays)
        if layer.any.weight.shape[1] != x.width:
            raise ExportError(f"{node.op} has W for {layer.any.weight.shape[1]} features after {x.width}")
        self._check_beginning(given, x, time)
        layer = layer._replace(has_lengths=isinstance(given.get("lengths"), Data))
        after = Data(
            x.source, (time, DIRECTION, x.axes[1], FEATURES), layer.hidden, Chain(x.chain, layer), time=time
        )
        last = after._replace(axes=(DIRECTION, x.axes[1], FEATURES), is_last=True)
        of_last = States((last,)) if layer.backward is None else States(())
        return (after, of_last, States(()))[: max(1, len(node.outputs))]

    def _check_beginning(self, given: Mapping[str, Value], x: Data, time: str) -> None:
        """Raise unless a layer begins with zeros or an input, and reads all steps or lengths that are an input."""
        for name in ("h", "c"):
            state = given.get(name, Filled(0.0))
            is_input = isinstance(state, Data) and state.chain is None and state.source != x.source
            is_zero = isinstance(state, Filled) and state.number == 0
            is_zero = is_zero or (isinstance(state, Constant) and not state.array.any())
            if not (is_input or is_zero):
                raise _NotReadError("begins with a state that is neither zero nor an input")
        lengths = given.get("lengths")
        is_input = isinstance(lengths, Data) and lengths.chain is None and lengths.source != x.source
        is_whole = isinstance(lengths, Filled) and lengths.number == self.size(x, time)
        if lengths is not None and not (is_input or is_whole):
            raise _NotReadError("has lengths that are neither those of all steps nor an input")


class _NotReadError(Exception):
    """What a node does is not read; the message says what, after the operator's name."""


def _is_state(values: list[Value]) -> bool:
    return any(isinstance(v, States) or (isinstance(v, Unknown) and v.of_states) for v in values)


def _last_layer(x: Data) -> Layer:
    block = x.chain.block if x.chain is not None else None
    if not isinstance(block, Layer):
        raise _NotReadError
    return block


def _sizes(value: Value) -> Sizes | None:
    """Return whole numbers, known or not, if the value is such; a large constant is none."""
    if isinstance(value, Sizes):
        return value
    if not isinstance(value, Constant) or value.array.ndim > 1 or value.array.size > _MOST_SIZES:
        return None
    if value.array.dtype.kind != "i":
        return None
    return Sizes(tuple(int(number) for number in value.array.reshape(-1)), value.array.ndim == 0)


def _positions(axes: tuple[int, ...], rank: int) -> list[int]:
    """Return axes as positions from the first."""
    if any(not -rank <= axis < rank for axis in axes):
        raise ExportError(f"a node names a dimension out of range of {rank}")
    return [axis % rank for axis in axes]


def _check_order(order: tuple[int, ...], rank: int) -> None:
    if sorted(order) != list(range(rank)):
        raise ExportError(f"Transpose has an order that does not fit {rank} dimensions")


def _reshaped(array: Array, shape: Sizes) -> Array:
    if any(not isinstance(number, int) for number in shape.numbers):
        raise _NotReadError
    numbers = [int(number) for number in shape.numbers]  # type: ignore[arg-type]
    if any(number == 0 and k >= array.ndim for k, number in enumerate(numbers)):
        raise ExportError("Reshape keeps a dimension that there is not")
    numbers = [array.shape[k] if number == 0 else number for k, number in enumerate(numbers)]
    try:
        return array.reshape(numbers)
    except ValueError as error:
        raise ExportError("Reshape of a constant does not fit its size") from error


def _multiply(a: Size, b: Size) -> Size:
    return _int64_or_unknown(a * b) if isinstance(a, int) and isinstance(b, int) else None


def _subtract(a: Size, b: Size) -> Size:
    return _int64_or_unknown(a - b) if isinstance(a, int) and isinstance(b, int) else None


def _int64_or_unknown(number: int) -> Size:
    return number if -(2**63) <= number < 2**63 else None


def _divide(a: Size, b: Size) -> Size:
    return a // b if isinstance(a, int) and isinstance(b, int) and a >= 0 and b > 0 else None


_CASTS = {1: np.float32, 6: np.int32, 7: np.int64, 11: np.float64}

_FUNCTIONS = {
    "Relu": "relu", "Tanh": "tanh", "Sigmoid": "sigmoid", "Gelu": "gelu", "LeakyRelu": "leaky_relu",
    "Softplus": "softplus", "Softmax": "softmax", "LogSoftmax": "log_softmax",
}  # fmt: skip

_HANDLERS: dict[str, Callable[[_Reader, Node, list[Value]], Any]] = {
    "Constant": _Reader.constant, "Shape": _Reader.shape, "ConstantOfShape": _Reader.constant_of_shape,
    "Expand": _Reader.expand,
    "Tile": _Reader.expand, "Cast": _Reader.cast, "Mul": _Reader.arithmetic, "Sub": _Reader.arithmetic,
    "Div": _Reader.arithmetic, "Transpose": _Reader.transpose, "Squeeze": _Reader.squeeze,
    "Unsqueeze": _Reader.unsqueeze, "Reshape": _Reader.reshape, "Slice": _Reader.slice, "Gather": _Reader.gather,
    "OneHot": _Reader.one_hot, "Concat": _Reader.concat, "Split": _Reader.split, "MatMul": _Reader.matmul,
    "Gemm": _Reader.gemm, "Add": _Reader.add, "LayerNormalization": _Reader.normalise, "Identity": _Reader.same,
    "Dropout": _Reader.dropout, **dict.fromkeys(_FUNCTIONS, _Reader.activation),
    **dict.fromkeys(GATES, _Reader.recurrent),
}  # fmt: skip

_MANY = 1_000_000
_INPUTS = {
    **dict.fromkeys(("Constant",), (0, 0)),
    **dict.fromkeys(("Shape", "ConstantOfShape", "Cast", "Transpose", "Identity", *_FUNCTIONS), (1, 1)),
    **dict.fromkeys(("Squeeze", "Unsqueeze", "Split"), (1, 2)),
    **dict.fromkeys(("Expand", "Mul", "Sub", "Div", "Reshape", "Gather", "MatMul", "Add"), (2, 2)),
    "Tile": (2, 3), "OneHot": (3, 3), "Gemm": (2, 3), "LayerNormalization": (2, 3), "Dropout": (1, 3), "Slice": (1, 5),
    "Concat": (1, _MANY), "RNN": (3, 6), "GRU": (3, 6), "LSTM": (3, 8),
}  # fmt: skip
"""How many inputs an operator has, at least and at most; those beyond the least may be left out."""
