"""The learned vectors of cells with layer normalisation."""

from __future__ import annotations

from typing import Any

from .. import init

__all__ = ["gains_and_biases"]


def gains_and_biases(gains: str, biases: str) -> dict[str, Any]:
    """Return the learned vectors of a normalised cell: gains, initially ones, and biases, initially zeros."""
    return {f"gain_{name}": init.ones_ for name in gains.split()} | {
        f"bias_{name}": init.zeros_ for name in biases.split()
    }
