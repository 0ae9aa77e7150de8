"""Stepwise: the tier that takes every cell, with a product for each operand and a kernel for each phase of a step.

The launches of a run are not captured in a CUDA graph, as those of a stepper are (`replay`). A graph remembers the
addresses of arrays and the numbers of rows, and a run has arrays of its own, whose addresses come again only by chance:
to capture it takes Python as long as to run it, and the graph of a sequence would seldom be launched twice.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rondeau.kernels.cuda.launching import Phases
from rondeau.kernels.cuda.phases import compiled_kernels
from rondeau.kernels.cuda.products import multiply_before, products_of
from rondeau.kernels.recurrent.layout import Layout
from rondeau.kernels.recurrent.records import Tape

__all__ = ["backward", "forward"]

Array = NDArray[Any]


def forward(tape: Tape, arrays: dict[str, Array]) -> None:
    """Run all steps.

    Parameters
    ----------
    tape : Tape
        With the input part of the slots, and the initial states in their places.
    arrays : dict of str to ndarray
        Its arrays by the names of `emit`; biases and vectors among them.
    """
    run, weights, layout = tape.run, tape.weights, tape.run.layout
    schedule, H, B = run.cell.schedule, tape.gates.shape[2], layout.batch_size
    like, projection = weights.weight_ih, weights.weight_hr
    products = products_of(schedule, weights.weight_hh, H, run.settings.num_heads)
    results = {product.name: np.empty_like(like, shape=(B, product.num_gates, H)) for product in products}
    given = {**arrays, **results, **_of_steps(tape, schedule.forward.num_lanes)}
    phases = Phases(compiled_kernels(run.cell, "forward", like.dtype), given, schedule, run.settings, H)
    for row, old, new, count in _steps(layout, run.reverse):
        hidden = tape.first[old : old + count]
        if tape.keep.size:
            hidden = hidden * tape.keep[:count]
        for number in range(len(phases)):
            multiply_before(number, products, hidden, tape.values[row : row + count], results)
            phases.run(number, count, row, old, new)
        if projection is not None:
            np.matmul(tape.states[0, new : new + count], projection.T, out=tape.first[new : new + count])


def backward(tape: Tape, arrays: dict[str, Array], needs_initial: bool) -> None:
    """Run all steps in the reverse order of forward.

    Parameters
    ----------
    tape : Tape
    arrays : dict of str to ndarray
        Those of the tape and of the adjoints: ``d_hidden`` that of the first state as the recurrent matrices see it,
        ``d_projected`` that of the projected state after every step, ``every_NAME`` the incoming gradients.
    needs_initial : bool
        Whether the adjoints of the initial states are needed.
    """
    run, weights, layout = tape.run, tape.weights, tape.run.layout
    schedule, H, B = run.cell.schedule, tape.gates.shape[2], layout.batch_size
    like, projection = weights.weight_ih, weights.weight_hr
    gates, recurrent, d_states = arrays["gates"], arrays["recurrent"], arrays["d_states"]
    d_values = np.empty_like(like, shape=(len(schedule.values), B, H))
    # With a projection, the adjoint of the projected state; without, what the product adds to that of the first state.
    d_hidden = arrays["d_hidden"] if projection is not None else np.zeros_like(like, shape=(B, H))
    given = {
        **arrays, **_of_steps(tape, schedule.backward.num_lanes), "d_values": d_values,
        "product": d_hidden.reshape(B, 1, d_hidden.shape[1]),
    }  # fmt: skip
    incoming = frozenset(state for state in run.cell.states if f"every_{state}" in arrays)
    kernels = compiled_kernels(run.cell, "backward", like.dtype, incoming, projection is not None)
    phases = Phases(kernels, given, schedule, run.settings, H)
    products = products_of(schedule, weights.weight_hh, H, run.settings.num_heads)
    has_product = any(product.value is None for product in products)
    d_every = arrays.get(f"every_{run.cell.states[0]}")
    for step, (row, old, new, count) in reversed(list(enumerate(_steps(layout, run.reverse)))):
        rows = slice(row, row + count)
        if projection is not None:
            if d_every is not None:
                d_hidden[:count] += d_every[rows]
            arrays["d_projected"][rows] = d_hidden[:count]
            np.matmul(d_hidden[:count], projection, out=d_states[0, :count])
            if not has_product:
                d_hidden[:count] = 0
        for number in range(len(phases)):
            phases.run(number, count, row, old, new)
            for product in products:
                if product.after != number or (product.value is None and not (step or needs_initial)):
                    continue
                result = d_hidden[:count] if product.value is None else d_values[product.value, :count]
                product.backward(gates[rows], recurrent[rows], result)
        if tape.keep.size:
            d_hidden[:count] *= tape.keep[:count]
    if projection is None and has_product:
        d_states[0] += d_hidden


def _of_steps(tape: Tape, lanes: int) -> dict[str, Array]:
    """Return the arrays that only the kernels of single steps need."""
    layout, like = tape.run.layout, tape.gates
    found = {"carry": np.empty_like(like, shape=(layout.batch_size, lanes, like.shape[2]))}
    if tape.run.cell.schedule.draws_numbers:
        found["positions"] = layout.sent(layout.positions, like)
    return found


def _steps(layout: Layout, reverse: bool) -> list[tuple[int, int, int, int]]:
    """Return, for each step in the order of running, its first row, those of the states around it, and its size."""
    return list(zip(*[numbers.tolist() for numbers in layout.steps(reverse)], strict=True))
