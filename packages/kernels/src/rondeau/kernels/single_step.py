"""One step of a cell over a batch, with its gradients, for programs that call a cell in a loop of their own.

It is a run of `rondeau.kernels.sequence` over sequences of one step, with the same bits. On the CPU, if the step is too
small for several threads, it is one call of a kernel in each direction.
"""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from rondeau.kernels import sequence
from rondeau.kernels.checks import are_plain, checked_array
from rondeau.kernels.errors import ArgumentValueError
from rondeau.kernels.numerics.elements import ELEMENTS
from rondeau.kernels.recurrent.checks import checked_run
from rondeau.kernels.recurrent.records import Gradients, Needs, Run, Weights
from rondeau.kernels.recurrent.saved import Saved, refusal
from rondeau.kernels.recurrent.target import SingleStep, target_of
from rondeau.kernels.runtime.devices import is_array

__all__ = ["backward", "forward"]

Array = NDArray[Any]


def forward(
    run: Run,
    x: Array,
    weights: Weights,
    initial: tuple[Array, ...] | None = None,
    inputs: tuple[Array, ...] = (),
    *,
    save: bool = True,
) -> tuple[tuple[Array, ...], Any]:
    """Run a cell for one step.

    Parameters
    ----------
    run : Run
        Its layout is that of a dense batch of one step.
    x, weights, initial, inputs, save
        As for `rondeau.kernels.sequence.forward`; x is not one-hot.

    Returns
    -------
    states : tuple of ndarray, shape (B, H)
        Each state after the step, in memory that nothing else refers to.
    saved : object or None
        The values that `backward` needs.

    Raises
    ------
    TypeError, ValueError
        As `rondeau.kernels.sequence.forward` does.

    Examples
    --------
    >>> import numpy as np
    >>> from rondeau.kernels.sequence import Cell, Layout
    >>> run = Run(Cell(lambda x, r, s: x.h + r.h, ("h",), ("h",), "sum"), Layout.dense(1, 1))
    >>> one = np.ones((1, 1), np.float32)
    >>> (h,), saved = forward(run, one, Weights(one, one), (one,))
    >>> h
    array([[2.]], dtype=float32)
    """
    step = _step_alone(run, x, weights, initial, inputs)
    if step is None:
        result = sequence.forward(run, x, weights, initial, inputs, save=save)
        return result.final, result.saved
    states, saved = step.forward(checked_run(run).settings, x, weights, initial, inputs)
    if not save:
        return states, None
    return states, _SavedStep(run.cell, (step, saved, inputs, states[0].shape, x.dtype))


def backward(
    run: Run,
    saved: Any,
    d_states: tuple[Array | None, ...],
    needs: Needs = Needs(),  # noqa: B008 - an immutable default
    *,
    consume: bool = False,
) -> Gradients:
    """Differentiate a step of `forward`.

    Parameters
    ----------
    run : Run
        As for `forward`.
    saved : object
        The value that `forward` saved.
    d_states : tuple of ndarray or None
        The gradients of the loss with respect to the states after the step; None stands for zero.
    needs, consume
        As for `rondeau.kernels.sequence.backward`.

    Returns
    -------
    Gradients

    Raises
    ------
    TypeError, ValueError
        If a gradient does not have the dtype and shape of its state, or `saved` is spent.

    Examples
    --------
    >>> import numpy as np
    >>> from rondeau.kernels.sequence import Cell, Layout
    >>> run = Run(Cell(lambda x, r, s: x.h + r.h, ("h",), ("h",), "sum"), Layout.dense(1, 1))
    >>> one = np.ones((1, 1), np.float32)
    >>> _, saved = forward(run, one, Weights(one, one), (3 * one,))
    >>> backward(run, saved, (one,)).weights.weight_hh
    array([[3.]], dtype=float32)
    """
    cell = run.cell
    if type(saved) is not _SavedStep:
        return sequence.backward(cell, saved, (), d_states, needs, consume=consume)
    if saved.values is None or saved.cell is not cell:
        raise refusal(cell, saved)
    step, of_step, inputs, shape, dtype = saved.values
    if len(d_states) != len(cell.states):
        raise ArgumentValueError(
            f"d_states must be one gradient or None per state ({len(cell.states)}), got {len(d_states)}"
        )
    given = [
        None if d is None else checked_array(f"d_states of {state}", d, shape, dtype)
        for state, d in zip(cell.states, d_states, strict=True)
    ]
    if consume:
        saved.values = None
    d_inputs = sequence.gradients_of_inputs(cell, inputs) if inputs else ()
    gradients: Gradients = step.backward(of_step, tuple(given), d_inputs, needs, consume)
    return gradients


class _SavedStep(Saved):
    """What `forward` saves where a target has the step in one call.

    The step, what its forward passes to its backward, the named inputs, and the shape and dtype of the states.
    """

    __slots__ = ()


def _step_alone(
    run: Run, x: Any, weights: Weights, initial: tuple[Any, ...] | None, inputs: tuple[Any, ...]
) -> SingleStep | None:
    """Return the step of a target that has it in one call, if all arguments are valid and as its kernels take them."""
    weight_ih = weights.weight_ih
    if not (is_array(x) and is_array(weight_ih) and x.dtype in ELEMENTS and x.ndim == weight_ih.ndim == 2):
        return None
    step = target_of(x).step_alone(run, weights, x)
    if step is None or (weights.weight_hh is None) != (not run.cell.recurrent):
        return None
    states = (None,) * len(run.cell.states) if initial is None else initial
    arrays, shapes = (*weights[:4], x, *weights.params, *states, *inputs), step.shapes(*x.shape)
    return step if len(arrays) == len(shapes) and are_plain(arrays, shapes, x.dtype) else None
