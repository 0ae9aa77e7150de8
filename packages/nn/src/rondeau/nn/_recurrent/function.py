"""`RecurrentFunction`: one recurrent layer in one direction, as one differentiable operation on Tensors."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from rondeau import tensor as rt
from rondeau.kernels import sequence
from rondeau.kernels.recurrent import reference
from rondeau.kernels.recurrent.checks import checked_run, state_widths
from rondeau.kernels.sequence import Cell, Layout, Needs, Run
from rondeau.tensor import Function, Tensor

from .weights import MATRICES, as_weights

__all__ = ["RecurrentFunction"]

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
        ctx: Any, run: Run, every_state: bool, leading: tuple[int, ...], x: Tensor, *tensors: Any
    ) -> tuple[Tensor, ...]:
        """Return the states after every step, all of them or only the first, and the final states.

        `tensors` are the matrices and biases of `Weights`, None for those missing, the learned vectors, the named
        inputs as rows, and the initial states unless these are zero.
        """
        cell, layout = run.cell, run.layout
        first_input, first_state = _first_input_and_state(cell)
        save = True in ctx.needs_input_grad
        array = x._array
        arrays: list[Any] = [None if t is None else t._array for t in tensors]
        states = arrays[first_state:]
        result = sequence.forward(
            run if save or run.recompute_every is None else run._replace(recompute_every=None),
            _as_rows(array, layout),
            as_weights(cell, arrays),
            tuple([state.reshape(layout.batch_size, state.shape[-1]) for state in states])
            if states
            else None,
            tuple(arrays[first_input:first_state]),
            save=save,
            every_state=every_state,
        )
        of_rows = array.shape if array.dtype.kind == "i" else array.shape[:-1]
        every = [Tensor(rows.reshape(*of_rows, rows.shape[-1])) for rows in result.every]
        if save:
            ctx.set_materialize_grads(False)
            ctx.save_for_backward(x, *tensors, *every)  # every: backward reads its memory
            ctx.run, ctx.saved = run, result.saved
        final = [Tensor(end.reshape(*leading, end.shape[-1])) for end in result.final]
        return (*every, *final)

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor | None) -> tuple[Tensor | None, ...]:
        """Return the gradients of the arguments of `forward`, given those of its results."""
        differentiate = _differentiable_gradients if ctx.create_graph else _gradients
        needs = ctx.needs_input_grad[3:]
        return (None, None, None, *differentiate(ctx, ctx.saved_tensors[: len(needs)], needs, cotangents))


def _first_input_and_state(cell: Cell) -> tuple[int, int]:
    """Return where the named inputs and the initial states begin among the tensors of `RecurrentFunction.forward`."""
    first_input = MATRICES + len(cell.params)
    return first_input, first_input + len(cell.inputs)


def _as_rows(x: Any, layout: Layout) -> Any:
    return x.reshape(layout.num_rows) if x.dtype.kind == "i" else x.reshape(layout.num_rows, x.shape[-1])


def _gradients(
    ctx: Any, arguments: tuple[Any, ...], needs: tuple[bool, ...], cotangents: tuple[Tensor | None, ...]
) -> list[Tensor | None]:
    """Backpropagate through time, in the kernels; the arguments are x and the other tensors of `forward`."""
    run: Run = ctx.run
    cell = run.cell
    num_every = len(cotangents) - len(cell.states)
    arrays = [None if d is None else d._array.reshape(-1, d._array.shape[-1]) for d in cotangents]
    need_x, *need_others = needs
    first_input, first_state = _first_input_and_state(cell)
    found = sequence.backward(
        cell,
        ctx.saved,
        tuple(arrays[:num_every]),
        tuple(arrays[num_every:]),
        Needs(x=need_x, weights=True in need_others[:first_input], initial=True in need_others[first_state:]),
        consume=not ctx.retain_graph,
    )
    *matrices, params = found.weights
    gradients = (
        found.x,
        *matrices,
        *(params or [None] * len(cell.params)),
        *found.inputs,
        *(found.initial or [None] * (len(need_others) - first_state)),
    )
    return [
        Tensor(array.reshape(like._array.shape)) if need else None
        for array, like, need in zip(gradients, arguments, needs, strict=True)
    ]


def _differentiable_gradients(
    ctx: Any, arguments: tuple[Any, ...], needs: tuple[bool, ...], cotangents: tuple[Tensor | None, ...]
) -> list[Tensor | None]:
    """Backpropagate through time in a way that can be differentiated again: the reference, run on Tensors."""
    run: Run = ctx.run
    if run.truncate is not None:
        raise NotImplementedError(
            "create_graph=True cannot be combined with bptt_truncate: a truncated gradient is not the gradient of a "
            "function, so it has no derivative. Leave one of them out"
        )
    # Copies, where `rt.grad` stops: one of the arguments may have been computed from another.
    copies: list[Any] = [None if t is None else t.clone() for t in arguments]
    x, *tensors = copies
    first_input, first_state = _first_input_and_state(run.cell)
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
