"""The inputs of steps: x, and the named inputs of each layer, in float64.

Notation: N rows; I inputs; H hidden units.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from rondeau.kernels.errors import ArgumentValueError
from rondeau.tensor import Tensor

from .._recurrent.inputs import inputs_of_layers, of_padded, of_step
from .._recurrent.layer import Recurrent
from ._arrays import Array, finite

__all__ = ["StepInputs", "as_inputs", "inputs_of_sequences", "inputs_of_steps"]

_FLOAT64 = np.dtype(np.float64)


class StepInputs(NamedTuple):
    """The inputs of N rows.

    Attributes
    ----------
    x : ndarray, shape (N, I)
    named : list of tuple of ndarray, shape (N, H) each
        The named inputs of each layer, in the order of the cell.
    """

    x: Array
    named: list[tuple[Array, ...]]

    def rows(self, chosen: slice) -> StepInputs:
        """Return some of the rows."""
        return StepInputs(self.x[chosen], [tuple([u[chosen] for u in of_layer]) for of_layer in self.named])

    def repeated(self, count: int) -> StepInputs:
        """Return a single row, repeated for that many states."""
        return StepInputs(
            np.broadcast_to(self.x, (count, self.x.shape[1])),
            [tuple([np.broadcast_to(u, (count, u.shape[1])) for u in of_layer]) for of_layer in self.named],
        )


def as_inputs(name: str, layer: Recurrent, value: Any, shapes: Mapping[int, str]) -> Array:
    """Return inputs in float64; `shapes` are those that are accepted, by number of dimensions: ``{2: "(T, I)"}``.

    Raises
    ------
    TypeError, ValueError
        If they are not numbers, the last dimension is not I, or a number is NaN or infinite.
    """
    array = finite(name, value)
    if array.ndim not in shapes or array.shape[-1] != layer.input_size:
        raise ArgumentValueError(
            f"{name} must have shape {' or '.join(shapes.values())} with I = {layer.input_size}, the input_size of the "
            f"layer, got {array.shape}"
        )
    return array


def inputs_of_steps(layer: Recurrent, x: Array, inputs: Any) -> StepInputs:
    """Return the inputs of steps, from x (N, I) or (I,) and the named inputs of a caller.

    Raises
    ------
    TypeError, ValueError
        If a named input is missing or unknown, or has the wrong shape; the message names it.
    """
    batch = x.shape[:-1]
    convert = of_step(layer.cell, _FLOAT64, batch, layer.hidden_size, "cpu")
    named = inputs_of_layers(layer.cell, inputs, layer.num_layers, _from_numbers(convert, lambda kind: batch))
    return StepInputs(
        x.reshape(-1, layer.input_size),
        [tuple([_wide(layer, rows._array) for rows in of_layer]) for of_layer in named],
    )


def inputs_of_sequences(layer: Recurrent, x: Array, inputs: Any) -> StepInputs:
    """Return the inputs of all steps of sequences, step after step, from x and named inputs in the form of the layer.

    Raises
    ------
    TypeError, ValueError
        If a named input is missing or unknown, or has the wrong shape; the message names it.
    """
    turned = layer.batch_first and x.ndim == 3
    T, *batch = x.transpose(1, 0, 2).shape[:-1] if turned else x.shape[:-1]
    convert = of_padded(layer.cell, _FLOAT64, T, tuple(batch), layer.hidden_size, turned)
    sizes = {"step": x.shape[:-1], "sequence": tuple(batch)}
    named = inputs_of_layers(layer.cell, inputs, layer.num_layers, _from_numbers(convert, sizes.__getitem__))
    kinds = layer.cell.inputs.values()
    return StepInputs(
        (x.transpose(1, 0, 2) if turned else x).reshape(-1, layer.input_size),
        [
            tuple(
                [
                    _wide(layer, np.tile(rows._array, (1 if kind == "step" else T, 1)))
                    for kind, rows in zip(kinds, of_layer, strict=True)
                ]
            )
            for of_layer in named
        ],
    )


def _from_numbers(
    convert: Callable[[str, str, Any], Tensor], sizes: Callable[[str], tuple[int, ...]]
) -> Callable[[str, str, Any], Tensor]:
    """Return a function that converts arrays and tensors of any dtype, and single numbers, which go for all rows."""

    def converted(name: str, kind: str, value: Any) -> Tensor:
        array = finite(f"input {name!r}", value)
        return convert(name, kind, Tensor(np.full(sizes(kind), array) if array.ndim == 0 else array))

    return converted


def _wide(layer: Recurrent, rows: Array) -> Array:
    """Return rows (N, H) from rows (N, H) or (N, 1)."""
    return np.broadcast_to(rows, (len(rows), layer.hidden_size))
