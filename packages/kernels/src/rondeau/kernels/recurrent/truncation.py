"""Truncated backpropagation through time by a sliding window.

With ``k`` earlier steps the loss at step t reaches the weights through steps t - k to t, as if for every t those steps
were run again from the detached state before them. The windows of all rows run together: in round j every window is at
j steps before its row, and all windows that are still within their sequence form a batch of a single step.

Werbos, "Backpropagation through time" (1990); Williams, Peng, "An efficient gradient-based algorithm for on-line
training of recurrent network trajectories" (1990), which calls it BPTT(h).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rondeau.kernels.recurrent.records import Adjoints, Sums, Tape
from rondeau.kernels.recurrent.target import Target

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
    batch_rows, previous = layout.batch_rows, layout.previous(tape.run.reverse)
    totals = _zeros(tape)
    for start, final in zip(totals.initial, d_final, strict=True):
        if final is not None and not layout.num_steps:
            start += final  # the final states are the initial ones
    kinds = tuple(tape.run.cell.inputs.values())
    for kind, total in zip(kinds, sums.inputs, strict=True):
        if total is not None and kind == "step":
            total[...] = 0
    d_windows = _begin_windows(tape, d_steps, d_final)
    at = np.arange(layout.num_rows)
    for lag in range(earlier_steps + 1):
        if not at.size:
            break
        step_sums = Sums(
            np.zeros((at.size, *sums.params.shape[1:]), sums.params.dtype),
            tuple(
                [
                    None if total is None else np.zeros((at.size, total.shape[1]), total.dtype)
                    for total in sums.inputs
                ]
            ),
        )
        found = target.backward_through_time(
            _single_step(tape, at), (None,) * len(d_windows), tuple(d_windows), step_sums,
            needs_initial=True, consume=True,
        )  # fmt: skip
        totals.gates[at] += found.gates
        totals.recurrent[at] += found.recurrent
        if totals.projected.size:
            totals.projected[at] += found.projected
        np.add.at(sums.params, batch_rows[at], step_sums.params)
        for kind, total, part in zip(kinds, sums.inputs, step_sums.inputs, strict=True):
            if total is not None and part is not None:
                np.add.at(total, at if kind == "step" else batch_rows[at], part)
        begun = previous[at] < 0
        if lag < earlier_steps:
            for total, part in zip(totals.initial, found.initial, strict=True):
                np.add.at(total, batch_rows[at[begun]], part[begun])
        d_windows = [part[~begun] for part in found.initial]
        at = previous[at[~begun]]
    return totals


def _begin_windows(
    tape: Tape, d_steps: tuple[Array | None, ...], d_final: tuple[Array | None, ...]
) -> list[Array]:
    """Return the incoming gradients of the states after every row, with which its window starts."""
    layout, d_windows = tape.run.layout, []
    last = layout.last(tape.run.reverse)
    for storage, steps, final in zip(tape.storages, d_steps, d_final, strict=True):
        d_state = np.zeros((layout.num_rows, storage.shape[1]), storage.dtype)
        if steps is not None:
            d_state += steps
        if final is not None:
            d_state[last] += final[layout.lengths > 0]
        d_windows.append(d_state)
    return d_windows


def _zeros(tape: Tape) -> Adjoints:
    """Return the adjoints of a run, all zero."""
    dtype, N, B = tape.gates.dtype, tape.run.layout.num_rows, tape.run.layout.batch_size
    projected = 0 if tape.weights.weight_hr is None else tape.first.shape[1]
    return Adjoints(
        np.zeros((N, tape.gates.shape[1] * tape.gates.shape[2]), dtype),
        np.zeros((N, tape.recurrent.shape[1] * tape.recurrent.shape[2]), dtype),
        np.zeros((N, projected), dtype),
        tuple(np.zeros((B, storage.shape[1]), dtype) for storage in tape.storages),
    )


def _single_step(tape: Tape, at: NDArray[np.int64]) -> Tape:
    """Return the tape that forward would have kept for the given rows, had they been a batch of one step."""
    layout, reverse = tape.run.layout, tape.run.reverse
    storage = np.arange(layout.batch_size + layout.num_rows)
    both = np.concatenate((storage[layout.before_rows(reverse)][at], storage[layout.after_rows(reverse)][at]))
    states = np.ascontiguousarray(tape.states[:, both])
    return tape._replace(
        run=tape.run._replace(layout=layout.of_rows(at), reverse=False),
        inputs=tuple(
            [
                array[at if kind == "step" else layout.batch_rows[at]]
                for kind, array in zip(tape.run.cell.inputs.values(), tape.inputs, strict=True)
            ]
        ),
        gates=tape.gates[at],
        recurrent=tape.recurrent[at],
        values=tape.values[at],
        row_values=tape.row_values[at],
        states=states,
        first=states[0] if tape.weights.weight_hr is None else tape.first[both],
        mask=tape.mask[layout.batch_rows[at]] if tape.mask.size else tape.mask,
        keep=tape.keep[layout.batch_rows[at]] if tape.keep.size else tape.keep,
    )
