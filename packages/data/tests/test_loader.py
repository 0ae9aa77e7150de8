"""DataLoader in one process: orders, states, mistakes, pinned memory."""

import json
import sys
from typing import Any, NamedTuple

import numpy as np
import pytest

from comparing import assert_same_bits
from rondeau import tensor as rt
from rondeau.data import BucketBatches, DataLoader, Dataset, TensorDataset, sample_generator

from .loading import PAIRS, batches


def test_in_order():
    loader = DataLoader(PAIRS, 4)
    assert len(loader) == 3
    assert batches(loader) == [
        ([0, 1, 2, 3], [0, 1, 4, 9]),
        ([4, 5, 6, 7], [16, 25, 36, 49]),
        ([8, 9], [64, 81]),
    ]
    assert batches(loader) == batches(loader)
    cut = DataLoader(PAIRS, 4, drop_last=True)
    assert batches(cut) == batches(loader)[:2]
    assert len(cut) == 2
    assert batches(DataLoader(TensorDataset(np.zeros(0)), 4)) == []


def test_shuffled_anew_each_epoch_by_the_seed_alone():
    def orders(seed):
        loader = DataLoader(PAIRS, 3, shuffle=True, seed=seed)
        return [[i for batch in loader for i in batch[0].tolist()] for _ in range(3)]

    first = orders(0)
    assert all(sorted(order) == list(range(10)) for order in first)
    assert len({tuple(order) for order in first}) == 3
    assert orders(0) == first != orders(1)


def test_a_loop_that_is_left_early_ends_its_epoch():
    loader, whole = (DataLoader(PAIRS, 3, shuffle=True) for _ in range(2))
    _, second = batches(whole), batches(whole)
    next(iter(loader))
    assert batches(loader) == second


def test_samplers():
    assert batches(DataLoader(PAIRS, 2, sampler=[3, 1, 3])) == [([3, 1], [9, 1]), ([3], [9])]
    loader = DataLoader(PAIRS, batch_sampler=[[1], [2, 5]])
    assert batches(loader) == [([1], [1]), ([2, 5], [4, 25])]
    assert len(loader) == 2
    named = DataLoader({"a": 1, "b": 2}, sampler=["b", "a"], collate_fn=list)
    assert list(named) == [[2], [1]]


def test_buckets_follow_the_epoch_of_the_loader():
    lengths = [3, 1, 4, 1, 5, 9, 2, 6, 5, 3]
    loader = DataLoader(PAIRS, batch_sampler=BucketBatches(lengths, 3))
    first, second = batches(loader), batches(loader)
    assert first != second
    again = DataLoader(PAIRS, batch_sampler=BucketBatches(lengths, 3))
    iterator = iter(again)
    next(iterator)
    resumed = DataLoader(PAIRS, batch_sampler=BucketBatches(lengths, 3))
    resumed.load_state_dict(again.state_dict())
    assert batches(resumed) == first[1:]
    assert batches(resumed) == second


def test_a_dataset_may_read_many_at_once():
    class Many(Dataset):
        def __len__(self):
            return 5

        def __getitem__(self, index):
            raise AssertionError("they are to be read at once")

        def __getitems__(self, indices):
            return [10 * index for index in indices]

    assert [batch.tolist() for batch in DataLoader(Many(), 3)] == [[0, 10, 20], [30, 40]]
    assert list(DataLoader(Many(), 3, collate_fn=sum)) == [30, 70]


@pytest.mark.parametrize("left_after", [0, 1, 3, 4])
def test_resuming(left_after):
    loader = DataLoader(PAIRS, 3, shuffle=True, seed=4)
    list(loader)
    expected = batches(DataLoader(PAIRS, 3, shuffle=True, seed=4))
    reference = DataLoader(PAIRS, 3, shuffle=True, seed=4)
    expected = [batches(reference) for _ in range(3)]
    iterator = iter(loader)
    for _ in range(left_after):
        next(iterator)
    state = json.loads(json.dumps(loader.state_dict()))
    resumed = DataLoader(PAIRS, 3, shuffle=True)
    resumed.load_state_dict(state)
    assert batches(resumed) == expected[1][left_after:]
    assert batches(resumed) == expected[2]


