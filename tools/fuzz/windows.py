"""The oracle of truncated backpropagation through time: every step's loss, run again from a state that is held.

With k earlier steps, what the loss says of step t reaches steps t - k to t: they are run again from the state before
them, which is held as it was, or from the initial state if the window is longer than that.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from numpy.typing import NDArray

from . import recurrence
from .recurrence import Sequence

Array = NDArray[Any]


class Windows(NamedTuple):
    """One layer in one direction, and what the loss says of it.

    Attributes
    ----------
    cell : Cell
    reverse : bool
    scalars : dict of str to float
    lengths : ndarray of int
        (B,), the steps of each sequence.
    steps : int
        k.
    every : list of ndarray
        (T, B, .): each state after every step, as it was.
    initial : list of ndarray
        (B, .): the states before the first step, as they were.
    d_every : list of ndarray
        The loss's factors of `every`; those of final states belong to the step that runs last.
    """

    cell: Any
    reverse: bool
    scalars: Mapping[str, float]
    lengths: Array
    steps: int
    every: list[Array]
    initial: list[Array]
    d_every: list[Array]


def loss(windows: Windows, weights: Mapping[str, Array], sequence: Sequence, initial: list[Array]) -> float:
    """Return the sum over all steps of the loss, a function whose gradient is the truncated one.

    Parameters
    ----------
    windows : Windows
    weights : dict of str to ndarray of float64
    sequence : Sequence
        All rows and steps.
    initial : list of ndarray
        (B, .) each.

    Returns
    -------
    float
    """
    total = 0.0
    for b, length in enumerate(windows.lengths):
        for t in range(length):
            first, last, start = _window(windows, b, t, initial)
            window = sequence.part(windows.cell.inputs, first, last, b)
            _, states = recurrence.run_direction(
                windows.cell, weights, window, start, windows.reverse, windows.scalars, {}
            )
            total += sum(
                float((d[t, b] * state[0]).sum()) for d, state in zip(windows.d_every, states, strict=True)
            )
    return total


def _window(windows: Windows, b: int, t: int, initial: list[Array]) -> tuple[int, int, list[Array]]:
    """Return first and last step of a row's window at step t, and the states that it starts from."""
    length, k = int(windows.lengths[b]), windows.steps
    if windows.reverse:
        first, last = t, min(t + k, length - 1)
        reaches_beyond, before = t + k > length - 1, last + 1
        at_the_edge = last == length - 1
    else:
        first, last = max(t - k, 0), t
        reaches_beyond, before = t - k < 0, first - 1
        at_the_edge = first == 0
    if reaches_beyond:
        return first, last, [state[b : b + 1] for state in initial]
    if at_the_edge:
        return first, last, [state[b : b + 1] for state in windows.initial]
    return first, last, [state[before, b : b + 1] for state in windows.every]
