"""Where a training stands in batches of any kind."""

import numpy as np
import pytest

from rondeau import train
from rondeau.data import DataLoader, SequentialBatches, TensorDataset, TokenStream
from rondeau.train._epochs import Epochs


class Unsized:
    """Batches whose number nobody knows."""

    def __init__(self, *batches):
        self.batches = batches

    def __iter__(self):
        return iter(self.batches)


class Sized(Unsized):
    def __init__(self, length, *batches):
        super().__init__(*batches)
        self.length = length

    def __len__(self):
        return self.length


def read(epochs, count):
    """Train on some batches, over as many epochs as that takes; return them."""
    found = []
    while len(found) < count:
        for batch, is_last in epochs.read():
            epochs.advance()
            found.append((batch, is_last))
            if len(found) == count:
                break
    return found


def shown(found):
    return [
        (batch if isinstance(batch, str) else tuple(map(np.ndarray.tolist, batch)), last)
        for batch, last in found
    ]


def loader():
    return DataLoader(TensorDataset(np.arange(7), np.arange(7) ** 2), 3, shuffle=True)


def sampler():
    return SequentialBatches(TokenStream(np.arange(40) % 7), 2, 5)


@pytest.mark.parametrize("make", [loader, sampler])
@pytest.mark.parametrize("stop", range(1, 8))
def test_a_training_goes_on_with_the_batch_that_would_have_come_next(make, stop):
    whole = shown(read(Epochs(make()), 8))
    first = Epochs(make())
    begun = read(first, stop)
    second = Epochs(make())
    second.load_state_dict(first.state_dict())
    assert shown(begun) + shown(read(second, 8 - stop)) == whole


@pytest.mark.parametrize("make", [loader, sampler])
def test_a_batch_that_was_not_trained_on_is_read_again(make):
    epochs = Epochs(make())
    whole = shown(read(Epochs(make()), 3))
    read(epochs, 1)
    next(epochs.read())
    assert shown(read(epochs, 2)) == whole[1:]


def test_lists_and_iterables_without_a_length():
    for batches in (["a", "b"], Unsized("a", "b"), Sized(2, "a", "b")):
        assert read(Epochs(batches), 3) == [("a", False), ("b", True), ("a", False)]
    assert Epochs(["a"]).length == 1
    assert Epochs(Unsized("a")).length is None


def test_without_a_state_it_goes_on_at_the_beginning_of_the_epoch_and_says_so():
    first, second = Epochs(["a", "b", "c"]), Epochs(["a", "b", "c"])
    read(first, 2)
    with pytest.warns(
        train.RunWarning, match="list has no state_dict: the training goes on at the beginning"
    ):
        second.load_state_dict(first.state_dict())
    assert read(second, 1) == [("a", False)]
    first = Epochs(["a", "b", "c"])
    read(first, 3)
    second.load_state_dict(first.state_dict())  # at the end of an epoch nothing is lost
    assert read(second, 1) == [("a", False)]


@pytest.mark.parametrize("batches", [["a", "b", "c"], Unsized("a", "b", "c")])
def test_what_was_left_in_an_epoch_without_a_state_is_begun_again(batches):
    epochs = Epochs(batches)
    read(epochs, 2)
    with pytest.warns(train.RunWarning, match="has no state_dict"):
        again = read(epochs, 4)
    assert again == [("a", False), ("b", False), ("c", True), ("a", False)]


@pytest.mark.parametrize(
    ("batches", "error", "message"),
    [
        (3, TypeError, "batches: expected batches, such as a DataLoader, got int"),
        (
            iter([1]),
            TypeError,
            "batches: expected batches that can be iterated over once an epoch, got list_iterator",
        ),
        ([], ValueError, "batches: expected at least one in an epoch, got none"),
        (Unsized(), ValueError, "batches: expected at least one in an epoch, got none"),
        (Sized(3, "a", "b"), ValueError, "batches: expected 3 in an epoch, as their length says, got 2"),
        (Sized(1, "a", "b"), ValueError, "batches: expected 1 in an epoch, as their length says, got more"),
    ],
)
def test_what_are_no_batches(batches, error, message):
    with pytest.raises(error, match=message):
        read(Epochs(batches), 9)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"taken": -1}, "taken: expected at least 0, got -1"),
        ({"is_at_end": 1}, "is_at_end"),
        ({"batches": None}, "the batches had no state_dict when it was saved, and have one now"),
        ({"more": 1}, "expected the state of batches, got one with"),
        ({"batches": {"epoch": 0}}, "expected the state of a loader"),
    ],
)
def test_a_state_of_something_else_is_refused_and_changes_nothing(change, message):
    epochs = Epochs(loader())
    read(epochs, 1)
    before = epochs.state_dict()
    with pytest.raises((TypeError, ValueError), match=message):
        epochs.load_state_dict(before | change)
    assert epochs.state_dict() == before
