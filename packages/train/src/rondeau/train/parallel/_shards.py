"""Which shards of a training are this rank's, and what is drawn in each."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rondeau import tensor as rt
from rondeau.data import ShardedBatches, rows_of_shard
from rondeau.train._checks import check_integer
from rondeau.train.parallel._ranks import Ranks

_STEP, _EVALUATION = 0, 1


class Shards:
    """The shards of a training: parts of the rows of each batch, each with random numbers of its own.

    Parameters
    ----------
    count : int
        How many there are. Ranks take them side by side, as equal in number as can be.
    ranks : Ranks
    seed : int
        Of what is drawn: in a step and shard, always the same.

    Examples
    --------
    >>> from rondeau.train.parallel import OneProcess
    >>> shards = Shards(4, OneProcess(), seed=0)
    >>> list(shards.own)
    [0, 1, 2, 3]
    """

    def __init__(self, count: int, ranks: Ranks, seed: int) -> None:
        check_integer("shards", count, 1)
        self.count, self.ranks, self.seed = count, ranks, seed

    @property
    def own(self) -> range:
        """The shards of this rank."""
        return self.of_rank(self.ranks.rank)

    def of_rank(self, rank: int) -> range:
        """Return the shards of a rank; none where there are more ranks than shards."""
        bounds = rows_of_shard(rank, self.ranks.size, self.count)
        return range(bounds.start, bounds.stop)

    def cut(self, batches: Iterable[Any]) -> ShardedBatches:
        """Return batches as lists with the parts of this rank's shards."""
        return ShardedBatches(batches, self.own, self.count)

    def rows(self, shard: int, count: int) -> range:
        """Return which of `count` rows a shard takes."""
        return range(count)[rows_of_shard(shard, self.count, count)]

    def drawing(self, step: int, shard: int) -> rt.Generator:
        """Return what a shard draws from in a step."""
        return self._generator(_STEP, step, shard)

    def drawing_in_evaluation(self, step: int, shard: int) -> rt.Generator:
        """Return what a shard draws from in the evaluation after a step."""
        return self._generator(_EVALUATION, step, shard)

    def gather(self, of_own: list[Any]) -> list[Any]:
        """Return something of every shard, from that of each rank's own."""
        return [one for of_rank in self.ranks.all_gather(of_own) for one in of_rank]

    def _generator(self, kind: int, step: int, shard: int) -> rt.Generator:
        entropy = 0
        for number, bits in ((self.seed, 64), (step, 64), (shard, 32), (kind, 8)):
            entropy = entropy << bits | number
        return rt.Generator(entropy)
