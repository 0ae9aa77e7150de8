"""The step and the evaluation of a training with shards: what a trainer does otherwise there."""

from __future__ import annotations

import copy
import hashlib
import math
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from itertools import chain
from typing import Any, NamedTuple

from rondeau import nn
from rondeau import tensor as rt
from rondeau.data import ShardedBatches
from rondeau.tensor.files.structure import pack, unpack
from rondeau.train._tasks.task import (
    NothingCountsError,
    Task,
    check_carried,
    device_of,
    evaluates_batch_by_batch,
)
from rondeau.train.parallel._gradients import GradientSums
from rondeau.train.parallel._ranks import Ranks
from rondeau.train.parallel._shards import Shards
from rondeau.train.parallel._statistics import Buffers, Changes

Losses = list[tuple[float, float]]
"""Losses and their weights."""


class _News(NamedTuple):
    """What all ranks learn of a shard's part in a step, besides its gradients."""

    losses: Losses
    has_gradients: str
    buffers: list[Changes]

    @property
    def told(self) -> list[Any]:
        """What ranks tell each other of it: JSON, but for changes of buffers."""
        return [[list(pair) for pair in self.losses], self.has_gradients, self.buffers]

    @classmethod
    def of(cls, told: list[Any]) -> _News:
        """Return what a rank has told."""
        losses, has_gradients, buffers = told
        return cls(
            [(value, weight) for value, weight in losses],
            has_gradients,
            [Changes(*of_batch) for of_batch in buffers],
        )


