"""Estimators of one answer a sequence, from the final state of a recurrent layer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rondeau import nn
from rondeau import tensor as rt
from rondeau.train.estimators._base import RecurrentEstimator
from rondeau.train.estimators._sequences import Sequences
from rondeau.train.estimators._shuffled import Rows


class FinalStateModel(nn.Module):
    """A recurrent layer and a linear head on its final state: of both directions side by side, if there are two."""

    def __init__(self, recurrent: nn.Recurrent, num_outputs: int) -> None:
        super().__init__()
        self.recurrent = recurrent
        self.head = nn.Linear(recurrent.hidden_size * recurrent.num_directions, num_outputs)

    def forward(self, x: rt.Tensor, lengths: NDArray[np.int64] | None = None) -> rt.Tensor:
        """Return the outputs (B, V) of sequences (B, T, I)."""
        outputs: rt.Tensor = self.head(final_state(self.recurrent, x, lengths))
        return outputs


def final_state(recurrent: nn.Recurrent, x: rt.Tensor, lengths: NDArray[np.int64] | None) -> rt.Tensor:
    """Return the final state (B, directions * H) of the last layer."""
    _, states = recurrent(x, lengths=lengths)
    first = states if isinstance(states, rt.Tensor) else states[0]
    ends = [first[k] for k in range(-recurrent.num_directions, 0)]
    return ends[0] if len(ends) == 1 else rt.cat(ends, -1)


@dataclass(frozen=True)
class Labelled:
    """Sequences with one target each.

    Attributes
    ----------
    sequences : Sequences
    targets : ndarray, shape (n, ...)
    """

    sequences: Sequences
    targets: NDArray[Any]

    def __len__(self) -> int:
        return len(self.targets)

    def batch(self, rows: Rows) -> tuple[Any, ...]:
        """Return some of them as (values, targets) or (values, targets, lengths)."""
        values, lengths = self.sequences.rows(rows)
        return (values, self.targets[rows]) if lengths is None else (values, self.targets[rows], lengths)


class FinalStateEstimator(RecurrentEstimator):
    """An estimator of one answer a sequence."""

    def _new_model(self, width: int, num_outputs: int) -> nn.Module:
        return FinalStateModel(self._recurrent(width), num_outputs)

    def _final_outputs(self, X: ArrayLike, lengths: Any) -> NDArray[np.float64]:
        values, steps = self._sequences_to_predict(X, lengths)
        return self._outputs(values, lengths=steps)
