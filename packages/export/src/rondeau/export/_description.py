"""What is exported: a model as a chain of blocks, each with its weights, whatever the format.

Notation: V ids, I inputs, H hidden units, P outputs of a layer (H, or those of its projection), O outputs of an affine
block.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rondeau import nn
from rondeau.export._chain import Chain
from rondeau.export._errors import ExportError
from rondeau.kernels.cell.cell import Cell
from rondeau.kernels.recurrent.records import Weights
from rondeau.nn.freezing import frozen_array, frozen_layers, has_forward_hooks, has_forward_of

__all__ = [
    "Affine",
    "Block",
    "Description",
    "Layer",
    "LayerNorm",
    "Lookup",
    "Pointwise",
    "describe",
    "outputs_of",
]

Array = NDArray[Any]


class Lookup(NamedTuple):
    """A table (V, E) of vectors, of which an id selects one."""

    name: str
    table: Array


class Affine(NamedTuple):
    """``weight @ x + bias``, (O, I) and (O,) or None."""

    name: str
    weight: Array
    bias: Array | None


class LayerNorm(NamedTuple):
    """``(x - mean) / sqrt(variance + eps) * weight + bias``, each (I,) or None."""

    name: str
    width: int
    weight: Array | None
    bias: Array | None
    eps: float


class Pointwise(NamedTuple):
    """A function of each number, or of a whole row for ``softmax`` and ``log_softmax``."""

    name: str
    width: int
    function: str
    """``relu``, ``tanh``, ``sigmoid``, ``gelu``, ``gelu_tanh``, ``leaky_relu``, ``softplus``, ``softmax``, ..."""
    parameters: tuple[float, ...] = ()


class Layer(NamedTuple):
    """One recurrent layer, in one direction.

    Attributes
    ----------
    name : str
        The name of the module, followed by the number of the layer.
    cell : Cell
        As in evaluation.
    weights : Weights
    scalars : dict
        The scalars of the step, by their names in the graph, such as ``("k", "leak")``.
    num_heads : int
    initial : tuple of ndarray
        The state that a sequence begins with: (P,) and (H,).
    reverse : Layer or None
        The layer that reads the sequence from its end; its outputs follow those of this one.
    """

    name: str
    cell: Cell
    weights: Weights
    scalars: dict[tuple[str, str], float]
    num_heads: int
    initial: tuple[Array, ...]
    reverse: Layer | None = None

    @property
    def inputs(self) -> int:
        """The width of the input, I."""
        return int(self.weights.weight_ih.shape[1])

    @property
    def hidden(self) -> int:
        """The hidden units, H."""
        return int(self.weights.weight_ih.shape[0]) // len(self.cell.gates)

    @property
    def outputs(self) -> int:
        """The width of the first state, P."""
        return self.hidden if self.weights.weight_hr is None else int(self.weights.weight_hr.shape[0])


Block = Lookup | Affine | LayerNorm | Pointwise | Layer


class Description(NamedTuple):
    """A model as a chain of blocks.

    Attributes
    ----------
    blocks : tuple of Block
    takes_ids : bool
        Whether a step reads an id; a first block that is not a `Lookup` then stands for its column of ``weight_ih``.
    inputs, outputs : int
        The numbers that a step reads, or the ids that there are; and the numbers that it writes.
    """

    blocks: tuple[Block, ...]
    takes_ids: bool
    inputs: int
    outputs: int

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The recurrent layers, from the lowest up."""
        return tuple(block for block in self.blocks if isinstance(block, Layer))


