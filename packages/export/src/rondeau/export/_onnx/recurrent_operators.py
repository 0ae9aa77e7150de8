"""The operators RNN, GRU and LSTM of a file as layers: which cell they compute, and with which weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from rondeau.export._errors import ExportError
from rondeau.export._onnx.file import Attribute, Node, shown
from rondeau.export._onnx.values import Direction, Layer

__all__ = ["GATES", "layer_of"]

Array = NDArray[Any]

GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
"""How many gates each operator has."""

_ACTIVATIONS = {"GRU": ("sigmoid", "tanh"), "LSTM": ("sigmoid", "tanh", "tanh")}
_KNOWN = {
    "activations", "activation_alpha", "activation_beta", "direction", "hidden_size", "layout", "input_forget",
    "linear_before_reset", "output_sequence",
}  # fmt: skip


def layer_of(node: Node, arrays: Mapping[str, Array | None]) -> Layer:
    """Return the layer of a node.

    Parameters
    ----------
    node : Node
    arrays : mapping
        ``W``, ``R``, ``B`` and ``P``; None for one that is absent.

    Raises
    ------
    ExportError
        If no built-in cell computes what the node does, or shapes do not fit.
    """
    op, attributes = node.op, node.attributes
    for name in attributes.keys() - _KNOWN:
        raise ExportError(f"{op} with the attribute {shown(name)} is not read")
    direction = _string(attributes, "direction", "forward")
    count = {"forward": 1, "reverse": 1, "bidirectional": 2}.get(direction)
    if count is None:
        raise ExportError(f"{op} has the direction {shown(direction)}")
    if _int(attributes, "layout"):
        raise ExportError(f"{op} with layout=1 is not read: put the batch second")
    peepholes = arrays["P"]
    if peepholes is not None and not peepholes.any():
        peepholes = None
    cell = _cell_of(node, count, peepholes is not None)
    W, R, B = arrays["W"], arrays["R"], arrays["B"]
    if W is None or R is None or W.ndim != 3 or R.ndim != 3:
        raise ExportError(f"{op} needs weights W and R with three dimensions")
    H = R.shape[2]
    shapes = {
        "W": (W, (count, GATES[op] * H, W.shape[2])),
        "R": (R, (count, GATES[op] * H, H)),
        "B": (B, (count, 2 * GATES[op] * H)),
        "P": (peepholes, (count, 3 * H)),
    }
    for name, (array, shape) in shapes.items():
        if array is not None and array.shape != shape:
            raise ExportError(f"{op} has {name} of shape {array.shape} where {shape} fits its R")
    hidden_size = attributes.get("hidden_size")
    if H < 1 or W.shape[2] < 1 or (hidden_size is not None and hidden_size.whole != H):
        raise ExportError(
            f"{op} has R of shape {R.shape}, which does not fit hidden_size or has nothing in it"
        )
    found = [
        Direction(W[k], R[k], None if B is None else B[k], None if peepholes is None else peepholes[k])
        for k in range(count)
    ]
    if direction == "reverse":
        return Layer(cell, None, found[0])
    return Layer(cell, found[0], found[1] if count == 2 else None)


def _cell_of(node: Node, directions: int, has_peepholes: bool) -> str:
    op, attributes = node.op, node.attributes
    activations = attributes.get("activations")
    names = tuple(name.lower() for name in activations.strings) if activations else ()
    if op == "RNN":
        return _plain_cell(attributes, names or ("tanh",) * directions)
    if names not in ((), _ACTIVATIONS[op] * directions):
        raise ExportError(f"{op} with the activations {shown(' '.join(names))} is not read")
    if op == "GRU":
        return "gru" if _int(attributes, "linear_before_reset") else "gru_original"
    if _int(attributes, "input_forget"):
        if has_peepholes:
            raise ExportError("LSTM with both input_forget and peepholes is not read")
        return "lstm_coupled"
    return "lstm_peephole" if has_peepholes else "lstm"


def _plain_cell(attributes: Mapping[str, Attribute], names: tuple[str, ...]) -> str:
    slopes = [
        attributes[name].numbers for name in ("activation_alpha", "activation_beta") if name in attributes
    ]
    if set(names) == {"tanh"}:
        return "rnn_tanh"
    if set(names) == {"relu"}:
        return "rnn_relu"
    if set(names) == {"affine"} and len(slopes) == 2 and set(slopes[0]) == {1.0} and set(slopes[1]) == {0.0}:
        return "linear_rnn"
    raise ExportError(f"RNN with the activations {shown(' '.join(names))} is not read")


def _int(attributes: Mapping[str, Attribute], name: str) -> int:
    return (attributes[name].whole or 0) if name in attributes else 0


def _string(attributes: Mapping[str, Attribute], name: str, otherwise: str) -> str:
    return (attributes[name].string or otherwise).lower() if name in attributes else otherwise
