"""Checkpoints: whole after a kill at any step of writing, and any damage found and named."""

import hashlib
import json
import os

import numpy as np
import pytest

from comparing import assert_same_bits
from rondeau.tensor.files import durable
from rondeau.train import CheckpointError, CheckpointFolder, RunWarning, Snapshot
from rondeau.train._sealed import seal


def snapshot(value=0.0):
    weights = {"w": np.arange(6.0).reshape(2, 3) + value, "b": np.float32(value).reshape(())}
    return Snapshot({"weights": weights, "carried": {}}, {"epoch": 2, "rate": 0.1 + value})


def assert_same(got, expected):
    assert got.state == expected.state
    assert_same_bits(got.arrays, expected.arrays)


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
    assert_same_bits(got, array)


def test_keeps_the_last_few_and_the_best(tmp_path):
    checkpoints = CheckpointFolder(tmp_path, keep=2)
    for step in range(0, 60, 10):
        checkpoints.save(step, snapshot(step), also_keep=[10])
    assert checkpoints.steps() == [10, 40, 50]
    assert_same(checkpoints.load("step-10"), snapshot(10))
    assert_same(checkpoints.load(), snapshot(50))


class KilledError(BaseException):
    """Stands for a kill: nothing catches it."""


class Mortal:
    """Stands for `os`: counts the calls that change a disk, and dies before one of them and at all later ones."""

    CHANGES = ("open", "write", "fsync", "replace", "mkdir", "unlink", "rmdir")

    def __init__(self, die_at=None):
        self.die_at, self.count = die_at, 0

    def __getattr__(self, name):
        real = getattr(os, name)

        def call(*arguments):
            if self.count == self.die_at:
                raise KilledError
            self.count += 1
            return real(*arguments)

        return call if name in self.CHANGES else real


def test_a_kill_at_any_moment_leaves_a_whole_checkpoint(tmp_path, monkeypatch):
    def write(folder, die_at):
        checkpoints = CheckpointFolder(folder, keep=1)
        checkpoints.save(1, snapshot(1))
        with monkeypatch.context() as patch:
            patch.setattr(durable, "os", disk := Mortal(die_at))
            if die_at is None:
                checkpoints.save(2, snapshot(2))
            else:
                with pytest.raises(KilledError):
                    checkpoints.save(2, snapshot(2))
        return disk.count

    total = write(tmp_path / "whole", None)
    assert total > 20
    outcomes = []
    for die_at in range(total):
        folder = tmp_path / str(die_at)
        write(folder, die_at)
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


def flipped(content):
    return content[:-1] + bytes([content[-1] ^ 1])


