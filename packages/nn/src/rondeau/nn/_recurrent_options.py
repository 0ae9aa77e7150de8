"""What can be asked of recurrent layers, and what is wrong with it."""

from __future__ import annotations

import numbers
from collections.abc import Mapping
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray

from rondeau.kernels.sequence import Cell
from rondeau.tensor import Tensor

__all__ = [
    "Options",
    "check_probability",
    "check_projection",
    "check_sizes",
    "checked_lengths",
    "checked_resets",
    "zoneout_rates",
]


class Options(TypedDict, total=False):
    """The keyword-only options of `Recurrent`, which `RNN`, `GRU` and `LSTM` pass on."""

    num_heads: int
    hyperparameters: Mapping[str, float] | None
    recurrent_dropout: float
    zoneout: float | Mapping[str, float]
    weight_dropout: float
    bptt_truncate: int | None
    checkpoint_every: int | None


def zoneout_rates(cell: Cell, zoneout: float | Mapping[str, float]) -> dict[str, float]:
    """Return the rates above zero by the names of states."""
    rates = dict(zoneout) if isinstance(zoneout, Mapping) else dict.fromkeys(cell.states, zoneout)
    for state, rate in rates.items():
        if state not in cell.states:
            raise ValueError(
                f"zoneout names the state {state!r}, and cell {cell.name} has {', '.join(cell.states)}"
            )
        check_probability("zoneout", rate)
    return {state: float(rate) for state, rate in rates.items() if rate > 0}


def check_probability(name: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, numbers.Real) or not 0 <= float(value) <= 1:
        raise ValueError(
            f"{name} should be a number in range [0, 1] representing the probability of an element being "
            f"zeroed, got {value!r}"
        )


def check_projection(cell: Cell, proj_size: int, hidden_size: int, num_heads: int) -> None:
    """Refuse a size that is none, and a projection that the cell, with its regularisers, cannot have."""
    if isinstance(proj_size, bool) or not isinstance(proj_size, int) or proj_size < 0:
        raise ValueError(
            f"proj_size should be a positive integer or zero to disable projections, got {proj_size!r}"
        )
    if proj_size >= hidden_size:
        raise ValueError(
            f"proj_size has to be smaller than hidden_size, got proj_size={proj_size} and "
            f"hidden_size={hidden_size}"
        )
    if proj_size == 0 and cell.project is not None:
        raise ValueError(f"cell {cell.name} projects its state {cell.project}: it needs a proj_size")
    if proj_size > 0 and num_heads > 1:
        raise ValueError(
            f"num_heads={num_heads} cuts the units of the first state, which proj_size={proj_size} mixes"
        )
    if proj_size > 0 and cell.reason_against_projection is not None:
        raise ValueError(
            f"proj_size={proj_size} needs a cell that does not read its first state, which is projected: "
            f"{cell.reason_against_projection}"
        )


def checked_lengths(lengths: Any, num_steps: int, batch_size: int) -> NDArray[np.int64]:
    """Return lengths as an array, all of them T if they are not given."""
    if lengths is None:
        return np.full(batch_size, num_steps, np.int64)
    array = np.asarray(lengths.data if isinstance(lengths, Tensor) else lengths)
    if array.shape != (batch_size,) or (array.size and array.dtype.kind not in "iu"):
        raise ValueError(f"lengths should be {batch_size} integers, got {array.dtype} of shape {array.shape}")
    if array.size and (array.min() < 0 or array.max() > num_steps):
        raise ValueError(
            f"lengths should be from 0 to {num_steps}, the steps of the input, got {array.min()} to {array.max()}"
        )
    return array.astype(np.int64)


def checked_resets(reset: Any, num_steps: int, batch_size: int, turned: bool) -> NDArray[np.bool_]:
    """Return resets as a time-major array of truth values, none of them if they are not given."""
    if reset is None:
        return np.zeros((num_steps, batch_size), np.bool_)
    array = np.asarray(reset.data if isinstance(reset, Tensor) else reset)
    wanted = (batch_size, num_steps) if turned else (num_steps, batch_size)
    if array.shape != wanted or array.dtype != np.bool_:
        raise ValueError(
            f"reset should be truth values (bool) of shape {wanted}, got {array.dtype} of shape {array.shape}"
        )
    return array.T if turned else array


def check_sizes(**sizes: int) -> None:
    """Refuse sizes that are not positive integers, by name."""
    for name, size in sizes.items():
        if isinstance(size, bool) or not isinstance(size, int):
            raise TypeError(f"{name} should be of type int, got: {type(size).__name__}")
        if size <= 0:
            raise ValueError(f"{name} must be greater than zero, got {size}")
