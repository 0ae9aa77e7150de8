"""Bytes from rank to rank. MPI moves them and does nothing else: what is added, is added by us.

Values go as JSON, where that is what they are, and else as the bytes of a file of `rondeau.tensor.save`: whoever reads
them executes neither. In a step, ranks tell each other JSON, which takes a tenth of the time.

Whoever waits asks MPI again and again, and sleeps in between, so that signals are handled meanwhile, a rank that has
died is noticed, and ranks that share a core leave it to those that compute.
"""

from __future__ import annotations

import io
import json
import os
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from rondeau import tensor as rt
from rondeau.train.parallel._ranks import Arrays, RankLostError

_TURNS, _PAUSE = 300, 50e-6
"""How often MPI is asked before the first pause, and how many seconds a pause is."""

_LOOK_EVERY = 1.0
"""Seconds between looks at whether processes of this host are still there, for a wait that does not end."""

_VALUE, _ARRAY = 1, 2
"""Tags of messages."""

_JSON, _FILE = b"J", b"F"
"""With which a value's bytes begin."""

_IN_JSON = {type(None), bool, int, float, str}


class Messages:
    """What this rank sends and receives.

    Parameters
    ----------
    communicator : mpi4py.MPI.Comm
    MPI : module
        ``mpi4py.MPI``.
    """

    def __init__(self, communicator: Any, MPI: Any) -> None:
        self.communicator, self._mpi = communicator, MPI
        self._processes: dict[int, int] = {}  # of this host, by rank
        here = _this_host()
        for rank, (host, process) in enumerate(self.all_gather((here, os.getpid()))):
            if host == here and rank != communicator.rank:
                self._processes[rank] = process
        self.ranks_of_host = len(self._processes) + 1

    @property
    def _others(self) -> list[int]:
        return [rank for rank in range(self.communicator.size) if rank != self.communicator.rank]

    def all_gather(self, value: Any) -> list[Any]:
        """Return the values of all ranks, in their order."""
        value, content = _encoded(value)
        found = {self.communicator.rank: value}
        requests = self._send_value(content, self._others)
        found |= self._receive_values(self._others)
        self._finish(requests)
        return [found[rank] for rank in range(self.communicator.size)]

    def broadcast(self, value: Any) -> Any:
        """Return the value of rank 0."""
        if self.communicator.rank:
            return self._receive_values([0])[0]
        value, content = _encoded(value)
        self._finish(self._send_value(content, self._others))
        return value

    def exchange(self, outgoing: Arrays, incoming: Arrays) -> None:
        """Send arrays to other ranks, and fill arrays with what they send here."""
        requests = []
        for arrays, post in ((incoming, self.communicator.Irecv), (outgoing, self.communicator.Isend)):
            for rank, of_rank in arrays.items():
                requests += [
                    self._called(post, array.reshape(-1).view(np.uint8), rank, _ARRAY)
                    for array in of_rank
                    if array.size
                ]
        self._finish(requests)

    def _send_value(self, content: bytes, ranks: list[int]) -> list[Any]:
        return [self._called(self.communicator.Isend, content, rank, _VALUE) for rank in ranks]

    def _receive_values(self, ranks: list[int]) -> dict[int, Any]:
        found: dict[int, bytearray] = {}
        requests = []
        missing = set(ranks)

        def have_all_come() -> bool:
            for rank in list(missing):
                status = self._mpi.Status()
                message = self.communicator.Improbe(rank, _VALUE, status)
                if message is not None:
                    found[rank] = bytearray(status.Get_count(self._mpi.BYTE))
                    requests.append(message.Irecv(found[rank]))
                    missing.discard(rank)
            return not missing

        self._wait(have_all_come)
        self._finish(requests)
        return {rank: _decoded(content) for rank, content in found.items()}

    def _finish(self, requests: list[Any]) -> None:
        self._wait(lambda: bool(self._mpi.Request.Testall(requests)))

    def _wait(self, is_done: Callable[[], bool]) -> None:
        """Wait until something is done.

        Raises
        ------
        RankLostError
            If it will not be, because a rank has ended.
        """
        turns, look_at = 0, time.monotonic() + _LOOK_EVERY
        while not self._called(is_done):
            turns += 1
            if turns < _TURNS:
                continue
            time.sleep(_PAUSE)
            now = time.monotonic()
            if now > look_at:
                look_at = now + _LOOK_EVERY
                self._look_for_the_dead()

    def _look_for_the_dead(self) -> None:
        for rank, process in self._processes.items():
            if _has_ended(process):
                raise RankLostError(f"rank {rank} has ended: its process {process} is gone")

    def _called(self, function: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return function(*arguments)
        except self._mpi.Exception as error:
            raise RankLostError(f"a rank has ended: {error.Get_error_string()}") from error


def _plain(value: Any) -> Any:
    """Return a value with tuples in the place of named ones, of which other ranks would not know the class."""
    if isinstance(value, tuple):
        return tuple(map(_plain, value))
    if isinstance(value, list):
        return list(map(_plain, value))
    return {key: _plain(item) for key, item in value.items()} if isinstance(value, dict) else value


def _encoded(value: Any) -> tuple[Any, bytes]:
    """Return a value as the other ranks get it, and its bytes.

    Raises
    ------
    TypeError
        If it holds what no file can.
    """
    if _is_json(value):
        return value, _JSON + json.dumps(value).encode()
    value = _plain(value)
    content = io.BytesIO(_FILE)
    content.seek(len(_FILE))
    try:
        rt.save(value, content)
    except TypeError as error:
        raise TypeError(f"what ranks tell each other must be what save can write: {error}") from None
    return value, content.getvalue()


def _decoded(content: bytes | bytearray) -> Any:
    """Return the value whose bytes these are."""
    if content.startswith(_JSON):
        return json.loads(content[len(_JSON) :])
    return rt.load(io.BytesIO(content[len(_FILE) :]))


def _is_json(value: Any) -> bool:
    """Return whether JSON gives back the same value: numbers have all their digits there, and NaN a name."""
    kind = type(value)
    if kind is list:
        return all(map(_is_json, value))
    if kind is dict:
        return all(type(key) is str for key in value) and all(map(_is_json, value.values()))
    return kind in _IN_JSON


def _has_ended(process: int) -> bool:
    """Return whether a process of this host is gone, or has ended and its parent has not asked how."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    except OSError:  # another user's: it is there
        return False
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:  # another system, which has no such file
        return False
    return state in "ZX"


def _this_host() -> tuple[str, ...]:
    """Return what processes that see each other's numbers have in common."""
    found = [socket.gethostname()]
    for path in ("/proc/sys/kernel/random/boot_id", "/proc/self/ns/pid"):
        link = Path(path)
        found.append(os.readlink(link) if link.is_symlink() else link.read_text() if link.exists() else "")
    return tuple(found)
