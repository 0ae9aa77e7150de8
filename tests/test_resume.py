"""A run that is killed again and again, and resumed, ends with the bits of the run that was not."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no SIGKILL")

OPTIONS = [
    *("--cell=lstm", "--hidden_size=6", "--num_layers=2", "--embedding_size=5", "--dropout=0.2"),
    *("--batch_size=3", "--num_steps=8", "--epochs=3", "--lr=0.01", "--warmup_steps=5", "--clip_norm=0.5"),
    *("--log_every=7", "--evaluate_every=30", "--checkpoint_every=12", "--seed=3", "--keep=2"),
]

# Runs the command line, and kills its own process at a moment that the first argument names:
# "calls:N" before the Nth call of any method of the classes that train and record, or of fsync and replace;
# "rename:N" before the Nth new checkpoint gets its name; "latest:N" before the Nth time that `latest` is swapped.
# "count" kills nothing, counts the calls and prints them.
CHILD = """
import functools, os, signal, sys
from rondeau import nn, tensor as rt
from rondeau.kernels.runtime import threads
from rondeau.data import SequentialBatches
from rondeau.train import CheckpointFolder, Recorder, RunFolder, Trainer, _log, cli, lr_scheduler, optim

threads.PARALLEL_FROM = 0  # so small a model would stay on one thread
moment, number = (sys.argv[1] + ":0").split(":")[:2]
number, seen = int(number), 0

def reached(*kinds):
    global seen
    if moment in kinds:
        seen += 1
        if seen == number:
            os.kill(os.getpid(), signal.SIGKILL)

def watched(function, kinds=lambda *arguments: ()):
    @functools.wraps(function)
    def call(*arguments, **options):
        reached("calls", "count", *kinds(*arguments))
        return function(*arguments, **options)
    return call

def kind_of_replacement(source, target):
    name = os.path.basename(target)
    return ["latest"] if name == "latest" else ["rename"] if name.startswith("step-") else []

os.fsync = watched(os.fsync)
os.replace = watched(os.replace, kind_of_replacement)
for kind in (Trainer, Recorder, RunFolder, CheckpointFolder, _log.Log, optim.Optimizer, optim.Adam, rt.Tensor,
             lr_scheduler.LRScheduler, lr_scheduler.SequentialLR, SequentialBatches, nn.LanguageModel, nn.Recurrent):
    for name, member in list(vars(kind).items()):
        if type(member) is type(watched) and (kind is not rt.Tensor or name in ("backward", "detach", "item")):
            setattr(kind, name, watched(member))
status = cli.main(sys.argv[2:])
if moment == "count":
    print("calls:", seen)
raise SystemExit(status)
"""


def command(moment, *arguments):
    return subprocess.run(
        [sys.executable, "-c", CHILD, moment, "train", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=300,
        env=os.environ | {"MPLBACKEND": "agg"},
    )


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    rng = random.Random(0)
    words = ["to", "be", "or", "not", "that", "is", "the", "question", "\n"]
    path = tmp_path_factory.mktemp("corpus") / "hamlet.txt"
    path.write_text(" ".join(rng.choice(words) for _ in range(350)), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def whole(corpus, tmp_path_factory):
    """The run that is never killed, on one thread; and how many calls it makes."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    done = command("count", corpus, *OPTIONS, "--threads=1", f"--output={folder}")
    assert done.returncode == 0, done.stderr
    return folder, int(done.stdout.rsplit("calls:", 1)[1])


def without_times(value):
    """Leave out times, and the seal of what holds them."""
    if isinstance(value, dict):
        return {k: without_times(v) for k, v in value.items() if not (k.endswith("seconds") or k == "sha256")}
    return value


def contents(folder):
    """All that a run leaves but its times and picture, and the configuration, which names its folder."""
    checkpoints = sorted((folder / "checkpoints").glob("step-*"))
    kept = {"samples": (folder / "samples.txt").read_bytes(), "vocab": (folder / "vocab.json").read_bytes()}
    kept["metrics"] = [
        without_times(json.loads(line)) for line in (folder / "metrics.jsonl").read_text().splitlines()
    ]
    kept["summary"] = without_times(json.loads((folder / "summary.json").read_text()))
    for checkpoint in checkpoints:
        for path in sorted(checkpoint.glob("*.safetensors")):
            kept[f"{checkpoint.name}/{path.name}"] = path.read_bytes()
        manifest = json.loads((checkpoint / "manifest.json").read_text())
        state = without_times(manifest["state"])
        del state["files"]  # of which the configuration names its folder, and metrics.jsonl holds times
        kept[f"{checkpoint.name}/manifest"] = state
    return kept


