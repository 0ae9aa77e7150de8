"""Truncated backpropagation through time by a sliding window.

With ``k`` earlier steps the loss at step t reaches the weights through steps t - k to t, as if for every t those steps
were run again from the detached state before them. The windows of all rows run together: in round j every window is at
j steps before its row, and all windows that are still within their sequence form a batch of a single step.

Werbos, "Backpropagation through time" (1990); Williams, Peng, "An efficient gradient-based algorithm for on-line
training of recurrent network trajectories" (1990), which calls it BPTT(h).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rondeau.kernels.checks import in_row_order
from rondeau.kernels.ops.arrays.scatter import add_at
from rondeau.kernels.recurrent.layout import Layout
from rondeau.kernels.recurrent.records import Adjoints, Sums, Tape
from rondeau.kernels.recurrent.target import Target
from rondeau.kernels.runtime.transfers import on_device_of

__all__ = ["backward_through_windows"]

Array = NDArray[Any]


def backward_through_windows(
    target: Target,
    tape: Tape,
    d_steps: tuple[Array | None, ...],
    d_final: tuple[Array | None, ...],
    sums: Sums,
    earlier_steps: int,
) -> Adjoints:
    """Do what `Target.backward_through_time` does, with windows of ``earlier_steps`` steps before each row.

    The gradient of a final state counts as one of its row's last step. A window that reaches the first step with steps
    left passes its adjoint on to the initial state.
    """
    layout = tape.run.layout
    totals = _zeros(tape)
    for start, final in zip(totals.initial, d_final, strict=True):
        if final is not None and not layout.num_steps:
            start += final  # the final states are the initial ones
    kinds = tuple(tape.run.cell.inputs.values())
    for kind, total in zip(kinds, sums.inputs, strict=True):
        if total is not None and kind == "step":
            total[...] = 0
    d_windows = _begin_windows(tape, d_steps, d_final)
    for round_ in _rounds(layout, tape.run.reverse, earlier_steps, tape.gates):
        at, batch_rows = round_.at, round_.batch_rows
        step_sums = Sums(
            np.zeros_like(sums.params, shape=(round_.layout.batch_size, *sums.params.shape[1:])),
            tuple(
                [
                    None
                    if total is None
                    else np.zeros_like(total, shape=(round_.layout.batch_size, total.shape[1]))
                    for total in sums.inputs
                ]
            ),
        )
        found = target.backward_through_time(
            _single_step(tape, round_), (None,) * len(d_windows), tuple(d_windows), step_sums,
            needs_initial=True, consume=True,
        )  # fmt: skip
        totals.gates[at] += found.gates
        totals.recurrent[at] += found.recurrent
        if totals.projected.size:
            totals.projected[at] += found.projected
        add_at(sums.params, batch_rows, step_sums.params)
        for kind, total, part in zip(kinds, sums.inputs, step_sums.inputs, strict=True):
            if total is not None and part is not None:
                add_at(total, at if kind == "step" else batch_rows, part)
        if not round_.is_last:
            for total, part in zip(totals.initial, found.initial, strict=True):
                add_at(total, round_.begun_rows, part[round_.begun])
        d_windows = [part[round_.going_on] for part in found.initial]
    return totals


class _Round(NamedTuple):
    """The windows that are equally far before their rows; all but the layout are indices where the arrays are."""

    layout: Layout
    """That of their steps, as a batch of one step."""
    at: Any
    """The rows of their steps."""
    batch_rows: Any
    """The batch rows of those."""
    before: Any
    """The rows of the states before these steps in a state's storage."""
    after: Any
    """Those of the states after them."""
    begun: Any
    """Which of them have come to the first step of their sequence."""
    begun_rows: Any
    """The batch rows of those."""
    going_on: Any
    """Which of them have not."""
    is_last: bool


def _rounds(layout: Layout, reverse: bool, earlier_steps: int, like: Array) -> Iterator[_Round]:
    """Yield the rounds, that of the rows themselves first."""
    storage = np.arange(layout.batch_size + layout.num_rows)
    before, after = storage[layout.before_rows(reverse)], storage[layout.after_rows(reverse)]
    previous, at = layout.previous(reverse), np.arange(layout.num_rows)
    for lag in range(earlier_steps + 1):
        if not at.size:
            break
        batch_rows, has_begun = layout.batch_rows[at], previous[at] < 0
        begun = np.flatnonzero(has_begun)
        indices = at, batch_rows, before[at], after[at], begun, batch_rows[begun], np.flatnonzero(~has_begun)
        sent = [on_device_of(like, index) for index in indices]
        yield _Round._make((layout.of_rows(at), *sent, lag == earlier_steps))
        at = previous[at[~has_begun]]


def _begin_windows(
    tape: Tape, d_steps: tuple[Array | None, ...], d_final: tuple[Array | None, ...]
) -> list[Array]:
    """Return the incoming gradients of the states after every row, with which its window starts."""
    layout, d_windows = tape.run.layout, []
    last = on_device_of(tape.gates, layout.last(tape.run.reverse))
    ends = on_device_of(tape.gates, np.flatnonzero(layout.lengths))
    for storage, steps, final in zip(tape.storages, d_steps, d_final, strict=True):
        d_state = np.zeros_like(storage, shape=(layout.num_rows, storage.shape[1]))
        if steps is not None:
            d_state += steps
        if final is not None:
            d_state[last] += final[ends]
        d_windows.append(d_state)
    return d_windows


def _zeros(tape: Tape) -> Adjoints:
    """Return the adjoints of a run, all zero."""
    like, N, B = tape.gates, tape.run.layout.num_rows, tape.run.layout.batch_size
    projected = 0 if tape.weights.weight_hr is None else tape.first.shape[1]
    return Adjoints(
        np.zeros_like(like, shape=(N, like.shape[1] * like.shape[2])),
        np.zeros_like(like, shape=(N, tape.recurrent.shape[1] * tape.recurrent.shape[2])),
        np.zeros_like(like, shape=(N, projected)),
        tuple(np.zeros_like(like, shape=(B, storage.shape[1])) for storage in tape.storages),
    )


def _single_step(tape: Tape, round_: _Round) -> Tape:
    """Return the tape that forward would have kept for the given rows, had they been a batch of one step."""
    at, batch_rows = round_.at, round_.batch_rows
    both = np.concatenate((round_.before, round_.after))
    states = in_row_order(tape.states[:, both])
    return tape._replace(
        run=tape.run._replace(layout=round_.layout, reverse=False),
        inputs=tuple(
            [
                array[at if kind == "step" else batch_rows]
                for kind, array in zip(tape.run.cell.inputs.values(), tape.inputs, strict=True)
            ]
        ),
        gates=tape.gates[at],
        recurrent=tape.recurrent[at],
        values=tape.values[at],
        row_values=tape.row_values[at],
        states=states,
        first=states[0] if tape.weights.weight_hr is None else tape.first[both],
        mask=tape.mask[batch_rows] if tape.mask.size else tape.mask,
        keep=tape.keep[batch_rows] if tape.keep.size else tape.keep,
    )
