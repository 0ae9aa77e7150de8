"""Choice: the tile with which a persistent kernel takes the fewest clocks, by a model of its work.

The numbers are those of a multiprocessor from sm_80 on: four instructions of a warp a clock, and 64 bytes a clock from
the second cache. A barrier of blocks costs about a microsecond, whatever the tile, so it decides only between one block
and several. The model does not predict times: it orders tiles.
"""

from __future__ import annotations

import functools
import itertools
from typing import Any, NamedTuple

from rondeau.kernels.cell.schedule import Schedule
from rondeau.kernels.cuda.persistent.contraction import Contraction, Tile
from rondeau.kernels.cuda.persistent.plan import can_persist, contractions_of

__all__ = ["Limits", "choose_tile", "limits_of"]

_REGISTERS = 65536
"""Of a multiprocessor."""
_MOST_REGISTERS = 255
"""Of a thread."""
_SHARED = 48 * 1024
"""Bytes of shared memory that a kernel may declare."""
_BARRIER, _BLOCK_BARRIER = 1600, 60
"""Clocks: of the blocks of a group, and of one block."""


class Limits(NamedTuple):
    """What a device has.

    Attributes
    ----------
    multiprocessors : int
    """

    multiprocessors: int


@functools.cache
def _limits(library: Any, device: int) -> Limits:
    return Limits(int(library.cuda.runtime.getDeviceProperties(device)["multiProcessorCount"]))


def limits_of(library: Any) -> Limits:
    """Return what the current device has, given CuPy."""
    return _limits(library, library.cuda.runtime.getDevice())


@functools.lru_cache(maxsize=1024)
def choose_tile(
    schedule: Schedule, direction: str, hidden: int, batch_size: int, limits: Limits
) -> Tile | None:
    """Return the tile for a direction, or None if there is none.

    Parameters
    ----------
    schedule : Schedule
    direction : {"forward", "backward"}
    hidden, batch_size : int
    limits : Limits

    Examples
    --------
    >>> from rondeau.nn import cells
    >>> choose_tile(cells.lstm.schedule, "forward", 256, 32, Limits(132)).threads
    256
    """
    if not can_persist(schedule, direction):
        return None
    found: list[tuple[float, Tile]] = []
    for tile in _tiles(hidden, batch_size, direction):
        clocks = _clocks(schedule, direction, hidden, batch_size, tile, limits)
        if clocks is not None:
            found.append((clocks, tile))
    return min(found)[1] if found else None


def _tiles(hidden: int, batch_size: int, direction: str) -> Any:
    """Yield tiles that are worth a look."""
    rows = [n for n in (1, 2, 4, 8, 16, 32) if n < 2 * batch_size]
    units = sorted({*(n for n in (4, 8, 16, 32, 64) if n < hidden), -(-hidden // 4) * 4})
    for r, u, warps in itertools.product(rows, units, (4, 8, 16)):
        if r * u > 32 * warps:
            continue
        for split, lanes in itertools.product((1, 2, 4, 8, 16), (32, 16, 8)):
            if split > warps:
                continue
            yield Tile(r, u, warps, split, lanes)
            if split == warps and lanes == 32 and u < hidden:
                yield Tile(r, u, warps, split, lanes, direct=True)


def _clocks(
    schedule: Schedule, direction: str, hidden: int, batch_size: int, tile: Tile, limits: Limits
) -> float | None:
    """Return the clocks of a step by the model, or None if the tile does not fit."""
    contractions = [c for _, _, c in contractions_of(schedule, direction, hidden, tile)]
    blocks = -(-hidden // tile.units)
    groups = -(-batch_size // tile.rows)
    if not all(c.fits for c in contractions):
        return None
    if contractions and blocks > 1 and blocks * groups > limits.multiprocessors:
        return None
    shared = sum(c.operand_size for c in contractions) + max((c.sums_size for c in contractions), default=0)
    registers = sum(c.num_weights for c in contractions) + _registers_besides(schedule, contractions)
    if 4 * shared > _SHARED or registers > min(_MOST_REGISTERS, _REGISTERS // tile.threads):
        return None
    rounds = -(-groups * blocks // limits.multiprocessors)
    if not contractions:
        return float(rounds * tile.threads)
    issue = sum(_instructions(c) * tile.warps for c in contractions) / 4
    loaded = sum(4 * tile.rows * c.depth for c in contractions) / 64 if blocks > 1 else 0.0
    barriers = len({c.name for c in contractions}) * (_BARRIER if blocks > 1 else _BLOCK_BARRIER)
    return rounds * (max(issue, loaded) + barriers)


def _registers_besides(schedule: Schedule, contractions: list[Contraction]) -> int:
    """Return about how many registers a thread needs besides weights."""
    sums = max((c.at_once * c.own_columns for c in contractions), default=0)
    read = max((0 if c.is_staged else c.at_once * c.own_depth for c in contractions), default=0)
    return 44 + sums + read + 3 * len(schedule.slots) + 2 * len(schedule.graph.states)


def _instructions(c: Contraction) -> float:
    """Return the instructions of a warp for a contraction of all rows of a tile."""
    passes = c.tile.rows // c.at_once
    loads = c.at_once * c.own_depth / c.vector * (1 if c.vector == 4 else c.vector)
    adds = 3 * c.at_once * c.own_columns  # a shuffle, a choice and a sum each
    return passes * (c.at_once * c.own_columns * c.own_depth + loads + adds + 20)
