"""Two hosts on one machine: namespaces with a network, a host name and nothing else of their own, and a cable between.

For root, or whoever may make namespaces. What a job of MPI sends from one to the other goes through TCP; neither sees
the other's shared memory as that of its own host.
"""

from __future__ import annotations

import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

from tools.mpi_job import MPIRUN

_ADDRESSES = ("10.93.0.1", "10.93.0.2")
_SPACES = ("--net", "--uts")


class TwoHosts(NamedTuple):
    """Two hosts that are there.

    Attributes
    ----------
    first : int
        The number of a process on the host where jobs are launched.
    agent : Path
        What reaches the other one, in the place of ssh.
    """

    first: int
    agent: Path

    def launcher(self, *options: str) -> list[str]:
        """Return the words that start Python on both hosts, a rank on each."""
        enter = ["nsenter", "--target", str(self.first), *_SPACES]
        hosts = ",".join(f"{address}:1" for address in _ADDRESSES)
        reach = ["--prtemca", "plm_ssh_agent", str(self.agent)]
        placed = ["--allow-run-as-root", "--bind-to", "none", "--host", hosts, "-n", "2"]
        return [*enter, str(MPIRUN), *reach, *placed, *options, sys.executable]


def why_not() -> str | None:
    """Return why there can be no two hosts here; None if there can."""
    if missing := [name for name in ("unshare", "nsenter", "ip") if shutil.which(name) is None]:
        return f"there is no {missing[0]}"
    tried = subprocess.run(["unshare", *_SPACES, "true"], capture_output=True, text=True)
    return None if tried.returncode == 0 else f"namespaces may not be made: {tried.stderr.strip()}"


@contextmanager
def two_hosts(folder: Path) -> Iterator[TwoHosts]:
    """Make two hosts for as long as the context lasts; `folder` holds a script.

    Raises
    ------
    OSError
        If the system refuses it; see `why_not`.
    """
    with ExitStack() as stack:
        first, second = (stack.enter_context(_namespaces(f"host{number}")) for number in (1, 2))
        _run(
            "ip",
            "link",
            "add",
            "cable1",
            "netns",
            str(first),
            "type",
            "veth",
            "peer",
            "cable2",
            "netns",
            str(second),
        )
        for process, cable, address in zip((first, second), ("cable1", "cable2"), _ADDRESSES, strict=True):
            inside = ("nsenter", "--target", str(process), "--net")
            _run(*inside, "ip", "address", "add", f"{address}/24", "dev", cable)
            _run(*inside, "ip", "link", "set", cable, "up")
        agent = folder / "agent"
        enter = f"nsenter --target {second} {' '.join(_SPACES)}"
        agent.write_text(
            f'#!/bin/sh\n# Called as ssh is: the host, and the words of a command.\nshift\nexec {enter} sh -c "$*"\n'
        )
        agent.chmod(agent.stat().st_mode | stat.S_IXUSR)
        yield TwoHosts(first, agent)


@contextmanager
def _namespaces(name: str) -> Iterator[int]:
    """Keep namespaces as long as the context lasts; yield the number of a process in them."""
    script = f"hostname {name} && ip link set lo up && echo ready && exec cat"
    process = subprocess.Popen(
        ["unshare", *_SPACES, "sh", "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        if process.stdout.readline() != "ready\n":
            raise OSError(f"{name}: its namespaces could not be made")
        yield process.pid
    finally:
        process.communicate()  # the end of its input ends it


def _run(*words: str) -> None:
    done = subprocess.run(words, capture_output=True, text=True)
    if done.returncode != 0:
        raise OSError(f"{' '.join(words)}: {done.stderr.strip()}")
