"""Runs shared among processes by MPI: the bits of one process, whatever the number of ranks, and one voice."""

import json
import os
import signal
import sys

import pytest
from tools.mpi_job import is_open_mpi, launcher, run_job
from tools.storm import ranks as storm
from tools.storm.report import Report
from tools.storm.scene import contents, differences, write_corpus

from ranks import needs_mpi, needs_ulfm

pytestmark = needs_mpi


def rondeau(*arguments, size=None, folder=None):
    """Give a command in one process, or on so many ranks."""
    words = ["-m", "rondeau", *map(str, arguments)]
    if size is None:
        return run_job([sys.executable, *words], folder)
    return run_job([*launcher(size), *words, "--parallel", "mpi"], folder)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return write_corpus(tmp_path_factory.mktemp("corpus") / "corpus.txt")


@pytest.fixture(scope="module")
def alone(corpus, tmp_path_factory):
    """What a process by itself leaves of a run."""
    return storm.undisturbed(tmp_path_factory.mktemp("alone"), corpus)


@pytest.mark.parametrize(
    "size", [2, pytest.param(3, marks=pytest.mark.long), pytest.param(4, marks=pytest.mark.long)]
)
def test_a_run_has_the_same_bits_on_ranks(corpus, alone, tmp_path, size):
    ended = rondeau("train", corpus, *storm.OPTIONS, "--output=run", size=size, folder=tmp_path)
    assert ended.status == 0, ended.err
    assert ended.out.count("ended: 12 steps are done") == 1
    assert differences(contents(tmp_path / "run"), contents(alone)) == []


@pytest.mark.long
def test_a_run_goes_on_with_other_numbers_of_ranks(corpus, alone, tmp_path):
    run = tmp_path / "run"
    sizes = [None, 2, 3, 4, 1]
    for size in sizes:
        words = (
            ["train", "--resume", run] if run.exists() else ["train", corpus, *storm.OPTIONS, "--output", run]
        )
        start = [sys.executable] if size is None else launcher(size)
        shared = [] if size is None else ["--parallel", "mpi"]
        stopped = run_job([*start, "-c", STOPS, *map(str, words), *shared])
        assert "interrupted at step" in stopped.err, stopped.err
    steps = json.loads((max((run / "checkpoints").glob("step-*/manifest.json"), key=step_of)).read_text())[
        "step"
    ]
    assert steps == len(sizes)
    ended = rondeau("train", "--resume", run)
    assert ended.status == 0, ended.err
    for name in ("weights", "averaged", "optimizer", "carried"):
        there, expected = (r / "checkpoints" / "step-12" / f"{name}.safetensors" for r in (run, alone))
        assert there.read_bytes() == expected.read_bytes(), name


def step_of(path):
    return int(path.parent.name.removeprefix("step-"))


# The command, interrupted at its first step, as a signal on the last rank would.
STOPS = """
import sys
from rondeau.train import Trainer, _interruption, cli

tell = Trainer._tell

def stop_after_a_step(trainer, event, *arguments):
    tell(trainer, event, *arguments)
    if event == "on_step" and trainer.parallel.rank == trainer.parallel.size - 1:
        trainer.stop(_interruption.INTERRUPTED)

Trainer._tell = stop_after_a_step
raise SystemExit(cli.main(sys.argv[1:]))
"""


def test_one_rank_fails_and_all_end_with_one_traceback(corpus, tmp_path):
    words = ["train", str(corpus), *storm.OPTIONS, "--output=run", "--parallel=mpi"]
    ended = run_job([*launcher(2), "-c", FAILS, *words], tmp_path)
    assert ended.status != 0
    assert ended.err.count("Traceback") == 1
    assert ended.err.count("ZeroDivisionError: only here") == 1


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
    lines = [line for line in ended.err.splitlines() if line.startswith("rondeau train:")]
    assert len(lines) == 1
    assert "none.txt" in lines[0]
    assert "Traceback" not in ended.err
    assert not (tmp_path / "run").exists()


