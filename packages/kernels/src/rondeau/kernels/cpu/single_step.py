"""A single step on the CPU that is differentiated, each direction in one call of a kernel on the calling thread."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rondeau.kernels.cell.cell import Cell
from rondeau.kernels.cpu.blocks import Blocks, backward_blocks, forward_blocks
from rondeau.kernels.cpu.filling import addresses_of_inputs, parameters_of, scalars_of_run
from rondeau.kernels.cpu.phases import compiled_phases
from rondeau.kernels.cpu.plan import Plan, plan_of
from rondeau.kernels.cpu.single_step_driver import (
    KERNELS,
    ContributionRow,
    Program,
    StepArguments,
    StepGradients,
    StepWeights,
)
from rondeau.kernels.product.pairs import packed_dtype
from rondeau.kernels.recurrent.layout import Layout
from rondeau.kernels.recurrent.ordering import in_buffer_order, in_weight_order
from rondeau.kernels.recurrent.records import Gradients, Needs, Run, Settings, Weights
from rondeau.kernels.runtime import buffers, threads
from rondeau.kernels.runtime.result_cache import cached_while_alive

__all__ = ["Saved", "Step", "step_alone"]

Array = NDArray[Any]


class Saved(NamedTuple):
    """The values that a step keeps for its backward."""

    step: Step
    given: StepArguments
    from_zero: bool
    """As for `Tape`."""
    settings: Settings
    weights: Weights
    inputs: tuple[Array, ...]


class Step:
    """A step of a cell with weights of some sizes and a dtype, an implementation of `SingleStep`."""

    def __init__(self, cell: Cell, plan: Plan, packed: np.dtype[Any]) -> None:
        self._cell, self._plan, self._packed = cell, plan, packed
        self._kernels, schedule, H = KERNELS[plan.dtype, packed], plan.schedule, plan.H
        self._row_values = max(len(schedule.forward.row_values), len(schedule.backward.row_values))
        # The numbers of a tape for every row.
        self._numbers = (plan.S + plan.R + plan.V + 2 * plan.num_states) * H + self._row_values
        self._no_matrix, self._no_vector = np.empty((0, H), plan.dtype), np.empty(0, plan.dtype)

    def forward(
        self,
        settings: Settings,
        x: Array,
        weights: Weights,
        initial: tuple[Array, ...] | None,
        inputs: tuple[Array, ...],
    ) -> tuple[tuple[Array, ...], Saved]:
        """Run a step; see `SingleStep`."""
        plan, B, program = self._plan, len(x), self._forward_program
        tape = buffers.empty(B * self._numbers, plan.dtype)
        given = self._given(tape, settings, x, self._arranged(weights), inputs)
        after = np.empty((plan.num_states, B, plan.H), plan.dtype)
        before, packed = _together(initial, after), buffers.empty(program.packed, self._packed)
        from_zero = self._kernels.forward(program, given, before, after, packed)
        return tuple(after), Saved(self, given, from_zero, settings, weights, inputs)

    def backward(
        self,
        saved: Saved,
        d_states: tuple[Array | None, ...],
        d_inputs: tuple[Array | None, ...],
        needs: Needs,
        consume: bool,
    ) -> Gradients:
        """Differentiate a step; see `SingleStep`."""
        _, given, from_zero, settings, weights, inputs = saved
        if inputs:
            given = self._given(given.tape, settings, given.x, given.weights, (*inputs, *d_inputs))
        if not consume:
            given = given._replace(tape=given.tape.copy())
        plan, program, x = self._plan, self._backward_program, given.x
        B, dtype = len(x), plan.dtype
        d_x = np.empty((B if needs.x else 0, x.shape[1]), dtype)
        d_before = np.empty((plan.num_states, B, plan.H), dtype)
        d_weights = StepWeights(*[np.empty(weight.shape, dtype) for weight in given.weights])
        wanted = StepGradients(d_x, d_before, d_weights, needs.initial, needs.weights)
        packed = buffers.empty(program.packed, self._packed)
        self._kernels.backward(program, given, from_zero, _together(d_states, d_before), wanted, packed)
        return Gradients(
            d_x if needs.x else None,
            tuple(d_before) if needs.initial else None,
            self._in_shape_of(weights, d_weights) if needs.weights else Weights(None, None),
            d_inputs,
        )

    @cached_while_alive
    def shapes(self, B: int, I: int) -> tuple[tuple[int, ...], ...]:  # noqa: E741
        """Return the shapes of the arguments; see `SingleStep`."""
        cell, H = self._cell, self._plan.H
        columns, recurrent = len(cell.gates) * H, len(cell.recurrent) * H
        return (
            (columns, I), (recurrent, H), (columns,), (recurrent,), (B, I), *[(H,)] * len(cell.params),
            *[(B, H)] * len(cell.states), *[(B, 1 if name in cell.forms.numbers else H) for name in cell.inputs],
        )  # fmt: skip

    @functools.cached_property
    def _forward_program(self) -> Program:
        H, lanes = self._plan.H, self._plan.forward.lanes
        return self._program("forward", forward_blocks(self._plan.schedule, H, H, 1, (0, H)), lanes)

    @functools.cached_property
    def _backward_program(self) -> Program:  # nothing is derived for a cell whose backward never runs
        H, lanes = self._plan.H, self._plan.backward.lanes
        return self._program("backward", backward_blocks(self._plan.schedule, H, H, 1, False, (0, H)), lanes)

    def _program(self, direction: str, blocks: Blocks, lanes: int) -> Program:
        plan = self._plan
        parts = [
            ContributionRow(
                -1 if part.value is None else part.value, part.is_joint, part.slots.start, part.rows.start,
                part.rows.stop - part.rows.start,
            )
            for part in plan.contributions
        ]  # fmt: skip
        return Program(
            compiled_phases(self._cell, direction, plan.dtype), blocks.table, blocks.ends,
            np.array(parts, np.int64).reshape(-1, len(ContributionRow._fields)), blocks.packed_size, lanes,
            len(plan.schedule.joint), plan.R, plan.V, self._row_values,
        )  # fmt: skip

    def _arranged(self, weights: Weights) -> StepWeights:
        """Return the weights as the kernels take them."""
        plan = self._plan
        weight_ih, weight_hh, bias_ih, bias_hh, _, params = in_buffer_order(plan.schedule, weights)
        return StepWeights(
            weight_ih,
            self._no_matrix if weight_hh is None else weight_hh,
            self._no_vector if bias_ih is None else bias_ih,
            self._no_vector if bias_hh is None else bias_hh,
            parameters_of(weights, plan.H, plan.dtype) if params else plan.no_params,
        )

    def _in_shape_of(self, weights: Weights, found: StepWeights) -> Weights:
        """Return the gradients of weights in the order and the shapes of these."""
        gradients = Weights(
            found.weight_ih,
            None if weights.weight_hh is None else found.weight_hh,
            None if weights.bias_ih is None else found.bias_ih,
            None if weights.bias_hh is None else found.bias_hh,
            params=tuple(found.params[0]) if weights.params else (),
        )
        return in_weight_order(self._plan.schedule, gradients)

    def _given(
        self,
        tape: Array,
        settings: Settings,
        x: Array,
        weights: StepWeights,
        inputs: tuple[Array | None, ...],
    ) -> StepArguments:
        plan = self._plan
        return StepArguments(
            tape, x, weights,
            scalars_of_run(plan.schedule, settings, plan.dtype) if plan.schedule.scalars else plan.no_scalars,
            addresses_of_inputs(*inputs) if inputs else plan.no_inputs,
            Layout.dense(1, len(x)).positions if plan.draws_numbers else plan.no_positions,
            settings.key, settings.substream,
        )  # fmt: skip


def step_alone(run: Run, weights: Weights, x: Array) -> Step | None:
    """Return the step of a run if this target has it in one call, for one thread; see `Target`."""
    plan, (B, I) = plan_of(run, weights), x.shape  # noqa: E741 - the field's letter
    work = B * max(plan.num_weights, plan.S * plan.H * I)  # of the larger product
    if plan.is_projected or plan.has_mask or plan.num_heads > 1 or threads.shares_of(work) > 1:
        return None
    return _step(run.cell, plan, packed_dtype(plan.dtype))


@cached_while_alive
def _step(cell: Cell, plan: Plan, packed: np.dtype[Any]) -> Step:
    return Step(cell, plan, packed)


def _together(states: tuple[Array | None, ...] | None, like: Array) -> Array:
    """Return states as one array (K, B, H), with zeros for None."""
    if states is not None and len(states) == 1 and states[0] is not None:
        return states[0].reshape(like.shape)
    together = np.zeros_like(like)
    for k, state in enumerate(states or ()):
        if state is not None:
            together[k] = state
    return together
