"""Plan: the facts that all runs of a cell share if their weights have the same sizes and dtype."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rondeau.kernels.cell.schedule import Schedule
from rondeau.kernels.cell.timeline import Program
from rondeau.kernels.cpu.blocks import GATES, parts_of
from rondeau.kernels.numerics.elements import PAIRS
from rondeau.kernels.recurrent.records import Run, Weights
from rondeau.kernels.runtime.result_cache import MOST_RESULTS

__all__ = ["Buffers", "Contribution", "Plan", "plan_of"]

Array = NDArray[Any]


class Contribution(NamedTuple):
    """The part of the recurrent matrices' gradient from some gates: the adjoints of their slots times an operand."""

    value: int | None
    """The index of the operand among the values that the step computes; None for the first state before the step."""
    is_joint: bool
    """Whether the slots are in the buffer of all gates, rather than in that of the recurrent parts of split gates."""
    slots: slice
    """The columns of that buffer, taken as (N, slots * H)."""
    rows: slice
    """The rows of the recurrent matrices."""


class Buffers(NamedTuple):
    """The numbers that a direction keeps besides slots and states."""

    lanes: int
    """Runs of H numbers per batch row that are carried from one loop to another, or from a prologue."""
    row_values: int
    """Single numbers per row."""

    @staticmethod
    def of(program: Program) -> Buffers:
        """Return the buffers of a program."""
        return Buffers(program.num_lanes, len(program.row_values))


class Plan:
    """The facts about its cell and the sizes of its weights that a run needs; see `plan_of`.

    Attributes
    ----------
    schedule : Schedule
    dtype : dtype
    H, P, S, R, V : int
        As for `Tape`.
    num_states, num_heads : int
    num_weights : int
        The number of elements of the recurrent matrices, and so of multiply-adds per row.
    is_projected, has_mask, draws_numbers : bool
        Whether the first state is projected, and whether the cell has a mask of recurrent dropout and draws random
        numbers at every step.
    contributions : tuple of Contribution
        The contributions to the gradient of the recurrent matrices.
    no_slots, no_units, no_features, no_mask, no_params, no_scalars, no_inputs, no_positions : ndarray
        Empty arrays for the fields of `Storage` and `Projection` that the cell or the direction does not need.
    no_packed : dict of dtype to ndarray
        The same for packed operands of each dtype.
    """

    def __init__(
        self, schedule: Schedule, dtype: np.dtype[Any], rows: int, P: int | None, num_heads: int
    ) -> None:
        self.schedule, self.dtype = schedule, dtype
        self.S, self.R, self.V = len(schedule.order), len(schedule.split), len(schedule.values)
        self.H = H = rows // self.S
        self.is_projected, self.P = P is not None, H if P is None else P
        self.num_states, self.num_heads = len(schedule.graph.states), num_heads
        self.num_weights = len(schedule.recurrent) * H * (self.P if num_heads == 1 else H // num_heads)
        self.has_mask, self.draws_numbers = schedule.has_input("mask"), schedule.draws_numbers
        self.contributions = tuple(
            Contribution(
                None if operand.node is None else schedule.values.index(operand.node),
                part.slots == GATES,
                slice(part.slot_column, part.slot_column + part.gates * H),
                slice(part.weight_row, part.weight_row + part.gates * H),
            )
            for operand in schedule.operands
            for part in parts_of(schedule, operand, H)
        )
        self.no_slots = np.empty((1, 0, H), dtype)
        self.no_units = np.empty((0, H), dtype)
        self.no_features = np.empty((0, self.P), dtype)
        self.no_mask = np.empty((0, 1, H), dtype)
        self.no_params = np.empty((1, 0, H), dtype)
        self.no_scalars = np.empty((1, 1, 0), dtype)
        self.no_inputs = np.empty(0, np.int64)
        self.no_positions = np.empty((0, 2), np.int64)
        self.no_packed = {packed: np.empty(0, packed) for packed in (dtype, PAIRS.dtype)}

    @functools.cached_property
    def forward(self) -> Buffers:
        """The buffers that forward needs if nothing is saved."""
        return Buffers.of(self.schedule.forward)

    @functools.cached_property
    def backward(self) -> Buffers:
        """The buffers that backward needs; nothing is derived for a cell whose backward never runs."""
        return Buffers.of(self.schedule.backward)


def plan_of(run: Run, weights: Weights) -> Plan:
    """Return the plan for a run with such weights; equal cell, sizes and dtype give the same object."""
    schedule, weight_ih, weight_hr = run.cell.schedule, weights.weight_ih, weights.weight_hr
    P = None if weight_hr is None else weight_hr.shape[0]
    key = weight_ih.dtype, weight_ih.shape[0], P, run.settings.num_heads
    try:
        return schedule.kept[key]  # type: ignore[no-any-return]
    except KeyError:
        pass
    # As `cached_while_alive` does, without a call where the plan is there: a training step asks three times.
    if len(schedule.kept) >= MOST_RESULTS:
        schedule.kept.clear()
    return schedule.kept.setdefault(key, Plan(schedule, *key))  # type: ignore[no-any-return]
