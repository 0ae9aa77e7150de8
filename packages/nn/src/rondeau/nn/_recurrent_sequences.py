"""What is said of the sequences in a padded batch, lengths and resets, and what is wrong with it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rondeau.kernels.errors import ArgumentTypeError, ArgumentValueError

from ._checks import as_array

__all__ = ["checked_lengths", "checked_resets"]


def checked_lengths(lengths: Any, num_steps: int, batch_size: int) -> NDArray[np.int64]:
    """Return lengths as an array, all of them T if they are not given.

    Raises
    ------
    TypeError
        If they are no integers.
    ValueError
        If they are not B, each from 0 to T.
    """
    if lengths is None:
        return np.full(batch_size, num_steps, np.int64)
    array = as_array("lengths", lengths)
    if array.size and array.dtype.kind not in "iu":
        kind = "truth values" if array.dtype.kind == "b" else "floats"
        raise ArgumentTypeError(f"lengths should be {batch_size} integers, got {kind} ({array.dtype})")
    if array.shape != (batch_size,):
        raise ArgumentValueError(
            f"lengths should be {batch_size} integers, got {array.dtype} of shape {array.shape}"
        )
    if array.size and (array.min() < 0 or array.max() > num_steps):
        raise ArgumentValueError(
            f"lengths should be from 0 to {num_steps}, the steps of the input, got {array.min()} to {array.max()}"
        )
    return array.astype(np.int64)


def checked_resets(reset: Any, num_steps: int, batch_size: int, turned: bool) -> NDArray[np.bool_]:
    """Return resets as a time-major array of truth values, none of them if they are not given.

    Raises
    ------
    TypeError
        If they are no truth values.
    ValueError
        If they are not of shape (T, B), or (B, T) where the input is `turned`.
    """
    if reset is None:
        return np.zeros((num_steps, batch_size), np.bool_)
    array = as_array("reset", reset)
    wanted = (batch_size, num_steps) if turned else (num_steps, batch_size)
    if array.shape != wanted or array.dtype != np.bool_:
        kind = ArgumentValueError if array.dtype == np.bool_ else ArgumentTypeError
        raise kind(
            f"reset should be truth values (bool) of shape {wanted}, got {array.dtype} of shape {array.shape}"
        )
    return array.T if turned else array
