"""Run: a whole sequence on a GPU, forward and backward, step by step.

A step of forward is a product for each operand and a kernel for each phase; backward runs the phases and the transposed
products in the reverse order of the steps. The non-recurrent work is one large product each; see `gradients`. Nothing
waits for the device. The notation is that of `Tape`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rondeau.kernels.cuda.filling import bias_of_slots, mask_of_batch, parameters_of
from rondeau.kernels.cuda.gradients import project_input
from rondeau.kernels.cuda.launching import Phases
from rondeau.kernels.cuda.phases import compiled_kernels
from rondeau.kernels.cuda.products import multiply_before, products_of
from rondeau.kernels.recurrent.layout import Layout
from rondeau.kernels.recurrent.ordering import in_buffer_order
from rondeau.kernels.recurrent.records import Adjoints, Run, Sums, Tape, Weights

__all__ = ["backward_through_time", "forward"]

Array = NDArray[Any]


def forward(
    run: Run,
    x: Array,
    weights: Weights,
    inputs: tuple[Array, ...],
    initial: tuple[Array, ...] | None,
    is_first_piece: bool = True,
    save: bool = True,
) -> Tape:
    """Run forward; see `Target`."""
    layout, reverse, settings = run.layout, run.reverse, run.settings
    schedule = run.cell.schedule
    weights = in_buffer_order(schedule, weights)
    like, projection = weights.weight_ih, weights.weight_hr
    N, B, S = layout.num_rows, layout.batch_size, len(schedule.order)
    H = like.shape[0] // S
    P = H if projection is None else projection.shape[0]
    program = schedule.forward
    num_row_values = max(len(program.row_values), len(schedule.backward.row_values) if save else 0)

    def empty(*shape: int) -> Array:
        return np.empty_like(like, shape=shape)

    states = empty(len(run.cell.states), B + N, H)
    has_keep = projection is not None and settings.feature_dropout > 0
    has_mask = schedule.has_input("mask")
    mask = mask_of_batch(layout, settings, settings.dropout, H, like) if has_mask else empty(0, H)
    tape = Tape(
        run, False, x, weights, inputs,
        gates=empty(N, S, H),
        recurrent=empty(N, len(schedule.split), H),
        values=empty(N, len(schedule.values), H),
        row_values=empty(N, 1, num_row_values),
        states=states,
        first=states[0] if projection is None else empty(B + N, P),
        mask=mask.reshape(-1, 1, H),
        keep=mask_of_batch(layout, settings, settings.feature_dropout, P, like) if has_keep else empty(0, P),
    )  # fmt: skip
    first_rows = layout.sent(layout.initial_rows(reverse), like)
    for k, stored in enumerate(tape.storages):
        stored[first_rows] = 0 if initial is None else initial[k]
    project_input(x, weights.weight_ih, tape.gates.reshape(N, S * H))
    products = products_of(schedule, weights.weight_hh, H, settings.num_heads)
    results = {product.name: empty(B, product.num_gates, H) for product in products}
    arrays = {
        "gates": tape.gates, "recurrent": tape.recurrent, "values": tape.values, "row_values": tape.row_values,
        "states": states, "mask": tape.mask, "bias": bias_of_slots(schedule, weights, H),
        "params": parameters_of(weights, H), "carry": empty(B, program.num_lanes, H), **results,
        **_named(run, "input", inputs),
    }  # fmt: skip
    if schedule.draws_numbers:
        arrays["positions"] = layout.sent(layout.positions, like)
    kernels = compiled_kernels(run.cell, "forward", like.dtype)
    phases = Phases(kernels, arrays, schedule, settings, H)
    for row, old, new, count in _steps(layout, reverse):
        hidden = tape.first[old : old + count]
        if has_keep:
            hidden = hidden * tape.keep[:count]
        for number in range(len(phases)):
            multiply_before(number, products, hidden, tape.values[row : row + count], results)
            phases.run(number, count, row, old, new)
        if projection is not None:
            np.matmul(states[0, new : new + count], projection.T, out=tape.first[new : new + count])
    return tape


def backward_through_time(
    tape: Tape,
    d_steps: tuple[Array | None, ...],
    d_final: tuple[Array | None, ...],
    sums: Sums,
    needs_initial: bool,
    consume: bool,
) -> Adjoints:
    """Run backward over all steps; see `Target`."""
    run, weights, layout, settings = tape.run, tape.weights, tape.run.layout, tape.run.settings
    schedule, program = run.cell.schedule, run.cell.schedule.backward
    like, projection = weights.weight_ih, weights.weight_hr
    (N, S, H), B, V = tape.gates.shape, layout.batch_size, len(schedule.values)
    P = tape.first.shape[1]
    gates, recurrent = (tape.gates, tape.recurrent) if consume else (tape.gates.copy(), tape.recurrent.copy())

    def zeros(*shape: int) -> Array:
        return np.zeros_like(like, shape=shape)

    d_states = zeros(len(run.cell.states), B, H)
    # With a projection, the adjoint of the projected state; without, what the product adds to that of the first state.
    d_hidden = zeros(B, P)
    d_first = d_states[0] if projection is None else d_hidden
    for carried, gradient in zip((d_first, *d_states[1:]), d_final, strict=True):
        if gradient is not None:
            carried[...] = gradient
    d_projected = zeros(0 if projection is None else N, P)
    d_values = np.empty_like(like, shape=(V, B, H))
    given = {f"every_{s}": d for s, d in zip(run.cell.states, d_steps, strict=True) if d is not None}
    arrays = {
        "gates": gates, "recurrent": recurrent, "values": tape.values, "row_values": tape.row_values,
        "states": tape.states, "mask": tape.mask, "params": parameters_of(weights, H),
        "carry": np.empty_like(like, shape=(B, program.num_lanes, H)), "d_states": d_states,
        "d_params": sums.params, "d_values": d_values, "product": d_hidden.reshape(B, 1, P), **given,
        **_named(run, "input", tape.inputs), **_named(run, "d_input", sums.inputs),
    }  # fmt: skip
    if schedule.draws_numbers:
        arrays["positions"] = layout.sent(layout.positions, like)
    incoming = frozenset(name.removeprefix("every_") for name in given)
    kernels = compiled_kernels(run.cell, "backward", like.dtype, incoming, projection is not None)
    phases = Phases(kernels, arrays, schedule, settings, H)
    products = products_of(schedule, weights.weight_hh, H, settings.num_heads)
    has_product = any(product.value is None for product in products)
    steps = _steps(layout, run.reverse)
    for step, (row, old, new, count) in reversed(list(enumerate(steps))):
        rows = slice(row, row + count)
        if projection is not None:
            if d_steps[0] is not None:
                d_hidden[:count] += d_steps[0][rows]
            d_projected[rows] = d_hidden[:count]
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
        d_first += d_hidden
    return Adjoints(
        gates.reshape(N, S * H),
        recurrent.reshape(N, len(schedule.split) * H), d_projected, (d_first, *d_states[1:]),
    )  # fmt: skip


def _steps(layout: Layout, reverse: bool) -> list[tuple[int, int, int, int]]:
    """Return, for each step in the order of running, its first row, those of the states around it, and its size."""
    return list(zip(*[numbers.tolist() for numbers in layout.steps(reverse)], strict=True))


def _named(run: Run, kind: str, arrays: tuple[Array | None, ...]) -> dict[str, Array]:
    """Return the arrays of named inputs, or of their adjoints, by the kernels' names."""
    pairs = zip(run.cell.inputs, arrays, strict=True)
    return {f"{kind}_{name}": array for name, array in pairs if array is not None}
