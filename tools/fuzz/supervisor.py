"""The process that runs workers, survives them, and reports.

A worker that dies is replaced by one that goes on behind the call it died in.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import IO, Any, NamedTuple, TextIO

from .worker import Position

FIRST_LINES = 60
"""Of what a dying worker said."""


class Plan(NamedTuple):
    """What to run."""

    seed: int
    first: int
    calls: int
    only: str | None
    targets: str
    patience: float
    """Seconds after which a call hangs."""

    def replay(self, index: int, target: str) -> str:
        """Return the command that runs one call alone."""
        module = "" if self.targets == "tools.fuzz.targets" else f" --targets {self.targets}"
        return f"python -m tools.fuzz{module} --only {target} --replay {self.seed} {index}"


class Report:
    """What was found, each cause once."""

    def __init__(self, plan: Plan, out: TextIO) -> None:
        self.plan, self.out = plan, out
        self.counts: Counter[str] = Counter()
        self.causes: Counter[tuple[str, str, str]] = Counter()
        self.first: dict[tuple[str, str, str], str] = {}
        self.interrupted_at: int | None = None
        """The call that ran when the user ended the run."""

    def finding(self, message: dict[str, Any]) -> None:
        """Take a finding, and print the first of its cause."""
        cause = message["target"], message["kind"], message["place"]
        self.causes[cause] += 1
        if cause in self.first:
            return
        command = self.first[cause] = self.plan.replay(message["index"], message["target"])
        wrong = f"  wrong on purpose: {message['wrong']}\n" if message.get("wrong") else ""
        print(
            f"\n{message['kind']}: {message['text']}\n  target {message['target']}, place {message['place']}\n"
            f"{wrong}  {command}\n{message.get('drawn', '')}\n{message.get('traceback', '')}",
            file=self.out,
            flush=True,
        )

    def summary(self) -> None:
        """Print the counts by target, and the causes."""
        outcomes = ("result", "refused", "finding")
        print(f"\n| target | {' | '.join(outcomes)} |\n|---|---|---|---|", file=self.out)
        for name in sorted({key.rpartition(" ")[0] for key in self.counts}):
            cells = " | ".join(str(self.counts[f"{name} {outcome}"]) for outcome in outcomes)
            print(f"| {name} | {cells} |", file=self.out)
        for (target, kind, place), count in self.causes.most_common():
            print(
                f"{count:6} x {target}: {kind} ({place})\n         {self.first[target, kind, place]}",
                file=self.out,
            )
        total = sum(self.causes.values())
        calls = f"{self.plan.calls} calls"
        if self.interrupted_at is not None:
            print(
                f"interrupted; the table lacks what ran since a worker last reported. "
                f"Go on with --first {self.interrupted_at}",
                file=self.out,
            )
            calls = f"{max(0, self.interrupted_at - self.plan.first)} of {calls}"
        print(
            f"{calls}, seed {self.plan.seed}: {total} findings of {len(self.causes)} causes",
            file=self.out,
        )


def supervise(plan: Plan, out: TextIO = sys.stdout) -> Report:
    """Run the calls of a plan; return what was found, also where Ctrl-C ends it.

    Raises
    ------
    RuntimeError
        If a worker dies before its first call.
    """
    report = Report(plan, out)
    first, stop = plan.first, plan.first + plan.calls
    with tempfile.TemporaryDirectory() as folder:
        position = Path(folder) / "position"
        while first < stop:
            at = Position.create(position)
            with (Path(folder) / "errors").open("w+") as errors:
                try:
                    ended = _run_worker(plan, first, stop, at, position, errors, report)
                except KeyboardInterrupt:
                    report.interrupted_at = max(at.index, first)
                    break
                if ended == 0:
                    break
                errors.seek(0)
                said = "".join(errors.readlines()[:FIRST_LINES])
            if at.index < first:
                raise RuntimeError(f"a worker ended with status {ended} before its first call:\n{said}")
            report.finding(
                {
                    "kind": "crash" if ended is not None else "hang",
                    "text": _ending(ended, plan.patience),
                    "target": _target_name(plan, at.index),
                    "place": _crash_place(said),
                    "index": at.index,
                    "traceback": said,
                }
            )
            first = at.index + 1
    return report


def _run_worker(
    plan: Plan, first: int, stop: int, at: Position, position: Path, errors: IO[str], report: Report
) -> int | None:
    """Run one worker to its end; return its status, or None if it had to be killed."""
    command = [sys.executable, "-m", "tools.fuzz", "--targets", plan.targets]
    command += ["--worker", str(plan.seed), str(first), str(stop), str(position)]
    command += ["--only", plan.only] if plan.only else []
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors) as worker:
        assert worker.stdout is not None
        try:
            hangs = _listen(plan, worker.stdout, at, report)
        except KeyboardInterrupt:
            worker.kill()
            raise
        if hangs:
            worker.send_signal(signal.SIGABRT)  # faulthandler then says where
        ended = worker.wait()
    return None if hangs else ended


def _listen(plan: Plan, stream: IO[bytes], at: Position, report: Report) -> bool:
    """Take a worker's messages until it closes; return whether a call lasted too long."""
    rest = b""
    seen, since = at.index, time.monotonic()
    with selectors.DefaultSelector() as selector:
        selector.register(stream, selectors.EVENT_READ)
        while True:
            ready = selector.select(timeout=1.0)
            if at.index != seen:
                seen, since = at.index, time.monotonic()
            elif time.monotonic() - since > plan.patience:
                return True
            if not ready:
                continue
            chunk = os.read(stream.fileno(), 1 << 16)
            if not chunk:
                return False
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                message = json.loads(line)
                if "counts" in message:
                    report.counts.update(message["counts"])
                else:
                    report.finding(message)


def _ending(status: int | None, patience: float) -> str:
    if status is None:
        return f"the call had not ended after {patience:g} s"
    return (
        f"the process ended by {signal.Signals(-status).name}"
        if status < 0
        else f"the process exited with {status}"
    )


def _target_name(plan: Plan, index: int) -> str:
    from .worker import load_targets, target_of

    return plan.only or target_of(plan.seed, index, load_targets(plan.targets))


def _crash_place(said: str) -> str:
    """Return the innermost line of Python that faulthandler names."""
    lines = [line.strip() for line in said.splitlines() if line.strip().startswith("File ")]
    return lines[0] if lines else "unknown"
