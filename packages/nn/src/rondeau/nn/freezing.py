"""The weights of modules as they are in evaluation: what leaves the process with a model.

A parametrised weight is computed, dropout and zoneout are those of evaluation, and nothing is recorded for gradients.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rondeau.kernels.sequence import Cell, Settings, Weights
from rondeau.tensor import Tensor, no_grad

from ._as_built import has_forward_hooks, has_forward_of, is_as_built
from ._computed import in_evaluation
from ._module import Module
from ._recurrent.layer import Recurrent

__all__ = [
    "FrozenLayers",
    "frozen_array",
    "frozen_layers",
    "has_forward_hooks",
    "has_forward_of",
    "is_as_built",
]

Array = NDArray[Any]


class FrozenLayers(NamedTuple):
    """Recurrent layers as they are in evaluation.

    Attributes
    ----------
    cell : Cell
        With the expectation of zoneout, if the layers have it.
    weights : list of Weights
        For each layer and direction, of NumPy arrays.
    settings : Settings
        The scalars of the step, and the number of heads.
    initial : list of tuple of ndarray
        For each layer and direction, the vectors (P,) and (H,) that a sequence begins with; zeros, or learned.

    Examples
    --------
    See `frozen_layers`.

    >>> FrozenLayers._fields
    ('cell', 'weights', 'settings', 'initial')
    """

    cell: Cell
    weights: list[Weights]
    settings: Settings
    initial: list[tuple[Array, ...]]


def frozen_array(module: Module, name: str) -> Array | None:
    """Return a copy of a parameter as it is in evaluation, in the host's memory; None for a parameter that is None.

    Examples
    --------
    >>> from rondeau import nn
    >>> frozen_array(nn.Linear(3, 2), "weight").shape
    (2, 3)
    >>> frozen_array(nn.Linear(3, 2, bias=False), "bias") is None
    True
    """
    with no_grad():
        value = in_evaluation(module, name)
    return None if value is None else np.array(value.detach().cpu().numpy())


def frozen_layers(layer: Recurrent) -> FrozenLayers:
    """Return recurrent layers as they are in evaluation.

    Examples
    --------
    >>> from rondeau import nn
    >>> frozen = frozen_layers(nn.LSTM(3, 5, num_layers=2))
    >>> [weights.weight_ih.shape for weights in frozen.weights]
    [(20, 3), (20, 5)]
    >>> [vector.shape for vector in frozen.initial[0]]
    [(5,), (5,)]
    """
    with no_grad():
        cell, weights, settings = layer._in_evaluation()
        states: Any = layer._initial_in_evaluation()
        if states is None:
            zeros = layer.begin_state(1)
            states = [part._array for part in (zeros if isinstance(zeros, tuple) else (zeros,))]
    arrays = [_host(part)[:, 0] for part in states]
    initial = [tuple(part[index] for part in arrays) for index in range(len(weights))]
    return FrozenLayers(cell, [_on_host(of_layer) for of_layer in weights], settings, initial)


def _on_host(weights: Weights) -> Weights:
    matrices = {field: getattr(weights, field) for field in Weights._fields if field != "params"}
    moved = {field: _host(matrix) for field, matrix in matrices.items() if matrix is not None}
    return weights._replace(**moved, params=tuple(_host(vector) for vector in weights.params))


def _host(array: Any) -> Array:
    return np.array(Tensor(array).cpu().numpy())
