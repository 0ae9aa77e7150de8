"""The states of recurrent layers: their shapes, initial zeros, and the checks of those that a caller passes."""

from __future__ import annotations

from typing import Any, TypeAlias

from numpy.typing import DTypeLike

from rondeau import tensor as rt
from rondeau.kernels.errors import ArgumentTypeError, ArgumentValueError
from rondeau.kernels.sequence import Cell
from rondeau.tensor import Tensor

from .._checks import kind_of

__all__ = [
    "State",
    "as_returned",
    "checked_states",
    "split_by_layer",
    "state_widths",
    "states_passed",
    "zero_states",
]

State: TypeAlias = "Tensor | tuple[Tensor, ...]"
"""The states that a layer takes and returns: a tensor for a cell with one state, a tuple for others."""

Shapes: TypeAlias = list[tuple[int, ...]]


def state_widths(cell: Cell, hidden: int, projection: int = 0) -> list[int]:
    """Return the width of each state: P for the first, H for the others."""
    return [projection or hidden] + [hidden] * (len(cell.states) - 1)


def zero_states(shapes: Shapes, dtype: DTypeLike, device: Any) -> tuple[Tensor, ...]:
    """Return zeros of the shapes."""
    return tuple([rt.zeros(shape, dtype=dtype, device=device) for shape in shapes])


def as_returned(states: tuple[Tensor, ...]) -> State:
    """Return the states in the form of `State`."""
    return states[0] if len(states) == 1 else states


def split_by_layer(states: tuple[Tensor, ...], count: int) -> list[tuple[Tensor, ...]]:
    """Return the states (1, B, W) of each layer and direction, from states (L*D, B, W)."""
    if count == 1:
        return [states]
    return list(zip(*[rt.split(state, 1) for state in states], strict=True))


def states_passed(hx: Any, cell: Cell) -> tuple[Tensor, ...]:
    """Return the states that a caller passed as a tuple, whatever their shapes.

    Raises
    ------
    TypeError
        If they are not one Tensor per state of the cell.
    """
    names = cell.states
    states = tuple(hx) if isinstance(hx, tuple | list) else (hx,)
    if len(states) != len(names) or not all(isinstance(state, Tensor) for state in states):
        wanted = "a Tensor" if len(names) == 1 else f"a tuple of {len(names)} Tensors ({', '.join(names)})"
        kinds = ", ".join(kind_of(state) for state in states)
        raise ArgumentTypeError(
            f"hx must be {wanted}, got {f'({kinds})' if isinstance(hx, tuple | list) else kinds}"
        )
    return states


def checked_states(hx: Any, cell: Cell, shapes: Shapes, dtype: DTypeLike) -> tuple[Tensor, ...]:
    """Return the states that a caller passed as a tuple, one Tensor per state of the cell.

    Raises
    ------
    TypeError
        If they are not one Tensor per state of the cell, or one has another dtype than the weights.
    ValueError
        If one does not have shape (L*D, B, W), without B for unbatched input.
    """
    states = states_passed(hx, cell)
    for k, (state, shape) in enumerate(zip(states, shapes, strict=True)):
        if state._array.shape == shape and state._array.dtype == dtype:
            continue
        hidden = "hidden" if len(states) == 1 else f"hidden[{k}]"
        if state.ndim != len(shape):
            form = "batched 3-D" if len(shape) == 3 else "unbatched 2-D"
            raise ArgumentValueError(
                f"For {form} input, {hidden.replace('hidden', 'hx')} should also be {len(shape)}-D "
                f"but got {state.ndim}-D tensor"
            )
        if state.shape != shape:
            raise ArgumentValueError(f"Expected {hidden} size {shape}, got {list(state.shape)}")
        raise ArgumentTypeError(f"{hidden} dtype ({state.dtype}) does not match weight dtype ({dtype})")
    return states