def assert_same(folder, other):
    got, expected = contents(folder), contents(other)
    assert got.keys() == expected.keys()
    for name, value in expected.items():
        assert got[name] == value, name


@pytest.mark.parametrize(
    "kills", [slice(2, 7), pytest.param(slice(None), marks=pytest.mark.long)], ids=["five", "ten"]
)
def test_kills(kills, corpus, whole, tmp_path):
    reference, calls = whole
    folder = tmp_path / "run"
    rng = random.Random(1)
    moments = [f"calls:{rng.randrange(calls // 16, calls // 8)}" for _ in range(8)]
    moments[3:3] = [f"rename:{rng.randrange(1, 3)}"]
    moments[6:6] = [f"latest:{rng.randrange(1, 3)}"]
    assert len(moments) == 10
    step = -1
    for number, moment in enumerate(moments[kills]):
        begun = (folder / "config.yaml").exists()
        what = ["--resume", folder] if begun else [corpus, *OPTIONS, f"--output={folder}"]
        killed = command(moment, *what, f"--threads={(1, 2, 1, 3)[number % 4]}")
        assert killed.returncode == -signal.SIGKILL, (moment, killed.returncode, killed.stderr)
        checkpoints = folder / "checkpoints"
        if moment.startswith("rename"):
            assert list(checkpoints.glob(".step-*.writing")), "killed while it wrote a checkpoint"
        if (checkpoints / "latest").exists():
            latest = json.loads((checkpoints / "latest").read_text())["checkpoint"]
            if moment.startswith("latest"):
                newest = max(int(path.name[5:]) for path in checkpoints.glob("step-*"))
                assert newest > int(latest[5:]), "killed between a whole checkpoint and its publication"
            assert int(latest[5:]) >= step, "no kill loses a checkpoint"
            step = int(latest[5:])
    assert step > 0
    done = command("never", "--resume", folder, "--threads=2")
    assert done.returncode == 0, done.stderr
    assert f"continued at step {step}" in done.stdout
    assert_same(folder, reference)


def test_ctrl_c_then_resume(corpus, whole, tmp_path):
    reference, _ = whole
    folder = tmp_path / "run"
    interrupting = CHILD.replace("signal.SIGKILL", "signal.SIGINT")
    stopped = subprocess.run(
        [
            sys.executable,
            "-c",
            interrupting,
            "latest:4",
            "train",
            corpus,
            *OPTIONS,
            "--threads=1",
            f"--output={folder}",
        ],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert stopped.returncode == 130, stopped.stderr
    last = stopped.stderr.strip().splitlines()[-1]
    assert last.startswith(
        "interrupted at step 30: everything is kept; continue with: rondeau train --resume"
    )
    assert "Traceback" not in stopped.stderr
    done = command("never", "--resume", folder)
    assert done.returncode == 0, done.stderr
    assert_same(folder, reference)


def test_resuming_a_finished_run_changes_nothing(whole):
    folder, _ = whole
    before = contents(folder)
    done = command("never", "--resume", folder)
    assert done.returncode == 0, done.stderr
    assert contents(folder) == before


def test_a_damaged_checkpoint_is_trained_again(whole, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(whole[0], folder)
    latest = json.loads((folder / "checkpoints" / "latest").read_text())["checkpoint"]
    weights = folder / "checkpoints" / latest / "weights.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    resumed = command("never", "--resume", folder)
    assert resumed.returncode == 0, resumed.stderr
    said = [line for line in resumed.stderr.splitlines() if line.startswith("rondeau train: ")]
    assert len(said) == 2
    assert all(str(Path(latest) / "weights.safetensors has SHA-256") in line for line in said)
    aside = folder / "checkpoints" / f"aside-{latest}"
    assert (aside / "weights.safetensors").read_bytes() == content, (
        "nothing is deleted that could not be read"
    )
    assert_same(folder, whole[0])


def test_a_changed_corpus_is_refused(corpus, whole):
    folder, _ = whole
    text = corpus.read_text(encoding="utf-8")
    try:
        corpus.write_text(text + "!", encoding="utf-8")
        failed = command("never", "--resume", folder)
    finally:
        corpus.write_text(text, encoding="utf-8")
    assert failed.returncode == 2
    assert "rondeau train: the corpus has changed since the run began" in failed.stderr
