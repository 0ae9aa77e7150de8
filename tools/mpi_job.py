"""Jobs of MPI on this machine: started with the Open MPI of the extra `mpi`, limited in time, and ended as a whole."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

MPIRUN = Path(sys.executable).with_name("mpirun")

SURVIVING = ("--with-ft", "ulfm")
"""Options with which ranks live on when another dies."""

LIMIT = 180.0
"""Seconds until a job that hangs is killed."""


class Ended(NamedTuple):
    """How a job ended."""

    status: int | None
    """None: it hung, and was killed."""
    out: str
    err: str
    seconds: float


def launcher(size: int, *options: str) -> list[str]:
    """Return the words that start Python on ranks, which may be more than there are cores."""
    as_root = ["--allow-run-as-root"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
    placed = ["--bind-to", "none", "--map-by", ":OVERSUBSCRIBE"]
    return [str(MPIRUN), *as_root, *placed, *options, "-n", str(size), sys.executable]


def run_job(words: Sequence[str], folder: Path | None = None, wake_after: float | None = None) -> Ended:
    """Run a job to its end or the limit.

    Parameters
    ----------
    words : sequence of str
    folder : Path, optional
        In which it runs.
    wake_after : float, optional
        Wake the first process that stops itself, after so many seconds.
    """
    began = time.monotonic()
    process = subprocess.Popen(
        words,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env=os.environ | {"MPLBACKEND": "agg"},
    )
    if wake_after is not None:
        _wake_the_stopped(process, wake_after)
    try:
        out, err = process.communicate(timeout=LIMIT)
    except subprocess.TimeoutExpired:
        process.terminate()  # the launcher then kills its ranks
        try:
            out, err = process.communicate(timeout=10)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            out, err = process.communicate()
        return Ended(None, out, err, time.monotonic() - began)
    return Ended(process.returncode, out, err, time.monotonic() - began)


def _wake_the_stopped(process: subprocess.Popen[str], after: float) -> None:
    """Wait until a rank has stopped itself, and wake it after a time."""
    while process.poll() is None:
        for child in _children(process.pid):
            if _state(child) == "T":
                time.sleep(after)
                os.kill(child, signal.SIGCONT)
                return
        time.sleep(0.05)


def _children(process: int) -> list[int]:
    parents = {int(path.parent.name): _fields(path) for path in Path("/proc").glob("[0-9]*/stat")}
    return [child for child, fields in parents.items() if fields[1:2] == [str(process)]]


def _state(process: int) -> str:
    return "".join(_fields(Path(f"/proc/{process}/stat"))[:1])


def _fields(stat: Path) -> list[str]:
    """Return the state of a process and what follows; nothing of one that has ended meanwhile."""
    try:
        return stat.read_text().rpartition(")")[2].split()
    except OSError:
        return []
