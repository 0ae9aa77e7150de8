"""File calls of a run go wrong in turn; the same command, given again, leaves what the undisturbed one leaves."""

from __future__ import annotations

import random
from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple, get_args

from .disk import FaultyDisk, How
from .report import Report
from .scene import OPTIONS, Outcome, command, contents, copy, differences, said

WAYS: tuple[How, ...] = get_args(How)


class Case(NamedTuple):
    """A command, and the state of the folder in which it is given."""

    name: str
    before: Path
    arguments: tuple[str, ...]
    """``RUN`` stands for the path of the folder."""
    again: tuple[str, ...]
    """What is given after an interruption."""

    def run(self, folder: Path, disk: FaultyDisk | None = None, again: bool = False) -> Outcome:
        """Give the command in `folder`."""
        words = self.again if again else self.arguments
        return command(*(word.replace("RUN", str(folder)) for word in words), disk=disk)


def make_cases(room: Path, corpus: Path) -> list[Case]:
    """Return commands that write a run's folder, each with a state of it to begin with, made in `room`."""
    begin = ("train", str(corpus), *OPTIONS, "--output=RUN")
    resume = ("train", "--resume", "RUN")
    fresh = Case("begin", room / "nothing", begin, begin)

    finished, unfinished = room / "finished", room / "unfinished"
    disk = FaultyDisk()
    fresh.run(finished, disk)
    fresh.run(unfinished, FaultyDisk(2 * len(disk.calls) // 3))

    damaged = copy(unfinished, room / "damaged")
    newest = max((damaged / "checkpoints").glob("step-*"), key=lambda path: int(path.name[5:]))
    (newest / "weights.safetensors").write_bytes(b"")

    oldest = min((unfinished / "checkpoints").glob("step-*"), key=lambda path: int(path.name[5:])).name
    longer = (*resume, "--max_steps=12")
    anew = (*begin, "--lr=0.02", "--overwrite")
    return [
        fresh,
        Case("resume", unfinished, resume, resume),
        Case("go back", unfinished, (*resume, "--checkpoint", oldest), resume),
        Case("resume past damage", damaged, resume, resume),
        Case("train longer", finished, longer, longer),
        Case("overwrite", finished, anew, anew),
    ]


class Expected(NamedTuple):
    """What a case leaves that is not disturbed."""

    contents: dict[str, object]
    calls: int


def expect(case: Case, run: Path) -> Expected:
    """Run a case undisturbed."""
    copy(case.before, run)
    disk = FaultyDisk()
    outcome = case.run(run, disk)
    assert outcome.status == 0, said([outcome])
    return Expected(contents(run), len(disk.calls))


def disturb(case: Case, expected: Expected, how: How, at: int, run: Path) -> str | None:
    """Let one call go wrong and give the command again; return what is wrong then, or None."""
    copy(case.before, run)
    disk = FaultyDisk(at, how)
    first = case.run(run, disk)
    if how in ("kill", "power"):
        if first.status is not None or first.traceback:
            return f"was not killed\n{said([first])}"
    elif disk.reached and not (first.is_one_line_about(str(run.parent)) or _is_set_aside(first)):
        return f"the failed {disk.reached} was not told in a line that names a file\n{said([first])}"
    second = case.run(run, again=True)
    has_ended = second.status == 2 and "holds a run already" in second.err  # the very last call went wrong
    if second.status != 0 and not has_ended:
        return f"could not be given again\n{said([first, second])}"
    if "damaged" in second.err and "damage" not in case.name:
        return f"left damage\n{said([first, second])}"
    try:
        found = contents(run)
    except AssertionError as error:
        return f"{error}\n{said([first, second])}"
    names = differences(found, expected.contents)
    if _is_set_aside(first):
        names = [name for name in names if "aside-" not in name]
    if names:
        return f"{', '.join(names)}: not as in the undisturbed run\n{said([first, second])}"
    return None


def _is_set_aside(outcome: Outcome) -> bool:
    """Return whether a checkpoint that could not be read was passed by, and kept, as another one was asked for."""
    return outcome.status == 0 and "cannot be read" in outcome.err and "; set aside as" in outcome.err


def storm(
    room: Path,
    corpus: Path,
    report: Report,
    *,
    ways: Collection[How] = WAYS,
    rounds: int | None = 300,
    seed: int = 0,
    only: str | None = None,
    at: int | None = None,
) -> None:
    """Let calls of all cases go wrong.

    Parameters
    ----------
    room : Path
        An empty folder.
    corpus : Path
        A text file.
    report : Report
    ways : collection of {"kill", "power", "fail", "full"}
        See `FaultyDisk`.
    rounds : int or None
        How many calls for each way, drawn from those of all cases; None: every one.
    seed : int
        Of the draws.
    only : str, optional
        This case alone.
    at : int, optional
        This call alone.
    """
    cases = [case for case in make_cases(room, corpus) if only in (None, case.name)]
    expected = {case.name: expect(case, room / "run") for case in cases}
    calls = [
        (case, call) for case in cases for call in range(expected[case.name].calls) if at in (None, call)
    ]
    for how in ways:
        chosen = calls
        if rounds is not None:
            chosen = random.Random(f"{seed} {how}").sample(calls, min(rounds, len(calls)))
        for case, call in chosen:
            report.count(f"{how}: {case.name} ({expected[case.name].calls} calls)")
            if problem := disturb(case, expected[case.name], how, call, room / "run"):
                report.find(f"kills --how {how} --only {case.name!r} --at {call}", problem)
