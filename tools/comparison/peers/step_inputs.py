"""The named inputs of cells, as arrays for either library."""

from typing import Any, NamedTuple

import numpy as np

from ..sizes import Size


class StepInput(NamedTuple):
    """A named input: its values, and whether a layer before it wants their gradient."""

    values: Any
    needs_gradient: bool


def draw_inputs(cell: str, size: Size) -> dict[str, StepInput]:
    """Return the inputs of a cell: those that a `Linear` makes have a number for each unit, and want a gradient.

    >>> draw_inputs("ea_lstm", Size(2, 3, 4, 5))["gate"].values.shape
    (2, 5)
    >>> draw_inputs("highway", Size(2, 3, 4, 5))
    {}
    """
    rng, (B, T, _, H) = np.random.default_rng(1), size
    if cell == "ea_lstm":
        return {"gate": StepInput(rng.random((B, H), np.float32), True)}
    if cell == "gru_d":
        return {"elapsed": StepInput(rng.standard_normal((T, B, H), np.float32), True)}
    if cell == "cfc":
        return {"dt": StepInput(rng.random((T, B), np.float32), False)}
    return {}