def describe(model: nn.Module, takes_ids: bool | None = None) -> Description:
    """Return a model as a chain of blocks.

    Parameters
    ----------
    model : Module
        A `LanguageModel`, recurrent layers, or a `Sequential` of modules that can be exported.
    takes_ids : bool, optional
        Whether recurrent layers that come first read ids, which stand for one-hot rows. A model that begins with an
        `Embedding` or a `LanguageModel` always does.

    Returns
    -------
    Description
        Its weights are float32 copies.

    Raises
    ------
    ExportError
        If a module has no exported form, or computes something of its own; if a number is not finite or beyond
        float32; if a size is zero; if some recurrent layers take the batch first and others do not; or if nothing is
        left to export.

    Examples
    --------
    >>> described = describe(nn.LanguageModel(28, "gru", 16))
    >>> [block.name for block in described.blocks], described.inputs, described.takes_ids
    (['recurrent.0', 'head'], 28, True)
    """
    if not isinstance(model, nn.Module):
        raise ExportError(f"model must be a module of rondeau.nn, got {type(model).__name__}")
    blocks = tuple(_blocks_of(model, "", None))
    if not blocks:
        raise ExportError(f"{type(model).__name__} has no layer that could be exported")
    of_ids = isinstance(blocks[0], Lookup) or _begins_with_language_model(model)
    if takes_ids is not None and of_ids and not takes_ids:
        raise ExportError(f"{blocks[0].name} reads ids: leave takes_ids out")
    if takes_ids and not isinstance(blocks[0], Lookup | Layer):
        raise ExportError(f"{blocks[0].name} reads numbers, not ids: leave takes_ids out")
    for block in blocks[1:]:
        if isinstance(block, Lookup):
            raise ExportError(f"{block.name} reads ids, so it must come first")
    _check_widths(blocks)
    if len({layer.batch_first for layer in model.modules() if isinstance(layer, nn.Recurrent)}) > 1:
        raise ExportError(
            "some recurrent layers take the batch first and others the steps, but an export hands on one order: make "
            "batch_first the same in all of them"
        )
    return Description(blocks, bool(takes_ids or of_ids), _inputs_of(blocks[0]), outputs_of(blocks[-1]))


def _begins_with_language_model(module: nn.Module) -> bool:
    while isinstance(module, nn.Sequential):
        module = module[0]
    return isinstance(module, nn.LanguageModel)


def _blocks_of(module: nn.Module, name: str, width: int | None) -> list[Block]:
    """Return the blocks of a module; `width` is that of what the module reads, if it is known."""
    here = name or type(module).__name__
    _check_computes_as_built(module, here)
    if isinstance(module, nn.LanguageModel):
        members = _MODEL if module.embedding is None else ("embedding", "dropout", *_MODEL)
        return _chain(
            [(f"{name}.{part}" if name else part, getattr(module, part)) for part in members], width
        )
    if isinstance(module, nn.Sequential):
        # `named_children` yields each module once, and a chain may use one in several places.
        parts = [part for part, _ in module.named_modules(remove_duplicate=False) if part and "." not in part]
        return _chain(
            [
                (f"{name}.{part}" if name else part, member)
                for part, member in zip(parts, module, strict=True)
            ],
            width,
        )
    if isinstance(module, nn.Recurrent):
        return [*_layers_of(module, here)]
    if type(module) is nn.Embedding:
        return [Lookup(here, _float32(here, "weight", frozen_array(module, "weight")))]
    if type(module) is nn.Linear:
        bias = frozen_array(module, "bias")
        weight = _float32(here, "weight", frozen_array(module, "weight"))
        return [Affine(here, weight, None if bias is None else _float32(here, "bias", bias))]
    if type(module) is nn.LayerNorm:
        return [_layer_norm(module, here)]
    if type(module) in (nn.Dropout, nn.Identity):
        return []
    return [_pointwise(module, here, width)]


def _check_computes_as_built(module: nn.Module, name: str) -> None:
    """Raise if a module computes something besides what its class in `rondeau.nn` does, which the export would lose."""
    known = (Chain, nn.LanguageModel, nn.Sequential, nn.Recurrent)
    base = next((kind for kind in known if isinstance(module, kind)), type(module))
    if not has_forward_of(module, base):
        raise ExportError(
            f"{name} ({type(module).__name__}) has a forward of its own, which has no exported form: export the "
            "modules that it calls, in a Sequential"
        )
    if has_forward_hooks(module):
        raise ExportError(
            f"{name} has forward hooks, which have no exported form: remove them, or export a copy without them"
        )


_MODEL: tuple[str, ...] = ("recurrent", "dropout", "head")
"""The parts of a `LanguageModel` of one-hot ids, in order."""


def _chain(members: Iterable[tuple[str, nn.Module | None]], width: int | None) -> list[Block]:
    found: list[Block] = []
    for name, member in members:
        if member is not None:
            found += _blocks_of(member, name, width)
            width = outputs_of(found[-1]) if found else width
    return found


def _layers_of(module: nn.Recurrent, name: str) -> list[Layer]:
    frozen = frozen_layers(module)
    directions = 2 if module.bidirectional else 1
    scalars, layers = dict(frozen.settings.scalars), []
    for number in scalars.values():
        _check_number(name, number)
    for number in range(0, len(frozen.weights), directions):
        found: Layer | None = None
        for index in reversed(range(number, number + directions)):
            here = f"{name}.{number // directions}"
            weights = _weights32(here, frozen.weights[index])
            initial = tuple(_float32(here, "initial state", vector) for vector in frozen.initial[index])
            found = Layer(here, frozen.cell, weights, scalars, frozen.settings.num_heads, initial, found)
        assert found is not None
        layers.append(found)
    return layers


