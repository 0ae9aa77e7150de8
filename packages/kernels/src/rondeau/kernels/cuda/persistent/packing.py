"""Packing: the recurrent matrices in the order in which the lanes of a persistent kernel read them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rondeau.kernels.cell.schedule import Operand, Schedule
from rondeau.kernels.cuda.persistent.contraction import Contraction
from rondeau.kernels.cuda.persistent.plan import Sizes
from rondeau.kernels.recurrent.records import Weights

__all__ = ["pack_matrices"]

Array = NDArray[Any]


def pack_matrices(
    schedule: Schedule,
    operand: Operand | None,
    contraction: Contraction,
    weights: Weights,
    sizes: Sizes,
    is_forward: bool,
) -> Array:
    """Return the weights of a contraction, flat, block after block and head after head.

    Parameters
    ----------
    schedule : Schedule
    operand : Operand or None
        None for the projection.
    contraction : Contraction
    weights : Weights
        In the order of the buffers.
    sizes : Sizes
    is_forward : bool
        Whether columns are what the matrices give, or in backward what they are given.
    """
    matrices = _matrices(schedule, operand, weights, sizes)
    heads, k, size, width = matrices.shape
    columns = contraction.columns
    blocks = -(-sizes.of_head // contraction.tile.units)
    if is_forward:  # columns (gate, unit), depth the operand's units
        own = columns // k
        padded = np.zeros_like(matrices, shape=(heads, k, blocks * own, width))
        padded[:, :, :size] = matrices
        of_blocks = padded.reshape(heads, k, blocks, own, width).transpose(0, 2, 1, 3, 4)
        return contraction.pack(of_blocks.reshape(heads * blocks, columns, width))
    # columns the operand's units, depth (gate, unit)
    padded = np.zeros_like(matrices, shape=(heads, blocks * columns, k * size))
    padded[:, :width] = matrices.reshape(heads, k * size, width).transpose(0, 2, 1)
    return contraction.pack(padded.reshape(heads * blocks, columns, k * size))


def _matrices(schedule: Schedule, operand: Operand | None, weights: Weights, sizes: Sizes) -> Array:
    """Return the matrices of a product by head and gate: (heads, k, H / heads, H / heads), or with P of them."""
    if operand is None:
        projection: Array = weights.weight_hr
        return projection[np.newaxis, np.newaxis]
    assert weights.weight_hh is not None  # since it has a gate
    order = schedule.joint + schedule.split
    of_gates = weights.weight_hh.reshape(-1, sizes.heads, sizes.of_head, weights.weight_hh.shape[1])
    return np.stack([of_gates[order.index(gate)] for gate in (*operand.joint, *operand.split)], axis=1)
