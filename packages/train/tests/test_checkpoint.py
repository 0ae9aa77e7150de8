"""Checkpoints: whole after a kill at any step of writing, and any damage found and named."""

import json
import os

import numpy as np
import pytest

from rondeau.train import CheckpointError, CheckpointFolder, Snapshot
from rondeau.train import _checkpoint as module


def snapshot(value=0.0):
    weights = {"w": np.arange(6.0).reshape(2, 3) + value, "b": np.float32(value).reshape(())}
    return Snapshot({"weights": weights, "carried": {}}, {"epoch": 2, "rate": 0.1 + value})


def assert_same(got, expected):
    assert got.state == expected.state
    assert got.arrays.keys() == expected.arrays.keys()
    for stem, arrays in expected.arrays.items():
        assert got.arrays[stem].keys() == arrays.keys()
        for name, array in arrays.items():
            assert got.arrays[stem][name].dtype == array.dtype
            np.testing.assert_array_equal(got.arrays[stem][name], array)


def test_round_trip(tmp_path):
    checkpoints = CheckpointFolder(tmp_path / "checkpoints")
    assert not checkpoints.exists()
    folder = checkpoints.save(7, snapshot())
    assert folder.name == "step-7"
    assert_same(checkpoints.load(), snapshot())
    assert_same(checkpoints.load("step-7"), snapshot())
    assert sorted(path.name for path in folder.iterdir()) == [
        "carried.safetensors",
        "manifest.json",
        "weights.safetensors",
    ]


@pytest.mark.parametrize(
    "array",
    [
        np.arange(12.0).reshape(3, 4).T,
        np.arange(12.0)[::-1],
        np.arange(24).reshape(2, 3, 4)[:, 1:, ::2],
        np.asfortranarray(np.arange(6.0, dtype=np.float32).reshape(2, 3)),
        np.broadcast_to(np.float64(3), (2, 2)),
        np.array(True),
        np.zeros((0, 3)),
    ],
    ids=["transposed", "reversed", "strided", "fortran", "broadcast", "0-d", "empty"],
)
def test_arrays_of_any_layout(tmp_path, array):
    checkpoints = CheckpointFolder(tmp_path)
    checkpoints.save(1, Snapshot({"weights": {"a": array}}, {}))
    got = checkpoints.load().arrays["weights"]["a"]
    assert got.shape == array.shape
    assert got.dtype == array.dtype
    np.testing.assert_array_equal(got, array)


def test_keeps_the_last_few_and_the_best(tmp_path):
    checkpoints = CheckpointFolder(tmp_path, keep=2)
    for step in range(0, 60, 10):
        checkpoints.save(step, snapshot(step), also_keep=[10])
    assert checkpoints.steps() == [10, 40, 50]
    assert_same(checkpoints.load("step-10"), snapshot(10))
    assert_same(checkpoints.load(), snapshot(50))


def operations(monkeypatch, action):
    """Call `action(number)` before each system call with which a checkpoint is written."""
    count = 0

    def watched(function):
        def call(*arguments, **options):
            nonlocal count
            action(count)
            count += 1
            return function(*arguments, **options)

        return call

    for name in ("replace", "fsync"):
        monkeypatch.setattr(os, name, watched(getattr(os, name)))
    monkeypatch.setattr(module.shutil, "rmtree", watched(module.shutil.rmtree))
    return lambda: count


class KilledError(BaseException):
    """Stands for a kill: nothing catches it."""


