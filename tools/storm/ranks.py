"""Ranks of an MPI job are killed or stopped; what is left in the end is what an undisturbed process leaves."""

from __future__ import annotations

import random
import sys
from pathlib import Path

from tools.mpi_job import SURVIVING, Ended, launcher, run_job

from .report import Report
from .scene import contents, copy, differences

OPTIONS = (
    *(
        "--cell=lstm",
        "--hidden_size=6",
        "--embedding_size=4",
        "--dropout=0.2",
        "--batch_size=5",
        "--num_steps=8",
    ),
    *("--epochs=null", "--max_steps=12", "--lr=0.03", "--clip_norm=0.5", "--averaged=0.5", "--shards=4"),
    *("--log_every=2", "--evaluate_every=4", "--checkpoint_every=3", "--seed=3", "--log=csv", "--threads=1"),
)

RANKS = 3

STOPPED_FOR = 20.0
"""Seconds that a stopped rank sleeps: far longer than a step, and no failure."""

_VARIES_BY = 10
"""From job to job, a rank makes a few calls more or less, since some repeat until a message has come."""

# Runs the command; on one rank of the job, as it began, does to its own process what the first arguments say, before
# the Nth call of what a training asks of other ranks, of what it computes, and of what it writes. "count" does
# nothing, and prints how many calls there were.
CHILD = """
import functools, os, signal, sys
from rondeau.tensor.files import durable
from rondeau.train import Recorder, RunFolder, Trainer, _evaluate, cli, optim
from rondeau.train.parallel import MPI, _gradients, _learning, _messages

how, victim, number = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
seen, rank = 0, int(os.environ.get("OMPI_COMM_WORLD_RANK", "0"))

def watched(name, function):
    @functools.wraps(function)
    def call(*arguments, **options):
        global seen
        if rank == victim:
            seen += 1
            if how != "count" and seen == number:
                print(f"{how} before {name}", file=sys.stderr, flush=True)
                os.kill(os.getpid(), {"kill": signal.SIGKILL, "stop": signal.SIGSTOP}[how])
        return function(*arguments, **options)
    return call

for kind in (Trainer, Recorder, RunFolder, MPI, _messages.Messages, _gradients.GradientSums, optim.Adam,
             _learning.ShardedLearning, _evaluate.Reading):
    for name, member in list(vars(kind).items()):
        if type(member) is type(watched) and name not in ("_called", "__init__"):
            setattr(kind, name, watched(f"{kind.__name__}.{name}", member))
for name in ("write_file", "replace_file", "rename", "append_file", "sync_folder", "cut_file", "remove_file"):
    setattr(durable, name, watched(f"durable.{name}", getattr(durable, name)))
status = cli.main(sys.argv[4:])
if how == "count" and rank == victim:
    print("calls:", seen)
raise SystemExit(status)
"""


def job(
    room: Path, how: str, victim: int, number: int, *words: str, survives: bool, size: int = RANKS
) -> Ended:
    """Run the command on ranks, of which one comes to harm before one of its calls."""
    options = SURVIVING if survives else ()
    program = ["-c", CHILD, how, str(victim), str(number), "train", *words, "--parallel", "mpi"]
    wake_after = STOPPED_FOR if how == "stop" else None
    return run_job([*launcher(size, *options), *program], room, wake_after)


def undisturbed(room: Path, corpus: Path) -> Path:
    """Train in one process; return what it leaves, to be compared with."""
    ended = run_job([sys.executable, "-m", "rondeau", "train", str(corpus), *OPTIONS, "--output=run"], room)
    assert ended.status == 0, ended.err
    return (room / "run").rename(room / "undisturbed")


def count_calls(room: Path, corpus: Path, victim: int) -> int:
    """Return how many calls a rank makes that could be its last."""
    copy(room / "nothing", room / "run")
    ended = job(room, "count", victim, 0, str(corpus), *OPTIONS, "--output=run", survives=True)
    assert ended.status == 0, ended.err
    return int(ended.out.rpartition("calls:")[2].split()[0])


def disturb(
    room: Path,
    corpus: Path,
    expected: Path,
    how: str,
    victim: int,
    number: int,
    survives: bool,
    size: int = RANKS,
) -> str | None:
    """Harm a rank in a new run; return what is wrong with what came of it, or None."""
    copy(room / "nothing", room / "run")
    words = (str(corpus), *OPTIONS, "--output=run")
    ended = job(room, how, victim, number, *words, survives=survives, size=size)
    if f"{how} before" not in ended.err:
        return f"nothing happened to rank {victim}\n{ended.err}"
    if ended.status is None:
        return f"the job hung\n{ended.out}\n{ended.err}"
    if how == "kill" and not survives:
        if problem := _check_ending(ended):
            return problem
        ended = run_job(
            [*launcher(size - 1), "-m", "rondeau", "train", *_again(room, corpus), "--parallel", "mpi"], room
        )
    if ended.status != 0:
        return f"status {ended.status}\n{ended.out}\n{ended.err}"
    if names := differences(contents(room / "run"), contents(expected)):
        return f"{', '.join(names)}: not as in the undisturbed run\n{ended.err}"
    return None


def _check_ending(ended: Ended) -> str | None:
    """Return what is wrong with how a job ended that lost a rank and could not go on."""
    lines = [line for line in ended.err.splitlines() if line.startswith("rondeau train:")]
    if ended.status == 0 or len(lines) > 1 or "Traceback" in ended.err:
        return f"expected a failure told in a line\n{ended.err}"
    return None


def _again(room: Path, corpus: Path) -> list[str]:
    """Return what continues a run; what begins it again, where nothing of it was written."""
    begun = (room / "run" / "config.yaml").exists()
    return ["--resume", "run"] if begun else [str(corpus), *OPTIONS, "--output=run"]


def storm(room: Path, corpus: Path, report: Report, *, rounds: int = 20, seed: int = 0) -> None:
    """Kill ranks at drawn moments, in jobs that survive it and in some that do not, and stop each of them once.

    Parameters
    ----------
    room : Path
        An empty folder.
    corpus : Path
        A text file.
    report : Report
    rounds : int
        How many kills in jobs that survive them; of those that do not, a quarter as many.
    seed : int
        Of the draws.
    """
    draws = random.Random(seed)
    expected = undisturbed(room, corpus)
    calls = [count_calls(room, corpus, victim) for victim in range(RANKS)]
    harms = [("kill", True)] * rounds + [("kill", False)] * (rounds // 4) + [("stop", True)] * RANKS
    for i, (how, survives) in enumerate(harms):
        victim = i % RANKS
        number = draws.randrange(calls[victim] - _VARIES_BY) + 1
        report.count(f"{how} a rank{'' if survives else ', the job ends'}")
        if problem := disturb(room, corpus, expected, how, victim, number, survives):
            report.find(
                f"ranks, number {i}: {how} rank {victim} before call {number}, survives: {survives}", problem
            )
