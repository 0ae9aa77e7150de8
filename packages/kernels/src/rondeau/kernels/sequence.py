"""One recurrent layer over a ragged batch of sequences, in a direction or both: forward, backward through time."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rondeau.kernels.cell import InputForms, Regularisers
from rondeau.kernels.cell.cell import Cell
from rondeau.kernels.checks import check_one_device, checked_array
from rondeau.kernels.errors import ArgumentValueError
from rondeau.kernels.recurrent import recompute, truncation
from rondeau.kernels.recurrent.checks import (
    check_devices_of_run,
    checked_arrays,
    checked_inputs,
    checked_run,
    complete_settings,
    state_widths,
)
from rondeau.kernels.recurrent.layout import Layout
from rondeau.kernels.recurrent.recompute import PiecewiseTape
from rondeau.kernels.recurrent.records import (
    Adjoints,
    Gradients,
    Needs,
    Result,
    Run,
    Settings,
    Sums,
    Weights,
)
from rondeau.kernels.recurrent.saved import Saved, refusal
from rondeau.kernels.recurrent.target import Target, WeightSums, target_of
from rondeau.kernels.runtime import buffers

__all__ = [
    "Cell",
    "Gradients",
    "InputForms",
    "Layout",
    "Needs",
    "Regularisers",
    "Result",
    "Run",
    "Settings",
    "Weights",
    "backward",
    "backward_both",
    "complete_settings",
    "forward",
    "forward_both",
    "gradients_of_inputs",
]

Array = NDArray[Any]


def forward(
    run: Run,
    x: Array,
    weights: Weights,
    initial: tuple[Array, ...] | None = None,
    inputs: tuple[Array, ...] = (),
    *,
    save: bool = True,
    every_state: bool = False,
) -> Result:
    """Run a cell over a batch of sequences.

    Parameters
    ----------
    run : Run
        The cell, the layout of the batch, the direction, and everything else that a run depends on.
    x : ndarray of float32 or float64, shape (N, I), or of int64, shape (N,)
        The input of every row. Integers stand for one-hot rows of width I = ``weight_ih.shape[1]``: the input
        projection is then a gather, with the same values as the product up to rounding.
    weights : Weights
        All of x's dtype (for one-hot input, all of the same dtype).
    initial : tuple of ndarray, optional
        The states before the first step: (B, P) the first, (B, H) the others. Zeros by default.
    inputs : tuple of ndarray
        The named inputs of the cell, in order: (N, H) for a step input, (B, H) for a sequence input, or with a last
        dimension of 1 for those that the cell's ``forms`` list as numbers.
    save : bool, default True
        Whether to keep what `backward` needs.
    every_state : bool, default False
        Whether to return every state after every step, rather than only the first.

    Returns
    -------
    Result

    Raises
    ------
    TypeError
        If an argument is not an array, or dtypes differ.
    ValueError
        If shapes do not match, a scalar is unknown or missing, or the run has an invalid number of steps.
    IndexError
        If an id is out of range.

    Examples
    --------
    >>> import numpy as np
    >>> run = Run(Cell(lambda x, r, s: x.h + r.h, ("h",), ("h",), "sum"), Layout.dense(3, 1))
    >>> one = np.ones((1, 1), np.float32)
    >>> result = forward(run, np.ones((3, 1), np.float32), Weights(one, one))
    >>> result.every[0].ravel()
    array([1., 2., 3.], dtype=float32)
    """
    run, x, weights, inputs, initial = _checked(run, x, weights, inputs, initial)
    target = target_of(x)
    num_kept = len(run.cell.states) if every_state else 1
    if run.recompute_every is not None and run.recompute_every < run.layout.num_steps:
        every, final, pieces = recompute.forward(target, run, x, weights, inputs, initial, num_kept)
        return Result(every, final, _SavedRun(run.cell, (target, pieces)) if save else None)
    tape = target.forward(run, x, weights, inputs, initial, save=save)
    every, final = tape.results(num_kept)
    return Result(every, final, _SavedRun(run.cell, (target, tape)) if save else None)


def forward_both(
    runs: Sequence[Run],
    x: Array,
    weights: Sequence[Weights],
    initial: Sequence[tuple[Array, ...] | None],
    inputs: tuple[Array, ...] = (),
    *,
    save: bool = True,
    every_state: bool = False,
) -> list[Result]:
    """Run a cell over a batch of sequences in both directions, on a GPU in one launch where both find room.

    Parameters
    ----------
    runs, weights, initial : sequence
        For each direction what `forward` takes. The runs have the same cell and layout.
    x, inputs, save, every_state
        As for `forward`.

    Returns
    -------
    list of Result
        What `forward` returns for each direction.

    Raises
    ------
    TypeError, ValueError, IndexError
        As for `forward`; and if cells or layouts differ.

    Examples
    --------
    >>> import numpy as np
    >>> cell, one = Cell(lambda x, r, s: x.h + r.h, ("h",), ("h",), "sum"), np.ones((1, 1), np.float32)
    >>> runs = [Run(cell, Layout.dense(3, 1), reverse) for reverse in (False, True)]
    >>> x = np.array([[1], [2], [3]], np.float32)
    >>> [result.every[0].ravel().tolist() for result in forward_both(runs, x, [Weights(one, one)] * 2, [None] * 2)]
    [[1.0, 3.0, 6.0], [6.0, 5.0, 3.0]]
    """
    of_directions = list(zip(runs, weights, initial, strict=True))
    if any((run.cell, run.layout) != (runs[0].cell, runs[0].layout) for run in runs):
        raise ArgumentValueError("forward_both: the runs must have the same cell and the same layout")
    if any(run.recompute_every is not None for run in runs):
        return [
            forward(run, x, of_run, begin, inputs, save=save, every_state=every_state)
            for run, of_run, begin in of_directions
        ]
    target, results = target_of(x), []
    checked = [_checked(run, x, of_run, inputs, begin) for run, of_run, begin in of_directions]
    for tape in target.forward_both(checked, save=save):
        every, final = tape.results(len(tape.run.cell.states) if every_state else 1)
        results.append(Result(every, final, _SavedRun(tape.run.cell, (target, tape)) if save else None))
    return results


def backward(
    cell: Cell,
    saved: Any,
    d_every: tuple[Array | None, ...],
    d_final: tuple[Array | None, ...],
    needs: Needs = Needs(),  # noqa: B008 - an immutable default
    *,
    consume: bool = False,
) -> Gradients:
    """Differentiate a run of `forward`: backpropagation through time.

    Parameters
    ----------
    cell : Cell
        The cell that ran.
    saved : object
        The value that `forward` saved with ``save=True``.
    d_every : tuple of ndarray or None
        The gradients of the loss with respect to the states after every step; None, or a missing entry at the end,
        stands for zero. The first is that of the output.
    d_final : tuple of ndarray or None
        The gradients with respect to the final states.
    needs : Needs
        The gradients to compute; all by default.
    consume : bool, default False
        Whether to reuse the memory of `saved` for the gradients, which is faster but spends `saved`. By default `saved`
        stays valid, and a second call returns the same result.

    Returns
    -------
    Gradients
        The gradients of x (None for one-hot input), of the initial states, of the weights, and of the named inputs.

    Raises
    ------
    TypeError, ValueError
        If a gradient does not have the dtype and shape of its value, or `saved` is spent.

    Examples
    --------
    For h_t = x_t + h_(t-1), the gradient of the last state with respect to every input is 1:

    >>> import numpy as np
    >>> run = Run(Cell(lambda x, r, s: x.h + r.h, ("h",), ("h",), "sum"), Layout.dense(3, 1))
    >>> one = np.ones((1, 1), np.float32)
    >>> result = forward(run, np.ones((3, 1), np.float32), Weights(one, one))
    >>> gradients = backward(run.cell, result.saved, (None,), (one,))
    >>> gradients.x.ravel(), gradients.weights.weight_hh
    (array([1., 1., 1.], dtype=float32), array([[3.]], dtype=float32))
    """
    begun = _begin_backward(cell, saved, d_every, d_final, consume)
    target, tape, d_steps, d_ends, weight_sums, sums = begun
    if isinstance(tape, PiecewiseTape):
        needs_x = needs.x and tape.x.ndim > 1
        d_x, d_initial = recompute.backward(
            target, tape, d_steps, d_ends, weight_sums, sums, needs_x, needs.initial
        )
        d_weights = weight_sums.finish() if needs.weights else Weights(None, None)
        return Gradients(d_x, d_initial if needs.initial else None, d_weights, sums.inputs)
    truncate = tape.run.truncate
    if truncate is None:
        adjoints = target.backward_through_time(tape, d_steps, d_ends, sums, needs.initial, consume)
    else:
        adjoints = truncation.backward_through_windows(target, tape, d_steps, d_ends, sums, truncate)
    return _finish_backward(begun, adjoints, needs)


def backward_both(
    cell: Cell,
    saved: Sequence[Any],
    d_every: Sequence[tuple[Array | None, ...]],
    d_final: Sequence[tuple[Array | None, ...]],
    needs: Sequence[Needs],
    *,
    consume: bool = False,
) -> list[Gradients]:
    """Differentiate both directions of `forward_both`, on a GPU in one launch where both find room.

    Parameters
    ----------
    cell : Cell
    saved, d_every, d_final, needs : sequence
        For each direction what `backward` takes.
    consume : bool
        As for `backward`.

    Returns
    -------
    list of Gradients
        What `backward` returns for each direction.

    Raises
    ------
    TypeError, ValueError
        As for `backward`.

    Examples
    --------
    See `forward_both`, and `backward`.

    >>> backward_both(None, [], [], [], [])
    []
    """
    of_layers = list(zip(saved, d_every, d_final, needs, strict=True))
    tapes = [_values_of(cell, of_run)[1] for of_run in saved]
    if len(tapes) != 2 or any(isinstance(t, PiecewiseTape) or t.run.truncate is not None for t in tapes):
        return [backward(cell, *of_layer, consume=consume) for of_layer in of_layers]
    begun = [_begin_backward(cell, of_run, steps, ends, consume) for of_run, steps, ends, _ in of_layers]
    given = [
        (tape, d_steps, d_ends, sums, needed.initial)
        for (_, tape, d_steps, d_ends, _, sums), needed in zip(begun, needs, strict=True)
    ]
    found = begun[0][0].backward_both(given, consume=consume)
    return [_finish_backward(*of_run) for of_run in zip(begun, found, needs, strict=True)]


def _checked(
    run: Run, x: Array, weights: Weights, inputs: tuple[Array, ...], initial: tuple[Array, ...] | None
) -> tuple[Run, Array, Weights, tuple[Array, ...], tuple[Array, ...] | None]:
    """Return the arguments of a target's forward: complete, contiguous, of one dtype, and on one device."""
    run = checked_run(run)
    x, weights, initial = checked_arrays(run, x, weights, initial)
    if inputs or run.cell.inputs:
        hidden, dtype = weights.weight_ih.shape[0] // len(run.cell.gates), weights.weight_ih.dtype
        inputs = checked_inputs(run.cell, inputs, run.layout.num_rows, run.layout.batch_size, hidden, dtype)
        named = {f"input {name}": array for name, array in zip(run.cell.inputs, inputs, strict=True)}
        check_one_device(f"cell {run.cell.name}", x=x, **named)
    return run, x, weights, inputs, initial


