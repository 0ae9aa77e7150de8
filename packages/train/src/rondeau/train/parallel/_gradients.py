"""Gradients of shards, summed along the tree, in slices: each rank sums its slice of all shards, and then has the rest.

What each rank sends in a step: its sums but its own slice to those who sum them, and its summed slice to all others.
With as many shards as ranks that is 2 (N - 1) / N times the gradients, however many ranks N there are.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rondeau import tensor as rt
from rondeau.train.parallel._shards import Shards
from rondeau.train.parallel._tree import Node, largest_within, parents, total

Flat = dict[np.dtype[Any], NDArray[Any]]
"""The gradients of all parameters, one array for each dtype."""


class GradientSums:
    """The sums of gradients over shards, in memory that is used again in every step.

    Parameters
    ----------
    parameters : iterable of Tensor
        Each once.
    shards : Shards
    """

    def __init__(self, parameters: Iterable[rt.Tensor], shards: Shards) -> None:
        self.parameters, self.shards = list(parameters), shards
        sizes: dict[np.dtype[Any], int] = {}
        self._places: list[slice] = []
        for parameter in self.parameters:
            start = sizes.get(parameter.dtype, 0)
            sizes[parameter.dtype] = start + parameter.numel()
            self._places.append(slice(start, sizes[parameter.dtype]))
        self._sizes = sizes
        self._sums: list[tuple[Node, Flat]] = []
        self._unused: list[Flat] = []
        self._result: Flat | None = None
        self._received: dict[tuple[int, Node], Flat] = {}

    def take(self, shard: int) -> str:
        """Add the gradients of the next of this rank's shards, which are removed from their parameters.

        Returns
        -------
        str
            For each parameter, whether it has a gradient: 1 or 0.
        """
        sums = self._unused.pop() if self._unused else self._new()
        present = ["0"] * len(self.parameters)
        for i, (parameter, place) in enumerate(zip(self.parameters, self._places, strict=True)):
            mine = sums[parameter.dtype][place]
            if parameter.grad is None:
                mine[...] = 0
            else:
                present[i] = "1"
                mine.reshape(parameter.shape)[...] = parameter.grad._array
                parameter.grad = None
        self._sums.append((Node(shard, shard + 1), sums))
        self._add_whole_nodes()
        return "".join(present)

    def _add_whole_nodes(self) -> None:
        nodes = parents(self.shards.count)
        while len(self._sums) > 1:
            (left, sums), (right, others) = self._sums[-2:]
            if (node := nodes.get((left, right))) is None:
                return
            for dtype, array in sums.items():
                array += others[dtype]
            self._unused.append(others)
            self._sums[-2:] = [(node, sums)]

    def finish(self, weight: float, present: Iterable[str]) -> None:
        """Give all parameters the sum over all shards, divided by `weight`.

        Parameters
        ----------
        weight : float
        present : iterable of str
            What `take` returned for every shard. A parameter that no shard has a gradient of gets none.
        """
        result = self._result = self._result or self._new()
        self._sum_own_slice(result, weight)
        self._gather_slices(result)
        self._unused += [sums for _, sums in self._sums]
        self._sums = []
        of_parameters = zip(*present, strict=True)
        for parameter, place, of_shards in zip(self.parameters, self._places, of_parameters, strict=True):
            if "1" in of_shards:
                parameter.grad = rt.from_numpy(result[parameter.dtype][place].reshape(parameter.shape))

    def forget(self) -> None:
        """Drop the sums of a step that was not finished."""
        self._unused += [sums for _, sums in self._sums]
        self._sums = []

    def _sum_own_slice(self, result: Flat, weight: float) -> None:
        ranks, count = self.shards.ranks, self.shards.count
        others = [rank for rank in range(ranks.size) if rank != ranks.rank]
        arriving = {
            rank: [(node, self._receiver(rank, node)) for node in self._nodes(rank)] for rank in others
        }
        ranks.exchange(
            {
                rank: [a[self._slice(rank, d)] for _, sums in self._sums for d, a in sums.items()]
                for rank in others
            },
            {rank: [a for _, flat in nodes for a in flat.values()] for rank, nodes in arriving.items()},
        )
        for dtype in self._sizes:
            own = self._slice(ranks.rank, dtype)
            parts = {node: flat[dtype] for nodes in arriving.values() for node, flat in nodes}
            parts |= {node: sums[dtype][own] for node, sums in self._sums}
            whole = total(Node(0, count), parts, lambda left, right: np.add(left, right, out=left))
            np.divide(whole, dtype.type(weight), out=result[dtype][own])

    def _gather_slices(self, result: Flat) -> None:
        ranks = self.shards.ranks
        others = [rank for rank in range(ranks.size) if rank != ranks.rank]
        own = [array[self._slice(ranks.rank, dtype)] for dtype, array in result.items()]
        ranks.exchange(
            dict.fromkeys(others, own),
            {rank: [a[self._slice(rank, dtype)] for dtype, a in result.items()] for rank in others},
        )

    def _nodes(self, rank: int) -> tuple[Node, ...]:
        own = self.shards.of_rank(rank)
        return largest_within(own.start, own.stop, self.shards.count)

    def _slice(self, rank: int, dtype: np.dtype[Any]) -> slice:
        return _slice_of(rank, self.shards.ranks.size, self._sizes[dtype])

    def _receiver(self, rank: int, node: Node) -> Flat:
        """Return memory for this rank's slice of a node's sum, which another rank sends."""
        if (rank, node) not in self._received:
            own = {dtype: self._slice(self.shards.ranks.rank, dtype) for dtype in self._sizes}
            self._received[rank, node] = {d: np.empty(s.stop - s.start, d) for d, s in own.items()}
        return self._received[rank, node]

    def _new(self) -> Flat:
        return {dtype: np.empty(size, dtype) for dtype, size in self._sizes.items()}


def _slice_of(rank: int, size: int, length: int) -> slice:
    """Return the part of a long array that a rank sums; parts begin at whole cache lines.

    Examples
    --------
    >>> [_slice_of(rank, 3, 100) for rank in range(3)]
    [slice(0, 32, None), slice(32, 64, None), slice(64, 100, None)]
    """
    line = 16
    bounds = [rank * length // size // line * line for rank in (rank, rank + 1)]
    return slice(bounds[0], length if rank == size - 1 else bounds[1])
