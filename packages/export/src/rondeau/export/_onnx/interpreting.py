"""What a graph computes, as a chain of blocks: followed node by node, without computing anything of it but shapes.

Constants are turned and cut as nodes say, within a budget of bytes; sizes are followed from the input's shape to where
they are used; and what a node makes of the input is the chain that it has gone through, with its axes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from rondeau.export._errors import ExportError
from rondeau.export._onnx.axis_operators import AXIS_OPERATORS
from rondeau.export._onnx.block_operators import BLOCK_OPERATORS
from rondeau.export._onnx.file import FLOATS, INTEGERS, Graph, Input, Node, shown
from rondeau.export._onnx.part_operators import PART_OPERATORS
from rondeau.export._onnx.reading import FEATURES, Handler, NotReadError, Reader
from rondeau.export._onnx.shape_operators import SHAPE_OPERATORS
from rondeau.export._onnx.values import Axis, Constant, Data, States, Unknown, Value

__all__ = ["interpret"]

Array = NDArray[Any]


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
    reader = Reader(inputs, graph.shapes, graph.opset, budget)
    for node in graph.nodes:
        found = _read(reader, node, [_known(values, name, node.op) for name in node.inputs])
        for name, value in zip(node.outputs, found, strict=False):
            if not name:  # an output that is left out
                continue
            if name in values:
                raise ExportError(f"two values have the name {shown(name)}")
            values[name] = value
    if not graph.outputs:
        raise ExportError("the graph has no output")
    first, *others = [_known(values, name, "the graph") for name in graph.outputs]
    if isinstance(first, Unknown):
        raise ExportError(f"the output of the graph depends on what is not read: {first.reason}")
    if not isinstance(first, Data) or first.chain is None:
        raise ExportError("the output of the graph is not computed from its input by blocks that are read")
    for name, value in zip(graph.outputs[1:], others, strict=True):
        if not (isinstance(value, States) or (isinstance(value, Unknown) and value.of_states)):
            raise ExportError(
                f"output {shown(name)} is neither the first nor a state: a chain of modules has one output"
            )
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


def _read(reader: Reader, node: Node, values: list[Value]) -> tuple[Value, ...]:
    """Return the values of a node's outputs; fewer than there are where the others are not read."""
    if not node.outputs:
        return ()
    if node.domain not in ("", "ai.onnx"):
        return _not_read(node, values, f"of {shown(node.domain)} is not read")
    handler = _HANDLERS.get(node.op)
    if handler is None:
        return _not_read(node, values, "is not read")
    if not handler.least <= len(values) <= handler.most:
        raise ExportError(f"{node.op} has {len(values)} inputs, which is not the number that it may have")
    needed = values if node.op == "Concat" else values[: handler.least]
    for value in needed:
        if isinstance(value, Unknown):
            reason = Unknown(value.reason, value.of_states or _is_state(values))
            return (reason,) * len(node.outputs)
    try:
        found = handler.function(reader, node, values)
    except NotReadError as reason_against:
        return _not_read(node, values, str(reason_against) or "is not read here")
    return found if type(found) is tuple else (found,)


def _not_read(node: Node, values: list[Value], why: str) -> tuple[Value, ...]:
    value = Unknown(f"operator {shown(node.op)} {why}", _is_state(values))
    return (value,) * len(node.outputs)


def _is_state(values: list[Value]) -> bool:
    return any(isinstance(v, States) or (isinstance(v, Unknown) and v.of_states) for v in values)


_HANDLERS: dict[str, Handler] = {**SHAPE_OPERATORS, **AXIS_OPERATORS, **PART_OPERATORS, **BLOCK_OPERATORS}
