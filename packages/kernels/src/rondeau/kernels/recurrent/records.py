"""The records of a run: its settings, arguments and results."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rondeau.kernels.cell.cell import Cell
from rondeau.kernels.recurrent.layout import Layout

__all__ = [
    "Adjoints",
    "BackwardCall",
    "ForwardCall",
    "Gradients",
    "Needs",
    "Result",
    "Run",
    "Settings",
    "Sums",
    "Tape",
    "Weights",
]

Array = NDArray[Any]


class Weights(NamedTuple):
    """The weights of a layer in one direction, or their gradients.

    Attributes
    ----------
    weight_ih : ndarray, shape (G * H, I)
    weight_hh : ndarray, shape (R * H, P), or (R * H, H / heads)
        For the R gates that have a recurrent matrix, in order; None if R = 0. P = H without projection. With heads a
        gate's matrix is block-diagonal, and its rows only have the columns of their own block.
    bias_ih, bias_hh : ndarray, shapes (G * H,) and (R * H,), optional
    weight_hr : ndarray, shape (P, H), optional
        Projects the first state after the step.
    params : tuple of ndarray, shape (H,) each
        The learned vectors of the step.

    Examples
    --------
    >>> import numpy as np
    >>> Weights(np.ones((3, 2)), np.eye(3), bias_ih=np.zeros(3)).weight_ih.shape  # one gate, H = 3, I = 2
    (3, 2)
    """

    weight_ih: Any
    weight_hh: Any
    bias_ih: Any = None
    bias_hh: Any = None
    weight_hr: Any = None
    params: tuple[Any, ...] = ()


class Settings(NamedTuple):
    """Everything that a run depends on besides cell, layout and arrays.

    Attributes
    ----------
    scalars : dict
        The values of the scalars of the run, ``("k", name)``, and of zoneout rates, ``("rate", state)``.
    dropout : float
        The rate of recurrent dropout, if the cell has it.
    key, substream : int
        Random numbers are a function of the key, the substream (see `rondeau.kernels.recurrent.substreams`), and their
        position.
    num_heads : int
        The number of blocks of the recurrent matrices.
    feature_dropout : float
        The rate of recurrent dropout over the features of a projected first state, which is not part of the cell.

    Examples
    --------
    >>> Settings(scalars={("k", "rate"): 0.1, ("rate", "h"): 0.05}, key=7).dropout
    0.0
    """

    scalars: Mapping[tuple[str, str], float] = MappingProxyType({})
    dropout: float = 0.0
    key: int = 0
    substream: int = 0
    num_heads: int = 1
    feature_dropout: float = 0.0


DEFAULT_SETTINGS = Settings()


class Run(NamedTuple):
    """A run of a cell over a batch of sequences, in one direction: everything but its arrays.

    Attributes
    ----------
    cell : Cell
    layout : Layout
    reverse : bool
        Run each sequence from its own last step to its first.
    settings : Settings
        Scalars of the run that are not given have their defaults.
    recompute_every : int, optional
        Keep the states only at intervals of this many steps, and let `backward` compute the others again: the same bits
        in less memory and more time.
    truncate : int, optional
        Let the incoming gradient of step t reach back only this many steps before t; see
        `rondeau.kernels.recurrent.truncation`.

    Examples
    --------
    >>> cell = Cell(lambda x, r, s: x.h + r.h, ("h",), ("h",), "sum")
    >>> Run(cell, Layout.dense(3, 1)).reverse
    False
    """

    cell: Cell
    layout: Layout
    reverse: bool = False
    settings: Settings = DEFAULT_SETTINGS
    recompute_every: int | None = None
    truncate: int | None = None


class Needs(NamedTuple):
    """Which gradients `backward` computes.

    Examples
    --------
    >>> Needs(x=False)
    Needs(x=False, initial=True, weights=True)
    """

    x: bool = True
    initial: bool = True
    weights: bool = True


class Gradients(NamedTuple):
    """The gradients that `backward` returns; parts that were not needed are None.

    Attributes
    ----------
    x : ndarray, shape (N, I), or None
        Also None for one-hot input.
    initial : tuple of ndarray, or None
        The gradients of the states before the first step.
    weights : Weights
        Each part has the shape of its weight.
    inputs : tuple of ndarray or None
        The gradient of each named input, in its shape; None for one that is constant.

    Examples
    --------
    See `rondeau.kernels.sequence.backward`.

    >>> Gradients(None, None, Weights(None, None)).weights.params
    ()
    """

    x: Array | None
    initial: tuple[Array, ...] | None
    weights: Weights
    inputs: tuple[Array | None, ...] = ()


class Result(NamedTuple):
    """The result of `forward`.

    Attributes
    ----------
    every : tuple of ndarray, shape (N, P) for the first state and (N, H) for others
        The states after every step: all of them if requested, otherwise the first, which is the output. `backward`
        reads them, so they must not be changed before it runs.
    final : tuple of ndarray, shape (B, P) and (B, H)
        Each state after each row's own last step (in reverse, its step 0).
    saved : object or None
        The values that `backward` needs.

    Examples
    --------
    See `rondeau.kernels.sequence.forward`.

    >>> Result(every=(), final=(), saved=None)
    Result(every=(), final=(), saved=None)
    """

    every: tuple[Array, ...]
    final: tuple[Array, ...]
    saved: Any


class Tape(NamedTuple):
    """The values that a target's forward keeps for its backward.

    Notation: N rows, one for each batch row and step; B batch rows; H hidden units; P = H, or the width of the
    projection; S slots of all gates; R recurrent slots of split gates; V operands that the step computes.

    Attributes
    ----------
    run : Run
    from_zero : bool
        Whether the recurrent product of the first step was left out, because the initial state is zero.
    x : ndarray
        The input.
    weights : Weights
        The weights, with their gates in the order of the target's buffers.
    inputs : tuple of ndarray
        The named inputs: (N, H) or (N, 1) of a step, (B, H) or (B, 1) of a sequence.
    gates : ndarray, shape (N, S, H)
        The slots as backward needs them; backward writes their adjoints to the same memory.
    recurrent : ndarray, shape (N, R, H)
        The second slots of split gates, likewise.
    values : ndarray, shape (N, V, H)
        The operands that the step computed.
    row_values : ndarray, shape (N, 1, .)
        The values with one number per row.
    states : ndarray, shape (states, B + N, H)
        Every state before and after every step, the initial states among them; `Layout.steps` has the first row of each
        step.
    first : ndarray, shape (B + N, P)
        The first state as the recurrent matrices see it: projected, or that of `states`.
    mask : ndarray, shape (B, 1, H)
        The mask of recurrent dropout if it is part of the cell, otherwise empty.
    keep : ndarray, shape (B, P)
        The mask of recurrent dropout over the features of a projected first state, otherwise empty.

    Examples
    --------
    >>> Tape._fields[:4]
    ('run', 'from_zero', 'x', 'weights')
    """

    run: Run
    from_zero: bool
    x: Array
    weights: Weights
    inputs: tuple[Array, ...]
    gates: Array
    recurrent: Array
    values: Array
    row_values: Array
    states: Array
    first: Array
    mask: Array
    keep: Array

    @property
    def storages(self) -> tuple[Array, ...]:
        """The storage of each state, (B + N, P) for the first and (B + N, H) for others."""
        return (self.first, *self.states[1:])

    def results(self, num_kept: int) -> tuple[tuple[Array, ...], tuple[Array, ...]]:
        """Return the first ``num_kept`` states after every step, and all states after each row's own last step."""
        layout, reverse, storages = self.run.layout, self.run.reverse, self.storages
        after, last = layout.after_rows(reverse), layout.final_rows(reverse)
        if type(self.states) is not np.ndarray:
            after, last = layout.sent(after, self.states), layout.sent(last, self.states)
        return (
            tuple([storage[after] for storage in storages[:num_kept]]),
            tuple([storage[last].copy() for storage in storages]),
        )


