"""Jobs of MPI on this machine, for tests: started, limited in time, and ended as a whole."""

import importlib.util
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

MPIRUN = Path(sys.executable).with_name("mpirun")

needs_mpi = pytest.mark.skipif(
    importlib.util.find_spec("mpi4py") is None or not MPIRUN.exists(),
    reason="mpi4py and Open MPI are not installed: the extra mpi",
)

LIMIT = 120
"""Seconds until a job that hangs is killed."""


def launcher(size, *options):
    """Return the words that start a job of `size` ranks, which may be more than there are cores."""
    as_root = ["--allow-run-as-root"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
    placed = ["--bind-to", "none", "--map-by", ":OVERSUBSCRIBE"]
    return [str(MPIRUN), *as_root, *placed, *options, "-n", str(size), sys.executable]


def run_ranks(size, *program, options=(), limit=LIMIT, env=None, cwd=None):
    """Run a program of Python on ranks; return the completed process. A job that hangs is killed and raises."""
    process = subprocess.Popen(
        [*launcher(size, *options), *map(str, program)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        cwd=cwd,
        env=os.environ | {"MPLBACKEND": "agg"} | (env or {}),
    )
    try:
        out, err = process.communicate(timeout=limit)
    except subprocess.TimeoutExpired:
        process.terminate()  # the launcher then kills its ranks
        try:
            out, err = process.communicate(timeout=10)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            out, err = process.communicate()
        raise AssertionError(f"the job hung\n{out}\n{err}") from None
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)
