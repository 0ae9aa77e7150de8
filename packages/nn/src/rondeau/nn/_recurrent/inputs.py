"""The named inputs of a call besides x: their checks, and the rows that the kernels take.

A step input has one number for every step, (T, B), or one for every step and hidden unit, (T, B, H); a sequence input
is (B,) or (B, H). The kernels take rows: (N, 1) or (N, H) for a step input, (B, 1) or (B, H) for a sequence input.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import DTypeLike

from rondeau import tensor as rt
from rondeau.kernels.errors import ArgumentTypeError, ArgumentValueError
from rondeau.kernels.runtime.devices import is_array
from rondeau.kernels.sequence import Cell, InputForms
from rondeau.tensor import Tensor

from .._checks import kind_of
from .packed import PackedSequence
from .segments import Segments

__all__ = [
    "Inputs",
    "LayerInputs",
    "in_segments",
    "inputs_of_layers",
    "numbers_among",
    "of_packed",
    "of_padded",
    "of_step",
    "or_array",
    "variant_of",
]

Inputs: TypeAlias = "Mapping[str, Any] | Sequence[Mapping[str, Any]]"
"""The inputs that a caller passes by name: one mapping for all layers, or one for each layer."""

LayerInputs: TypeAlias = "tuple[Tensor, ...]"
"""The inputs of one layer as rows, in the order of the cell."""


def inputs_of_layers(
    cell: Cell, inputs: Any, num_layers: int, convert: Callable[[str, str, Any], Tensor]
) -> list[LayerInputs]:
    """Return the inputs of each layer as rows.

    Parameters
    ----------
    cell : Cell
    inputs : mapping of str to value, or sequence of such mappings, or None
        As the caller passed them.
    num_layers : int
        L.
    convert : callable
        Makes the rows of an input from its name, its kind and the caller's value, or raises an error that says what is
        wrong with it.

    Returns
    -------
    list of tuple of Tensor

    Raises
    ------
    TypeError
        If they are not a mapping or a sequence of mappings.
    ValueError
        If an input is missing or unknown, or there is not one mapping for each layer.
    """
    if isinstance(inputs, list | tuple):
        if len(inputs) != num_layers:
            raise ArgumentValueError(
                f"inputs must be one mapping for all layers, or a list with one for each layer ({num_layers}), got "
                f"{len(inputs)}"
            )
        return [_of_layer(cell, of_layer, convert) for of_layer in inputs]
    return [_of_layer(cell, inputs, convert)] * num_layers


def _of_layer(cell: Cell, inputs: Any, convert: Callable[[str, str, Any], Tensor]) -> LayerInputs:
    given = {} if inputs is None else inputs
    if not isinstance(given, Mapping):
        raise ArgumentTypeError(
            f"inputs must be a mapping of names to tensors, such as inputs={{'dt': dt}}, got {kind_of(inputs)}"
        )
    unknown = [name for name in given if name not in cell.inputs]
    if unknown:
        near = difflib.get_close_matches(str(unknown[0]), cell.inputs, n=1)
        hint = f": did you mean {near[0]!r}?" if near else ""
        has = f"its inputs are {', '.join(cell.inputs)}" if cell.inputs else "it has none"
        raise ArgumentValueError(f"cell {cell.name} has no input {unknown[0]!r}, {has}{hint}")
    missing = [name for name in cell.inputs if name not in given]
    if missing:
        name = missing[0]
        raise ArgumentValueError(
            f"cell {cell.name} needs its {cell.inputs[name]} input {name!r}: pass inputs={{{name!r}: tensor}}"
        )
    return tuple([convert(name, kind, given[name]) for name, kind in cell.inputs.items()])


def of_padded(
    cell: Cell, dtype: DTypeLike, num_steps: int, batch: tuple[int, ...], hidden: int, turned: bool
) -> Callable[[str, str, Any], Tensor]:
    """Return a function that converts the inputs of a padded batch, (T, B), or (T,) without a batch, to rows.

    The batch dimension comes first if the input is `turned`.
    """

    def convert(name: str, kind: str, value: Any) -> Tensor:
        letters, sizes = "B" * len(batch), batch
        if kind == "step":
            letters, sizes = "T" + letters, (num_steps, *sizes)
        turns = turned and kind == "step"
        order = slice(None, None, -1 if turns else 1)
        x = _checked(cell, name, value, letters[order], sizes[order], hidden, dtype)
        return _as_rows(cell, name, x.transpose(0, 1) if turns else x, sizes, hidden)

    return convert


def of_packed(
    cell: Cell, dtype: DTypeLike, like: PackedSequence, hidden: int
) -> Callable[[str, str, Any], Tensor]:
    """Return a function that converts the inputs of a packed batch to rows; `like` is the input x."""
    batch_size = int(like.batch_sizes._array[0]) if like.batch_sizes._array.size else 0

    def convert(name: str, kind: str, value: Any) -> Tensor:
        if kind == "sequence":
            x = _checked(cell, name, value, "B", (batch_size,), hidden, dtype)
            rows = _as_rows(cell, name, x, (batch_size,), hidden)
            return rows if like.sorted_indices is None else rt.index_select(rows, 0, like.sorted_indices)
        if not isinstance(value, PackedSequence):
            raise ArgumentTypeError(
                f"input {name!r} of cell {cell.name} must be a PackedSequence like the input x, got {kind_of(value)}: "
                "pack it with the same lengths"
            )
        if not _packed_alike(value, like):
            raise ArgumentValueError(
                f"input {name!r} of cell {cell.name} must be packed as the input x is, but its lengths or their order "
                "differ: pack it with the same lengths"
            )
        x = _checked(cell, name, value.data, "N", (like.data.shape[0],), hidden, dtype)
        return _as_rows(cell, name, x, x.shape[:1], hidden)

    return convert


def of_step(
    cell: Cell, dtype: DTypeLike, batch: tuple[int, ...], hidden: int, device: Any
) -> Callable[[str, str, Any], Tensor]:
    """Return a function that converts the inputs of a single step, (B,) or (B, H) whatever their kind, to rows.

    NumPy's arrays are sent to the device.
    """

    def convert(name: str, kind: str, value: Any) -> Tensor:
        x = _checked(cell, name, value, "B" * len(batch), batch, hidden, dtype)
        return _as_rows(cell, name, x, batch, hidden)

    return or_array(convert, device)


def or_array(convert: Callable[[str, str, Any], Tensor], device: Any) -> Callable[[str, str, Any], Tensor]:
    """Return a function that converts arrays as `convert` does tensors; NumPy's are sent to the device."""

    def convert_either(name: str, kind: str, value: Any) -> Tensor:
        if isinstance(value, np.ndarray):
            value = Tensor(value).to(device)
        elif is_array(value):
            value = Tensor(value)
        return convert(name, kind, value)

    return convert_either


