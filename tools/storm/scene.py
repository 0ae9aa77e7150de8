"""Small runs of the command, in this process, and what they leave."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import random
import re
import shutil
import signal
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rondeau.train import cli

from .disk import FaultyDisk, KilledError, installed

OPTIONS = (
    *(
        "--cell=lstm",
        "--hidden_size=3",
        "--embedding_size=2",
        "--dropout=0.2",
        "--batch_size=2",
        "--num_steps=8",
    ),
    *("--epochs=null", "--max_steps=9", "--lr=0.03", "--warmup_steps=2", "--clip_norm=0.5", "--threads=1"),
    *("--log_every=2", "--evaluate_every=4", "--checkpoint_every=3", "--keep=2", "--seed=3"),
    *("--log=csv", "--averaged=0.5"),
)


class Outcome(NamedTuple):
    """How a command ended."""

    status: int | None
    """None: it was killed."""
    out: str
    err: str
    seconds: float
    traceback: str
    """Of an exception that a user would have seen; empty where there was none."""

    def is_one_line_about(self, *names: str) -> bool:
        """Return whether the command failed with one line that holds one of the names."""
        lines = self.err.strip().splitlines()
        return self.status in (1, 2) and not self.traceback and any(name in lines[-1] for name in names)


def command(*arguments: str, disk: FaultyDisk | None = None) -> Outcome:
    """Run ``rondeau`` in this process, with its files on `disk`."""
    out, err, status, trace = io.StringIO(), io.StringIO(), None, ""
    began = time.perf_counter()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), installed(disk or FaultyDisk()):
        try:
            status = cli.main([str(argument) for argument in arguments])
        except KilledError:
            pass
        except (Exception, SystemExit):
            trace = traceback.format_exc()
    if status in (128 + signal.SIGINT, 128 + signal.SIGTERM):  # meant for the storm
        raise KeyboardInterrupt
    return Outcome(status, out.getvalue(), err.getvalue(), time.perf_counter() - began, trace)


def write_corpus(path: Path) -> Path:
    """Write a text of 700 characters."""
    generator = random.Random(0)
    words = ["to", "be", "or", "not", "that", "is", "the", "question", "\n"]
    path.write_text(" ".join(generator.choice(words) for _ in range(190)), encoding="utf-8")
    return path


def contents(folder: Path) -> dict[str, Any]:
    """Return all that a run leaves, by path, but its times.

    Raises
    ------
    AssertionError
        If something is left that a run does not leave.
    """
    kept: dict[str, Any] = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if name == "rondeau.lock" or path.is_dir():
            kept[name] = path.is_dir()
        elif "aside-" in name:
            kept[name] = path.read_bytes()
        elif path.name == "manifest.json":
            kept[name] = _without_times(json.loads(path.read_bytes())["state"])
        elif path.name == "metrics.jsonl":
            kept[name] = [_without_times(json.loads(line)) for line in path.read_bytes().splitlines()]
        elif path.name == "metrics.csv":
            rows = csv.DictReader(path.read_text(encoding="utf-8").splitlines())
            kept[name] = [_without_times(row) for row in rows]
        elif path.name == "summary.json":
            kept[name] = _without_times(json.loads(path.read_bytes()))
        else:
            kept[name] = path.read_bytes()
    for name in kept:
        assert not re.search(r"(^|/)\.", name), f"{name} was left"
    return kept


def differences(found: dict[str, Any], expected: dict[str, Any]) -> list[str]:
    """Return the names of what is missing, too much, or other than expected."""
    return sorted(name for name in found.keys() | expected.keys() if found.get(name) != expected.get(name))


def copy(source: Path, target: Path) -> Path:
    """Copy a run's folder, replacing what is there."""
    shutil.rmtree(target, ignore_errors=True)
    if source.exists():
        shutil.copytree(source, target)
    return target


def _without_times(value: Any) -> Any:
    """Leave out times, and the digests of what holds times."""
    if isinstance(value, dict):
        left_out = ("metrics.jsonl", "sha256")
        return {
            k: _without_times(v) for k, v in value.items() if not k.endswith("seconds") and k not in left_out
        }
    return value


def said(outcomes: Sequence[Outcome]) -> str:
    """Return what commands said, for a report."""
    return "\n".join(f"status {o.status}\n{o.traceback or o.err or o.out}" for o in outcomes)
