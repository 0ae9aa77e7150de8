"""Choice: the tile with which a persistent kernel takes the fewest clocks, by a model of its work.

The model counts what a multiprocessor does in a step: instructions that its warps issue, four a clock; bytes that it
reads from the second cache, 64 a clock, while it multiplies; and what is waited for one after the other, which are
barriers of blocks, the first number from the second cache, and the chain of the pointwise part. The last are guesses,
not measurements: about a microsecond a barrier. They are the same for all tiles of several blocks, so they decide only
between one block and several, and between this tier and the other.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator
from typing import Any, NamedTuple

from rondeau.kernels.cell.schedule import Schedule
from rondeau.kernels.cuda.persistent.plan import (
    Sizes,
    contractions_of,
    features_of_block,
    row_sums_of,
    shared_elements,
)
from rondeau.kernels.cuda.persistent.tile import WARP, Tile
from rondeau.kernels.runtime.precision import OPERANDS
from rondeau.kernels.runtime.result_cache import cached_while_alive

__all__ = ["CACHE_RATE", "Limits", "Work", "choose_tile", "limits_of", "work_of"]

CACHE_RATE = 64
"""Bytes that a multiprocessor reads from the second cache in a clock."""
_SHARED = 48 * 1024
"""Bytes of shared memory that a kernel may declare."""
_BARRIER, _BLOCK_BARRIER = 1600, 60
"""Clocks of a barrier: of the blocks of a group, and of one block."""
_CACHE, _CHAIN, _SHUFFLES = 270, 450, 250
"""Clocks until the first number comes from the second cache, of the pointwise part of a step, and of the shuffles that
add up a loop's sums over the units."""


class Work(NamedTuple):
    """The work of a multiprocessor in a step, by the model.

    Attributes
    ----------
    rounds : int
        How often it has a block: more than once where blocks need not be there at the same time.
    issued : float
        The instructions of warps that it issues for a block.
    loaded : int
        The bytes that it reads from the second cache for a block: what other blocks have computed.
    waited : int
        The clocks of what comes one after the other.
    """

    rounds: int
    issued: float
    loaded: int
    waited: int

    def clocks(self, rate: int = 4) -> float:
        """Return the clocks of a step, of a multiprocessor that issues so many instructions a clock."""
        return self.rounds * (max(self.issued / rate, self.loaded / CACHE_RATE) + self.waited)


class Limits(NamedTuple):
    """What a device has.

    Attributes
    ----------
    multiprocessors : int
    rounds_operands : bool
        Whether its tensor cores multiply operands in TF32 and bfloat16: those of compute capability 8.0 and later do.
    """

    multiprocessors: int
    rounds_operands: bool = True


@functools.cache
def _limits(library: Any, device: int) -> Limits:
    properties = library.cuda.runtime.getDeviceProperties(device)
    return Limits(int(properties["multiProcessorCount"]), int(properties["major"]) >= 8)


def limits_of(library: Any) -> Limits:
    """Return what the current device has, given CuPy."""
    return _limits(library, library.cuda.runtime.getDevice())


@cached_while_alive
def choose_tile(
    schedule: Schedule,
    direction: str,
    sizes: Sizes,
    batch_size: int,
    limits: Limits,
    precision: str = "highest",
) -> Tile | None:
    """Return the tile for a direction, or None if there is none.

    With several layers it is one for as many runs in a launch, where that takes less time than one after the other.

    Parameters
    ----------
    schedule : Schedule
    direction : {"forward", "backward"}
    sizes : Sizes
    batch_size : int
    limits : Limits
    precision : {"highest", "high", "medium"}
        As of `set_float32_matmul_precision`: how operands may be rounded, so that tensor cores multiply.

    Examples
    --------
    >>> from rondeau.nn import cells
    >>> tile = choose_tile(cells.lstm.schedule, "forward", Sizes(256), 32, Limits(132))
    >>> (-(-256 // tile.units)) * (-(-32 // tile.rows)) <= 132  # all blocks are resident at once
    True
    """
    fastest = _fastest(schedule, direction, sizes, batch_size, limits, precision)
    if fastest is None:
        return None
    clocks, tile = fastest
    if sizes.layers > 1:
        of_one = _fastest(schedule, direction, sizes._replace(layers=1), batch_size, limits, precision)
        assert of_one is not None  # since it takes less room
        if clocks >= sizes.layers * of_one[0]:
            return None
    return tile


