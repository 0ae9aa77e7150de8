"""Data sets by index, their parts, collating and length bucketing."""

from collections import namedtuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rondeau import tensor as rt
from rondeau.data import (
    BucketBatches,
    DataLoader,
    Dataset,
    Subset,
    TensorDataset,
    default_collate,
    random_split,
    sample_generator,
)


class Pairs(Dataset):
    def __len__(self):
        return 7

    def __getitem__(self, index):
        return np.full(2, index), index


# Data sets


def test_tensor_dataset_gives_arrays_of_arrays_and_tensors_of_tensors():
    x = rt.tensor(np.arange(12.0).reshape(6, 2), requires_grad=True)
    pairs = TensorDataset(x, np.arange(6))
    features, labels = pairs.batch([4, 1, 1])
    assert isinstance(features, rt.Tensor)
    assert features.tolist() == [[8.0, 9.0], [2.0, 3.0], [2.0, 3.0]]
    assert isinstance(labels, np.ndarray)
    features.sum().backward()
    assert x.grad.tolist() == [[0, 0], [2, 2], [0, 0], [0, 0], [1, 1], [0, 0]]
    for wrong, lengths in (
        ((), "0 of the lengths []"),
        ((np.zeros(2), np.zeros(3)), "2 of the lengths [2, 3]"),
    ):
        with pytest.raises(ValueError, match="expected arrays of one length, got") as caught:
            TensorDataset(*wrong)
        assert lengths in str(caught.value)


def test_subsets_of_subsets_batch_as_the_whole_does():
    whole = TensorDataset(rt.tensor(np.arange(10.0)))
    part = Subset(Subset(whole, range(9, -1, -1)), [0, 3, 4])
    (batch,) = part.batch([2, 0])
    assert isinstance(batch, rt.Tensor)
    assert batch.tolist() == [5.0, 9.0]
    assert part.__getitems__([1])[0][0].item() == part[1][0].item() == 6.0


@given(st.integers(0, 40), st.integers(0, 2**40), st.data())
def test_random_split_puts_every_sample_into_one_part(total, seed, data):
    cuts = sorted(data.draw(st.lists(st.integers(0, total), max_size=4)))
    lengths = np.diff([0, *cuts, total]).tolist()
    parts = random_split(range(total), lengths, seed)
    assert [len(part) for part in parts] == lengths
    assert sorted(index for part in parts for index in part.indices) == list(range(total))
    again = random_split(range(total), lengths, seed)
    assert [part.indices for part in again] == [part.indices for part in parts]


@pytest.mark.parametrize(
    ("total", "fractions", "lengths"),
    [
        (10, [0.5, 0.5], [5, 5]),
        (10, [1 / 3] * 3, [4, 3, 3]),
        (768, [0.8, 0.2], [615, 153]),
        (10, [0.7, 0.3], [7, 3]),
    ],
)
def test_random_split_by_fractions(total, fractions, lengths):
    assert [len(part) for part in random_split(range(total), fractions)] == lengths


def test_random_split_as_in_torch():
    torch = pytest.importorskip("torch")
    for fractions in ([0.1, 0.9], [0.25, 0.25, 0.5], [0.31, 0.3, 0.39]):
        for total in (7, 100, 20_074):
            theirs = torch.utils.data.random_split(range(total), fractions)
            assert [len(part) for part in random_split(range(total), fractions)] == list(map(len, theirs))


@pytest.mark.parametrize(
    ("lengths", "message"),
    [
        ([3, 3], r"sum to the 7 samples, got \[3, 3\], which sum to 6"),
        ([8, -1], "lengths of 0 or more"),
        ([0.5, 0.4], "fractions from 0 to 1 that sum to 1"),
        ([1.5, -0.5], "fractions from 0 to 1 that sum to 1"),
    ],
)
def test_lengths_that_do_not_add_up(lengths, message):
    with pytest.raises(ValueError, match=message):
        random_split(Pairs(), lengths)


def test_seeds():
    generator = np.random.default_rng(3)
    one, two = (random_split(range(50), [25, 25], generator)[0].indices for _ in range(2))
    assert one != two
    with pytest.raises(ValueError, match="seed must be 0 or more, got -1"):
        random_split(range(50), [25, 25], -1)
    with pytest.raises(TypeError, match="seed must be of type int or integer or Generator, got float"):
        DataLoader(Pairs(), seed=0.5)


# Collating


def test_collate():
    Point = namedtuple("Point", "x y")
    batch = default_collate([Point(1, 2.5), Point(3, 4.5)])
    assert isinstance(batch, Point)
    assert batch.x.dtype == np.int64
    assert batch.y.tolist() == [2.5, 4.5]
    assert default_collate([[1, "a"], [2, "b"]])[1] == ["a", "b"]
    assert default_collate([True, False]).dtype == bool
    assert default_collate([np.float32(1), np.float32(2)]).dtype == np.float32
    tensors = default_collate([rt.tensor([1.0, 2.0], requires_grad=True), rt.tensor([3.0, 4.0])])
    assert isinstance(tensors, rt.Tensor)
    assert not tensors.requires_grad
    assert (tensors.tolist(), tensors.dtype) == ([[1.0, 2.0], [3.0, 4.0]], rt.tensor([1.0]).dtype)
    assert default_collate([rt.tensor([1]), rt.tensor([2])]).dtype == rt.tensor([1]).dtype


