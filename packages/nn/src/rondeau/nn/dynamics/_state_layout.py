"""`StateLayout`: where the states of the layers lie in a state vector."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from rondeau.kernels.errors import ArgumentTypeError, ArgumentValueError

from .._as_built import has_forward_of
from .._checks import kind_of
from .._recurrent.layer import Recurrent
from .._recurrent.states import state_widths
from ._arrays import Array

__all__ = ["StateLayout"]


class StateLayout(NamedTuple):
    """The numbers of a state vector: layer after layer, within a layer state after state.

    Attributes
    ----------
    names : tuple of str
        The states of the cell.
    widths : tuple of int
        The width of each: P for the first, H for the others.
    num_layers : int
        L.

    Examples
    --------
    >>> from rondeau import nn
    >>> layout = StateLayout.of(nn.LSTM(3, 4, num_layers=2))
    >>> layout, layout.size
    (StateLayout(names=('h', 'c'), widths=(4, 4), num_layers=2), 16)
    """

    names: tuple[str, ...]
    widths: tuple[int, ...]
    num_layers: int

    @classmethod
    def of(cls, layer: Recurrent) -> StateLayout:
        """Return that of a layer.

        Raises
        ------
        TypeError
            If it is not a recurrent layer, or has a forward of its own.
        ValueError
            If it is bidirectional.
        """
        _check_layer(layer)
        widths = state_widths(layer.cell, layer.hidden_size, layer.proj_size)
        return cls(layer.cell.states, tuple(widths), layer.num_layers)

    @property
    def size(self) -> int:
        """D, the numbers of a state vector."""
        return self.num_layers * sum(self.widths)

    def of_layer(self, index: int) -> slice:
        """Return where the states of a layer lie."""
        width = sum(self.widths)
        return slice(index * width, (index + 1) * width)

    def split(self, vectors: Array) -> list[tuple[Array, ...]]:
        """Return the states of each layer from state vectors (N, D) or (D,): the first (N, P), the others (N, H)."""
        ends = np.cumsum(self.widths * self.num_layers)
        parts = iter(np.split(vectors, ends[:-1], axis=-1))
        return [tuple([next(parts) for _ in self.widths]) for _ in range(self.num_layers)]


def _check_layer(layer: Any) -> None:
    """Raise an error unless the step of a layer is a map of its states, or would be one without noise."""
    if not isinstance(layer, Recurrent):
        raise ArgumentTypeError(
            f"layer must be an nn.Recurrent, nn.RNN, nn.GRU or nn.LSTM, got {kind_of(layer)}; a model has one as an "
            "attribute"
        )
    if not has_forward_of(layer, Recurrent):
        raise ArgumentTypeError(
            f"layer must run the step of its cell alone, but {type(layer).__name__} has a forward of its own: pass the "
            "nn.Recurrent that it is made of"
        )
    if layer.bidirectional:
        raise ArgumentValueError(
            "A bidirectional layer is not a map of its states: its two directions never meet in one step. Use "
            "bidirectional=False"
        )