def test_states_of_other_loaders_are_refused():
    state = DataLoader(PAIRS, 3).state_dict()
    with pytest.raises(ValueError, match="cannot resume: batch_size is 4 here, but was 3 in the state"):
        DataLoader(PAIRS, 4).load_state_dict(state)
    with pytest.raises(ValueError, match="expected the state of a loader with"):
        DataLoader(PAIRS, 3).load_state_dict({})
    with pytest.raises(ValueError, match="batch in the state must be 0 or more, got -1"):
        DataLoader(PAIRS, 3).load_state_dict({**state, "batch": -1})


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        ({"dataset": iter([])}, TypeError, "dataset must have __len__ and __getitem__, got list_iterator"),
        ({"batch_size": 0}, ValueError, "batch_size must be at least 1, got 0"),
        ({"batch_size": None}, TypeError, "batch_size must be an integer, got NoneType"),
        ({"num_workers": -1}, ValueError, "num_workers must be 0 or more, got -1"),
        ({"prefetch_factor": 0}, ValueError, "prefetch_factor must be at least 1, got 0"),
        ({"num_workers": 1, "timeout": -1}, ValueError, "timeout must be 0"),
        ({"timeout": 1}, ValueError, "need workers"),
        ({"persistent_workers": True}, ValueError, "need workers"),
        ({"collate_fn": 3}, TypeError, "collate_fn must be callable, got int"),
        ({"sampler": 3}, TypeError, "sampler must be an iterable of indices, got int"),
        ({"sampler": [1], "shuffle": True}, ValueError, "sampler and shuffle exclude each other"),
        ({"batch_sampler": [[1]], "batch_size": 2}, ValueError, "batch_sampler excludes batch_size"),
        ({"seed": -1}, ValueError, "seed must be 0 or more"),
        ({"shuffle": "no"}, TypeError, "shuffle must be True or False, got 'no'"),
        ({"drop_last": None}, TypeError, "drop_last must be True or False, got None"),
        ({"num_workers": 1, "timeout": float("nan")}, ValueError, "timeout must be 0 .* got nan"),
        ({"num_workers": 1, "timeout": 1e300}, ValueError, "timeout must be 0 .* got 1e[+]300"),
    ],
)
def test_mistakes(arguments, kind, message):
    with pytest.raises(kind, match=message):
        DataLoader(**{"dataset": PAIRS, **arguments})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sampler": [0.5, 1.0]}, "indices must be a row of integers, got float64"),
        ({"sampler": [True, False]}, "indices must be a row of integers, got bool"),
        ({"sampler": "ab"}, "indices must be an array of numbers"),
        ({"batch_sampler": [0, 1]}, "a batch of batch_sampler must be an iterable of indices, got int"),
    ],
)
def test_mistakes_of_samplers(arguments, message):
    with pytest.raises(TypeError, match=message):
        list(DataLoader(PAIRS, **arguments, **({"batch_size": 2} if "sampler" in arguments else {})))


def test_a_batch_larger_than_any_data_set():
    assert [len(x) for x, _ in DataLoader(PAIRS, 2**63 - 1)] == [len(PAIRS)]