DAMAGES = [
    ("step-5/weights.safetensors", flipped, "weights.safetensors has SHA-256"),
    ("step-5/weights.safetensors", lambda b: b[: len(b) // 2], "weights.safetensors has SHA-256"),
    ("step-5/weights.safetensors", None, "weights.safetensors is missing"),
    (
        "step-5/manifest.json",
        lambda b: b.replace(b'"epoch": 2', b'"epoch": 3'),
        "manifest.json is not a whole",
    ),
    ("step-5/manifest.json", lambda b: b"{}", "manifest.json is not a whole manifest"),
    ("step-5/manifest.json", None, "manifest.json is missing"),
    ("latest", lambda b: b[:10], "latest does not name a checkpoint"),
    ("latest", lambda b: b"[]", "latest does not name a checkpoint"),
    ("latest", lambda b: b.replace(b"step-5", b"step-3"), "latest does not name a checkpoint"),
]


def damage(path, change):
    if change is None:
        path.unlink()
    else:
        path.write_bytes(change(path.read_bytes()))


@pytest.mark.parametrize(("file", "change", "message"), DAMAGES)
def test_damage_is_found_and_named(tmp_path, file, change, message):
    checkpoints = CheckpointFolder(tmp_path)
    checkpoints.save(5, snapshot())
    damage(tmp_path / file, change)
    if file == "latest":  # of which nothing else depends
        with pytest.warns(RunWarning, match=f"{message}.*; step-5 is taken in its place"):
            assert_same(checkpoints.load(), snapshot())
        return
    with pytest.raises(CheckpointError, match=f"the checkpoint is damaged: .*{message}.* none is whole"):
        checkpoints.load()
    with pytest.raises(CheckpointError, match=message):
        checkpoints.load("step-5")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
@pytest.mark.parametrize(
    "make", [os.mkfifo, lambda path: os.symlink("/dev/zero", path)], ids=["pipe", "device"]
)
@pytest.mark.parametrize("file", ["step-5/weights.safetensors", "step-5/manifest.json"])
def test_what_is_no_file_is_neither_waited_for_nor_read_without_end(tmp_path, make, file):
    checkpoints = CheckpointFolder(tmp_path)
    checkpoints.save(5, snapshot())
    (tmp_path / file).unlink()
    make(tmp_path / file)
    with pytest.raises(CheckpointError, match=f"the checkpoint is damaged: .*{file} is not a file"):
        checkpoints.load("step-5")


@pytest.mark.parametrize(("file", "change", "message"), [*DAMAGES, ("latest", None, "latest is missing")])
def test_the_newest_whole_checkpoint_takes_the_place_of_a_damaged_one(tmp_path, file, change, message):
    checkpoints = CheckpointFolder(tmp_path)
    for step in (1, 3, 5):
        checkpoints.save(step, snapshot(step))
    damage(tmp_path / file, change)
    newest = 5 if file == "latest" else 3
    with pytest.warns(RunWarning, match=f"{message}.*; step-{newest} is taken in its place"):
        assert_same(checkpoints.load(), snapshot(newest))
    found = checkpoints.find()
    assert (found.step, list(found.damaged)) == (newest, [] if file == "latest" else [5])
    assert message in found.instead_of_latest


def test_going_back_removes_what_is_whole_and_sets_aside_what_is_not(tmp_path):
    checkpoints = CheckpointFolder(tmp_path, keep=9)
    for step in range(1, 6):
        checkpoints.save(step, snapshot(step))
    (tmp_path / "step-4" / "weights.safetensors").write_bytes(b"precious")
    (tmp_path / "step-2" / "notes.txt").write_text("mine")
    (tmp_path / ".step-6.writing").mkdir()
    (tmp_path / ".step-6.writing" / "weights.safetensors").write_bytes(b"")
    found = checkpoints.find("step-1")
    assert list(found.damaged) == [4]
    checkpoints.rewind(found)
    names = ["aside-step-2", "aside-step-4", "latest", "step-1"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    assert (tmp_path / "aside-step-4" / "weights.safetensors").read_bytes() == b"precious"
    assert (tmp_path / "aside-step-2" / "notes.txt").read_text() == "mine", (
        "nor is what somebody else wrote deleted"
    )
    assert_same(checkpoints.load(), snapshot(1))


def test_what_is_set_aside_twice_is_there_twice(tmp_path):
    checkpoints = CheckpointFolder(tmp_path)
    for content in (b"one", b"two"):
        checkpoints.save(1, snapshot())
        (tmp_path / "step-1" / "weights.safetensors").write_bytes(content)
        (tmp_path / "latest").unlink()
        checkpoints.save(1, snapshot())
        (tmp_path / "latest").unlink()
    for name, content in (("aside-step-1", b"one"), ("aside-step-1-2", b"two")):
        assert (tmp_path / name / "weights.safetensors").read_bytes() == content


@pytest.mark.parametrize("others", [["manifest.json"], ["weights.safetensors", "manifest.json"]])
def test_what_cannot_be_read_for_now_changes_nothing(tmp_path, monkeypatch, others):
    checkpoints = CheckpointFolder(tmp_path)
    for step in (1, 3):
        checkpoints.save(step, snapshot(step))
    read = durable.read_file

    def refuse(path):
        if path.parent.name == "step-3" and path.name in others:
            raise PermissionError(13, "Permission denied", str(path))
        return read(path)

    monkeypatch.setattr(durable, "read_file", refuse)
    with pytest.raises(PermissionError):
        checkpoints.find()
    assert checkpoints.find("step-1").step == 1, "but another one may be asked for"


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


@pytest.mark.parametrize("version", [2, 4])
@pytest.mark.parametrize("sealed", [False, True])
def test_another_format_is_refused_whatever_else_is_there(tmp_path, version, sealed):
    checkpoints = CheckpointFolder(tmp_path)
    for step in (3, 5):
        folder = checkpoints.save(step, snapshot())
    manifest = json.loads((folder / "manifest.json").read_text()) | {"format": version}
    del manifest["sha256"]
    (folder / "manifest.json").write_bytes(seal(manifest) if sealed else json.dumps(manifest).encode())
    for name in ("step-5", "latest"):
        with pytest.raises(
            CheckpointError, match=f"has format {version}; this version of rondeau reads format 3"
        ):
            checkpoints.load(name)


def test_the_latest_of_the_first_format_is_refused(tmp_path):
    CheckpointFolder(tmp_path).save(5, snapshot())
    (tmp_path / "latest").write_text('{"checkpoint": "step-5", "sha256": "ab12"}\n')
    with pytest.raises(CheckpointError, match="latest has format 1; this version of rondeau reads format 3"):
        CheckpointFolder(tmp_path).load()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"step": -3}, "is of step -3, not of 5"),
        ({"step": "5"}, "is of step '5', not of 5"),
        ({"step": True}, "is of step True, not of 5"),
        ({"state": [1]}, "holds no state"),
        ({"files": {"../../secret.safetensors": "0" * 64}}, "does not name the files beside it"),
        ({"files": {"/etc/passwd": "0" * 64}}, "does not name the files beside it"),
        ({"files": {"weights.safetensors": 3}}, "does not name the files beside it"),
        ({"files": []}, "does not name the files beside it"),
    ],
    ids=str,
)
def test_a_sealed_manifest_is_not_believed_blindly(tmp_path, changes, message):
    checkpoints = CheckpointFolder(tmp_path)
    folder = checkpoints.save(5, snapshot())
    manifest = json.loads((folder / "manifest.json").read_text()) | changes
    del manifest["sha256"]
    (folder / "manifest.json").write_bytes(seal(manifest))
    with pytest.raises(CheckpointError, match=f"manifest.json {message}"):
        checkpoints.load("step-5")


def test_a_sealed_file_of_arrays_that_is_none(tmp_path):
    checkpoints = CheckpointFolder(tmp_path)
    folder = checkpoints.save(5, snapshot())
    manifest = json.loads((folder / "manifest.json").read_text())
    del manifest["sha256"]
    for content in (b"", b"junk", b"\xff" * 64, (3).to_bytes(8, "little") + b"{}}"):
        (folder / "weights.safetensors").write_bytes(content)
        manifest["files"]["weights.safetensors"] = hashlib.sha256(content).hexdigest()
        (folder / "manifest.json").write_bytes(seal(manifest))
        with pytest.raises(CheckpointError, match=r"weights\.safetensors is not a whole safetensors file"):
            checkpoints.load("step-5")


def test_the_latest_is_not_written_twice(tmp_path):
    checkpoints = CheckpointFolder(tmp_path)
    checkpoints.save(5, snapshot())
    with pytest.raises(CheckpointError, match="step-5 is the latest checkpoint already"):
        checkpoints.save(5, snapshot())


def test_keep_at_least_one(tmp_path):
    with pytest.raises(ValueError, match="keep: expected at least 1 checkpoint to remain, got 0"):
        CheckpointFolder(tmp_path, keep=0)
