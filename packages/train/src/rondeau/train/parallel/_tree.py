"""The binary tree along which everything is summed over shards.

A node is a range of shards. It is cut at the largest power of two below its length, so that the tree depends on the
number of shards alone. Floating-point sums depend on their order; these have one order, and whoever holds some shards
side by side may add up the nodes that lie within them beforehand.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import NamedTuple, TypeVar

_Sum = TypeVar("_Sum")


class Node(NamedTuple):
    """The shards from `start` to before `stop`."""

    start: int
    stop: int

    @property
    def children(self) -> tuple[Node, Node]:
        """The two nodes of which this one, of more than one shard, is the sum.

        Examples
        --------
        >>> Node(0, 7).children
        (Node(start=0, stop=4), Node(start=4, stop=7))
        """
        middle = self.start + (1 << (self.stop - self.start - 1).bit_length() - 1)
        return Node(self.start, middle), Node(middle, self.stop)


@cache
def parents(num_shards: int) -> Mapping[tuple[Node, Node], Node]:
    """Return all nodes of more than one shard, by their children.

    Examples
    --------
    >>> parents(2)
    {(Node(start=0, stop=1), Node(start=1, stop=2)): Node(start=0, stop=2)}
    """
    found: dict[tuple[Node, Node], Node] = {}
    open_nodes = [Node(0, num_shards)]
    while open_nodes:
        node = open_nodes.pop()
        if node.stop - node.start > 1:
            found[node.children] = node
            open_nodes += node.children
    return found


@cache
def largest_within(start: int, stop: int, num_shards: int) -> tuple[Node, ...]:
    """Return the fewest nodes that make up the shards from `start` to before `stop`, in order.

    Examples
    --------
    >>> [tuple(node) for node in largest_within(1, 7, 8)]
    [(1, 2), (2, 4), (4, 6), (6, 7)]
    """
    found: list[Node] = []
    for shard in range(start, stop):
        found.append(Node(shard, shard + 1))
        while len(found) > 1 and (parent := parents(num_shards).get((found[-2], found[-1]))):
            found[-2:] = [parent]
    return tuple(found)


def total(node: Node, sums: Mapping[Node, _Sum], add: Callable[[_Sum, _Sum], _Sum]) -> _Sum:
    """Return the sum of a node, from the sums of nodes that make it up.

    Examples
    --------
    >>> parts = {Node(0, 2): "a", Node(2, 3): "b", Node(3, 4): "c"}
    >>> total(Node(0, 4), parts, lambda left, right: f"({left}+{right})")
    '(a+(b+c))'
    """
    if node in sums:
        return sums[node]
    left, right = node.children
    return add(total(left, sums, add), total(right, sums, add))
