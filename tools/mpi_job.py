"""Jobs of MPI on this machine: started with the launcher beside Python, limited in time, and ended as a whole.

That launcher is Open MPI's, of the extra `mpi`, or MPICH's (``pip install mpi4py mpich`` in an environment of its own).
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

MPIRUN = Path(sys.executable).with_name("mpirun")

SURVIVING = ("--with-ft", "ulfm")
"""Options with which ranks live on when another dies."""

LIMIT = 180.0
"""Seconds until a job that hangs is killed."""

OUTLIVING = 30.0
"""Seconds for which processes may outlive the launcher of their job, before they count as left."""

LAUNCHER = "RONDEAU_LAUNCHER"
"""The environment variable in which all processes of a job find the number of its first, the launcher."""


class Ended(NamedTuple):
    """How a job ended."""

    status: int | None
    """None: it hung, and was killed."""
    out: str
    err: str
    left: Sequence[int] = ()
    """Processes that outlived the launcher."""


@cache
def is_open_mpi() -> bool:
    """Return whether the launcher is that of Open MPI."""
    version = subprocess.run([MPIRUN, "--version"], capture_output=True, text=True, check=True)
    return "Open MPI" in version.stdout


def launcher(size: int, *options: str) -> list[str]:
    """Return the words that start Python on ranks, which may be more than there are cores."""
    if not is_open_mpi():
        return [str(MPIRUN), *options, "-n", str(size), sys.executable]
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
    process = subprocess.Popen(
        ["sh", "-c", f'export {LAUNCHER}=$$; exec "$@"', "sh", *words],
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
        for one in _of_job(process.pid):
            os.kill(one, signal.SIGKILL)
        out, err = process.communicate()
        return Ended(None, out, err)
    return Ended(process.returncode, out, err, _left_by(process.pid))


def _left_by(launcher: int) -> list[int]:
    """Return the processes that have not ended a while after their launcher."""
    until = time.monotonic() + OUTLIVING
    while (left := _of_job(launcher)) and time.monotonic() < until:
        time.sleep(0.05)
    return left


def _wake_the_stopped(launcher: subprocess.Popen[str], after: float) -> None:
    """Wait until a rank has stopped itself, and wake it after a time."""
    while launcher.poll() is None:
        for process in _of_job(launcher.pid):
            if _state(process) == "T":
                time.sleep(after)
                os.kill(process, signal.SIGCONT)
                return
        time.sleep(0.05)


def _of_job(launcher: int) -> list[int]:
    """Return the processes that a launcher has started, and itself."""
    mark = f"{LAUNCHER}={launcher}".encode()
    return [
        int(path.parent.name) for path in Path("/proc").glob("[0-9]*/environ") if mark in _variables(path)
    ]


def _variables(environment: Path) -> list[bytes]:
    """Return the environment of a process; nothing of one that has ended meanwhile, or is another user's."""
    try:
        return environment.read_bytes().split(b"\0")
    except OSError:
        return []


def _state(process: int) -> str:
    """Return the letter of a process's state; nothing of one that has ended meanwhile."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""
