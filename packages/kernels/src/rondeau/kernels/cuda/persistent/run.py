"""Run: the steps of a run in one launch of a persistent kernel."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rondeau.kernels.cell.cell import Cell
from rondeau.kernels.cuda import compiler
from rondeau.kernels.cuda.persistent.choice import choose_tile, limits_of
from rondeau.kernels.cuda.persistent.contraction import Tile
from rondeau.kernels.cuda.persistent.emit import PersistentKernel, emit_persistent
from rondeau.kernels.cuda.persistent.packing import pack_matrices
from rondeau.kernels.cuda.persistent.plan import Sizes
from rondeau.kernels.cuda.phases import kept
from rondeau.kernels.recurrent.records import Tape
from rondeau.kernels.runtime.deferred import require
from rondeau.kernels.runtime.devices import library_of
from rondeau.kernels.runtime.precision import get_float32_matmul_precision

__all__ = ["backward", "forward", "obstacle", "tile_of"]

Array = NDArray[Any]


def tile_of(tape: Tape, direction: str) -> Tile | None:
    """Return the tile with which a direction of a run becomes a persistent kernel, or None if none fits."""
    limits, batch_size = limits_of(library_of(tape.gates)), tape.run.layout.batch_size
    schedule, precision = tape.run.cell.schedule, get_float32_matmul_precision()
    return choose_tile(schedule, direction, _sizes_of(tape), batch_size, limits, precision)


def obstacle(tape: Tape, direction: str, arrays: dict[str, Array]) -> str | None:
    """Return why a direction of a run cannot be one kernel, or None if it can; the kernel is compiled then.

    Parameters
    ----------
    tape : Tape
        In float32.
    direction : {"forward", "backward"}
    arrays : dict of str to ndarray
        What `forward` or `backward` will be given.
    """
    tile = tile_of(tape, direction)
    if tile is None:
        limits = limits_of(library_of(tape.gates))
        return f"its recurrent weights do not fit the {limits.multiprocessors} multiprocessors"
    kernel = _compiled(tape.run.cell, direction, _sizes_of(tape), tile, _incoming(tape, arrays))
    together = _num_groups(tape, tile) * kernel.phase.blocks_of_group if kernel.phase.waits else 1
    if kernel.resident_blocks(tile.threads) < together:
        return "the GPU has no room for all the blocks that must run at once"
    return None


def forward(tape: Tape, arrays: dict[str, Array]) -> None:
    """Run all steps; the arguments are those of `stepwise.forward`."""
    layout, reverse = tape.run.layout, tape.run.reverse
    first_rows = layout.sent(layout.initial_rows(reverse), tape.states)
    initial = np.ascontiguousarray(tape.states[:, first_rows], like=tape.states)
    _launch(tape, "forward", {**arrays, "initial": initial})


def backward(tape: Tape, arrays: dict[str, Array], needs_initial: bool) -> None:
    """Run all steps in the reverse order of forward; the arguments are those of `stepwise.backward`."""
    _launch(tape, "backward", arrays, needs_initial)


def _launch(
    tape: Tape,
    direction: str,
    arrays: dict[str, Array],
    needs_initial: bool = False,
) -> None:
    run, weights, layout = tape.run, tape.weights, tape.run.layout
    cell, settings, schedule = run.cell, run.settings, run.cell.schedule
    B, sizes = layout.batch_size, _sizes_of(tape)
    tile = tile_of(tape, direction)
    assert tile is not None
    kernel = _compiled(cell, direction, sizes, tile, _incoming(tape, arrays))
    source: PersistentKernel = kernel.phase
    groups = _num_groups(tape, tile)
    given = {
        **arrays,
        "steps": layout.sent(layout.table(run.reverse), tape.gates),
        "origins": layout.sent(layout.origins, tape.gates),
        "first_steps": layout.sent(layout.first_steps, tape.gates),
        "arrived": np.zeros_like(tape.gates, np.uint32, shape=1 + groups),
        "partial_sums": np.zeros_like(tape.gates, shape=groups // sizes.heads * source.partial_sums),
    }
    for operand, contraction in source.contractions:
        assert weights.weight_hh is not None
        given[f"weights{contraction.name}"] = pack_matrices(
            schedule, operand, contraction, weights.weight_hh, sizes, direction == "forward"
        )
    numbers = {
        "T": layout.num_steps, "B": B, "N": layout.num_rows, "key": settings.key, "substream": settings.substream,
        "num_row_values": tape.row_values.shape[2], "needs_initial": int(needs_initial),
        **{f"scalar_{k}": settings.scalars[name] for k, name in enumerate(schedule.scalars)},
    }  # fmt: skip
    kernel.launch(
        (groups * source.blocks_of_group, 1), tile.threads,
        *[kernel.argument(_flat(given[name])) for name in source.arrays],
        *[numbers[name] for name in source.numbers],
    )  # fmt: skip
    if source.waits:
        require(given["arrived"][0] == 0, functools.partial(_stuck, cell.name))


def _sizes_of(tape: Tape) -> Sizes:
    return Sizes(tape.gates.shape[2], tape.run.settings.num_heads)


def _incoming(tape: Tape, arrays: dict[str, Array]) -> frozenset[str]:
    """Return the states whose values after every step have an incoming gradient."""
    return frozenset(state for state in tape.run.cell.states if f"every_{state}" in arrays)


def _num_groups(tape: Tape, tile: Tile) -> int:
    """Return the number of groups of blocks that exchange numbers: one for some batch rows and a head."""
    return -(-tape.run.layout.batch_size // tile.rows) * tape.run.settings.num_heads


def _flat(array: Array) -> Array:
    """Return an array in one dimension, never as a copy: what a kernel wrote to one would be lost."""
    assert array.flags.c_contiguous, f"strides {array.strides} of shape {array.shape}"
    return array.reshape(-1)


def _compiled(cell: Cell, direction: str, sizes: Sizes, tile: Tile, incoming: frozenset[str]) -> Any:
    """Return the kernel of a direction; the first call compiles it."""

    def compile_kernel() -> Any:
        source = emit_persistent(cell.name, direction, cell.schedule, sizes, tile, incoming)
        return compiler.Kernel(source, np.dtype(np.float32))

    return kept(cell, ("persistent", direction, sizes, tile, incoming), compile_kernel)


def _stuck(name: str) -> RuntimeError:
    return RuntimeError(
        f"cell {name}: the blocks of a persistent kernel waited for one another in vain, and its results are wrong. "
        "Please report this, with the cell and its sizes"
    )