@needs_ulfm
def test_a_rank_dies_and_the_others_end_with_the_bits_of_an_undisturbed_run(corpus, alone, tmp_path):
    assert storm.disturb(tmp_path, corpus, alone, storm.Harm("kill", 0, 500), survives=True, size=2) is None


@pytest.mark.parametrize(
    ("victim", "size"),
    [(0, 2), pytest.param(1, 2, marks=pytest.mark.long), pytest.param(1, 3, marks=pytest.mark.long)],
)
def test_a_rank_dies_and_all_end_with_a_line_and_the_run_goes_on_with_other_ranks(
    corpus, alone, tmp_path, victim, size
):
    harm = storm.Harm("kill", victim, 500)
    assert storm.disturb(tmp_path, corpus, alone, harm, survives=False, size=size) is None


@pytest.mark.long
@needs_ulfm
def test_ranks_in_a_storm(corpus, tmp_path):
    report = Report()
    storm.storm(tmp_path, corpus, report)
    assert report.findings == []


@pytest.mark.skipif(os.name != "posix", reason="processes are sent signals on POSIX systems alone")
@pytest.mark.parametrize(
    ("to", "number"),
    [
        ("launcher", "SIGUSR1"),
        *(
            pytest.param(*case, marks=pytest.mark.long)
            for case in [
                ("launcher", "SIGTERM"),
                ("launcher", "SIGINT"),
                ("rank", "SIGUSR1"),
                ("rank", "SIGTERM"),
                ("all ranks", "SIGUSR1"),
            ]
        ),
    ],
)
def test_a_signal_ends_all_ranks_and_the_run_goes_on(corpus, alone, tmp_path, to, number):
    words = ["train", str(corpus), *storm.OPTIONS, "--output=run", "--parallel=mpi"]
    ended = run_job([*launcher(2), "-c", SENDS, to, number, *words], tmp_path)
    assert ended.status not in (None, 0)
    assert ended.left == []
    assert "Traceback" not in ended.err
    lines = [line for line in ended.err.splitlines() if "interrupted" in line]
    if to == "launcher" and number != "SIGUSR1" and is_open_mpi():
        assert len(lines) <= 1  # it passes on no more of what ranks say
    else:
        assert len(lines) == 1
        assert lines[0].endswith("continue with: rondeau train --resume run")
        assert ended.status == 128 + getattr(signal, number)
    if number == "SIGUSR1":
        assert lines[0].startswith("interrupted at step 3: everything is kept; ")
        latest = json.loads((tmp_path / "run" / "checkpoints" / "latest").read_text())
        assert latest["checkpoint"] == "step-3"
    resumed = rondeau("train", "--resume", "run", folder=tmp_path)
    assert resumed.status == 0, resumed.err
    assert differences(contents(tmp_path / "run"), contents(alone)) == []


# The command, in which the last rank sends a signal in its third step: to the launcher, to itself, or to all ranks.
SENDS = """
import os, signal, sys
from rondeau.train import Trainer, cli

to, number = sys.argv[1], getattr(signal, sys.argv[2])
learn = Trainer._learn

def send(trainer, group):
    ranks = trainer.parallel
    processes = ranks.all_gather(os.getpid())
    if trainer.step == 2 and ranks.rank == ranks.size - 1:
        launcher = int(os.environ["RONDEAU_LAUNCHER"])
        for process in {"launcher": [launcher], "rank": [os.getpid()], "all ranks": processes}[to]:
            os.kill(process, number)
    learn(trainer, group)

Trainer._learn = send
raise SystemExit(cli.main(sys.argv[3:]))
"""


def test_a_run_without_shards_is_not_for_ranks(corpus, tmp_path):
    words = [str(corpus), "--hidden_size=2", "--max_steps=1", "--threads=1", "--output=run"]
    assert rondeau("train", *words, folder=tmp_path).status == 0
    ended = rondeau("train", "--resume", "run", "--parallel=mpi", folder=tmp_path)  # rank 0 of 1
    assert ended.status == 2
    assert ended.err.startswith(
        "rondeau train: --parallel: run was begun without shards, and one process continues it"
    )
    assert ended.err.count("\n") == 1
