"""The operations of the cell language as nodes of ONNX; what ONNX lacks, or leaves open, is written out."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from typing import Any

import numpy as np

from rondeau.export._onnx.graph import GraphBuilder

__all__ = ["functions_for", "softplus"]

Function = Callable[..., str]


def _node(op: str, **attributes: Any) -> Function:
    """Return the function that adds one node."""

    def add(builder: GraphBuilder, name: str, *operands: str) -> str:
        return builder.node(op, operands, name, 1, **attributes)

    return add


def _number(builder: GraphBuilder, value: float) -> str:
    return builder.constant(np.float32(value), f"number_{value:g}")


def _sign(builder: GraphBuilder, name: str, x: str) -> str:
    """Add the sign, which is NaN for NaN: ``Sign`` does not promise that."""
    is_number = builder.node("Equal", [x, x], f"{name}_is_number")
    return builder.node("Where", [is_number, builder.node("Sign", [x], f"{name}_of_number"), x], name)


def _sigmoid(builder: GraphBuilder, name: str, x: str) -> str:
    """Add ``exp(min(x, 0)) / (1 + exp(-|x|))``: ``Sigmoid`` is zero where exp(x) is small."""
    below = builder.node("Min", [x, _number(builder, 0)], f"{name}_below")
    share = builder.node("Exp", [below], f"{name}_share")
    size = builder.node("Abs", [x], f"{name}_size")
    power = builder.node("Exp", [builder.node("Neg", [size], f"{name}_negative")], f"{name}_exp")
    whole = builder.node("Add", [_number(builder, 1), power], f"{name}_whole")
    return builder.node("Div", [share, whole], name)


def _expm1(builder: GraphBuilder, name: str, x: str) -> str:
    """Add ``2 t / (1 - t)`` with ``t = tanh(x / 2)`` near zero, where ``exp(x) - 1`` would cancel."""
    half = builder.node("Mul", [x, _number(builder, 0.5)], f"{name}_half")
    t = builder.node("Tanh", [half], f"{name}_tanh")
    above = builder.node("Add", [t, t], f"{name}_above")
    below = builder.node("Sub", [_number(builder, 1), t], f"{name}_below")
    near = builder.node("Div", [above, below], f"{name}_near")
    power = builder.node("Exp", [x], f"{name}_exp")
    far = builder.node("Sub", [power, _number(builder, 1)], f"{name}_far")
    size = builder.node("Abs", [x], f"{name}_size")
    is_near = builder.node("Less", [size, _number(builder, 0.5)], f"{name}_is_near")
    return builder.node("Where", [is_near, near, far], name)


def _log1p(builder: GraphBuilder, name: str, x: str) -> str:
    """Add ``2 atanh(x / (2 + x))`` below one, where ``log(1 + x)`` would round x away."""
    near = _log1p_below_one(builder, f"{name}_near", x)
    more = builder.node("Add", [_number(builder, 1), x], f"{name}_more")
    far = builder.node("Log", [more], f"{name}_far")
    is_near = builder.node("Less", [x, _number(builder, 1)], f"{name}_is_near")
    return builder.node("Where", [is_near, near, far], name)


def _log1p_below_one(builder: GraphBuilder, name: str, x: str) -> str:
    more = builder.node("Add", [_number(builder, 2), x], f"{name}_more")
    ratio = builder.node("Div", [x, more], f"{name}_ratio")
    half = builder.node("Atanh", [ratio], f"{name}_half")
    return builder.node("Add", [half, half], name)


def softplus(builder: GraphBuilder, name: str, x: str) -> str:
    """Add ``max(x, 0) + log1p(exp(-|x|))``: ``Softplus`` is zero where ``exp(x)`` is small."""
    size = builder.node("Abs", [x], f"{name}_size")
    power = builder.node("Exp", [builder.node("Neg", [size], f"{name}_negative")], f"{name}_exp")
    above = builder.node("Relu", [x], f"{name}_above")
    return builder.node("Add", [above, _log1p_below_one(builder, f"{name}_log", power)], name)


def _clamp(builder: GraphBuilder, name: str, x: str, low: str, high: str) -> str:
    return builder.node("Min", [builder.node("Max", [x, low], f"{name}_raised"), high], name)


def _ne(builder: GraphBuilder, name: str, a: str, b: str) -> str:
    return builder.node("Not", [builder.node("Equal", [a, b], f"{name}_equal")], name)


def _sum(builder: GraphBuilder, name: str, x: str) -> str:
    axes = builder.constant(np.array([-1], np.int64), "last_axis")
    return builder.node("ReduceSum", [x, axes], name, keepdims=1)


_FUNCTIONS: dict[str, Function] = {
    "add": _node("Add"), "sub": _node("Sub"), "mul": _node("Mul"), "div": _node("Div"), "neg": _node("Neg"),
    "abs": _node("Abs"), "pow": _node("Pow"), "sign": _sign, "sqrt": _node("Sqrt"), "exp": _node("Exp"),
    "expm1": _expm1, "log": _node("Log"), "log1p": _log1p, "sin": _node("Sin"), "cos": _node("Cos"),
    "erf": _node("Erf"), "clamp": _clamp, "sigmoid": _node("Sigmoid"), "tanh": _node("Tanh"), "relu": _node("Relu"),
    "softplus": softplus, "minimum": _node("Min"), "maximum": _node("Max"), "where": _node("Where"),
    "sum": _sum, "lt": _node("Less"), "le": _node("LessOrEqual"), "gt": _node("Greater"),
    "ge": _node("GreaterOrEqual"), "eq": _node("Equal"), "ne": _ne, "and": _node("And"), "or": _node("Or"),
    "not": _node("Not"),
}  # fmt: skip
"""For each operation the function that adds its nodes, given a builder, the name of the result and the operands."""


def functions_for(operations: Container[str]) -> Mapping[str, Function]:
    """Return the functions that add the nodes of a step with these operations.

    ``Sigmoid`` is one quick node, but ONNX Runtime's has an error of some 1e-8, which may be all of a small value. It
    is written out in steps with an operation that makes much of little.
    """
    enlarges = any(operation in operations for operation in ("div", "log", "pow", "sqrt"))
    return {**_FUNCTIONS, "sigmoid": _sigmoid} if enlarges else _FUNCTIONS