ForwardCall = tuple[Run, Array, Weights, tuple[Array, ...], tuple[Array, ...] | None]
"""The run, x, the weights, the named inputs and the initial states of a call of a target's forward."""


class Sums(NamedTuple):
    """The adjoints that backpropagation through time accumulates in the caller's memory.

    Attributes
    ----------
    params : ndarray, shape (B, parameters, H)
        The adjoints of the learned vectors, summed over time.
    inputs : tuple of ndarray or None
        The adjoint of each named input, in its shape; None for one that is constant. That of a sequence input is added
        to, that of a step input is written.

    Examples
    --------
    >>> Sums._fields
    ('params', 'inputs')
    """

    params: Array
    inputs: tuple[Array | None, ...]


BackwardCall = tuple[Tape, tuple[Array | None, ...], tuple[Array | None, ...], Sums, bool]
"""The tape, the incoming gradients of steps and of ends, the sums, and whether those of initial states are needed."""


class Adjoints(NamedTuple):
    """The results of backpropagation through time: adjoints of all slots, the projected state, and the initial states.

    Attributes
    ----------
    gates : ndarray, shape (N, S * H)
    recurrent : ndarray, shape (N, R * H)
    projected : ndarray, shape (N, P), or (0, P) without projection
    initial : tuple of ndarray, shape (B, P) for the first and (B, H) for others

    Examples
    --------
    >>> Adjoints._fields
    ('gates', 'recurrent', 'projected', 'initial')
    """

    gates: Array
    recurrent: Array
    projected: Array
    initial: tuple[Array, ...]