def test_a_kill_at_any_moment_leaves_a_whole_checkpoint(tmp_path, monkeypatch):
    def write(folder, die_at):
        checkpoints = CheckpointFolder(folder, keep=1)
        checkpoints.save(1, snapshot(1))

        def action(number):
            if number == die_at:
                raise KilledError

        with monkeypatch.context() as patch:
            total = operations(patch, action)
            try:
                checkpoints.save(2, snapshot(2))
            except KilledError:
                return None
            return total()

    total = write(tmp_path / "whole", None)
    assert total > 8
    outcomes = []
    for die_at in range(total):
        folder = tmp_path / str(die_at)
        assert write(folder, die_at) is None
        after = CheckpointFolder(folder, keep=1)
        loaded = after.load()
        outcomes.append(loaded.state["rate"])
        assert_same(loaded, snapshot(1) if loaded.state["rate"] == 1.1 else snapshot(2))
        if loaded.state["rate"] == 1.1:  # the resumed run comes to step 2 again
            after.save(2, snapshot(2))
            assert_same(after.load(), snapshot(2))
        after.save(3, snapshot(3))
        assert_same(after.load(), snapshot(3))
        assert sorted(p.name for p in folder.iterdir()) == ["latest", "step-3"], "leftovers are removed"
    assert set(outcomes) == {1.1, 2.1}


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        (
            "step-5/weights.safetensors",
            lambda b: b[:-1] + bytes([b[-1] ^ 1]),
            "weights.safetensors has SHA-256",
        ),
        ("step-5/weights.safetensors", lambda b: b[: len(b) // 2], "weights.safetensors has SHA-256"),
        ("step-5/weights.safetensors", None, "weights.safetensors is missing"),
        (
            "step-5/manifest.json",
            lambda b: b.replace(b'"epoch": 2', b'"epoch": 3'),
            "manifest.json has SHA-256",
        ),
        ("step-5/manifest.json", None, "manifest.json is missing"),
        ("latest", lambda b: b[:10], "latest does not name a checkpoint"),
        ("latest", lambda b: b"[]", "latest does not name a checkpoint"),
    ],
)
def test_damage_is_found_and_named(tmp_path, file, change, message):
    checkpoints = CheckpointFolder(tmp_path)
    checkpoints.save(5, snapshot())
    path = tmp_path / file
    if change is None:
        path.unlink()
    else:
        path.write_bytes(change(path.read_bytes()))
    with pytest.raises(CheckpointError, match=f"the checkpoint is damaged: .*{message}"):
        checkpoints.load()


def test_a_damaged_manifest_is_named_when_asked_for_by_step(tmp_path):
    checkpoints = CheckpointFolder(tmp_path)
    folder = checkpoints.save(5, snapshot())
    (folder / "manifest.json").write_text('{"step": 5}')
    with pytest.raises(CheckpointError, match=r"manifest.json is not a whole manifest"):
        checkpoints.load("step-5")


def test_missing_checkpoints(tmp_path):
    checkpoints = CheckpointFolder(tmp_path / "none")
    assert checkpoints.steps() == []
    with pytest.raises(
        CheckpointError, match="holds no checkpoint: the run ended before its first one was written"
    ):
        checkpoints.load()
    checkpoints.save(5, snapshot())
    with pytest.raises(CheckpointError, match=r"there is no checkpoint .*step-6; there: step-5"):
        checkpoints.load("step-6")
    with pytest.raises(CheckpointError, match="there is no checkpoint"):
        checkpoints.load("..")


def test_a_later_format_is_refused(tmp_path):
    checkpoints = CheckpointFolder(tmp_path)
    folder = checkpoints.save(5, snapshot())
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(manifest | {"format": 2}))
    with pytest.raises(CheckpointError, match="has format 2; this version reads format 1"):
        checkpoints.load("step-5")


def test_the_latest_is_not_written_twice(tmp_path):
    checkpoints = CheckpointFolder(tmp_path)
    checkpoints.save(5, snapshot())
    with pytest.raises(CheckpointError, match="step-5 is the latest checkpoint already"):
        checkpoints.save(5, snapshot())


def test_keep_at_least_one(tmp_path):
    with pytest.raises(ValueError, match="keep: expected at least 1 checkpoint to remain, got 0"):
        CheckpointFolder(tmp_path, keep=0)
