"""The plan of each tier before it is measured: what a step must move and compute, and how long that should take.

Of a kernel of all steps, what the model of `rondeau.kernels.cuda.persistent.choice` says in clocks, in microseconds of
a GPU; of the tier step by step, what Python's launches take. Beside both, what no program could do without.
`tools.cuda_page` writes them into a page.
"""

from __future__ import annotations

from typing import NamedTuple

from rondeau.kernels.cell.schedule import Schedule
from rondeau.kernels.cuda.emit import emit
from rondeau.kernels.cuda.persistent.choice import CACHE_RATE, Limits, Work, choose_tile, work_of
from rondeau.kernels.cuda.persistent.plan import Sizes, contractions_of, row_sums_of
from rondeau.kernels.cuda.persistent.tile import Tile
from rondeau.nn import cells

__all__ = ["A100", "GPU", "H200", "LAUNCH", "Plan", "Stepwise", "plan_of", "stepwise"]

LAUNCH = 10.0
"""Microseconds from one launch to the next, of CuPy's products and numba-cuda's kernels by turns: a guess."""


class GPU(NamedTuple):
    """A GPU, by its datasheet.

    Attributes
    ----------
    multiprocessors : int
    clocks : float
        In a microsecond.
    issued : int
        The float32 instructions of a warp that a multiprocessor begins in a clock.
    bandwidth : float
        Of its memory, bytes a microsecond.
    """

    multiprocessors: int
    clocks: float
    issued: int
    bandwidth: float

    @property
    def flops(self) -> float:
        """The float32 operations in a microsecond."""
        return self.multiprocessors * self.clocks * self.issued * 32 * 2

    def floor(self, flops: int, memory: int) -> float:
        """Return the microseconds of float32 operations at the full rate, or of bytes of memory, if that is longer."""
        return max(flops / self.flops, memory / self.bandwidth)


H200 = GPU(132, 1755, 4, 4.8e6)
A100 = GPU(108, 1410, 2, 2.0e6)


class Plan(NamedTuple):
    """A step of a direction of a layer.

    Attributes
    ----------
    tile : Tile
    blocks, groups : int
        The blocks of a group, which share batch rows and wait for one another, and the groups.
    work : Work
    flops : int
        Multiplications and additions of the recurrent products.
    memory : int
        At most so many bytes of memory are read and written: slots, saved values, states, and in backward the adjoints.
    exchanged : int
        The bytes that all multiprocessors together read of what other blocks have computed.
    barriers : int
        How often blocks wait for one another.
    gpu : GPU
    """

    tile: Tile
    blocks: int
    groups: int
    work: Work
    flops: int
    memory: int
    exchanged: int
    barriers: int
    gpu: GPU

    @property
    def issuing(self) -> float:
        """The microseconds of the instructions alone."""
        return self.work.rounds * self.work.issued / self.gpu.issued / self.gpu.clocks

    @property
    def predicted(self) -> float:
        """The microseconds of a step."""
        return self.work.clocks(self.gpu.issued) / self.gpu.clocks

    @property
    def floor(self) -> float:
        """The microseconds in which no program in float32 can be faster."""
        return self.gpu.floor(self.flops, self.memory)


class Stepwise(NamedTuple):
    """A step of a direction of a layer in the tier that launches products and kernels for each step.

    Attributes
    ----------
    launches : int
        Products, and kernels of phases.
    flops, memory : int
        As of `Plan`.
    weights : int
        The bytes of the recurrent weights, which each step reads again, from the second cache at best.
    gpu : GPU
    """

    launches: int
    flops: int
    memory: int
    weights: int
    gpu: GPU

    @property
    def predicted(self) -> float:
        """The microseconds of a step: of Python, which issues launches, or of the GPU, if that is longer."""
        read = self.weights / (CACHE_RATE * self.gpu.multiprocessors * self.gpu.clocks)
        return max(self.launches * LAUNCH, read + self.floor)

    @property
    def floor(self) -> float:
        """The microseconds in which no program in float32 can be faster."""
        return self.gpu.floor(self.flops, self.memory)


def plan_of(
    cell: str, direction: str, hidden: int, batch_size: int, gpu: GPU = H200, precision: str = "highest"
) -> Plan | None:
    """Return the plan of a direction of a layer, or None if it runs step by step.

    Examples
    --------
    >>> from tools.cuda_plan import plan_of
    >>> plan = plan_of("lstm", "forward", 512, 32)
    >>> plan.flops == 2 * 32 * 512 * 4 * 512
    True
    """
    schedule, sizes = getattr(cells, cell).schedule, Sizes(hidden)
    limits = Limits(gpu.multiprocessors)
    tile = choose_tile(schedule, direction, sizes, batch_size, limits, precision)
    if tile is None:
        return None
    work = work_of(schedule, direction, sizes, batch_size, tile, limits)
    assert work is not None
    blocks, groups = -(-hidden // tile.units), -(-batch_size // tile.rows)
    barriers = len({phase for phase, _, _ in contractions_of(schedule, direction, sizes, tile)})
    row_sums = row_sums_of(schedule, direction, sizes, tile)
    return Plan(
        tile, blocks, groups, work,
        flops=2 * batch_size * _weights(schedule, hidden),
        memory=4 * batch_size * hidden * _moved(schedule, direction),
        exchanged=work.loaded * blocks * groups,
        barriers=barriers * (blocks > 1) + row_sums.num_barriers * row_sums.waits,
        gpu=gpu,
    )  # fmt: skip


def stepwise(cell: str, direction: str, hidden: int, batch_size: int, gpu: GPU = H200) -> Stepwise:
    """Return the plan of a direction of a layer that runs step by step.

    Examples
    --------
    >>> from tools.cuda_plan import stepwise
    >>> stepwise("lstm", "forward", 1024, 64).launches  # the product, and the kernel of its only phase
    2
    """
    schedule = getattr(cells, cell).schedule
    launches = len(emit(cell, direction, schedule, "float32"))
    for operand in schedule.operands:
        # In backward the adjoints of joint and of split gates lie apart: two products, and their sum.
        in_two = direction == "backward" and operand.joint and operand.split
        launches += 3 if in_two else 1
    return Stepwise(
        launches,
        flops=2 * batch_size * _weights(schedule, hidden),
        memory=4 * batch_size * hidden * _moved(schedule, direction),
        weights=4 * _weights(schedule, hidden),
        gpu=gpu,
    )


def _weights(schedule: Schedule, hidden: int) -> int:
    """Return the number of recurrent weights."""
    return hidden**2 * sum(len(operand.joint) + len(operand.split) for operand in schedule.operands)


def _moved(schedule: Schedule, direction: str) -> int:
    """Return the numbers of a unit and row that a step reads and writes in memory, at most."""
    slots, split = len(schedule.order), len(schedule.split)
    others = len(schedule.values) + len(schedule.graph.states)
    if direction == "forward":  # reads the input's part of the slots, and saves them
        return 2 * slots + split + others
    return 2 * (slots + split) + others + 1  # reads them, and leaves their adjoints
