"""`BothDirections`: both directions of a recurrent layer as one differentiable operation, for a GPU.

There the two directions run at the same time, forward and backward; see `rondeau.kernels.sequence.forward_both`.
"""

from __future__ import annotations

from typing import Any

from rondeau.kernels import sequence
from rondeau.kernels.sequence import Run
from rondeau.tensor import Function, Tensor

from .function import (
    arguments_of_backward,
    arguments_of_run,
    differentiable_gradients,
    gradients_of_arguments,
    results_of_run,
)

__all__ = ["BothDirections"]


class BothDirections(Function):
    """Two runs of a layer over the same sequences, as `RecurrentFunction` is one; the results follow one another."""

    owns_gradients = True

    @staticmethod
    def forward(
        ctx: Any, runs: tuple[Run, Run], num_every: int, leading: tuple[int, ...], x: Tensor, *tensors: Any
    ) -> tuple[Tensor, ...]:
        """Return the results of `RecurrentFunction.forward` for each run; `tensors` are first those of the first."""
        save = True in ctx.needs_input_grad
        given = [arguments_of_run(run, x, of_run) for run, of_run in zip(runs, _halves(tensors), strict=True)]
        (rows, _, _, inputs), _ = given
        results = sequence.forward_both(
            runs,
            rows,
            [weights for _, weights, _, _ in given],
            [states for _, _, states, _ in given],
            inputs,
            save=save,
            every_state=num_every > 1,
        )
        (every, final), (other_every, other_final) = [
            results_of_run(result, num_every, x, leading) for result in results
        ]
        if save:
            ctx.set_materialize_grads(False)
            ctx.save_for_backward(x, *tensors, *every, *other_every)  # every: backward reads its memory
            ctx.runs, ctx.saved = runs, [result.saved for result in results]
        return (*every, *final, *other_every, *other_final)

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor | None) -> tuple[Tensor | None, ...]:
        """Return the gradients of the arguments of `forward`, given those of its results."""
        needs_x, *needs = ctx.needs_input_grad[3:]
        x, *tensors = ctx.saved_tensors[: 1 + len(needs)]
        of_runs = list(
            zip(
                ctx.runs,
                [(x, *half) for half in _halves(tensors)],
                [(needs_x, *half) for half in _halves(needs)],
                _halves(cotangents),
                strict=True,
            )
        )
        if ctx.create_graph:
            found = [differentiable_gradients(*given) for given in of_runs]
        else:
            begun = [arguments_of_backward(run, needed, d) for run, _, needed, d in of_runs]
            every, final, wanted = zip(*begun, strict=True)
            cell = ctx.runs[0].cell
            of_layers = sequence.backward_both(
                cell, ctx.saved, every, final, wanted, consume=not ctx.retain_graph
            )
            found = [
                gradients_of_arguments(run, of_layer, arguments, needed)
                for of_layer, (run, arguments, needed, _) in zip(of_layers, of_runs, strict=True)
            ]
        (d_x, *first), (other_d_x, *second) = found
        total = None if d_x is None or other_d_x is None else d_x + other_d_x
        return (None, None, None, total, *first, *second)


def _halves(values: Any) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """Return the first half of a sequence, which belongs to the first run, and the second."""
    middle = len(values) // 2
    return tuple(values[:middle]), tuple(values[middle:])
