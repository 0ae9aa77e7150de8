"""What ranks tell each other: plain values, as the bytes of a file that nobody executes."""

import io
from typing import NamedTuple

import numpy as np
import pytest

from comparing import assert_same_bits
from rondeau import tensor as rt
from rondeau.train._checkpoint import Found, Snapshot
from rondeau.train.parallel._messages import _encoded, _plain


class Pair(NamedTuple):
    left: object
    right: object


def told(value):
    return rt.load(io.BytesIO(_encoded(_plain(value))))


def test_named_tuples_arrive_as_tuples_wherever_they_are():
    value = [Pair(1, {"a": Pair(b"\0\1", None)}), (float("nan"), 2**70)]
    found = told(value)
    assert repr(found) == repr([(1, {"a": (b"\0\1", None)}), (float("nan"), 2**70)])


def test_arrays_keep_their_bits_and_their_shapes():
    arrays = [
        np.array(-0.0, np.float32),
        np.zeros((0, 3)),
        np.arange(6).reshape(2, 3).T,
        np.array([True, False]),
    ]
    assert_same_bits(told(arrays), arrays)


def test_what_no_file_holds_is_refused_with_its_place():
    with pytest.raises(TypeError, match=r"what ranks tell each other .* the value\[1\]: a set"):
        told((1, {2}))


def test_a_checkpoint_is_told_whole(tmp_path):
    snapshot = Snapshot({"weights": {"w": np.arange(2.0)}}, {"step": 3, "limits": [None, 5]}, tmp_path)
    found = Found(3, snapshot, {5: "step-5 is damaged"}, "the latest is step-5, which is damaged")
    again = Found.of(told(found.told()))
    assert_same_bits(again.snapshot.arrays["weights"]["w"], snapshot.arrays["weights"]["w"])
    assert again._replace(snapshot=None) == found._replace(snapshot=None)
    assert again.snapshot[1:] == snapshot[1:]
