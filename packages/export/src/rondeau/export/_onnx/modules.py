"""The blocks of a file as modules with its weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rondeau import nn
from rondeau.export._chain import Chain
from rondeau.export._errors import ExportError
from rondeau.export._onnx.file import INTEGERS, Input
from rondeau.export._onnx.sequence import OPERATORS
from rondeau.export._onnx.values import Affine, Block, Data, Direction, Function, Layer, Lookup, Normalisation

__all__ = ["modules_of"]

Array = NDArray[Any]

_LAYERS = {"rnn_tanh": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}
_FUNCTIONS = {
    "relu": nn.ReLU, "tanh": nn.Tanh, "sigmoid": nn.Sigmoid, "gelu": nn.GELU, "leaky_relu": nn.LeakyReLU,
    "softplus": nn.Softplus,
}  # fmt: skip


def modules_of(data: Data, inputs: Mapping[str, Input], budget: int) -> Chain:
    """Return modules that compute the output of a graph.

    Parameters
    ----------
    data : Data
        The output.
    inputs : mapping of str to Input
    budget : int
        How many bytes the weights may take.

    Raises
    ------
    ExportError
        If no chain of modules has such an output.
    """
    blocks = data.chain.blocks() if data.chain is not None else []
    layers = [block for block in blocks if isinstance(block, Layer)]
    if len({layer.has_lengths for layer in layers}) > 1:
        raise ExportError("some recurrent layers have lengths and others have none")
    needed = sum(4 * array.size for block in blocks for array in _arrays_of(block))
    if needed > budget:
        raise ExportError(
            f"the modules would take {needed:,} bytes, which is more than the file has for them"
        )
    _check_output(data, inputs[data.source])
    return Chain(*(_module(block, data.time == "1") for block in blocks), last_step=data.is_last)


def _check_output(data: Data, source: Input) -> None:
    """Raise unless the output has the axes of the input, in their order."""
    rank = len(source.dims or ())
    has_features = source.data_type not in INTEGERS
    axes = tuple(str(k) for k in range(rank - has_features))
    if data.is_last:
        axes = tuple(axis for axis in axes if axis != data.time)
    if data.axes != (*axes, "features") or data.half is not None:
        raise ExportError(
            "the output has not the dimensions of the input, in their order, with features last"
        )


def _arrays_of(block: Block) -> list[Array]:
    if isinstance(block, Lookup):
        return [block.table]
    if isinstance(block, Affine | Normalisation):
        return [array for array in (block.weight, block.bias) if array is not None]
    if isinstance(block, Layer):
        directions = [one for one in (block.forward, block.backward) if one is not None]
        return [array for one in directions for array in one if array is not None]
    return []


def _module(block: Block, batch_first: bool) -> nn.Module:
    if isinstance(block, Lookup):
        return _loaded(nn.Embedding(*block.table.shape), weight=block.table)
    if isinstance(block, Affine):
        outputs, inputs = block.weight.shape
        return _loaded(
            nn.Linear(inputs, outputs, bias=block.bias is not None), weight=block.weight, bias=block.bias
        )
    if isinstance(block, Normalisation):
        module = nn.LayerNorm(len(block.weight), eps=block.eps, bias=block.bias is not None)
        return _loaded(module, weight=block.weight, bias=block.bias)
    if isinstance(block, Function):
        return _function(block)
    return _layer(block, batch_first)


def _function(block: Function) -> nn.Module:
    if block.name == "gelu_tanh":
        return nn.GELU("tanh")
    if block.name in ("softmax", "log_softmax"):
        return nn.Softmax(-1) if block.name == "softmax" else nn.LogSoftmax(-1)
    return _FUNCTIONS[block.name](*block.parameters)


def _layer(block: Layer, batch_first: bool) -> nn.Module:
    if block.forward is None:
        raise ExportError("a layer runs backwards alone; layers run forwards, or in both directions")
    cell, name = getattr(nn.cells, block.cell), block.cell
    options: dict[str, Any] = {
        "bias": block.forward.bias is not None,
        "batch_first": batch_first,
        "bidirectional": block.backward is not None,
    }
    if name == "rnn_relu":
        module: nn.Recurrent = nn.RNN(
            block.forward.weight.shape[1], block.hidden, nonlinearity="relu", **options
        )
    elif name in _LAYERS:
        module = _LAYERS[name](block.forward.weight.shape[1], block.hidden, **options)
    else:
        module = nn.Recurrent(cell, block.forward.weight.shape[1], block.hidden, **options)
    arrays: dict[str, Array | None] = {}
    for direction, suffix in ((block.forward, "_l0"), (block.backward, "_l0_reverse")):
        if direction is not None:
            arrays |= {f"{part}{suffix}": array for part, array in _weights(direction, name).items()}
    return _loaded(module, **arrays)


def _weights(direction: Direction, name: str) -> dict[str, Array]:
    """Return the weights of a direction by their names in a layer, with gates in the cell's order."""
    operator, gates = OPERATORS[name], getattr(nn.cells, name).gates

    def ordered(array: Array) -> Array:
        of_gate = dict(zip(operator.gates, np.split(array, len(operator.gates)), strict=True))
        return np.concatenate([of_gate[g] if g in of_gate else -of_gate[f"-{g}"] for g in gates])

    found = {"weight_ih": ordered(direction.weight), "weight_hh": ordered(direction.recurrent)}
    if direction.bias is not None:
        found["bias_ih"], found["bias_hh"] = (ordered(part) for part in np.split(direction.bias, 2))
    if direction.peepholes is not None:
        parts = np.split(direction.peepholes, len(operator.peepholes))
        found |= dict(zip(operator.peepholes, parts, strict=True))
    return found


def _loaded(module: nn.Module, **arrays: Array | None) -> nn.Module:
    """Return a module with the weights of the file."""
    state = {name: _float32(array) for name, array in arrays.items() if array is not None}
    module.load_state_dict(state)
    return module


def _float32(array: Array) -> Array:
    with np.errstate(over="ignore"):
        single = np.ascontiguousarray(array, np.float32)
    if (np.isinf(single) & np.isfinite(array)).any():
        raise ExportError("a weight is beyond the range of float32")
    return single
