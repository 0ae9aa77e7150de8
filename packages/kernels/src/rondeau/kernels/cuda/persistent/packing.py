"""Packing: the recurrent matrices in the order in which the lanes of a persistent kernel read them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rondeau.kernels.cell.schedule import Operand, Schedule
from rondeau.kernels.cuda.persistent.contraction import Contraction

__all__ = ["pack_matrices"]

Array = NDArray[Any]


def pack_matrices(
    schedule: Schedule,
    operand: Operand,
    contraction: Contraction,
    weight_hh: Array,
    hidden: int,
    is_forward: bool,
) -> Array:
    """Return the weights of a contraction, flat, block after block.

    Parameters
    ----------
    schedule : Schedule
    operand : Operand
    contraction : Contraction
    weight_hh : ndarray, shape (R * H, H)
        The recurrent matrices, in the order of the buffers.
    hidden : int
    is_forward : bool
        Whether columns are the units of the operand's gates, or in backward the units of the operand.
    """
    units = contraction.tile.units
    blocks = -(-hidden // units)
    order = schedule.joint + schedule.split
    of_gates = weight_hh.reshape(-1, hidden, hidden)
    matrices = np.stack([of_gates[order.index(gate)] for gate in (*operand.joint, *operand.split)])
    k = len(matrices)
    if is_forward:  # columns (gate, unit), depth the operand's units
        padded = np.zeros_like(weight_hh, shape=(k, blocks * units, hidden))
        padded[:, :hidden] = matrices
        of_blocks = padded.reshape(k, blocks, units, hidden).transpose(1, 0, 2, 3)
        return contraction.pack(of_blocks.reshape(blocks, k * units, hidden))
    # columns the operand's units, depth (gate, unit)
    padded = np.zeros_like(weight_hh, shape=(blocks * units, k * hidden))
    padded[:hidden] = matrices.reshape(k * hidden, hidden).T
    return contraction.pack(padded.reshape(blocks, units, k * hidden))