class ShardedLearning:
    """What a trainer does with the shards of this rank, and with other ranks.

    Parameters
    ----------
    count : int
        Of all shards.
    ranks : Ranks
    model : Module
    task : Task

    Attributes
    ----------
    seconds : float
        What rank 0 told in the last step of the time that the training has taken.

    Raises
    ------
    ValueError
        If the model is on a GPU.
    """

    def __init__(self, count: int, ranks: Ranks, model: nn.Module, task: Task) -> None:
        if device_of(model).type != "cpu":
            raise ValueError(f"shards: expected a model on the CPU, got one on {device_of(model)}")
        seed = int(rt.default_generator().numpy.integers(2**63))
        self.shards, self.ranks = Shards(count, ranks, seed), ranks
        self.model, self.task = model, task
        self._sums = GradientSums(model.parameters(), self.shards)
        self._buffers = Buffers(model)
        self._news: list[_News] = []
        self.seconds = 0.0

    def cut(self, batches: Iterable[Any]) -> ShardedBatches:
        """Return batches as lists with the parts of this rank's shards."""
        return ShardedBatches(batches, self.shards.own, self.shards.count)

    def gradients(
        self,
        group: Sequence[list[Any]],
        carried: list[Any] | None,
        step: int,
        parameters: Sequence[rt.Tensor],
        loss_of: Callable[[Any, Any], tuple[rt.Tensor, Any, float, Any]],
        clock: Callable[[], float],
    ) -> tuple[Losses, list[Any]]:
        """Compute the gradients of this rank's shards, and hear of those of the others; see `add_up`.

        Parameters
        ----------
        group : sequence of list
            The batches of a step, as `cut` yields them.
        carried : list, optional
            What each shard of this rank carried here.
        step : int
            Its number.
        parameters : sequence of Tensor
            All that get gradients, each once; without any yet.
        loss_of : callable
            ``loss_of(batch, carried) -> (loss, value, weight, carried)``.
        clock : callable
            What the time that the training has taken is read from.

        Returns
        -------
        losses : list
            Of all shards, with their weights.
        carried : list
            What each shard of this rank hands on.
        """
        if [*map(id, parameters)] != [*map(id, self._sums.parameters)]:  # as when layers are added
            self._sums = GradientSums(parameters, self.shards)
        self._sums.forget()
        news, after = [], []
        for i, shard in enumerate(self.shards.own):
            losses: Losses = []
            changes: list[Changes] = []
            carry = None if carried is None else carried[i]
            with self.shards.drawing(step, shard).as_default():
                for parts in group:
                    if parts[i] is None:
                        continue
                    # Nothing may count in these rows, though something does in others of the batch.
                    with suppress(NothingCountsError), self._buffers.of_one_batch(changes):
                        loss, value, weight, carry = loss_of(parts[i], carry)
                        losses.append((value, weight))
                        if math.isfinite(value):
                            (loss * weight).backward()
            news.append(_News(losses, self._sums.take(shard), changes))
            after.append(carry)
        mine: list[Any] = [[one.told for one in news], clock()]
        told = self.ranks.all_gather(mine)
        self._news = [_News.of(one) for of_rank, _ in told for one in of_rank]
        self.seconds = told[0][1]
        return [pair for one in self._news for pair in one.losses], after

    def add_up(self, weight: float) -> None:
        """Give all parameters their gradients of all shards, divided by `weight`, and buffers what became of them."""
        self._sums.finish(weight, [one.has_gradients for one in self._news])
        self._buffers.take([one.buffers for one in self._news])

    def evaluate(self, model: nn.Module, held_out: Any, step: int) -> Any:
        """Return the score of what is held out, of which each rank reads the rows of its shards.

        A task that defines `evaluate` alone does it by itself, on every rank.
        """
        if not evaluates_batch_by_batch(type(self.task)):
            with self.shards.drawing_in_evaluation(step, self.shards.count).as_default():
                return self.task.evaluate(model, held_out)
        draws = [self.shards.drawing_in_evaluation(step, shard) for shard in self.shards.own]
        measured = self.task.measure_shards(model, held_out, self.shards, draws)
        return self.task.score_shards(model, held_out, self.shards.gather(measured))

    def agree_on_end(self, reason: str | None) -> str | None:
        """Return why a rank wants to end, if one does: that of the first."""
        return next(filter(None, self.ranks.all_gather(reason)), None)

    def check_alike(self) -> None:
        """Raise RuntimeError unless all ranks have the same weights."""
        if self.ranks.size == 1:
            return
        weights, ours = hashlib.sha256(), {id(parameter) for parameter in self.model.parameters()}
        besides = (parameter for parameter in self._sums.parameters if id(parameter) not in ours)
        for tensor in chain(self.model.state_dict().values(), besides):
            weights.update(tensor._array.tobytes())
        digests = self.ranks.all_gather(weights.hexdigest())
        if other := [rank for rank, found in enumerate(digests) if found != digests[0]]:
            raise RuntimeError(
                f"the weights of rank {other[0]} are not those of rank 0: expected the same program and processors of "
                "one kind on all hosts, and callbacks that do the same on all ranks"
            )

    def gather_carried(self, carried: list[Any] | None) -> list[Any] | None:
        """Return what all shards carry, from what those of each rank do."""
        if carried is None:
            return None
        packed = [pack(one) for one in carried]
        return [
            unpack(structure, arrays, device_of(self.model))
            for structure, arrays in self.shards.gather(packed)
        ]

    def state_dict(self) -> dict[str, int]:
        """Return what a checkpoint holds of shards."""
        return {"count": self.shards.count, "seed": self.shards.seed}

    def take_over(self, state: dict[str, int], carried: list[Any] | None, batches: Any) -> list[Any] | None:
        """Take over the state of a checkpoint; return what this rank's shards carry, from what all do.

        Raises
        ------
        ValueError
            If that is of other shapes than theirs.
        """
        self.shards.seed = state["seed"]
        if carried is None:
            return None
        if len(carried) != self.shards.count:
            raise ValueError(
                f"the carried state: expected that of {self.shards.count} shards, got {len(carried)}"
            )
        for shard, one in enumerate(carried):
            check_carried(one, self._first_carry(batches, shard))
        return [carried[shard] for shard in self.shards.own]

    def _first_carry(self, batches: Any, shard: int) -> Any:
        rows = getattr(batches, "batch_size", None)
        if rows is None:
            return None
        of_shard = copy.copy(batches)
        of_shard.batch_size = len(self.shards.rows(shard, rows))
        return self.task.first_carry(self.model, of_shard)


def check_shards(state: dict[str, int] | None, learning: ShardedLearning | None) -> None:
    """Raise ValueError unless a checkpoint is of as many shards as a training has.

    Examples
    --------
    >>> check_shards({"count": 4, "seed": 0}, None)
    Traceback (most recent call last):
    ...
    ValueError: shards: was 4, is none; give shards=4
    """
    was = None if state is None else state["count"]
    count = None if learning is None else learning.shards.count
    if was != count:
        raise ValueError(f"shards: was {was or 'none'}, is {count or 'none'}; give shards={was}")
