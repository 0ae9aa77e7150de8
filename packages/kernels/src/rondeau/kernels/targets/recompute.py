"""Recompute: a sequence in pieces, of which forward keeps only the states between them.

Backward runs each piece forward again before it differentiates it, the last piece first. So the memory of one piece is
enough, beside input, output and one set of states for each piece; and since weight gradients are summed in the order
in which backward runs, their bits are those of a run that keeps everything.

Chen, Xu, Zhang, Guestrin, "Training deep nets with sublinear memory cost" (2016).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rondeau.kernels import buffers
from rondeau.kernels.targets import cpu_run, large_products

if TYPE_CHECKING:
    from rondeau.kernels.cell.schedule import Schedule
    from rondeau.kernels.sequence import Layout, Settings, Weights

__all__ = ["Record", "backward", "forward"]

Array = NDArray[Any]


class Record(NamedTuple):
    """What forward leaves for backward: the arguments, and the states with which every piece begins."""

    plan: Schedule
    rows: NDArray[np.int64]
    layout: Layout
    reverse: bool
    settings: Settings
    x: Array
    weights: Weights
    steps: int
    begins: list[tuple[Array, ...]]


def forward(
    plan: Schedule,
    rows: NDArray[np.int64],
    layout: Layout,
    x: Array,
    weights: Weights,
    initial: tuple[Array, ...],
    reverse: bool,
    settings: Settings,
    steps: int,
    num_kept: int,
) -> tuple[tuple[Array, ...], tuple[Array, ...], Record]:
    """Run forward in pieces of ``steps`` steps; arguments are those of `cpu_run.forward`.

    Returns
    -------
    every : tuple of ndarray
        The first ``num_kept`` states after every step.
    final : tuple of ndarray
    record : Record
    """
    carried = tuple(np.array(state) for state in initial)
    every = tuple(buffers.empty((layout.num_rows, s.shape[1]), s.dtype) for s in initial[:num_kept])
    begins = []
    for piece, piece_rows in layout.pieces(steps, reverse):
        begin = tuple(state[: piece.batch_size].copy() for state in carried)
        begins.append(begin)
        first = len(begins) == 1
        saved = cpu_run.forward(plan, rows, piece, x[piece_rows], weights, begin, reverse, settings, first)
        for k, kept in enumerate(every):
            kept[piece_rows] = saved.every(k)
        for state, end in zip(carried, saved.final(), strict=True):
            state[: piece.batch_size] = end
    return every, carried, Record(plan, rows, layout, reverse, settings, x, weights, steps, begins)


def backward(
    rows: NDArray[np.int64],
    record: Record,
    d_steps: tuple[Array | None, ...],
    d_final: tuple[Array | None, ...],
    gradients: large_products.WeightGradients,
    needs_x: bool,
    needs_initial: bool,
) -> tuple[Array | None, tuple[Array, ...]]:
    """Run backward; return the gradients of x and of the initial states, and add those of the weights."""
    plan, layout, x = record.plan, record.layout, record.x
    d_x = buffers.empty(x.shape, x.dtype) if needs_x else None
    carried = tuple(
        np.zeros((layout.batch_size, begin.shape[1]), begin.dtype) if d is None else np.array(d)
        for d, begin in zip(d_final, record.begins[0], strict=True)
    )
    pieces = list(layout.pieces(record.steps, record.reverse))
    for number in reversed(range(len(pieces))):
        piece, piece_rows = pieces[number]
        B = piece.batch_size
        saved = cpu_run.forward(
            plan, record.rows, piece, x[piece_rows], record.weights, record.begins[number], record.reverse,
            record.settings, number == 0,
        )  # fmt: skip
        adjoints = cpu_run.backward_through_time(
            rows,
            saved,
            tuple(None if d is None else d[piece_rows] for d in d_steps),
            tuple(state[:B] for state in carried),
            gradients.d_params[:B],
            needs_initial or number > 0,
            consume=True,
        )
        for state, begin in zip(carried, adjoints.initial, strict=True):
            state[:B] = begin
        if d_x is not None:
            d_x[piece_rows] = large_products.input_gradient(saved, adjoints)
        gradients.add(saved, adjoints)
    return d_x, carried
