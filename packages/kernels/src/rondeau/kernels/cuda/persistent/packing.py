"""Packing: the recurrent matrices in the order in which the lanes of a persistent kernel read them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rondeau.kernels.cell.schedule import Operand, Schedule
from rondeau.kernels.cuda.persistent.contraction import Contraction
from rondeau.kernels.cuda.persistent.plan import Sizes

__all__ = ["pack_matrices"]

Array = NDArray[Any]


def pack_matrices(
    schedule: Schedule,
    operand: Operand,
    contraction: Contraction,
    weight_hh: Array,
    sizes: Sizes,
    is_forward: bool,
) -> Array:
    """Return the weights of a contraction, flat, block after block and head after head.

    Parameters
    ----------
    schedule : Schedule
    operand : Operand
    contraction : Contraction
    weight_hh : ndarray, shape (R * H, H / heads)
        The recurrent matrices, in the order of the buffers.
    sizes : Sizes
    is_forward : bool
        Whether columns are the units of the operand's gates, or in backward the units of the operand.
    """
    units, heads, size = contraction.tile.units, sizes.heads, sizes.of_head
    blocks = -(-size // units)
    order = schedule.joint + schedule.split
    of_gates = weight_hh.reshape(-1, heads, size, size)
    matrices = np.stack([of_gates[order.index(gate)] for gate in (*operand.joint, *operand.split)], axis=1)
    k = matrices.shape[1]
    if is_forward:  # columns (gate, unit), depth the operand's units
        padded = np.zeros_like(weight_hh, shape=(heads, k, blocks * units, size))
        padded[:, :, :size] = matrices
        of_blocks = padded.reshape(heads, k, blocks, units, size).transpose(0, 2, 1, 3, 4)
        return contraction.pack(of_blocks.reshape(heads * blocks, k * units, size))
    # columns the operand's units, depth (gate, unit)
    padded = np.zeros_like(weight_hh, shape=(heads, blocks * units, k * size))
    padded[:, :size] = matrices.reshape(heads, k * size, size).transpose(0, 2, 1)
    return contraction.pack(padded.reshape(heads * blocks, units, k * size))
