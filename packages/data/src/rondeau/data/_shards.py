"""The parts of batches that some shards of a training take: its rows, cut into as many parts as there are shards."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from ._checks import check_iterable, checked_integer


def rows_of_shard(shard: int, num_shards: int, rows: int) -> slice:
    """Return which of a batch's rows a shard takes: a part side by side, none longer than another by more than one.

    Examples
    --------
    >>> [rows_of_shard(shard, 3, 8) for shard in range(3)]
    [slice(0, 2, None), slice(2, 5, None), slice(5, 8, None)]
    """
    return slice(shard * rows // num_shards, (shard + 1) * rows // num_shards)


class ShardedBatches:
    """Batches, each as a list with the parts that some shards take; None for a shard without rows.

    Of `SequentialBatches`, `RandomBatches` and a `DataLoader`, rows of other shards are never read. A batch of another
    kind is cut along the first dimension of its arrays and tensors, which must be the same in all of them.

    Parameters
    ----------
    batches : iterable
        One loop over it is an epoch.
    shards : sequence of int
        Which parts to yield, in this order.
    num_shards : int
        Into how many parts the rows are cut.

    Raises
    ------
    ValueError
        If a shard is not below `num_shards`; on iterating, if a batch has no rows to cut.

    Examples
    --------
    >>> from rondeau.data import SequentialBatches, TokenStream
    >>> batches = SequentialBatches(TokenStream(range(31)), batch_size=3, num_steps=5, offset=0)
    >>> for (inputs, targets), *others in ShardedBatches(batches, [1], num_shards=2):
    ...     print(inputs.tolist(), others)
    [[10, 11, 12, 13, 14], [20, 21, 22, 23, 24]] []
    [[15, 16, 17, 18, 19], [25, 26, 27, 28, 29]] []
    """

    def __init__(self, batches: Iterable[Any], shards: Sequence[int], num_shards: int) -> None:
        check_iterable("batches", batches, "batches")
        self.num_shards = checked_integer("num_shards", num_shards, 1)
        self.shards = [checked_integer("shards", shard, 0, self.num_shards - 1) for shard in shards]
        self.batches = batches
        if hasattr(batches, "state_dict") and hasattr(batches, "load_state_dict"):
            self.state_dict, self.load_state_dict = batches.state_dict, batches.load_state_dict

    def __len__(self) -> int:
        """Return the number of batches of an epoch.

        Raises
        ------
        TypeError
            If that is not known.
        """
        return len(self.batches)  # type: ignore[arg-type]  # its own TypeError says that it has none

    def __iter__(self) -> Iterator[list[Any]]:
        """Yield the parts of the batches of the next epoch."""
        in_parts = getattr(self.batches, "in_parts", None)
        if in_parts is not None:
            yield from in_parts(self._parts)
            return
        for batch in self.batches:
            yield [cut_rows(batch, rows) for rows in self._parts(_count_rows(batch))]

    def _parts(self, rows: int) -> list[slice]:
        return [rows_of_shard(shard, self.num_shards, rows) for shard in self.shards]


def cut_rows(batch: Any, rows: slice) -> Any:
    """Return some rows of a nesting of arrays and tensors; None if there are none.

    Examples
    --------
    >>> import numpy as np
    >>> cut_rows({"x": np.arange(6).reshape(3, 2), "name": "both"}, slice(0, 1))
    {'x': array([[0, 1]]), 'name': 'both'}
    """
    if rows.start == rows.stop:
        return None
    count = _count_rows(batch)

    def cut(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {key: cut(part) for key, part in value.items()}
        if isinstance(value, (tuple, list)):
            parts = [cut(part) for part in value]
            return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)
        return value[rows] if _has_rows(value, count) else value

    return cut(batch)


def _count_rows(batch: Any) -> int:
    """Return how many rows a batch has: the first dimension of all its arrays and tensors."""
    found: set[int] = set()

    def look(value: Any) -> None:
        if isinstance(value, Mapping):
            value = list(value.values())
        if isinstance(value, (tuple, list)):
            for part in value:
                look(part)
        elif len(getattr(value, "shape", ())):
            found.add(int(value.shape[0]))

    look(batch)
    if len(found) != 1:
        sizes = " and ".join(map(str, sorted(found))) or "no"
        raise ValueError(
            f"a batch whose rows can be shared among shards has arrays of one first dimension, got {sizes} rows: yield "
            "batches with the rows first, or a DataLoader, which cuts its samples"
        )
    return found.pop()


def _has_rows(value: Any, count: int) -> bool:
    shape: Any = getattr(value, "shape", ())
    return len(shape) > 0 and bool(shape[0] == count)