def _layer_norm(module: nn.LayerNorm, name: str) -> LayerNorm:
    if len(module.normalized_shape) != 1:
        raise ExportError(
            f"{name} normalises over {len(module.normalized_shape)} dimensions; only over the last is exported"
        )
    found = [frozen_array(module, part) for part in ("weight", "bias")]
    weight, bias = [
        None if array is None else _float32(name, part, array)
        for part, array in zip(("weight", "bias"), found, strict=True)
    ]
    return LayerNorm(name, int(module.normalized_shape[0]), weight, bias, float(module.eps))


def _pointwise(module: nn.Module, name: str, width: int | None) -> Pointwise:
    kind, parameters = type(module), tuple[float, ...]()
    functions: dict[type, str] = {
        nn.ReLU: "relu", nn.Tanh: "tanh", nn.Sigmoid: "sigmoid", nn.GELU: "gelu", nn.LeakyReLU: "leaky_relu",
        nn.Softplus: "softplus", nn.Softmax: "softmax", nn.LogSoftmax: "log_softmax",
    }  # fmt: skip
    if kind not in functions:
        raise ExportError(
            f"{name} ({kind.__name__}) has no exported form: there are Embedding, recurrent layers, Linear, LayerNorm, "
            "activations, Dropout, Sequential and LanguageModel"
        )
    function = functions[kind]
    if isinstance(module, nn.GELU) and module.approximate == "tanh":
        function = "gelu_tanh"
    if isinstance(module, nn.LeakyReLU):
        parameters = (float(module.negative_slope),)
    if isinstance(module, nn.Softplus):
        parameters = (float(module.beta), float(module.threshold))
    if isinstance(module, nn.Softmax | nn.LogSoftmax) and module.dim != -1:
        raise ExportError(f"{name} works along dimension {module.dim}; only the last one, -1, is exported")
    for number in parameters:
        _check_number(name, number)
    if width is None:
        raise ExportError(f"{name} ({kind.__name__}) comes first, where the number of its inputs is unknown")
    return Pointwise(name, width, function, parameters)


def _weights32(name: str, weights: Weights) -> Weights:
    matrices = {field: getattr(weights, field) for field in Weights._fields if field != "params"}
    converted = {field: _float32(name, field, m) for field, m in matrices.items() if m is not None}
    params = tuple(_float32(name, "learned vector", vector) for vector in weights.params)
    return weights._replace(**converted, params=params)


def _float32(name: str, part: str, array: Array | None) -> Array:
    """Return an array as float32, checked."""
    assert array is not None
    with np.errstate(over="ignore"):
        single = np.ascontiguousarray(array, np.float32)
    if not np.isfinite(single).all():
        reason = "is not finite" if not np.isfinite(array).all() else "is beyond the range of float32"
        raise ExportError(f"{name}: a value of its {part} {reason}")
    return single


def _check_number(name: str, number: float) -> None:
    """Raise unless an option of a module is a number of float32; a limit may be infinite."""
    if math.isnan(number) or (math.isfinite(number) and abs(number) > float(np.finfo(np.float32).max)):
        raise ExportError(f"{name} has the option {number:g}, which is not a number of float32")


def _inputs_of(block: Block) -> int:
    if isinstance(block, Lookup):
        return len(block.table)
    if isinstance(block, Affine):
        return int(block.weight.shape[1])
    return block.inputs if isinstance(block, Layer) else block.width


def outputs_of(block: Block) -> int:
    """Return how many numbers a block writes in a step."""
    if isinstance(block, Lookup):
        return int(block.table.shape[1])
    if isinstance(block, Affine):
        return len(block.weight)
    if isinstance(block, Layer):
        return block.outputs + (0 if block.reverse is None else block.reverse.outputs)
    return block.width


def _check_widths(blocks: tuple[Block, ...]) -> None:
    for block in blocks:
        if _inputs_of(block) < 1 or outputs_of(block) < 1:
            raise ExportError(
                f"{block.name} has {_inputs_of(block)} inputs and {outputs_of(block)} outputs: there must be at "
                "least one of each"
            )
    for below, block in pairwise(blocks):
        if outputs_of(below) != _inputs_of(block):
            raise ExportError(
                f"{block.name} reads {_inputs_of(block)} numbers, but {below.name} before it has "
                f"{outputs_of(below)}"
            )
