"""State vectors: all states of all layers in one vector, and the way back."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from rondeau.kernels.errors import ArgumentTypeError, ArgumentValueError
from rondeau.tensor import Tensor

from .._recurrent.layer import Recurrent
from .._recurrent.states import State, as_returned
from ._arrays import Array, finite
from ._state_layout import StateLayout

__all__ = ["StateVectors", "as_vectors", "split_states", "stack_states"]

StateVectors: TypeAlias = "ArrayLike | Tensor | tuple[Tensor, ...]"
"""State vectors (N, D) or (D,), or the states of a layer: a tensor (L, N, H), or a tuple of them."""


def stack_states(layer: Recurrent, states: State) -> Array:
    """Return the state vectors of states in the form that a layer returns.

    Parameters
    ----------
    layer : Recurrent
        A unidirectional layer.
    states : Tensor or tuple of Tensor
        (L, N, P) the first and (L, N, H) the others; without N for one state.

    Returns
    -------
    ndarray of float64, shape (N, D)
        Or (D,) for one state; see `rondeau.nn.dynamics` for the order.

    Raises
    ------
    TypeError
        If the layer is not recurrent, or there is not one tensor for each state of its cell.
    ValueError
        If a shape does not match, a number is NaN or infinite, or the layer is bidirectional.

    Examples
    --------
    >>> from rondeau import nn, tensor as rt
    >>> lstm = nn.LSTM(3, 2)
    >>> h, c = rt.ones(1, 4, 2), rt.zeros(1, 4, 2)
    >>> nn.dynamics.stack_states(lstm, (h, c))[0]
    array([1., 1., 0., 0.])
    """
    parts = states if isinstance(states, tuple | list) else (states,)
    return _stacked("states", StateLayout.of(layer), parts)


def split_states(layer: Recurrent, vectors: ArrayLike | Tensor) -> State:
    """Return states in the form and dtype that a layer takes, and on its device, from state vectors.

    Parameters
    ----------
    layer : Recurrent
        A unidirectional layer.
    vectors : array_like or Tensor, shape (N, D) or (D,)
        State vectors, such as the `points` of `FixedPoints`.

    Returns
    -------
    Tensor or tuple of Tensor
        (L, N, P) the first and (L, N, H) the others, without N for one vector: initial states for the layer.

    Raises
    ------
    TypeError
        If the layer is not recurrent, or the vectors are not numbers.
    ValueError
        If a shape does not match, a number is NaN or infinite, or the layer is bidirectional.

    Examples
    --------
    >>> import numpy as np
    >>> from rondeau import nn
    >>> h, c = nn.dynamics.split_states(nn.LSTM(3, 2), np.array([1.0, 1.0, 0.0, 0.0]))
    >>> h, c
    (tensor([[1., 1.]]), tensor([[0., 0.]]))
    """
    layout = StateLayout.of(layer)
    of_layers = layout.split(_checked_vectors("vectors", layout, vectors))
    weight = layer._any_weight()
    states = [
        Tensor(np.stack(parts).astype(weight.dtype)).to(weight.device)
        for parts in zip(*of_layers, strict=True)
    ]
    return as_returned(tuple(states))


def as_vectors(name: str, layout: StateLayout, value: Any) -> Array:
    """Return state vectors (N, D) or (D,), given as such or as states of a layer.

    Raises
    ------
    TypeError, ValueError
        If they are neither, or a number is NaN or infinite; the message names the argument.
    """
    if isinstance(value, tuple):
        return _stacked(name, layout, value)
    if isinstance(value, Tensor) and value.ndim == 3:
        return _stacked(name, layout, (value,))
    return _checked_vectors(name, layout, value)


def _stacked(name: str, layout: StateLayout, states: Any) -> Array:
    """Return the state vectors of states (L, N, W), or (L, W)."""
    if len(states) != len(layout.names):
        raise ArgumentTypeError(
            f"{name} must have one tensor for each state of the cell ({', '.join(layout.names)}), got {len(states)}"
        )
    arrays = [finite(f"{name}, {state}", part) for state, part in zip(layout.names, states, strict=True)]
    L, batch = layout.num_layers, arrays[0].shape[1:-1]
    for k, (state, width, array) in enumerate(zip(layout.names, layout.widths, arrays, strict=True)):
        if array.ndim not in (2, 3) or array.shape != (L, *batch, width):
            wanted = (L, *batch, width) if arrays[0].ndim in (2, 3) and k else f"({L}, N, {width})"
            raise ArgumentValueError(f"{name}: {state} must have shape {wanted}, got {array.shape}")
    return np.concatenate([array[layer] for layer in range(L) for array in arrays], axis=-1)


def _checked_vectors(name: str, layout: StateLayout, value: Any) -> Array:
    """Return state vectors (N, D) or (D,), checked."""
    array = finite(name, value)
    if array.ndim not in (1, 2) or array.shape[-1] != layout.size:
        widths = " + ".join(map(str, layout.widths * layout.num_layers))
        raise ArgumentValueError(
            f"{name} must be state vectors (N, {layout.size}) or ({layout.size},), where {layout.size} = {widths} is "
            f"the width of all states of all layers, got shape {array.shape}"
        )
    return array
