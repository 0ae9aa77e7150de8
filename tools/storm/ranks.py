"""Ranks of an MPI job are killed or stopped; what is left in the end is what an undisturbed process leaves."""

from __future__ import annotations

import itertools
import json
import random
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

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

MOMENTS = {
    "at any time": r"",
    "in a checkpoint": r"durable|RunFolder|Recorder",
    "in an evaluation": r"Reading|evaluate",
    "in the reduction": r"GradientSums|exchange",
}
"""Calls before which a rank comes to harm, by patterns of their names."""

_VARIES_BY = 10
"""From job to job, a rank makes a few calls more or less, since some repeat until a message has come."""

# Runs the command; on one rank of the job, as it began, does to its own process what the first arguments say, before
# the Nth call that fits a pattern, of what a training asks of other ranks, of what it computes, and of what it writes.
# "count" does nothing, and prints how many calls there were of each pattern.
CHILD = """
import functools, json, os, re, signal, sys
from rondeau.tensor.files import durable
from rondeau.train import Recorder, RunFolder, Trainer, _evaluate, cli, optim
from rondeau.train.parallel import MPI, _gradients, _learning, _messages

how, victim, number, patterns = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), json.loads(sys.argv[4])
seen = dict.fromkeys(patterns, 0)
rank = next((int(os.environ[name]) for name in ("OMPI_COMM_WORLD_RANK", "PMI_RANK") if name in os.environ), 0)

def watched(name, function):
    fitting = [pattern for pattern in patterns if re.search(pattern, name)]
    @functools.wraps(function)
    def call(*arguments, **options):
        if rank == victim:
            for pattern in fitting:
                seen[pattern] += 1
                if how != "count" and seen[pattern] == number:
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
status = cli.main(sys.argv[5:])
if how == "count" and rank == victim:
    print("calls:", json.dumps(seen))
raise SystemExit(status)
"""


class Harm(NamedTuple):
    """What is done to a rank of a job.

    Attributes
    ----------
    how : {"kill", "stop", "count"}
    victim : int
        The rank.
    number : int
        Before which of the calls that fit.
    patterns : sequence of str
        Which those are.
    """

    how: str
    victim: int
    number: int
    patterns: Sequence[str] = ("",)

    @property
    def words(self) -> list[str]:
        """The arguments of `CHILD`."""
        return ["-c", CHILD, self.how, str(self.victim), str(self.number), json.dumps(self.patterns)]


def job(room: Path, harm: Harm, *words: str, survives: bool, size: int = RANKS) -> Ended:
    """Run the command on ranks, of which one comes to harm."""
    options = SURVIVING if survives else ()
    wake_after = STOPPED_FOR if harm.how == "stop" else None
    program = [*harm.words, "train", *words, "--parallel", "mpi"]
    return run_job([*launcher(size, *options), *program], room, wake_after)


def undisturbed(room: Path, corpus: Path) -> Path:
    """Train in one process; return what it leaves, to be compared with."""
    ended = run_job([sys.executable, "-m", "rondeau", "train", str(corpus), *OPTIONS, "--output=run"], room)
    assert ended.status == 0, ended.err
    return (room / "run").rename(room / "undisturbed")


def count_calls(room: Path, corpus: Path, victim: int) -> dict[str, int]:
    """Return how many calls a rank makes that could be its last, for each pattern of `MOMENTS`."""
    copy(room / "nothing", room / "run")
    harm = Harm("count", victim, 0, list(MOMENTS.values()))
    ended = job(room, harm, str(corpus), *OPTIONS, "--output=run", survives=True)
    assert ended.status == 0, ended.err
    found: dict[str, int] = json.loads(ended.out.rpartition("calls:")[2].splitlines()[0])
    return found


def disturb(
    room: Path, corpus: Path, expected: Path, harm: Harm, survives: bool, size: int = RANKS
) -> str | None:
    """Harm a rank in a new run; return what is wrong with what came of it, or None."""
    copy(room / "nothing", room / "run")
    ended = job(room, harm, str(corpus), *OPTIONS, "--output=run", survives=survives, size=size)
    if f"{harm.how} before" not in ended.err:
        return f"nothing happened to rank {harm.victim}\n{ended.err}"
    if ended.status is None or ended.left:
        return f"the job hung, or processes were left: {ended.left}\n{ended.out}\n{ended.err}"
    if harm.how == "kill" and not survives:
        if problem := _check_ending(ended):
            return problem
        again = ["-m", "rondeau", "train", *_again(room, corpus)]
        ranks = [*launcher(size - 1), *again, "--parallel", "mpi"] if size > 2 else [sys.executable, *again]
        ended = run_job(ranks, room)
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
        How many kills in jobs that survive them; of those that do not, a quarter as many. A quarter of both is at
        any time, in a checkpoint, in an evaluation and in the reduction each.
    seed : int
        Of the draws.
    """
    draws = random.Random(seed)
    expected = undisturbed(room, corpus)
    calls = [count_calls(room, corpus, victim) for victim in range(RANKS)]
    harms = [("kill", True)] * rounds + [("kill", False)] * (rounds // 4) + [("stop", True)] * RANKS
    moments = itertools.cycle(MOMENTS)
    for i, (how, survives) in enumerate(harms):
        victim, moment = i % RANKS, next(moments)
        pattern = MOMENTS[moment]
        number = draws.randrange(max(1, calls[victim][pattern] - _VARIES_BY)) + 1
        report.count(f"{how} a rank {moment}{'' if survives else ', the job ends'}")
        if problem := disturb(room, corpus, expected, Harm(how, victim, number, [pattern]), survives):
            report.find(
                f"ranks, number {i}: {how} rank {victim} before call {number} {moment}, survives: {survives}",
                problem,
            )
