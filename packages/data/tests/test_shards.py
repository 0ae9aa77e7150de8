"""The parts of batches that shards take: together the batch, each read alone."""

import numpy as np
import pytest

from comparing import assert_same_bits
from rondeau.data import (
    BucketBatches,
    DataLoader,
    RandomBatches,
    SequentialBatches,
    ShardedBatches,
    TensorDataset,
    TokenStream,
    cut_rows,
    rows_of_shard,
)


class Samples:
    """Remembers what was read."""

    def __init__(self, count):
        self.count, self.read = count, []

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        self.read.append(index)
        return np.full(2, index), index


def stream(length=200):
    return TokenStream(np.random.default_rng(0).integers(0, 9, length), 9)


def sources():
    rows = np.arange(22).reshape(11, 2)
    return {
        "sequential": lambda: SequentialBatches(stream(), 5, 4, seed=1),
        "random": lambda: RandomBatches(stream(), 5, 4, seed=1),
        "loader": lambda: DataLoader(TensorDataset(rows, np.arange(11)), 4, shuffle=True, seed=2),
        "buckets": lambda: DataLoader(
            TensorDataset(rows, np.arange(11)), batch_sampler=BucketBatches(np.arange(11), 3, seed=4)
        ),
        "list": lambda: [(rows[i : i + 4], np.arange(11)[i : i + 4]) for i in range(0, 11, 4)],
    }


@pytest.mark.parametrize("kind", sources())
@pytest.mark.parametrize("num_shards", [1, 2, 3, 7])
def test_the_parts_of_all_shards_are_the_batch(kind, num_shards):
    make = sources()[kind]
    whole, cut = make(), ShardedBatches(make(), range(num_shards), num_shards)
    for _ in range(2):  # epochs
        pairs = list(zip(whole, cut, strict=True))
        assert len(pairs) == len(whole)
        for batch, parts in pairs:
            assert len(parts) == num_shards
            for number, array in enumerate(batch):
                there = [np.asarray(part[number]) for part in parts if part is not None]
                assert_same_bits(np.concatenate(there), np.asarray(array))


@pytest.mark.parametrize("kind", [name for name in sources() if name != "list"])
def test_parts_go_on_where_the_whole_stands(kind):
    batches = sources()[kind]()
    cut = ShardedBatches(batches, [1], 2)
    wanted = [part for (part,) in ShardedBatches(sources()[kind](), [1], 2)]
    loop = iter(cut)
    next(loop)
    state = cut.state_dict()
    assert state == batches.state_dict()
    again = ShardedBatches(sources()[kind](), [1], 2)
    again.load_state_dict(state)
    for (found,), expected in zip(again, wanted[1:], strict=True):
        for one, other in zip(found, expected, strict=True):
            assert_same_bits(np.asarray(one), np.asarray(other))


def test_samples_of_other_shards_are_never_read():
    samples = Samples(10)
    for _ in ShardedBatches(DataLoader(samples, 4), [1], 2):
        pass
    assert samples.read == [2, 3, 6, 7, 9]


def test_tokens_of_other_shards_are_never_read(monkeypatch):
    starts = []
    read = TokenStream.windows
    monkeypatch.setattr(TokenStream, "windows", lambda self, at, n: starts.extend(at) or read(self, at, n))
    list(ShardedBatches(SequentialBatches(TokenStream(range(31)), 3, 5, offset=0), [0], 2))
    assert starts == [0, 5]


def test_workers_read_parts():
    loader = DataLoader(TensorDataset(np.arange(7)), 4, num_workers=1)
    found = [
        [None if part is None else part[0].tolist() for part in parts]
        for parts in ShardedBatches(loader, [0, 3], 4)
    ]
    assert found == [[[0], [3]], [None, [6]]]


def test_rows_are_shared_as_evenly_as_can_be():
    for shards in range(1, 9):
        for rows in range(20):
            parts = [range(rows)[rows_of_shard(shard, shards, rows)] for shard in range(shards)]
            assert [row for part in parts for row in part] == list(range(rows))
            sizes = [len(part) for part in parts]
            assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize(
    ("batch", "rows"),
    [({"x": np.zeros((3, 2)), "y": np.zeros(2)}, "2 and 3"), (["no", 4], "no"), (np.float64(1), "no")],
)
def test_batches_without_common_rows_are_refused(batch, rows):
    with pytest.raises(ValueError, match=f"arrays of one first dimension, got {rows} rows"):
        next(iter(ShardedBatches([batch], [0], 2)))
    with pytest.raises(ValueError, match=f"got {rows} rows"):
        cut_rows(batch, slice(0, 1))


def test_a_shard_that_is_none_is_refused():
    with pytest.raises(ValueError, match="shards"):
        ShardedBatches([], [2], 2)
