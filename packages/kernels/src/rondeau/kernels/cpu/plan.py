"""Plan: what all runs of a cell share whose weights have the same sizes and dtype."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rondeau.kernels.cell.schedule import Schedule
from rondeau.kernels.cell.timeline import Program
from rondeau.kernels.cpu.blocks import GATES, parts_of
from rondeau.kernels.recurrent.records import Run, Weights

__all__ = ["Buffers", "Contribution", "Plan", "plan_of"]

Array = NDArray[Any]


class Contribution(NamedTuple):
    """What some gates add to the gradient of the recurrent matrices: the adjoints of their slots times an operand."""

    value: int | None
    """Which of the values that the step computes is the operand; None for the first state before the step."""
    is_joint: bool
    """Whether the slots are in the buffer of all gates, or in that of split gates' recurrent parts."""
    slots: slice
    """The columns of that buffer, seen as (N, slots * H)."""
    rows: slice
    """The rows of the recurrent matrices."""


class Buffers(NamedTuple):
    """How many numbers a direction keeps besides slots and states."""

    carries: int
    """Runs of H of each batch row, which one loop hands to another."""
    row_values: int
    """Single numbers of each row."""

    @staticmethod
    def of(program: Program) -> Buffers:
        """Return those of a program."""
        return Buffers(len(program.carries), len(program.row_values))


class Plan:
    """What a run needs to know of its cell and the sizes of its weights; see `plan_of`.

    Attributes
    ----------
    schedule : Schedule
    dtype : dtype
    H, P, S, R, V : int
        As in `Tape`.
    num_states, num_heads : int
    num_weights : int
        Elements of the recurrent matrices, and so the multiply-adds of a row.
    is_projected, has_mask, draws_numbers : bool
        Whether the first state is projected, and whether the cell has a mask of recurrent dropout and draws random
        numbers at every step.
    contributions : tuple of Contribution
        Those to the gradient of the recurrent matrices.
    phases : dict of str to ndarray
        The addresses of the compiled phases of each direction that ran.
    no_slots, no_units, no_features, no_mask, no_params, no_scalars, no_positions, no_packed : ndarray
        Stand in `Storage` and `Projection` for what the cell does not have, or the direction does not need.
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
        self.has_mask, self.draws_numbers = schedule.has_input("mask"), schedule.has_input("uniform")
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
        self.phases: dict[str, NDArray[np.int64]] = {}
        self.no_slots = np.empty((1, 0, H), dtype)
        self.no_units = np.empty((0, H), dtype)
        self.no_features = np.empty((0, self.P), dtype)
        self.no_mask = np.empty((0, 1, H), dtype)
        self.no_params = np.empty((1, 0, H), dtype)
        self.no_scalars = np.empty((1, 1, 0), dtype)
        self.no_positions = np.empty((0, 2), np.int64)
        self.no_packed = np.empty(0, dtype)

    @functools.cached_property
    def forward(self) -> Buffers:
        """What forward needs where nothing is saved."""
        return Buffers.of(self.schedule.forward)

    @functools.cached_property
    def backward(self) -> Buffers:
        """What backward needs; of a cell whose backward is never asked for none is derived."""
        return Buffers.of(self.schedule.backward)


def plan_of(run: Run, weights: Weights) -> Plan:
    """Return the plan of a run with such weights; the same one for the same cell, sizes and dtype."""
    weight_ih, weight_hr = weights.weight_ih, weights.weight_hr
    P = None if weight_hr is None else weight_hr.shape[0]
    return _plan(run.cell.schedule, weight_ih.dtype, weight_ih.shape[0], P, run.settings.num_heads)


_plan = functools.lru_cache(maxsize=256)(Plan)