@pytest.mark.parametrize(
    "arguments", [{"shuffle": True}, {"batch_sampler": BucketBatches([3, 1, 2, 5, 4] * 2, 3)}]
)
def test_every_loop_has_a_position_of_its_own(arguments):
    def loader():
        return DataLoader(PAIRS, **arguments, **({"batch_size": 3} if "shuffle" in arguments else {}))

    epochs = [[x.tolist() for x, _ in whole] for whole in [loader()] for _ in range(3)]
    looped, seen = loader(), []
    for i, (x, _) in enumerate(looped):
        seen.append(x.tolist())
        if i == 1:
            assert next(iter(looped))[0].tolist() == epochs[1][0]
        if i == 2:
            assert [x.tolist() for x, _ in looped] == epochs[1]
            assert len(looped) == len(epochs[0])
    assert seen == epochs[0]
    one, other = iter(looped), iter(looped)
    turns = [(next(one)[0].tolist(), next(other)[0].tolist()) for _ in epochs[0]]
    assert [list(epoch) for epoch in zip(*turns, strict=True)] == epochs[1:]
    resumed = loader()
    resumed.load_state_dict(looped.state_dict())
    assert [x.tolist() for x, _ in resumed] == []  # the last loop took its last batch
    assert [x.tolist() for x, _ in resumed] == [x.tolist() for x, _ in looped]


def test_a_loaded_seed_is_that_of_the_samples_too():
    class Drawn(Dataset):
        def __len__(self):
            return 4

        def __getitem__(self, index):
            return sample_generator().random()

    loader, other = DataLoader(Drawn(), 2, True, seed=1), DataLoader(Drawn(), 2, True, seed=2)
    first, second = (
        [batch.tolist() for batch in loader],
        [batch.tolist() for batch in DataLoader(Drawn(), 2, True, seed=2)],
    )
    loop = iter(again := DataLoader(Drawn(), 2, True, seed=1))
    assert next(loop).tolist() == first[0]
    again.load_state_dict(other.state_dict())
    assert next(loop).tolist() == first[1], "a loop that has begun keeps its seed"
    again.load_state_dict(other.state_dict())
    assert [batch.tolist() for batch in again] == second


def test_a_refused_state_changes_nothing():
    loader = DataLoader(PAIRS, 3, shuffle=True)
    next(iter(loader))
    state = loader.state_dict()
    for name, value in (
        ("seed", -1),
        ("epoch", 2**63),
        ("batch", len(loader) + 1),
        ("batch", 0.5),
        ("seed", None),
    ):
        with pytest.raises((TypeError, ValueError), match=f"{name} in the state must be"):
            loader.load_state_dict({"seed": 7, **state, name: value})
        assert loader.state_dict() == state
    unmeasured = DataLoader(PAIRS, sampler=Endless())
    unmeasured.load_state_dict({**unmeasured.state_dict(), "batch": 5})
    assert next(iter(unmeasured))[0].tolist() == [5]


class Endless:
    """A sampler without a length."""

    def __iter__(self):
        return iter(range(len(PAIRS)))


def test_the_state_is_json_whatever_integers_were_given():
    state = DataLoader(PAIRS, np.int64(3), np.bool_(True)).state_dict()
    assert json.loads(json.dumps(state)) == state


# --------------------------------------------------------------------------------------------------- pinned memory


class Point(NamedTuple):
    x: Any
    name: Any


class Points(Dataset):
    def __len__(self):
        return 4

    def __getitem__(self, i):
        return {"point": Point(np.full(3, i, np.float32), f"p{i}"), "target": rt.tensor(float(i))}


def test_batches_are_pinned_each_in_memory_of_its_own(device_stand_in):
    is_pinned = device_stand_in.cuda.pinned_memory.is_memory_pinned
    expected, found = (list(DataLoader(Points(), 2, pin_memory=pin)) for pin in (False, True))
    for got, want in zip(found, expected, strict=True):
        assert is_pinned(got["point"].x.ctypes.data)
        assert got["target"].is_pinned()
        assert_same_bits((got["point"].x, got["target"]), (want["point"].x, want["target"]))
        assert (type(got["point"]), got["point"].name) == (Point, want["point"].name)
    assert not np.may_share_memory(found[0]["point"].x, found[1]["point"].x)
    assert not is_pinned(expected[0]["point"].x.ctypes.data)


def test_without_a_gpu_batches_are_not_pinned(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)
    assert batches(DataLoader(PAIRS, 4, pin_memory=True)) == batches(DataLoader(PAIRS, 4))
