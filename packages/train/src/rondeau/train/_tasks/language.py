"""`LanguageModelling`: the next token of a stream, with the hidden state carried or not."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rondeau import nn
from rondeau import tensor as rt
from rondeau.data import Batches, SequentialBatches
from rondeau.kernels.runtime.transfers import on_host
from rondeau.train._checks import check_integer, check_is
from rondeau.train._evaluate import Evaluation, Reading, evaluate, loss_of_tokens
from rondeau.train._tasks.class_means import sum_of_weights
from rondeau.train._tasks.task import Task

if TYPE_CHECKING:
    from rondeau.train.parallel._shards import Shards


class LanguageModelling(Task):
    """Training on the next token of a stream.

    Each step: the mean cross-entropy of a batch (X, Y). With a carried state, gradients reach back to the
    beginning of a batch: truncated backpropagation through time. An epoch begins with the state that a text
    begins with: zeros, or the learned initial states.

    Parameters
    ----------
    carry_state : bool
        Whether each batch continues the one before, as `SequentialBatches` do.
    num_steps : int
        Tokens of a row in one call of the model in an evaluation.
    evaluation_rows : int
        Rows into which the held-out tokens are cut for an evaluation; see `evaluate`.

    Examples
    --------
    >>> from rondeau import data, nn, train
    >>> batches = data.SequentialBatches(data.TokenStream([0, 1, 2] * 40), 2, 5)
    >>> train.LanguageModelling.of(batches).carry_state
    True
    """

    unit = "tokens"

    def __init__(self, carry_state: bool = True, num_steps: int = 256, evaluation_rows: int = 16) -> None:
        check_is("carry_state", carry_state, bool)
        check_integer("num_steps", num_steps, 1)
        check_integer("evaluation_rows", evaluation_rows, 1)
        self.carry_state, self.num_steps, self.evaluation_rows = carry_state, num_steps, evaluation_rows

    @classmethod
    def of(cls, batches: Batches, evaluation_rows: int = 16) -> LanguageModelling:
        """Return the task for batches of a stream: the state is carried where they continue each other."""
        return cls(isinstance(batches, SequentialBatches), batches.num_steps, evaluation_rows)

    def loss(self, model: nn.Module, batch: Any, carry: Any) -> tuple[rt.Tensor, float, Any]:
        """Return the mean cross-entropy of inputs and targets (B, T), how many targets count, and the state.

        Those that are -100 do not. Where none does, the loss is 0.
        """
        inputs, targets = batch
        counted = sum_of_weights(nn.functional.cross_entropy, targets)
        loss, state = loss_of_tokens(model, inputs, targets, carry, "mean" if counted else "sum")
        return loss, counted, state if self.carry_state else None

    def evaluate(self, model: nn.Module, held_out: Any) -> Evaluation:
        """Return the score of a stream of tokens."""
        return evaluate(
            model,
            held_out,
            batch_size=self.evaluation_rows,
            num_steps=self.num_steps,
            carry_state=self.carry_state,
        )

    def measure_shards(
        self, model: nn.Module, held_out: Any, shards: Shards, draws: Sequence[rt.Generator]
    ) -> list[float]:
        """Return the summed loss of the rows of each shard of this rank."""
        reading = self._reading(held_out)
        totals = []
        for shard, draw in zip(shards.own, draws, strict=True):
            with draw.as_default():
                totals.append(float(on_host(reading.total(model, shards.rows(shard, reading.rows)))))
        return totals

    def score_shards(self, model: nn.Module, held_out: Any, measured: Sequence[float]) -> Evaluation:
        """Return the score of a stream of tokens."""
        return self._reading(held_out).score(math.fsum(measured))

    def _reading(self, held_out: Any) -> Reading:
        return Reading.of(
            held_out,
            batch_size=self.evaluation_rows,
            num_steps=self.num_steps,
            carry_state=self.carry_state,
        )

    def first_carry(self, model: nn.Module, batches: Any) -> Any:
        """Return the state with which a text begins, where the model says so."""
        begin_state = getattr(model, "begin_state", None)
        return None if begin_state is None or not self.carry_state else begin_state(batches.batch_size)
