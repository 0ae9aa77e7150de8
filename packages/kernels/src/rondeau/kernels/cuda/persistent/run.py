"""Run: the steps of a run, or of two at the same time, in one launch of a persistent kernel."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rondeau.kernels.cell.cell import Cell
from rondeau.kernels.cuda import compiler
from rondeau.kernels.cuda.persistent.choice import choose_tile, limits_of
from rondeau.kernels.cuda.persistent.emit import SECOND, PersistentKernel, emit_persistent
from rondeau.kernels.cuda.persistent.packing import pack_matrices
from rondeau.kernels.cuda.persistent.plan import Sizes
from rondeau.kernels.cuda.persistent.tile import Tile
from rondeau.kernels.cuda.phases import kept
from rondeau.kernels.recurrent.records import Tape
from rondeau.kernels.runtime.deferred import require
from rondeau.kernels.runtime.devices import library_of
from rondeau.kernels.runtime.precision import get_float32_matmul_precision

__all__ = [
    "backward",
    "backward_both",
    "forward",
    "forward_both",
    "incoming_states",
    "obstacle",
    "sizes_of",
    "tile_of",
]

Array = NDArray[Any]


def tile_of(tape: Tape, direction: str, layers: int = 1) -> Tile | None:
    """Return the tile with which a direction of a run, or of some such runs, becomes a persistent kernel, or None.

    See `choose_tile`, which keeps what it chose.
    """
    run, limits = tape.run, limits_of(library_of(tape.gates))
    return choose_tile(
        run.cell.schedule, direction, sizes_of(tape, layers), run.layout.batch_size, limits,
        get_float32_matmul_precision(),
    )  # fmt: skip


def obstacle(tape: Tape, direction: str, arrays: dict[str, Array], layers: int = 1) -> str | None:
    """Return why a direction of a run cannot be one kernel, or None if it can; the kernel is compiled then.

    Parameters
    ----------
    tape : Tape
        In float32.
    direction : {"forward", "backward"}
    arrays : dict of str to ndarray
        What `forward` or `backward` will be given.
    layers : int
        How many such runs are to be one kernel.
    """
    tile = tile_of(tape, direction, layers)
    if tile is None:
        limits = limits_of(library_of(tape.gates))
        return f"its weights and sequences do not fit the {limits.multiprocessors} multiprocessors at once"
    sizes = sizes_of(tape, layers)
    kernel = _compiled(tape.run.cell, direction, sizes, tile, incoming_states(arrays))
    together = _num_groups(tape, tile, layers) * kernel.phase.blocks_of_group if kernel.phase.waits else 1
    if kernel.resident_blocks(tile.threads) < together:
        return "the GPU has no room for all the blocks that must run at once"
    return None


def forward(tape: Tape, arrays: dict[str, Array]) -> None:
    """Run all steps; the arguments are those of `stepwise.forward`."""
    _launch("forward", [(tape, arrays, False)])


def backward(tape: Tape, arrays: dict[str, Array], needs_initial: bool) -> None:
    """Run all steps in the reverse order of forward; the arguments are those of `stepwise.backward`."""
    _launch("backward", [(tape, arrays, needs_initial)])


def forward_both(layers: Sequence[tuple[Tape, dict[str, Array]]]) -> None:
    """Run two layers of the same cell, layout and sizes in one launch, given the arguments of `forward` for each."""
    _launch("forward", [(*layer, False) for layer in layers])


def backward_both(layers: Sequence[tuple[Tape, dict[str, Array], bool]]) -> None:
    """Do the same for backward. The same states must have incoming gradients."""
    _launch("backward", layers)


def incoming_states(arrays: dict[str, Array]) -> frozenset[str]:
    """Return the states whose values after every step have an incoming gradient among the arrays of backward."""
    begin = "every_"
    return frozenset(name.removeprefix(begin) for name in arrays if name.startswith(begin))


def _launch(direction: str, layers: Sequence[tuple[Tape, dict[str, Array], bool]]) -> None:
    first, arrays, _ = layers[0]
    cell = first.run.cell
    tile = tile_of(first, direction, len(layers))
    assert tile is not None
    kernel = _compiled(cell, direction, sizes_of(first, len(layers)), tile, incoming_states(arrays))
    source: PersistentKernel = kernel.phase
    groups = _num_groups(first, tile, len(layers))
    given, numbers = _parameters(source, direction, *layers[0])
    given["arrived"] = np.zeros_like(first.gates, np.uint32, shape=1 + groups)
    for _, contraction in source.contractions:
        if contraction.exchange_stride:
            shape = (groups * tile.rows, 2, contraction.exchange_stride)
            given[f"exchange{contraction.name}"] = np.zeros_like(first.gates, np.uint16, shape=shape)
    for layer in layers[1:]:
        for parameters, found in zip((given, numbers), _parameters(source, direction, *layer), strict=True):
            parameters.update({f"{SECOND}{name}": value for name, value in found.items()})
    kernel.launch(
        (groups * source.blocks_of_group, 1), tile.threads,
        *[kernel.argument(_flat(given[name])) for name in source.arrays],
        *[numbers[name] for name in source.numbers],
    )  # fmt: skip
    if source.waits:
        require(given["arrived"][0] == 0, functools.partial(_stuck, cell.name))


def _parameters(
    source: PersistentKernel, direction: str, tape: Tape, arrays: dict[str, Array], needs_initial: bool
) -> tuple[dict[str, Array], dict[str, Any]]:
    """Return the arrays and numbers of a layer by the kernel's names."""
    run, weights, layout = tape.run, tape.weights, tape.run.layout
    settings, schedule, is_forward = run.settings, run.cell.schedule, direction == "forward"
    given = {
        **arrays,
        "steps": layout.sent(layout.table(run.reverse), tape.gates),
        "origins": layout.sent(layout.origins, tape.gates),
        "first_steps": layout.sent(layout.first_steps, tape.gates),
        "partial_sums": np.zeros_like(
            tape.gates, shape=-(-layout.batch_size // source.tile.rows) * source.partial_sums
        ),
    }
    if is_forward:
        first_rows = layout.sent(layout.initial_rows(run.reverse), tape.states)
        given["initial"] = np.ascontiguousarray(tape.states[:, first_rows], like=tape.states)
    if weights.weight_hr is not None:
        given["keep_features"] = keep = _keep_features(tape)
        if is_forward:
            given |= {"first": tape.first, "carried": tape.first[first_rows] * keep}
    for operand, contraction in source.contractions:
        given[f"weights{contraction.name}"] = pack_matrices(
            schedule, operand, contraction, weights, sizes_of(tape), is_forward
        )
    numbers = {
        "T": layout.num_steps, "B": layout.batch_size, "N": layout.num_rows, "key": settings.key,
        "substream": settings.substream, "num_row_values": tape.row_values.shape[2],
        "needs_initial": int(needs_initial),
        **{f"scalar_{k}": settings.scalars[name] for k, name in enumerate(schedule.scalars)},
    }  # fmt: skip
    return given, numbers


def _keep_features(tape: Tape) -> Array:
    """Return the mask of recurrent dropout over the features of the projected state, (B, P); ones without dropout."""
    if tape.keep.size:
        return tape.keep
    return np.ones_like(tape.first, shape=(tape.run.layout.batch_size, tape.first.shape[1]))


def sizes_of(tape: Tape, layers: int = 1) -> Sizes:
    """Return what the kernels of a run are made for, or of two such runs in one launch."""
    projection = tape.weights.weight_hr
    projected = 0 if projection is None else projection.shape[0]
    return Sizes(tape.gates.shape[2], tape.run.settings.num_heads, projected, layers)


def _num_groups(tape: Tape, tile: Tile, layers: int) -> int:
    """Return the number of groups of blocks that exchange numbers: one for some batch rows, a head and a layer."""
    return -(-tape.run.layout.batch_size // tile.rows) * tape.run.settings.num_heads * layers


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
