"""Weights in int8, with a scale for each row: the rounding of `layer.stepper(weights="int8")`."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rondeau.export._description import Affine, Block, Description, Layer, Lookup

__all__ = ["quantise_rows", "with_rounded_weights"]

_LARGEST = 127


def quantise_rows(matrix: NDArray[Any]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Round every row of a matrix to int8, with a scale of its own.

    Parameters
    ----------
    matrix : ndarray of float32, shape (O, K)

    Returns
    -------
    numbers : ndarray of int8, shape (O, K)
        From -127 to 127, rounded to the nearest, ties to even.
    scales : ndarray of float32, shape (O,)
        A row's largest magnitude divided by 127: no weight is off by more than half of it.

    Examples
    --------
    >>> numbers, scales = quantise_rows(np.array([[0.5, -1.0, 0.0]], np.float32))
    >>> numbers.tolist(), float(scales[0] * 127)
    ([[64, -127, 0]], 1.0)
    """
    largest = np.abs(matrix).max(1, initial=0).astype(np.float32)
    scales = largest / np.float32(_LARGEST)
    divisors = np.where(scales > 0, scales, np.float32(1))
    numbers = np.clip(np.rint(matrix / divisors[:, None]), -_LARGEST, _LARGEST)
    return numbers.astype(np.int8), scales


def with_rounded_weights(description: Description) -> Description:
    """Return a model whose matrices have the values that they have in int8."""
    return description._replace(blocks=tuple(_rounded_block(block) for block in description.blocks))


def _rounded_block(block: Block) -> Block:
    if isinstance(block, Lookup):
        return block._replace(table=_rounded(block.table.T).T)
    if isinstance(block, Affine):
        return block._replace(weight=_rounded(block.weight))
    if not isinstance(block, Layer):
        return block
    weights = block.weights
    matrices = {name: getattr(weights, name) for name in ("weight_ih", "weight_hh", "weight_hr")}
    rounded: dict[str, Any] = {
        name: _rounded(matrix) for name, matrix in matrices.items() if matrix is not None
    }
    return block._replace(weights=weights._replace(**rounded))


def _rounded(matrix: NDArray[Any]) -> NDArray[Any]:
    numbers, scales = quantise_rows(matrix)
    return numbers.astype(np.float32) * scales[:, None]
