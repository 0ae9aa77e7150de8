"""Recomputation: forward runs a sequence in pieces, and keeps only the states between them.

Backward runs each piece forward again before it differentiates it, the last piece first. So the memory for one piece is
enough, besides input, output and one set of states per piece; and since weight gradients are summed in the order in
which backward runs, they have the same bits as in a run that keeps everything.

Chen, Xu, Zhang, Guestrin, "Training deep nets with sublinear memory cost" (2016).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rondeau.kernels.recurrent.checks import state_widths
from rondeau.kernels.recurrent.records import Run, Sums, Weights
from rondeau.kernels.recurrent.target import Target, WeightSums
from rondeau.kernels.runtime import buffers

__all__ = ["PiecewiseTape", "backward", "forward"]

Array = NDArray[Any]


class PiecewiseTape(NamedTuple):
    """The values that forward keeps for backward: its arguments, and the initial states of each piece."""

    run: Run
    x: Array
    weights: Weights
    inputs: tuple[Array, ...]
    initial: list[tuple[Array, ...]]


def forward(
    target: Target,
    run: Run,
    x: Array,
    weights: Weights,
    inputs: tuple[Array, ...],
    initial: tuple[Array, ...] | None,
    num_kept: int,
) -> tuple[tuple[Array, ...], tuple[Array, ...], PiecewiseTape]:
    """Run forward in pieces of ``run.recompute_every`` steps; the arguments are those of `Target.forward`.

    Returns
    -------
    every : tuple of ndarray
        The first ``num_kept`` states after every step.
    final : tuple of ndarray
    tape : PiecewiseTape
    """
    layout = run.layout
    if initial is None:
        widths, like = state_widths(run.cell, weights), weights.weight_ih
        carried = tuple(np.zeros_like(like, shape=(layout.batch_size, width)) for width in widths)
    else:
        carried = tuple(state.copy() for state in initial)
    every = tuple(buffers.empty_like(s, (layout.num_rows, s.shape[1])) for s in carried[:num_kept])
    of_pieces: list[tuple[Array, ...]] = []
    for piece, rows in _pieces(run):
        of_piece = tuple(state[: piece.layout.batch_size].copy() for state in carried)
        is_first = not of_pieces
        of_pieces.append(of_piece)
        tape = target.forward(piece, x[rows], weights, _of_piece(piece, inputs, rows), of_piece, is_first)
        of_rows, ends = tape.results(num_kept)
        for kept, found in zip(every, of_rows, strict=True):
            kept[rows] = found
        for state, end in zip(carried, ends, strict=True):
            state[: piece.layout.batch_size] = end
    return every, carried, PiecewiseTape(run, x, weights, inputs, of_pieces)


def backward(
    target: Target,
    tape: PiecewiseTape,
    d_steps: tuple[Array | None, ...],
    d_final: tuple[Array | None, ...],
    weight_sums: WeightSums,
    sums: Sums,
    needs_x: bool,
    needs_initial: bool,
) -> tuple[Array | None, tuple[Array, ...]]:
    """Run backward; return the gradients of x and of the initial states, and add the others to the sums."""
    x, layout = tape.x, tape.run.layout
    d_x = buffers.empty_like(x, x.shape) if needs_x else None
    carried = tuple(
        np.zeros_like(initial, shape=(layout.batch_size, initial.shape[1])) if d is None else d.copy()
        for d, initial in zip(d_final, tape.initial[0], strict=True)
    )
    pieces = list(_pieces(tape.run))
    for number in reversed(range(len(pieces))):
        piece, rows = pieces[number]
        B = piece.layout.batch_size
        inputs = _of_piece(piece, tape.inputs, rows)
        of_piece = target.forward(piece, x[rows], tape.weights, inputs, tape.initial[number], number == 0)
        adjoints = target.backward_through_time(
            of_piece,
            tuple(None if d is None else d[rows] for d in d_steps),
            tuple(state[:B] for state in carried),
            Sums(sums.params[:B], _of_piece(piece, sums.inputs, rows)),
            needs_initial or number > 0,
            consume=True,
        )
        for state, initial in zip(carried, adjoints.initial, strict=True):
            state[:B] = initial
        if d_x is not None:
            d_x[rows] = target.input_gradient(of_piece, adjoints)
        weight_sums.add(of_piece, adjoints)
    return d_x, carried


def _of_piece(piece: Run, arrays: tuple[Any, ...], rows: slice) -> tuple[Any, ...]:
    """Return the part of named inputs, or of their gradients, that belongs to a piece."""
    kinds, B = piece.cell.inputs.values(), piece.layout.batch_size
    return tuple(
        [
            None if array is None else array[rows if kind == "step" else slice(B)]
            for kind, array in zip(kinds, arrays, strict=True)
        ]
    )


def _pieces(run: Run) -> list[tuple[Run, slice]]:
    """Return the run of each piece, in the order in which they run, and its rows."""
    steps = run.recompute_every
    assert steps is not None
    pieces = run.layout.pieces(steps, run.reverse)
    return [(run._replace(layout=layout, recompute_every=None), rows) for layout, rows in pieces]
