"""The blocks without a state as nodes of ONNX; they work on the last dimension of any shape."""

from __future__ import annotations

import numpy as np

from rondeau.export._description import Affine, LayerNorm, Lookup, Pointwise
from rondeau.export._onnx.functions import softplus
from rondeau.export._onnx.graph import GraphBuilder

__all__ = ["add_block"]


def add_block(builder: GraphBuilder, block: Lookup | Affine | LayerNorm | Pointwise, x: str) -> str:
    """Add the nodes of a block, and return the name of its result."""
    name = block.name
    if isinstance(block, Lookup):
        return builder.node("Gather", [builder.constant(block.table, f"{name}_table"), x], name)
    if isinstance(block, Affine):
        weight = builder.constant(block.weight.T, f"{name}_weight")
        if block.bias is None:
            return builder.node("MatMul", [x, weight], name)
        product = builder.node("MatMul", [x, weight], f"{name}_product")
        return builder.node("Add", [product, builder.constant(block.bias, f"{name}_bias")], name)
    if isinstance(block, LayerNorm):
        gain = np.ones(block.width, np.float32) if block.weight is None else block.weight
        operands = [x, builder.constant(gain, f"{name}_weight")]
        if block.bias is not None:
            operands.append(builder.constant(block.bias, f"{name}_bias"))
        return builder.node("LayerNormalization", operands, name, axis=-1, epsilon=block.eps)
    return _pointwise(builder, block, x)


def _pointwise(builder: GraphBuilder, block: Pointwise, x: str) -> str:
    name, function = block.name, block.function
    if function == "softplus":
        return _softplus(builder, block, x)
    simple = {"relu": "Relu", "tanh": "Tanh", "sigmoid": "Sigmoid"}
    if function in simple:
        return builder.node(simple[function], [x], name)
    if function in ("softmax", "log_softmax"):
        return builder.node("Softmax" if function == "softmax" else "LogSoftmax", [x], name, axis=-1)
    if function == "leaky_relu":
        return builder.node("LeakyRelu", [x], name, alpha=block.parameters[0])
    return builder.node("Gelu", [x], name, approximate="tanh" if function == "gelu_tanh" else "none")


def _softplus(builder: GraphBuilder, block: Pointwise, x: str) -> str:
    """Add softplus, which is linear above the threshold, as in PyTorch."""
    name, (beta, threshold) = block.name, block.parameters
    scale = builder.constant(np.float32(beta), f"{name}_beta")
    scaled = builder.node("Mul", [x, scale], f"{name}_scaled")
    value = softplus(builder, f"{name}_of_scaled", scaled)
    value = builder.node("Div", [value, scale], f"{name}_value")
    limit = builder.constant(np.float32(threshold), f"{name}_threshold")
    is_linear = builder.node("Greater", [scaled, limit], f"{name}_is_linear")
    return builder.node("Where", [is_linear, x, value], name)