_Begun = tuple[Target, Any, tuple[Array | None, ...], tuple[Array | None, ...], WeightSums, Sums]
"""What backward starts from: target, tape, incoming gradients of steps and of ends, and where sums over steps go."""


def _begin_backward(
    cell: Cell,
    saved: Any,
    d_every: tuple[Array | None, ...],
    d_final: tuple[Array | None, ...],
    consume: bool,
) -> _Begun:
    target, tape = _values_of(cell, saved)
    d_steps, d_ends = _checked_gradients(tape.run, tape.weights, d_every, d_final)
    if consume:
        saved.values = None
    weight_sums = target.weight_sums(tape.run, tape.x, tape.weights)
    sums = Sums(weight_sums.d_params, gradients_of_inputs(cell, tape.inputs) if tape.inputs else ())
    return target, tape, d_steps, d_ends, weight_sums, sums


def _finish_backward(begun: _Begun, adjoints: Adjoints, needs: Needs) -> Gradients:
    target, tape, _, _, weight_sums, sums = begun
    # Ids have no gradient.
    d_x = target.input_gradient(tape, adjoints) if needs.x and tape.x.ndim > 1 else None
    if needs.weights:
        weight_sums.add(tape, adjoints)
    d_weights = weight_sums.finish() if needs.weights else Weights(None, None)
    return Gradients(d_x, adjoints.initial if needs.initial else None, d_weights, sums.inputs)


