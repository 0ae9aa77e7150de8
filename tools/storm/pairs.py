"""Two processes at once in one run's folder: one trains, the other is told who does, and nothing is mixed."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from itertools import cycle, islice
from pathlib import Path
from typing import NamedTuple

from .kills import Case, Expected, expect, make_cases
from .report import Report
from .scene import contents, copy, differences

# Runs the command; where it may train, says so and waits for a line before it does.
_CHILD = """
import sys
from rondeau.train import Trainer, cli

fit = Trainer.fit

def fit_when_told(trainer):
    print("TRAINS", flush=True)
    sys.stdin.readline()
    fit(trainer)

Trainer.fit = fit_when_told
print("READY", flush=True)
sys.stdin.readline()
raise SystemExit(cli.main(sys.argv[1:]))
"""

_PAIRS = (
    ("begin", "begin"),
    ("overwrite", "overwrite"),
    ("resume", "resume"),
    ("train longer", "overwrite"),
    ("resume", "go back"),
    ("overwrite", "train longer"),
    ("resume past damage", "resume past damage"),
    ("train longer", "train longer"),
)
"""Names of cases of `make_cases`; the folder is that of the first, and both can begin with it."""


class _Ended(NamedTuple):
    process: int
    status: int
    err: str


def storm(room: Path, corpus: Path, report: Report, *, rounds: int = 8) -> None:
    """Let pairs of processes begin at the same time, and see what they leave.

    Parameters
    ----------
    room : Path
        An empty folder.
    corpus : Path
        A text file.
    report : Report
    rounds : int
        How many pairs.
    """
    cases = {case.name: case for case in make_cases(room, corpus)}
    run = room / "run"
    for number, names in enumerate(islice(cycle(_PAIRS), rounds)):
        pair = [cases[name] for name in names]
        before = pair[0].before
        expected = {case.name: expect(case._replace(before=before), run) for case in pair}
        where = f"pairs, number {number}: {' and '.join(names)}"
        report.count(where.partition(": ")[2])
        if problem := race(pair, expected, copy(before, run)):
            report.find(where, problem)


def race(pair: list[Case], expected: Mapping[str, Expected], run: Path) -> str | None:
    """Run two commands at once; return what is wrong with what came of it, or None."""
    with ExitStack() as stack:
        children = [stack.enter_context(_start(case, run)) for case in pair]
        for child in children:
            _read_to(child, "READY")
        for child in children:
            _tell(child)
        # Each of them comes to train, or ends: the other one waits meanwhile, and holds the folder.
        trains = [_read_to(child, "TRAINS") for child in children]
        for child, may in zip(children, trains, strict=True):
            if may:
                _tell(child)
        ended = []
        for child in children:
            _, err = child.communicate()
            ended.append(_Ended(child.pid, child.returncode, err))
    told = "\n".join(f"process {e.process}, status {e.status}\n{e.err}" for e in ended)
    if sum(trains) != 1:
        return f"{sum(trains)} of them trained\n{told}"
    won = trains.index(True)
    winner, loser = ended[won], ended[1 - won]
    if (winner.status, loser.status) != (0, 2):
        return f"expected one to succeed and the other to be refused\n{told}"
    if f"is being written by process {winner.process} on {socket.gethostname()} since" not in loser.err:
        return f"the message does not say who holds the folder\n{told}"
    if names := differences(contents(run), expected[pair[won].name].contents):
        return f"{', '.join(names)}: not as one process alone leaves them\n{told}"
    return None


def _start(case: Case, run: Path) -> subprocess.Popen[str]:
    words = [word.replace("RUN", str(run)) for word in case.arguments]
    return subprocess.Popen(
        [sys.executable, "-c", _CHILD, *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        bufsize=1,
    )


def _read_to(child: subprocess.Popen[str], word: str) -> bool:
    """Read what a process prints up to a line; return whether it came."""
    assert child.stdout is not None
    return any(line.strip() == word for line in iter(child.stdout.readline, ""))


def _tell(child: subprocess.Popen[str]) -> None:
    assert child.stdin is not None
    child.stdin.write("\n")
    child.stdin.flush()
