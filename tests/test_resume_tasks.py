"""Trainings of all kinds of models that are killed, and resumed, end with the bits of those that were not."""

import csv
import json
import random
import signal
import subprocess
import sys

import pytest

import killed_training
from rondeau import train

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no SIGKILL")

KINDS = ("forecaster", "classifier", "tagger")


def training(kind, folder, moment):
    """Train in a process of its own, which is killed before a call."""
    return subprocess.run(
        [sys.executable, killed_training.__file__, kind, str(folder), str(moment)],
        capture_output=True,
        text=True,
        timeout=300,
    )


def without_times(value):
    if isinstance(value, dict):
        return {k: without_times(v) for k, v in value.items() if k not in ("seconds", "files")}
    return value


def contents(folder):
    """All that a run leaves but its times, and the digests of what holds them."""
    rows = train.RunFolder(folder).rows()
    kept = {"metrics": [without_times(row) for row in rows]}
    with open(folder / "log.csv", newline="", encoding="utf-8") as file:
        kept["log"] = [without_times(row) for row in csv.DictReader(file)]
    for path in sorted(folder.glob("checkpoints/step-*/*")):
        name = f"{path.parent.name}/{path.name}"
        if path.suffix == ".safetensors":
            kept[name] = path.read_bytes()
        else:
            kept[name] = without_times(json.loads(path.read_bytes())["state"])
    return kept


def kill_and_compare(kind, tmp_path, kills):
    """Kill a training at drawn moments, resume it each time, and compare it with one that is left alone."""
    whole, folder = tmp_path / "whole", tmp_path / "run"
    calls = killed_training.run(kind, whole)
    # Moments of less calls in all than the training makes: none of the processes comes to its end.
    drawn = random.Random(kind)
    shares = [drawn.random() for _ in range(kills)]
    step = -1
    for share in shares:
        moment = 1 + int(share / sum(shares) * (calls - kills))
        killed = training(kind, folder, moment)
        assert killed.returncode == -signal.SIGKILL, (moment, killed.returncode, killed.stderr)
        latest = train.CheckpointFolder(folder / "checkpoints").published_step()
        if latest is not None:
            assert latest >= step, "no kill loses a checkpoint"
            step = latest
    assert step > 0, "killed on the way"
    done = training(kind, folder, 0)
    assert done.returncode == 0, done.stderr
    got, expected = contents(folder), contents(whole)
    assert got.keys() == expected.keys()
    for name, value in expected.items():
        assert got[name] == value, name


@pytest.mark.long
@pytest.mark.parametrize("kind", KINDS)
def test_ten_kills(kind, tmp_path):
    kill_and_compare(kind, tmp_path, 10)


def test_two_kills_of_a_tagger(tmp_path):
    kill_and_compare("tagger", tmp_path, 2)