def gradients_of_inputs(cell: Cell, inputs: tuple[Array, ...]) -> tuple[Array | None, ...]:
    """Return memory for the gradients of named inputs: zeros for those of a sequence, to which each step adds.

    Examples
    --------
    >>> cell = Cell(lambda x, r, s, u: x.h + u.b, ("h",), ("h",), "biased", inputs={"b": "sequence"})
    >>> gradients_of_inputs(cell, (np.ones((1, 2)),))
    (array([[0., 0.]]),)
    """
    return tuple(
        [
            None if name in cell.forms.constants
            else np.zeros_like(array) if kind == "sequence"
            else buffers.empty_like(array, array.shape)
            for (name, kind), array in zip(cell.inputs.items(), inputs, strict=True)
        ]
    )  # fmt: skip


class _SavedRun(Saved):
    """A target, and the tape of a run."""

    __slots__ = ()


def _values_of(cell: Cell, saved: Any) -> tuple[Target, Any]:
    """Return the target and the tape that `forward` saved for a cell."""
    if type(saved) is not _SavedRun or saved.values is None or saved.cell is not cell:
        raise refusal(cell, saved)
    target, tape = saved.values
    return target, tape


def _checked_gradients(
    run: Run, weights: Weights, d_every: tuple[Array | None, ...], d_final: tuple[Array | None, ...]
) -> tuple[tuple[Array | None, ...], tuple[Array | None, ...]]:
    """Return the incoming gradients of every step's states and of the final ones, one or None for each state."""
    states, dtype = run.cell.states, weights.weight_ih.dtype
    num_states, num_every = len(states), len(d_every)
    if num_every > num_states:
        raise ArgumentValueError(f"d_every must be at most one gradient per state, got {num_every}")
    if len(d_final) != num_states:
        raise ArgumentValueError(
            f"d_final must be one gradient or None per state ({num_states}), got {len(d_final)}"
        )
    d_every += (None,) * (num_states - num_every)
    widths = state_widths(run.cell, weights)
    if "cupy" in sys.modules:
        every = {f"d_every of {state}": d for state, d in zip(states, d_every, strict=True)}
        final = {f"d_final of {state}": d for state, d in zip(states, d_final, strict=True)}
        check_devices_of_run(run.cell, weights, **every, **final)
    N, B = run.layout.num_rows, run.layout.batch_size
    of_steps = [
        None if d is None else checked_array(f"d_every of {state}", d, (N, width), dtype)
        for state, d, width in zip(states, d_every, widths, strict=True)
    ]
    of_ends = [
        None if d is None else checked_array(f"d_final of {state}", d, (B, width), dtype)
        for state, d, width in zip(states, d_final, widths, strict=True)
    ]
    return tuple(of_steps), tuple(of_ends)