def in_segments(cell: Cell, rows: LayerInputs, segments: Segments, T: int, B: int) -> LayerInputs:
    """Return the rows of a padded batch as rows of its segments."""
    return tuple(
        [
            segments.take(x.reshape(T, B, x.shape[1])) if kind == "step" else segments.of_sequences(x)
            for kind, x in zip(cell.inputs.values(), rows, strict=True)
        ]
    )


def _as_rows(cell: Cell, name: str, x: Tensor, sizes: tuple[int, ...], hidden: int) -> Tensor:
    """Return an input of these sizes, with or without a last dimension of H, as rows of H or 1 numbers."""
    count = math.prod(sizes)
    if x.ndim > len(sizes):
        return x.reshape(count, hidden)
    rows = x.reshape(count, 1)
    return rows.expand(count, hidden) if name in cell.multiplied_inputs else rows


def _packed_alike(a: PackedSequence, b: PackedSequence) -> bool:
    """Return whether two batches have the same lengths in the same order, whether sorted by the caller or not."""
    sizes = a.batch_sizes._array
    if not np.array_equal(sizes, b.batch_sizes._array):
        return False
    if a.sorted_indices is b.sorted_indices:
        return True
    in_order = np.arange(sizes[0] if sizes.size else 0)
    one, other = (in_order if x.sorted_indices is None else x.sorted_indices._array for x in (a, b))
    return np.array_equal(one, other)


def variant_of(cell: Cell, rows: LayerInputs) -> Cell:
    """Return the variant of a cell for inputs in these forms."""
    numbers = numbers_among(cell, [x.shape[1] for x in rows])
    constants: tuple[str, ...] = ()
    if rt.is_grad_enabled():
        constants = tuple([name for name, x in zip(cell.inputs, rows, strict=True) if not x.requires_grad])
    return cell.variant(forms=InputForms(numbers, constants))


def numbers_among(cell: Cell, widths: Iterable[int]) -> tuple[str, ...]:
    """Return the inputs with one number for all units, given the width of each.

    With a single unit the two forms have the same shape; inputs that a recurrent matrix multiplies always have one
    number for each unit.
    """
    multiplied = cell.multiplied_inputs
    return tuple(
        [
            name
            for name, width in zip(cell.inputs, widths, strict=True)
            if width == 1 and name not in multiplied
        ]
    )


def _checked(
    cell: Cell, name: str, value: Any, letters: str, sizes: tuple[int, ...], hidden: int, dtype: DTypeLike
) -> Tensor:
    """Return the value if it is a Tensor of the dtype with these sizes, with or without a last dimension of H."""
    called = f"input {name!r} of cell {cell.name}"
    if not isinstance(value, Tensor):
        remedy = "wrap it in rt.tensor(...)"
        if isinstance(value, PackedSequence):
            remedy = "only step inputs are packed, and only where the input x is"
        raise ArgumentTypeError(f"{called} must be a Tensor, got {kind_of(value)}: {remedy}")
    if value.shape != sizes and value.shape != (*sizes, hidden):
        narrow, wide = _shown(letters), _shown(letters + "H")
        raise ArgumentValueError(
            f"{called} is a {cell.inputs[name]} input: it must have shape {narrow}, which is {sizes} here, or {wide}, "
            f"which is {(*sizes, hidden)}, got {tuple(value.shape)}"
        )
    if value.dtype != dtype:
        raise ArgumentTypeError(
            f"{called} has dtype {value.dtype}, which does not match the weights' {dtype}: "
            f"write {name}.to({str(dtype)!r})"
        )
    return value


def _shown(letters: str) -> str:
    return f"({', '.join(letters)}{',' * (len(letters) == 1)})"