@pytest.mark.parametrize(
    ("samples", "kind", "message"),
    [
        ([], ValueError, "at least one sample"),
        (
            [np.zeros(2), np.zeros(3)],
            ValueError,
            r"different shapes cannot be stacked, got \(2,\), \(3,\); give a coll",
        ),
        ([(1, 2), (1,)], ValueError, "expected samples of 2 parts, got one of 1"),
        ([{"a": 1}, {"b": 1}], ValueError, r"with the keys \['a'\], got one with \['b'\]"),
        ([{1}], TypeError, "samples of type set cannot be stacked"),
    ],
)
def test_what_cannot_be_stacked(samples, kind, message):
    with pytest.raises(kind, match=message):
        default_collate(samples)


# Bucketing


@given(st.lists(st.integers(0, 30), max_size=60), st.integers(1, 9), st.booleans(), st.integers(0, 2**40))
def test_buckets_hold_every_sample_once_and_similar_lengths(lengths, batch_size, shuffle, seed):
    batches = BucketBatches(lengths, batch_size, shuffle=shuffle, seed=seed)
    epochs = [list(batches) for _ in range(2)]
    for epoch in epochs:
        assert len(epoch) == len(batches) == -(-len(lengths) // batch_size)
        assert sorted(index for batch in epoch for index in batch) == list(range(len(lengths)))
        spans = sorted((min(lengths[i] for i in batch), max(lengths[i] for i in batch)) for batch in epoch)
        assert all(spans[i][1] <= spans[i + 1][0] for i in range(len(spans) - 1))
    assert [list(b) for b in BucketBatches(lengths, batch_size, shuffle=shuffle, seed=seed)] == epochs[0]
    batches.set_epoch(1)
    assert list(batches) == epochs[1]
    full = BucketBatches(lengths, batch_size, drop_last=True)
    assert [len(batch) for batch in full] == [batch_size] * len(full)


@given(st.lists(st.integers(0, 30), max_size=60), st.integers(30, 90))
def test_buckets_of_tokens_are_as_full_as_can_be(lengths, max_tokens):
    batches = BucketBatches(lengths, max_tokens=max_tokens)
    epoch = sorted(
        (sorted(lengths[i] for i in batch) for batch in batches), key=lambda batch: (batch[-1], batch)
    )
    assert sorted(length for batch in epoch for length in batch) == sorted(lengths)
    assert len(epoch) == len(batches)
    for batch in epoch:
        assert len(batch) * max(batch[-1], 1) <= max_tokens


def test_buckets_are_drawn_anew_and_hold_less_padding():
    lengths = np.random.default_rng(0).integers(1, 50, 1000)
    batches = BucketBatches(lengths, 10)
    first, second = list(batches), list(batches)
    assert first != second
    assert [lengths[batch].max() for batch in first] != sorted(lengths[batch].max() for batch in first)
    padded = sum(10 * lengths[batch].max() for batch in first)
    assert padded < 1.03 * lengths.sum()


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        ({"lengths": [1.5], "batch_size": 2}, TypeError, "lengths must be a row of integers, got float64"),
        ({"lengths": [-1], "batch_size": 2}, ValueError, "lengths must be 0 or more, got -1"),
        ({"lengths": np.array([2**63], np.uint64), "batch_size": 2}, ValueError, "lengths must be at most"),
        ({"lengths": [1], "batch_size": 1, "shuffle": "no"}, TypeError, "shuffle must be True or False"),
        ({"lengths": [1]}, ValueError, "give either batch_size or max_tokens"),
        (
            {"lengths": [1], "batch_size": 1, "max_tokens": 1},
            ValueError,
            "give either batch_size or max_tokens",
        ),
        ({"lengths": [1], "batch_size": 0}, ValueError, "batch_size must be at least 1, got 0"),
        ({"lengths": [1, 9], "max_tokens": 8}, ValueError, "sample 1 has 9 tokens, more than max_tokens, 8"),
        ({"lengths": [1], "max_tokens": 8, "drop_last": True}, ValueError, "drop_last goes with batch_size"),
    ],
)
def test_mistakes_with_buckets(arguments, kind, message):
    with pytest.raises(kind, match=message):
        BucketBatches(**arguments)


def test_epochs_before_the_first_are_refused():
    with pytest.raises(ValueError, match="epoch must be 0 or more, got -1"):
        BucketBatches([1], 1).set_epoch(-1)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: TensorDataset([1, 2]),
            "number 0 must be an array or a Tensor with rows, got list; convert it",
        ),
        (
            lambda: TensorDataset(np.ones(2), np.ones(())),
            "number 1 .* with rows, got ndarray without dimensions",
        ),
        (lambda: Subset(Pairs(), [0.5]), "indices must be a row of integers, got float64"),
        (lambda: Subset(Pairs(), np.array([True, False])), "indices must be a row of integers, got bool"),
        (
            lambda: Subset(Pairs(), [[0, 1]]),
            r"indices must be a row of integers, got int64 of shape \(1, 2\)",
        ),
        (lambda: Subset(None, [0]), "dataset must have __len__ and __getitem__, got NoneType"),
        (lambda: random_split(3, [1]), "dataset must have __len__ and __getitem__, got int"),
    ],
)
def test_what_is_no_data_set_and_no_index(make, message):
    with pytest.raises(TypeError, match=message):
        make()


def test_a_sample_generator_outside_of_a_loader_is_a_fresh_one():
    assert sample_generator().random() != sample_generator().random()