def _fastest(
    schedule: Schedule, direction: str, sizes: Sizes, batch_size: int, limits: Limits, precision: str
) -> tuple[float, Tile] | None:
    """Return the clocks of a step with the fastest tile, and that; the arguments are `choose_tile`'s."""
    found: list[tuple[float, Tile]] = []
    allowed = OPERANDS[precision] if limits.rounds_operands else ("float32",)
    for tile in _tiles(sizes.of_head, batch_size, allowed):
        work = work_of(schedule, direction, sizes, batch_size, tile, limits)
        if work is not None:
            found.append((work.clocks(), tile))
    return min(found, default=None)


def _tiles(hidden: int, batch_size: int, allowed: tuple[str, ...]) -> Iterator[Tile]:
    """Yield tiles that are worth a look, for the hidden units of a head."""
    splits = (1, 2, 4, 8, 16)
    for operands in (name for name in allowed if name != "float32"):
        all_rows = (16, 32, 64) if operands == "bfloat16" else (16, 32)  # with 64 of TF32 it spills
        for r, u, warps in itertools.product(all_rows, _units(hidden), (4, 8, 16)):
            for split, direct in itertools.product(splits, (False, True)):
                if r < 2 * max(batch_size, 9) and r * u <= WARP * warps and split <= warps:
                    yield Tile(r, u, warps, split, direct=direct and u < hidden, operands=operands)
    rows = [n for n in (1, 2, 4, 8, 16, 32) if n < 2 * batch_size]
    for r, u, warps in itertools.product(rows, _units(hidden), (4, 8, 16)):
        if r * u > WARP * warps:
            continue
        for split, lanes in itertools.product(splits, (32, 16, 8)):
            if split > warps:
                continue
            yield Tile(r, u, warps, split, lanes)
            if split == warps and lanes == 32 and u < hidden:
                yield Tile(r, u, warps, split, lanes, direct=True)


def _units(hidden: int) -> list[int]:
    return sorted({*(n for n in (4, 8, 16, 24, 32, 64) if n < hidden), -(-hidden // 4) * 4})


def work_of(
    schedule: Schedule, direction: str, sizes: Sizes, batch_size: int, tile: Tile, limits: Limits
) -> Work | None:
    """Return the work of a step with a tile, or None if the tile does not fit; the arguments are `choose_tile`'s."""
    products = contractions_of(schedule, direction, sizes, tile)
    contractions = [c for _, _, c in products]
    row_sums = row_sums_of(schedule, direction, sizes, tile)
    blocks = -(-sizes.of_head // tile.units)
    groups = -(-batch_size // tile.rows) * sizes.heads * sizes.layers
    if not all(c.fits for c in contractions) or features_of_block(sizes, tile) > tile.units:
        return None
    waits = row_sums.waits or (bool(contractions) and blocks > 1)
    if waits and blocks * groups > limits.multiprocessors:
        return None
    shared = shared_elements(products) + row_sums.shared_size
    registers = sum(c.num_weights for c in contractions) + max((c.registers for c in contractions), default=0)
    # about what the rest needs
    registers += 44 + 3 * len(schedule.slots) + 2 * len(schedule.graph.states) + len(schedule.graph.params)
    if blocks > 1:
        # Rows are fetched for each product. With 16 warps the compiler takes up to 18 more registers for a second one.
        registers += (18 if tile.warps == 16 else 9) * len(contractions[1:])
    if tile.operands != "float32" and tile.warps == 16:
        # The compiler fills what is left with loads, and then spills what backward keeps.
        registers += 1 + (0 if direction == "forward" else 6 * len(schedule.graph.params))
    if tile.operands == "tf32" and direction == "backward":
        registers += 6  # rows are loaded ahead, while the adjoints are kept
    if tile.operands == "float32" and tile.warps == 16 and tile.rows > 16:
        # Of a long part of the depth it loads more ahead.
        registers += max((c.own_depth // 2 for c in contractions if c.own_depth > 8), default=0)
    if 4 * shared > _SHARED or registers > tile.max_registers:
        return None
    rounds = -(-groups * blocks // limits.multiprocessors)
    issued = sum(c.instructions() * tile.warps for c in contractions) or float(tile.threads)
    issued += row_sums.instructions() * tile.warps
    between_blocks, in_block = _BARRIER + _CACHE, _BLOCK_BARRIER
    waited = _CHAIN + len(row_sums.rounds) * _SHUFFLES
    waited += row_sums.num_barriers * (between_blocks if row_sums.waits else in_block)
    waited += len({phase for phase, _, _ in products}) * (between_blocks if blocks > 1 else in_block)
    loaded = row_sums.loaded
    if blocks > 1:
        loaded += sum(c.loaded for c in contractions)
    return Work(rounds, issued, loaded, waited)
