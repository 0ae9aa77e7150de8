"""`RecurrentFunction`: one recurrent layer in one direction, as one differentiable operation on Tensors."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from rondeau import tensor as rt
from rondeau.kernels import sequence
from rondeau.kernels.recurrent import reference
from rondeau.kernels.recurrent.checks import checked_run, state_widths
from rondeau.kernels.sequence import Gradients, Layout, Needs, Result, Run, Weights
from rondeau.tensor import Function, Tensor

from .weights import MATRICES, as_weights

__all__ = [
    "RecurrentFunction",
    "arguments_of_backward",
    "arguments_of_run",
    "differentiable_gradients",
    "gradients_of_arguments",
    "results_of_run",
]

#: The cell language on Tensors, with which the result of `reference.run` can be differentiated again.
TENSORS = SimpleNamespace(
    **{name: getattr(rt, name) for name in reference.FUNCTIONS},
    cat=rt.cat,
    constant=lambda array, like: Tensor(array).to(like.device),
    sum=lambda x: x.sum(-1, keepdim=True),
)


class RecurrentFunction(Function):
    """One layer in one direction over whole sequences.

    The input may have any shape with the N rows in order: (T, B, I), (T, I) or packed (N, I), or integers without the
    last dimension; the output has the same form. States are (1, B, H), (B, H), or (H,) or (1, H) without a batch:
    ``leading`` is their shape without the last dimension.
    """

    owns_gradients = True

    @staticmethod
    def forward(
        ctx: Any, run: Run, num_every: int, leading: tuple[int, ...], x: Tensor, *tensors: Any
    ) -> tuple[Tensor, ...]:
        """Return the states after every step, the first ``num_every`` or none, and the final states.

        `tensors` are the matrices and biases of `Weights`, None for those missing, the learned vectors, the named
        inputs as rows, and the initial states unless these are zero.
        """
        save = True in ctx.needs_input_grad
        result = sequence.forward(
            run if save or run.recompute_every is None else run._replace(recompute_every=None),
            *arguments_of_run(run, x, tensors),
            save=save,
            every_state=num_every > 1,
        )
        every, final = results_of_run(result, num_every, x, leading)
        if save:
            ctx.set_materialize_grads(False)
            ctx.save_for_backward(x, *tensors, *every)  # every: backward reads its memory
            ctx.run, ctx.saved = run, result.saved
        return (*every, *final)

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor | None) -> tuple[Tensor | None, ...]:
        """Return the gradients of the arguments of `forward`, given those of its results."""
        run: Run = ctx.run
        needs = ctx.needs_input_grad[3:]
        arguments = ctx.saved_tensors[: len(needs)]
        if ctx.create_graph:
            return (None, None, None, *differentiable_gradients(run, arguments, needs, cotangents))
        given = arguments_of_backward(run, needs, cotangents)
        found = sequence.backward(run.cell, ctx.saved, *given, consume=not ctx.retain_graph)
        return (None, None, None, *gradients_of_arguments(run, found, arguments, needs))


def arguments_of_run(
    run: Run, x: Tensor, tensors: tuple[Any, ...]
) -> tuple[Any, Weights, tuple[Any, ...] | None, tuple[Any, ...]]:
    """Return x, the weights, the initial states and the named inputs as `sequence.forward` takes them."""
    cell, B = run.cell, run.layout.batch_size
    first_input = MATRICES + cell.num_params
    first_state = first_input + cell.num_inputs
    arrays: list[Any] = [None if t is None else t._array for t in tensors]
    states = arrays[first_state:]
    return (
        _as_rows(x._array, run.layout),
        as_weights(cell, arrays),
        tuple([state.reshape(B, state.shape[-1]) for state in states]) if states else None,
        tuple(arrays[first_input:first_state]),
    )


def results_of_run(
    result: Result, num_every: int, x: Tensor, leading: tuple[int, ...]
) -> tuple[list[Tensor], list[Tensor]]:
    """Return the first states after every step, and the final ones, in the form of the input."""
    array = x._array
    of_rows = array.shape if array.dtype.kind == "i" else array.shape[:-1]
    every = [Tensor(rows.reshape(*of_rows, rows.shape[-1])) for rows in result.every[:num_every]]
    final = [Tensor(end.reshape(*leading, end.shape[-1])) for end in result.final]
    return every, final


def _as_rows(x: Any, layout: Layout) -> Any:
    return x.reshape(layout.num_rows) if x.dtype.kind == "i" else x.reshape(layout.num_rows, x.shape[-1])


def arguments_of_backward(
    run: Run, needs: tuple[bool, ...], cotangents: tuple[Tensor | None, ...]
) -> tuple[tuple[Any, ...], tuple[Any, ...], Needs]:
    """Return the incoming gradients and the needs as `sequence.backward` takes them.

    `needs` says of x and the other tensors of a run which gradients are needed.
    """
    num_every = len(cotangents) - len(run.cell.states)
    arrays = [None if d is None else d._array.reshape(-1, d._array.shape[-1]) for d in cotangents]
    need_x, *need_others = needs
    first_input = MATRICES + run.cell.num_params
    first_state = first_input + run.cell.num_inputs
    weights, initial = True in need_others[:first_input], True in need_others[first_state:]
    return (
        tuple(arrays[:num_every]),
        tuple(arrays[num_every:]),
        Needs(x=need_x, weights=weights, initial=initial),
    )


def gradients_of_arguments(
    run: Run, found: Gradients, arguments: tuple[Any, ...], needs: tuple[bool, ...]
) -> list[Tensor | None]:
    """Return the gradients of x and the other tensors of a run, in their shapes."""
    *matrices, params = found.weights
    gradients = [
        found.x,
        *matrices,
        *(params or [None] * len(run.cell.params)),
        *found.inputs,
        *(found.initial or ()),
    ]
    if found.initial is None:
        gradients += [None] * (len(needs) - len(gradients))
    return [
        Tensor(array.reshape(like._array.shape)) if need else None
        for array, like, need in zip(gradients, arguments, needs, strict=True)
    ]


def differentiable_gradients(
    run: Run, arguments: tuple[Any, ...], needs: tuple[bool, ...], cotangents: tuple[Tensor | None, ...]
) -> list[Tensor | None]:
    """Backpropagate through time in a way that can be differentiated again: the reference, run on Tensors."""
    if run.truncate is not None:
        raise NotImplementedError(
            "create_graph=True cannot be combined with bptt_truncate: a truncated gradient is not the gradient of a "
            "function, so it has no derivative. Leave one of them out"
        )
    # Copies, where `rt.grad` stops: one of the arguments may have been computed from another.
    copies: list[Any] = [None if t is None else t.clone() for t in arguments]
    x, *tensors = copies
    first_input = MATRICES + run.cell.num_params
    first_state = first_input + run.cell.num_inputs
    inputs, states = tuple(tensors[first_input:first_state]), tensors[first_state:]
    weights, B = as_weights(run.cell, tensors), run.layout.batch_size
    if states:
        initial = tuple(s.reshape(B, s.shape[-1]) for s in states)
    else:
        like = weights.weight_ih
        widths = state_widths(run.cell, weights)
        initial = tuple(rt.zeros(B, width, dtype=like.dtype, device=like.device) for width in widths)
    every, final = reference.run(checked_run(run), TENSORS, _as_rows(x, run.layout), weights, initial, inputs)
    results = (*every[: len(cotangents) - len(final)], *final)
    # A batch without steps returns its initial states, which may not depend on anything.
    pairs = [
        (r.reshape(d.shape), d)
        for r, d in zip(results, cotangents, strict=True)
        if d is not None and r.requires_grad
    ]
    wanted = [copy for copy, need in zip(copies, needs, strict=True) if need]
    found: Any = [None] * len(wanted)
    if pairs:
        ends, gradients = zip(*pairs, strict=True)
        found = rt.grad(list(ends), wanted, list(gradients), create_graph=True, allow_unused=True)
    given = iter([rt.zeros_like(w) if d is None else d for w, d in zip(wanted, found, strict=True)])
    return [next(given) if need else None for need in needs]
