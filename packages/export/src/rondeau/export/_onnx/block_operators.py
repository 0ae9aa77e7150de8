"""Operators that are blocks of a model: products with biases, normalisation, activations, recurrent layers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rondeau.export._errors import ExportError
from rondeau.export._onnx.file import Node
from rondeau.export._onnx.reading import (
    DIRECTION,
    FEATURES,
    Handler,
    NotReadError,
    Reader,
    sizes_of,
)
from rondeau.export._onnx.recurrent_operators import layer_of
from rondeau.export._onnx.values import (
    Affine,
    Chain,
    Constant,
    Data,
    Filled,
    Function,
    Normalisation,
    States,
    Value,
)

__all__ = ["BLOCK_OPERATORS"]

Array = NDArray[Any]


def _matmul(reader: Reader, node: Node, values: list[Value]) -> Value:
    x, w = values
    data = _rows(x)
    if not isinstance(w, Constant):
        raise NotReadError("multiplies two values that depend on the input")
    return _affine(data, w.array.T, None)


def _gemm(reader: Reader, node: Node, values: list[Value]) -> Value:
    x, w = values[:2]
    data = _rows(x)
    alpha, beta = [
        node.attributes[name].number if name in node.attributes else 1.0 for name in ("alpha", "beta")
    ]
    turned = bool(node.attributes["transB"].whole) if "transB" in node.attributes else False
    if len(data.axes) != 2 or not isinstance(w, Constant) or w.array.ndim != 2 or alpha != 1 or beta != 1:
        raise NotReadError("is more than a product with a bias")
    if "transA" in node.attributes and node.attributes["transA"].whole:
        raise NotReadError
    weight = w.array if turned else w.array.T
    after = _affine(data, weight, None)
    has_bias = len(values) > 2 and bool(node.inputs[2])
    return _with_bias(after, values[2]) if has_bias else after


def _add(reader: Reader, node: Node, values: list[Value]) -> Value:
    a, b = values
    if sizes_of(a) is not None and sizes_of(b) is not None:
        raise NotReadError
    return _with_bias(a, b) if isinstance(b, Constant) else _with_bias(b, a)


def _normalise(reader: Reader, node: Node, values: list[Value]) -> Value:
    x = _rows(values[0])
    axis = node.attributes["axis"].whole if "axis" in node.attributes else -1
    eps = node.attributes["epsilon"].number if "epsilon" in node.attributes else 1e-5
    vectors = [
        value.array if isinstance(value, Constant) else None
        for value, name in zip(values[1:], node.inputs[1:], strict=True)
        if name
    ]
    if axis not in (-1, len(x.axes) - 1) or not vectors or len(vectors) > 2 or eps is None or not eps > 0:
        raise NotReadError("normalises over other dimensions than the last")
    if any(v is None or v.shape != (x.width,) or v.dtype.kind != "f" for v in vectors):
        raise NotReadError("has weights that do not fit")
    weight = vectors[0]
    assert weight is not None
    block = Normalisation(weight, vectors[1] if len(vectors) == 2 else None, eps)
    return x._replace(chain=Chain(x.chain, block))


def _activation(reader: Reader, node: Node, values: list[Value]) -> Value:
    x = _rows(values[0])
    name, attributes = _FUNCTIONS[node.op], node.attributes
    parameters: tuple[float, ...] = ()
    if node.op in ("Softmax", "LogSoftmax"):
        axis = attributes["axis"].whole if "axis" in attributes else (-1 if reader.opset >= 13 else 1)
        if axis not in (-1, len(x.axes) - 1):
            raise NotReadError("works along another dimension than the last")
    if node.op == "LeakyRelu":
        slope = attributes["alpha"].number if "alpha" in attributes else 0.01
        if slope is None:
            raise NotReadError
        parameters = (slope,)
    if node.op == "Gelu" and "approximate" in attributes:
        how = attributes["approximate"].string
        if how not in ("none", "tanh"):
            raise NotReadError("is approximated in a way that is not read")
        name = "gelu_tanh" if how == "tanh" else name
    return x._replace(chain=Chain(x.chain, Function(name, parameters)))


def _same(reader: Reader, node: Node, values: list[Value]) -> Value:
    return values[0]


def _dropout(reader: Reader, node: Node, values: list[Value]) -> Value:
    is_training = values[2] if len(values) > 2 and node.inputs[2] else Constant(np.array(False))
    if not isinstance(is_training, Constant) or is_training.array.size != 1 or is_training.array.any():
        raise NotReadError("is that of training")
    return values[0]


def _recurrent(reader: Reader, node: Node, values: list[Value]) -> Any:
    x = values[0]
    if (
        not isinstance(x, Data)
        or len(x.axes) != 3
        or x.axes[2] != FEATURES
        or x.half is not None
        or x.is_last
    ):
        raise NotReadError("reads what is not steps, rows and features in this order")
    time = x.axes[0]
    if (
        not isinstance(time, str)
        or not isinstance(x.axes[1], str)
        or x.time not in (None, time)
        or DIRECTION in x.axes
    ):
        raise NotReadError("runs over another dimension than the layer before it")
    if x.one_hot and x.chain is not None:
        raise NotReadError
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
            raise NotReadError(f"has {name} that is not a constant")
        arrays[name] = value.array
    layer = layer_of(node, arrays)
    if layer.any.weight.shape[1] != x.width:
        raise ExportError(f"{node.op} has W for {layer.any.weight.shape[1]} features after {x.width}")
    _check_beginning(reader, given, x, time)
    layer = layer._replace(has_lengths=isinstance(given.get("lengths"), Data))
    after = Data(
        x.source, (time, DIRECTION, x.axes[1], FEATURES), layer.hidden, Chain(x.chain, layer), time=time
    )
    last = after._replace(axes=(DIRECTION, x.axes[1], FEATURES), is_last=True)
    of_last = States((last,)) if layer.backward is None else States(())
    return (after, of_last, States(()))[: max(1, len(node.outputs))]


def _rows(value: Value) -> Data:
    """Return data whose last axis is of features, ready for a block."""
    if (
        not isinstance(value, Data)
        or value.axes[-1:] != (FEATURES,)
        or value.one_hot
        or value.half is not None
    ):
        raise NotReadError
    if DIRECTION in value.axes or value.width is None:
        raise NotReadError
    return value


def _affine(x: Data, weight: Array, bias: Array | None) -> Data:
    if weight.ndim != 2 or weight.dtype.kind != "f" or weight.shape[1] != x.width or weight.shape[0] < 1:
        raise ExportError(f"a product has a matrix of shape {weight.T.shape} after {x.width} features")
    return x._replace(width=len(weight), chain=Chain(x.chain, Affine(weight, bias)))


def _with_bias(x: Value, bias: Value) -> Value:
    if not isinstance(x, Data) or not isinstance(bias, Constant) or x.chain is None:
        raise NotReadError("adds what is not a bias")
    if x.axes[-1:] != (FEATURES,):
        raise NotReadError("adds a constant along another dimension than the features")
    block, array = x.chain.block, bias.array
    if not isinstance(block, Affine) or block.bias is not None or array.dtype.kind != "f":
        raise NotReadError("adds a constant that is not the bias of a product")
    if array.ndim < 1 or array.ndim > len(x.axes) or array.size != x.width or array.shape[-1] != x.width:
        raise NotReadError("adds a constant that is not the bias of a product")
    return x._replace(chain=Chain(x.chain.before, block._replace(bias=array.reshape(-1))))


def _check_beginning(reader: Reader, given: Mapping[str, Value], x: Data, time: str) -> None:
    """Raise unless a layer begins with zeros or an input, and reads all steps or lengths that are an input."""
    for name in ("h", "c"):
        state = given.get(name, Filled(0.0))
        is_input = isinstance(state, Data) and state.chain is None and state.source != x.source
        is_zero = isinstance(state, Filled) and state.number == 0
        if isinstance(state, Constant):
            reader.spend(state.array.nbytes)
            is_zero = not state.array.any()
        if not (is_input or is_zero):
            raise NotReadError("begins with a state that is neither zero nor an input")
    lengths = given.get("lengths")
    is_input = isinstance(lengths, Data) and lengths.chain is None and lengths.source != x.source
    is_whole = isinstance(lengths, Filled) and lengths.number == reader.size(x, time)
    if lengths is not None and not (is_input or is_whole):
        raise NotReadError("has lengths that are neither those of all steps nor an input")


_FUNCTIONS = {
    "Relu": "relu", "Tanh": "tanh", "Sigmoid": "sigmoid", "Gelu": "gelu", "LeakyRelu": "leaky_relu",
    "Softplus": "softplus", "Softmax": "softmax", "LogSoftmax": "log_softmax",
}  # fmt: skip

BLOCK_OPERATORS = {
    "MatMul": Handler(_matmul, 2, 2),
    "Gemm": Handler(_gemm, 2, 3),
    "Add": Handler(_add, 2, 2),
    "LayerNormalization": Handler(_normalise, 2, 3),
    "Identity": Handler(_same, 1, 1),
    "Dropout": Handler(_dropout, 1, 3),
    "RNN": Handler(_recurrent, 3, 6),
    "GRU": Handler(_recurrent, 3, 6),
    "LSTM": Handler(_recurrent, 3, 8),
    **dict.fromkeys(_FUNCTIONS, Handler(_activation, 1, 1)),
}
