"""Segments: the sequences in a padded batch with lengths and resets.

A length ends a sequence, and a reset begins one with a state of zeros, or with the learned initial state. So a padded
batch with both is a ragged batch of more and shorter sequences: `Segments` finds them, and converts rows and states
between the two forms. Steps past a length cost nothing, and no kernel needs to know about lengths or resets.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rondeau import tensor as rt
from rondeau.kernels.errors import ArgumentTypeError, ArgumentValueError
from rondeau.kernels.sequence import Layout
from rondeau.tensor import Tensor

from .._checks import as_host_array
from .packed import put_rows, take_rows

__all__ = ["Segments", "checked_lengths", "checked_resets"]

Integers = NDArray[np.int64]


class Segments:
    """The sequences in a padded batch of T steps and B rows.

    Parameters
    ----------
    lengths : ndarray of int64, shape (B,)
        The steps of each row, from 0 to T.
    resets : ndarray of bool, shape (T, B)
        Whether there is a boundary before each step.

    Attributes
    ----------
    layout : Layout
        The layout of the sequences, longest first.
    """

    def __init__(self, lengths: Integers, resets: NDArray[np.bool_]) -> None:
        T, B = resets.shape
        steps = np.arange(T)[:, None]
        valid = steps < lengths
        first_steps = valid & (resets | (steps == 0))
        rows, firsts = np.nonzero(first_steps.T)
        follows = np.append(rows[1:] == rows[:-1], False)
        ends = np.where(follows, np.append(firsts[1:], 0), lengths[rows])
        order = np.argsort(firsts - ends, kind="stable")
        self._rows, self._firsts, self._ends = rows[order], firsts[order], ends[order]
        spans = self._ends - self._firsts
        longest = int(spans[0]) if spans.size else 0
        runs = np.arange(longest)[:, None] < spans
        self.layout = Layout.packed(runs.sum(axis=1), self._rows, self._firsts)
        self._index = ((np.arange(longest)[:, None] + self._firsts) * B + self._rows)[runs]
        self._padded = T, B
        self._lengths, self._cleared = lengths, resets[0] if T else np.zeros(B, bool)

    def take(self, padded: Tensor) -> Tensor:
        """Return the rows (N, ...) of (T, B, ...)."""
        T, B = self._padded
        return take_rows(padded.reshape(T * B, *padded.shape[2:]), self._index)

    def of_sequences(self, values: Tensor) -> Tensor:
        """Return the values (sequences, W) of values (B, W), one for each row of the batch."""
        rows = Tensor(self._rows).to(values.device)
        return rt.index_select(values, 0, rows)  # a row may have several sequences

    def put(self, rows: Tensor) -> Tensor:
        """Return the rows as (T, B, ...), with zeros where there are none."""
        T, B = self._padded
        return put_rows(rows, self._index, T * B, 0.0).reshape(T, B, *rows.shape[1:])

    def begin(
        self, states: tuple[Tensor, ...], learned: tuple[Tensor | None, ...], reverse: bool
    ) -> tuple[Tensor, ...]:
        """Return the states before the sequences, (1, sequences, W), from the states before the batch, (1, B, W).

        Those that a reset begins start with the learned states, (W,), or with zeros where there are none.
        """
        first = self._first_of_row(reverse)
        chosen = np.flatnonzero(first)
        found = []
        for state, restored in zip(states, learned, strict=True):
            taken = take_rows(state[0], self._rows[chosen])
            begun = put_rows(taken, chosen, self._rows.size, 0.0)
            if restored is not None:
                begun = rt.where(Tensor(first[:, None]).to(begun.device), begun, restored)
            found.append(begun.reshape(1, self._rows.size, state.shape[-1]))
        return tuple(found)

    def end(
        self, states: tuple[Tensor, ...], initial: tuple[Tensor, ...], reverse: bool
    ) -> tuple[Tensor, ...]:
        """Return the states after the batch, (1, B, W); for a row without steps, those before it."""
        last = self._firsts == 0 if reverse else self._ends == self._lengths[self._rows]
        index = self._rows.size + np.arange(self._padded[1])
        index[self._rows[last]] = np.flatnonzero(last)
        found = []
        for state, before in zip(states, initial, strict=True):
            both = rt.cat([state[0], before[0]], 0)
            found.append(rt.index_select(both, 0, Tensor(index).to(both.device)).reshape(before.shape))
        return tuple(found)

    def _first_of_row(self, reverse: bool) -> NDArray[Any]:
        """Return which sequences begin with the state before the batch."""
        reaches_the_end: NDArray[Any] = self._ends == self._lengths[self._rows]
        return reaches_the_end if reverse else (self._firsts == 0) & ~self._cleared[self._rows]


def checked_lengths(lengths: Any, num_steps: int, batch_size: int) -> NDArray[np.int64]:
    """Return lengths as an array; all are T if they are not given.

    Raises
    ------
    TypeError
        If they are not integers.
    ValueError
        If there are not B of them, each from 0 to T.
    """
    if lengths is None:
        return np.full(batch_size, num_steps, np.int64)
    array = as_host_array("lengths", lengths)
    if array.size and array.dtype.kind not in "iu":
        kind = "truth values" if array.dtype.kind == "b" else "floats"
        raise ArgumentTypeError(f"lengths must be {batch_size} integers, got {kind} ({array.dtype})")
    if array.shape != (batch_size,):
        raise ArgumentValueError(
            f"lengths must be {batch_size} integers, got {array.dtype} of shape {array.shape}"
        )
    if array.size and (array.min() < 0 or array.max() > num_steps):
        raise ArgumentValueError(
            f"lengths must be from 0 to {num_steps}, the steps of the input, got {array.min()} to {array.max()}"
        )
    return array.astype(np.int64)


def checked_resets(reset: Any, num_steps: int, batch_size: int, turned: bool) -> NDArray[np.bool_]:
    """Return resets as a time-major boolean array; all are False if they are not given.

    Raises
    ------
    TypeError
        If they are not boolean.
    ValueError
        If their shape is not (T, B), or (B, T) if the input is `turned`.
    """
    if reset is None:
        return np.zeros((num_steps, batch_size), np.bool_)
    array = as_host_array("reset", reset)
    wanted = (batch_size, num_steps) if turned else (num_steps, batch_size)
    if array.shape != wanted or array.dtype != np.bool_:
        kind = ArgumentValueError if array.dtype == np.bool_ else ArgumentTypeError
        raise kind(
            f"reset must be truth values (bool) of shape {wanted}, got {array.dtype} of shape {array.shape}"
        )
    return array.T if turned else array
