"""Runs shared among processes by MPI: the bits of one process, whatever the number of ranks, and one voice."""

import json
import os
import subprocess
import sys

import pytest
from tools.storm.scene import contents, differences, write_corpus

from ranks import launcher, needs_mpi, run_ranks

pytestmark = needs_mpi

OPTIONS = [
    *(
        "--cell=lstm",
        "--hidden_size=6",
        "--embedding_size=4",
        "--dropout=0.2",
        "--batch_size=5",
        "--num_steps=8",
    ),
    *("--epochs=null", "--max_steps=9", "--lr=0.03", "--clip_norm=0.5", "--averaged=0.5", "--shards=4"),
    *("--log_every=2", "--evaluate_every=4", "--checkpoint_every=3", "--seed=3", "--log=csv", "--threads=1"),
]


def rondeau(*arguments, size=None, options=(), **more):
    """Give a command in one process, or on so many ranks."""
    words = ["-m", "rondeau", *map(str, arguments)]
    if size is not None:
        return run_ranks(size, *words, "--parallel", "mpi", options=options, **more)
    env = os.environ | {"MPLBACKEND": "agg"}
    return subprocess.run(
        [sys.executable, *words], capture_output=True, text=True, timeout=120, env=env, **more
    )


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return write_corpus(tmp_path_factory.mktemp("corpus") / "corpus.txt")


@pytest.fixture(scope="module")
def alone(corpus, tmp_path_factory):
    """What a process by itself leaves of a run."""
    folder = tmp_path_factory.mktemp("alone")
    ended = rondeau("train", corpus, *OPTIONS, "--output=run", cwd=folder)
    assert ended.returncode == 0, ended.stderr
    return folder / "run"


@pytest.mark.parametrize(
    "size", [2, pytest.param(3, marks=pytest.mark.long), pytest.param(4, marks=pytest.mark.long)]
)
def test_a_run_has_the_same_bits_on_ranks(corpus, alone, tmp_path, size):
    ended = rondeau("train", corpus, *OPTIONS, "--output=run", size=size, cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.count("ended: 9 steps are done") == 1
    assert differences(contents(tmp_path / "run"), contents(alone)) == []


@pytest.mark.long
def test_a_run_goes_on_with_other_numbers_of_ranks(corpus, alone, tmp_path):
    run = tmp_path / "run"
    sizes = [None, 2, 3, 4, 1]
    for size in sizes:
        words = ["train", "--resume", run] if run.exists() else ["train", corpus, *OPTIONS, "--output", run]
        stopped = subprocess.run(
            [*([sys.executable] if size is None else launcher(size)), "-c", STOPS, *map(str, words)]
            + ([] if size is None else ["--parallel", "mpi"]),
            capture_output=True,
            text=True,
            timeout=120,
            env=os.environ | {"MPLBACKEND": "agg"},
        )
        assert "interrupted at step" in stopped.stderr, stopped.stderr
    steps = json.loads((max((run / "checkpoints").glob("step-*/manifest.json"), key=step_of)).read_text())[
        "step"
    ]
    assert steps == len(sizes)
    ended = rondeau("train", "--resume", run)
    assert ended.returncode == 0, ended.stderr
    for name in ("weights", "averaged", "optimizer", "carried"):
        there, expected = (r / "checkpoints" / "step-9" / f"{name}.safetensors" for r in (run, alone))
        assert there.read_bytes() == expected.read_bytes(), name


def step_of(path):
    return int(path.parent.name.removeprefix("step-"))


# The command, interrupted at its first step, as a signal on the last rank would.
STOPS = """
import sys
from rondeau.train import Trainer, _progress, cli

tell = Trainer._tell

def stop_after_a_step(trainer, event, *arguments):
    tell(trainer, event, *arguments)
    if event == "on_step" and trainer.parallel.rank == trainer.parallel.size - 1:
        trainer.stop(_progress.INTERRUPTED)

Trainer._tell = stop_after_a_step
raise SystemExit(cli.main(sys.argv[1:]))
"""


def test_one_rank_fails_and_all_end_with_one_traceback(corpus, tmp_path):
    ended = run_ranks(
        2, "-c", FAILS, "train", corpus, *OPTIONS, "--output", tmp_path / "run", "--parallel", "mpi"
    )
    assert ended.returncode != 0
    assert ended.stderr.count("Traceback") == 1
    assert ended.stderr.count("ZeroDivisionError: only here") == 1


FAILS = """
import sys
from rondeau.train import Trainer, cli

learn = Trainer._learn

def fail(trainer, group):
    if trainer.step == 2 and trainer.parallel.rank == 1:
        raise ZeroDivisionError("only here")
    learn(trainer, group)

Trainer._learn = fail
raise SystemExit(cli.main(sys.argv[1:]))
"""


def test_what_no_rank_can_read_is_told_once(tmp_path):
    ended = rondeau("train", tmp_path / "none.txt", "--output", tmp_path / "run", size=2)
    lines = [line for line in ended.stderr.splitlines() if line.startswith("rondeau train:")]
    assert len(lines) == 1
    assert "none.txt" in lines[0]
    assert "Traceback" not in ended.stderr
    assert not (tmp_path / "run").exists()
