"""`StepFunction`: one step of a cell over a batch, as one differentiable operation on Tensors."""

from __future__ import annotations

from typing import Any

from rondeau.kernels import single_step
from rondeau.kernels.sequence import Run
from rondeau.tensor import Function, Tensor

from .function import (
    arguments_of_backward,
    arguments_of_run,
    differentiable_gradients,
    gradients_of_arguments,
)

__all__ = ["StepFunction"]


class StepFunction(Function):
    """One step of a cell; what `RecurrentFunction` is for sequences of one step, without outputs besides the states.

    The input is (B, I) or (I,); states are (B, H) or (H,): ``leading`` is their shape without the last dimension.
    """

    owns_gradients = True

    @staticmethod
    def forward(ctx: Any, run: Run, leading: tuple[int, ...], x: Tensor, *tensors: Any) -> tuple[Tensor, ...]:
        """Return the states after the step; `tensors` are as for `RecurrentFunction.forward`."""
        save = True in ctx.needs_input_grad
        states, saved = single_step.forward(run, *arguments_of_run(run, x, tensors), save=save)
        if save:
            ctx.set_materialize_grads(False)
            ctx.save_for_backward(x, *tensors)
            ctx.run, ctx.saved = run, saved
        return tuple([Tensor(h if leading else h.reshape(h.shape[1])) for h in states])

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor | None) -> tuple[Tensor | None, ...]:
        """Return the gradients of the arguments of `forward`, given those of its results."""
        run: Run = ctx.run
        needs, arguments = ctx.needs_input_grad[2:], ctx.saved_tensors
        if ctx.create_graph:
            return (None, None, *differentiable_gradients(run, arguments, needs, cotangents))
        _, d_states, needed = arguments_of_backward(run, needs, cotangents)
        found = single_step.backward(run, ctx.saved, d_states, needed, consume=not ctx.retain_graph)
        return (None, None, *gradients_of_arguments(run, found, arguments, needs))
