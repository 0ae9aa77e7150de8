"""Truncated backpropagation through time by a sliding window.

With ``k`` earlier steps the loss at step t reaches the weights through steps t - k to t: as if for every t those steps
were run again from the detached state before them. The windows of all rows run together: in round j every window
stands j steps before its row, and all that stand on rows of the sequence are one batch of a single step.

Werbos, "Backpropagation through time" (1990); Williams, Peng, "An efficient gradient-based algorithm for on-line
training of recurrent network trajectories" (1990), which calls it BPTT(h).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rondeau.kernels.targets import cpu_run

if TYPE_CHECKING:
    from rondeau.kernels.sequence import Layout

__all__ = ["backward_through_windows"]

Array = NDArray[Any]


def backward_through_windows(
    rows: NDArray[np.int64],
    saved: cpu_run.Saved,
    d_steps: tuple[Array | None, ...],
    d_final: tuple[Array | None, ...],
    d_params: Array,
    earlier_steps: int,
) -> cpu_run.Adjoints:
    """Do what `cpu_run.backward_through_time` does, with windows of ``earlier_steps`` steps before each row.

    The gradient of a final state counts as that of its row's last step. A window that reaches the first step and has
    steps left sends its adjoint on to the initial state.
    """
    layout = saved.layout
    batch_rows, previous = layout.batch_rows, layout.previous(saved.reverse)
    totals = _zeros(saved)
    for start, final in zip(totals.initial, d_final, strict=True):
        if final is not None and not layout.num_steps:
            start += final  # the final states are the initial ones
    d_windows = _begin_windows(saved, d_steps, d_final)
    at = np.arange(layout.num_rows)
    for lag in range(earlier_steps + 1):
        if not at.size:
            break
        step_params = np.zeros((at.size, *d_params.shape[1:]), d_params.dtype)
        found = cpu_run.backward_through_time(
            rows, _single_step(saved, layout, at), (None,) * len(d_windows), tuple(d_windows), step_params,
            needs_initial=True, consume=True,
        )  # fmt: skip
        totals.gates[at] += found.gates
        totals.recurrent[at] += found.recurrent
        if totals.projected.size:
            totals.projected[at] += found.projected
        np.add.at(d_params, batch_rows[at], step_params)
        begun = previous[at] < 0
        if lag < earlier_steps:
            for total, part in zip(totals.initial, found.initial, strict=True):
                np.add.at(total, batch_rows[at[begun]], part[begun])
        d_windows = [part[~begun] for part in found.initial]
        at = previous[at[~begun]]
    return totals


def _begin_windows(
    saved: cpu_run.Saved, d_steps: tuple[Array | None, ...], d_final: tuple[Array | None, ...]
) -> list[Array]:
    """Return what the loss says of the states after every row, with which the window of that row begins."""
    layout, d_windows = saved.layout, []
    last = layout.last(saved.reverse)
    for storage, steps, final in zip((saved.first, *saved.states[1:]), d_steps, d_final, strict=True):
        d_state = np.zeros((layout.num_rows, storage.shape[1]), storage.dtype)
        if steps is not None:
            d_state += steps
        if final is not None:
            d_state[last] += final[layout.lengths > 0]
        d_windows.append(d_state)
    return d_windows


def _zeros(saved: cpu_run.Saved) -> cpu_run.Adjoints:
    """Return the adjoints of a run, all zero."""
    dtype, N, B = saved.gates.dtype, saved.layout.num_rows, saved.layout.batch_size
    projected = 0 if saved.weights.weight_hr is None else saved.first.shape[1]
    return cpu_run.Adjoints(
        np.zeros((N, saved.gates.shape[1] * saved.gates.shape[2]), dtype),
        np.zeros((N, saved.recurrent.shape[1] * saved.recurrent.shape[2]), dtype),
        np.zeros((N, projected), dtype),
        tuple(np.zeros((B, storage.shape[1]), dtype) for storage in (saved.first, *saved.states[1:])),
    )


def _single_step(saved: cpu_run.Saved, layout: Layout, at: NDArray[np.int64]) -> cpu_run.Saved:
    """Return what forward would have left of the given rows, had they been a batch of one step."""
    before = np.arange(layout.batch_size + layout.num_rows)[layout.before_rows(saved.reverse)][at]
    after = np.arange(layout.batch_size + layout.num_rows)[layout.after_rows(saved.reverse)][at]
    both = np.concatenate((before, after))
    return saved._replace(
        layout=layout.of_rows(at),
        reverse=False,
        gates=saved.gates[at],
        recurrent=saved.recurrent[at],
        values=saved.values[at],
        row_values=saved.row_values[at],
        states=np.ascontiguousarray(saved.states[:, both]),
        hidden=saved.hidden[both] if saved.hidden.size else saved.hidden,
        mask=saved.mask[layout.batch_rows[at]] if saved.mask.size else saved.mask,
        keep=saved.keep[layout.batch_rows[at]] if saved.keep.size else saved.keep,
    )
