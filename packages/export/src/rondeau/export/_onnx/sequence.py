"""Recurrent layers over whole sequences: the operators RNN, GRU and LSTM of ONNX."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rondeau import nn
from rondeau.export._description import Layer
from rondeau.export._errors import ExportError
from rondeau.export._onnx.graph import GraphBuilder
from rondeau.kernels.recurrent.records import Weights

__all__ = ["OPERATORS", "Operator", "add_layer", "operator_of"]

Array = NDArray[Any]


class Operator(NamedTuple):
    """How an operator of ONNX computes a cell.

    Attributes
    ----------
    name : str
    gates : tuple of str
        The cell's gates in the operator's order; ``"-i"`` for one that is 1 minus the cell's gate i.
    flag : str or None
        An attribute that is 1.
    activations : tuple of str
        One for each place of the operator that has one; with `slopes`, their ``alpha`` and ``beta``.
    slopes : tuple of float or None
    peepholes : tuple of str
        The learned vectors that multiply the memory cells, in the operator's order.
    """

    name: str
    gates: tuple[str, ...]
    flag: str | None = None
    activations: tuple[str, ...] = ()
    slopes: tuple[float, float] | None = None
    peepholes: tuple[str, ...] = ()


_LSTM = Operator("LSTM", ("i", "o", "f", "g"))

OPERATORS = {
    "rnn_tanh": Operator("RNN", ("h",), activations=("Tanh",)),
    "rnn_relu": Operator("RNN", ("h",), activations=("Relu",)),
    "linear_rnn": Operator("RNN", ("h",), activations=("Affine",), slopes=(1.0, 0.0)),
    "gru": Operator("GRU", ("z", "r", "n"), "linear_before_reset"),
    "gru_original": Operator("GRU", ("-z", "r", "n")),
    "lstm": _LSTM,
    # Not by input_forget=1, which runtimes ignore without a word.
    "lstm_coupled": Operator("LSTM", ("i", "o", "-i", "g")),
    "lstm_peephole": _LSTM._replace(peepholes=("p_i", "p_o", "p_f")),
}
"""The operator of each cell of `nn.cells` that has one."""


@functools.cache
def _by_graph() -> dict[str, Operator]:
    """Return the operator of each graph that has one; equal graphs compute the same."""
    return {str(getattr(nn.cells, name).graph): operator for name, operator in OPERATORS.items()}


def operator_of(layer: Layer) -> Operator:
    """Return the operator that computes a layer.

    Raises
    ------
    ExportError
        If ONNX has none.
    """
    found = _by_graph().get(str(layer.cell.graph))
    if found is None or layer.weights.weight_hr is not None:
        what = "its output is projected" if found else f"its cell is {layer.cell.name}"
        if not found and layer.cell.name in OPERATORS:
            what += " with a step that is changed, as by zoneout"
        raise ExportError(
            f'{layer.name} has no operator of ONNX for whole sequences, since {what}: export it with form="step"'
        )
    return found


def add_layer(
    builder: GraphBuilder, layer: Layer, prefix: str, x: str, states: list[str], lengths: str
) -> tuple[str, list[str]]:
    """Add the nodes of a layer, and return the names of its output and of the last states.

    Parameters
    ----------
    builder : GraphBuilder
    layer : Layer
    prefix : str
        What the names of its values begin with.
    x : str
        (T, B, I).
    states : list of str
        The states before the first step, (D, B, H), where D is 2 with a layer that runs backwards.
    lengths : str
        The lengths (B,) of int32, or "" for none.

    Returns
    -------
    output : str
        (T, B, D * H).
    last : list of str
        (D, B, H).
    """
    operator = operator_of(layer)
    directions = [one for one in (layer, layer.reverse) if one is not None]
    parts = [_weights(one, operator) for one in directions]
    weight, recurrent, bias = [np.stack(arrays) for arrays in zip(*parts, strict=True)]
    operands = [
        x,
        builder.constant(weight, f"{prefix}_W"),
        builder.constant(recurrent, f"{prefix}_R"),
        builder.constant(bias, f"{prefix}_B"),
        lengths,
        *states,
    ]
    if operator.peepholes:
        operands.append(
            builder.constant(np.stack([_peepholes(one, operator) for one in directions]), f"{prefix}_P")
        )
    attributes: dict[str, Any] = {} if operator.flag is None else {operator.flag: 1}
    if operator.activations:
        attributes["activations"] = list(operator.activations) * len(directions)
    if operator.slopes is not None:
        alpha, beta = operator.slopes
        attributes |= {
            "activation_alpha": [alpha] * len(directions),
            "activation_beta": [beta] * len(directions),
        }
    results = builder.node(
        operator.name,
        operands,
        [f"{prefix}_every", *(f"{prefix}_last_{k}" for k in range(len(states)))],
        None,
        hidden_size=layer.hidden,
        direction="forward" if layer.reverse is None else "bidirectional",
        **attributes,
    )
    every, last = results[0], results[1:]
    if lengths:
        is_empty = _is_empty(builder, lengths)
        last = [
            builder.node("Where", [is_empty, begin, end], f"{prefix}_kept")
            for begin, end in zip(states, last, strict=True)
        ]
    if layer.reverse is None:
        axes = builder.constant(np.array([1], np.int64), "direction_axis")
        return builder.node("Squeeze", [every, axes], f"{prefix}_output"), last
    turned = builder.node("Transpose", [every], f"{prefix}_turned", perm=[0, 2, 1, 3])
    shape = builder.constant(np.array([0, 0, -1], np.int64), "side_by_side")
    return builder.node("Reshape", [turned, shape], f"{prefix}_output"), last


def _is_empty(builder: GraphBuilder, lengths: str) -> str:
    """Add which sequences have no step, (1, B, 1): runtimes do not agree on their last states."""
    none = builder.node("Equal", [lengths, builder.constant(np.int32(0), "no_step")], "without_steps")
    return builder.node(
        "Unsqueeze", [none, builder.constant(np.array([0, 2], np.int64), "outer_axes")], "is_empty"
    )


def _weights(layer: Layer, operator: Operator) -> tuple[Array, Array, Array]:
    """Return W, R and B of one direction, with the gates in the operator's order."""
    weights = layer.weights
    matrix = _ordered(weights.weight_ih, layer, operator)
    recurrent = _ordered(_full(weights, layer.num_heads, layer.hidden), layer, operator)
    nothing = np.zeros(len(weights.weight_ih), np.float32)
    biases = [nothing if bias is None else bias for bias in (weights.bias_ih, weights.bias_hh)]
    return matrix, recurrent, np.concatenate([_ordered(bias, layer, operator) for bias in biases])


def _ordered(array: Array, layer: Layer, operator: Operator) -> Array:
    """Return the blocks of an array's rows, one for each gate, in the operator's order."""
    of_gate = dict(zip(layer.cell.gates, np.split(array, len(layer.cell.gates)), strict=True))
    # 1 - sigmoid(x) is sigmoid(-x).
    of_gate |= {f"-{gate}": -rows for gate, rows in of_gate.items()}
    return np.concatenate([of_gate[gate] for gate in operator.gates])


def _peepholes(layer: Layer, operator: Operator) -> Array:
    params = dict(zip(layer.cell.params, layer.weights.params, strict=True))
    return np.concatenate([params[name] for name in operator.peepholes])


def _full(weights: Weights, heads: int, H: int) -> Array:
    """Return the recurrent matrices, with zeros outside the blocks of heads."""
    matrix: Array = weights.weight_hh
    if heads == 1:
        return matrix
    own = np.arange(len(matrix)) % H // (H // heads)
    is_own = own[:, None] == np.arange(H) // (H // heads)
    return np.where(is_own, np.tile(matrix, heads), np.float32(0))
