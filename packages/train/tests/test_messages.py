"""What ranks tell each other: plain values, as the bytes of a file that nobody executes."""

import os
import subprocess
import sys
from typing import NamedTuple

import numpy as np
import pytest

from comparing import assert_same_bits
from rondeau.train._checkpoint import Found, Snapshot
from rondeau.train.parallel._learning import _News
from rondeau.train.parallel._messages import _decoded, _encoded, _has_ended


class Pair(NamedTuple):
    left: object
    right: object


def told(value):
    here, content = _encoded(value)
    found = _decoded(bytearray(content))
    assert repr(found) == repr(here)
    return found


@pytest.mark.parametrize(
    "value",
    [
        None,
        "interrupted",
        [[[[4.25, 2048.0], [float("nan"), 1], [-0.0, float("-inf")]], "1101", []], 0.1 + 0.2],
        {"a": [True, 2**70, "\ud800 ü"], "": {}},
    ],
)
def test_what_json_holds_goes_as_json(value):
    assert _encoded(value)[1].startswith(b"J")
    assert repr(told(value)) == repr(value)


@pytest.mark.parametrize("value", [(1, 2), [(1,)], {1: "one"}, b"bytes", [np.float32(1.5)], 1.5 * np.ones(2)])
def test_what_json_would_change_goes_as_a_file(value):
    assert _encoded(value)[1].startswith(b"F")
    assert_same_bits(told(value), value)


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


@pytest.mark.skipif(
    not hasattr(os, "WNOWAIT"), reason="a process that nobody has waited for: on POSIX systems alone"
)
def test_a_process_has_ended_though_its_parent_has_not_asked_how():
    child = subprocess.Popen([sys.executable, "-c", ""])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    if sys.platform == "linux":
        assert _has_ended(child.pid)
    child.wait()
    assert _has_ended(child.pid)
    assert not _has_ended(os.getpid())


def test_what_ranks_tell_each_other_in_a_step_is_json():
    news = _News([(4.25, 2048.0), (float("nan"), 1.0)], "110", [])
    assert _encoded([[news.told], 1.5])[1].startswith(b"J")
    assert repr(_News.of(told(news.told))) == repr(news)
