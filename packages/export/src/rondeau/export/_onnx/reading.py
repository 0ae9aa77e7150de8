"""What reading the nodes of a graph shares: the shapes that the file tells, and the budget for constants."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from rondeau.export._errors import ExportError
from rondeau.export._onnx.file import Dims, Input, Node
from rondeau.export._onnx.values import Axis, Constant, Data, Layer, Size, Sizes, Unknown, Value

__all__ = [
    "DIRECTION",
    "FEATURES",
    "MOST_SIZES",
    "Handler",
    "NotReadError",
    "Reader",
    "last_layer",
    "positions",
    "sizes_of",
]

MOST_SIZES = 64
"""How many whole numbers may be about a shape."""

FEATURES, DIRECTION = "features", "direction"
"""Axes that are not those of the input."""


class NotReadError(Exception):
    """What a node does is not read; the message says what, after the operator's name."""


class Handler(NamedTuple):
    """How an operator is read.

    Attributes
    ----------
    function : callable
        Given the reader, the node and the values of its inputs, it returns the value of the output, or a tuple of
        them.
    least, most : int
        How many inputs there may be; those beyond the least may be left out.
    """

    function: Callable[[Reader, Node, list[Value]], Any]
    least: int
    most: int


class Reader:
    """What the functions that read nodes know besides the node.

    Parameters
    ----------
    inputs : mapping of str to Input
    shapes : mapping of str to tuple
        What the file says of values.
    opset : int
    budget : int
        How many bytes may be made of constants.
    """

    def __init__(
        self, inputs: Mapping[str, Input], shapes: Mapping[str, Dims | None], opset: int, budget: int
    ) -> None:
        self.inputs, self.shapes, self.opset, self._budget = inputs, shapes, opset, budget

    def spend(self, count: int) -> None:
        """Take bytes that are made of constants from the budget."""
        self._budget -= count
        if self._budget < 0:
            raise ExportError("the graph makes more of its constants than their bytes allow")

    def ints(self, node: Node, values: list[Value], name: str, position: int) -> tuple[int, ...] | None:
        """Return whole numbers that are an attribute in old files and an input in new ones; None if absent."""
        attribute = node.attributes.get(name)
        if attribute is not None:
            return attribute.wholes
        if len(values) <= position or (isinstance(values[position], Unknown) and not node.inputs[position]):
            return None
        sizes = sizes_of(values[position])
        if sizes is None or any(not isinstance(number, int) for number in sizes.numbers):
            raise NotReadError(f"depends on {name} that are not known")
        return tuple(int(number) for number in sizes.numbers)  # type: ignore[arg-type]

    def size(self, data: Data, axis: Axis) -> Size:
        """Return the size of an axis: a number if it is fixed, otherwise the axis itself."""
        if axis == FEATURES:
            return data.width
        if axis == DIRECTION:
            return last_layer(data).directions
        if isinstance(axis, tuple):
            return None
        number = self.dimension(data, axis)
        return number if isinstance(number, int) else f"{data.source}.{axis}"

    def dimension(self, data: Data, axis: str) -> int | str | None:
        """Return what the file says of an axis of the input."""
        dims = self.inputs[data.source].dims
        return None if dims is None else dims[int(axis)]


def last_layer(x: Data) -> Layer:
    """Return the recurrent layer whose output a value is."""
    block = x.chain.block if x.chain is not None else None
    if not isinstance(block, Layer):
        raise NotReadError
    return block


def sizes_of(value: Value) -> Sizes | None:
    """Return whole numbers, known or not, if the value is such; a large constant is none."""
    if isinstance(value, Sizes):
        return value
    if not isinstance(value, Constant) or value.array.ndim > 1 or value.array.size > MOST_SIZES:
        return None
    if value.array.dtype.kind != "i":
        return None
    return Sizes(tuple(int(number) for number in value.array.reshape(-1)), value.array.ndim == 0)


def positions(axes: tuple[int, ...], rank: int) -> list[int]:
    """Return axes as positions from the first."""
    if any(not -rank <= axis < rank for axis in axes):
        raise ExportError(f"a node names a dimension out of range of {rank}")
    return [axis % rank for axis in axes]
