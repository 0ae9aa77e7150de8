"""Copies between host and device, and waits of the host for the device: noted, or forbidden."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

from . import capture

_HERE = str(Path(__file__).parent)
_lock = threading.Lock()


class TransferError(AssertionError):
    """A transfer, or a wait, inside `no_transfers`.

    An AssertionError, so that no handler of the code under test takes it for one of its own.
    """


class Transfer(NamedTuple):
    """A copy between host and device.

    Attributes
    ----------
    direction : {"to device", "to host"}
    nbytes : int
    what : str
        What copied, as ``float()``.
    line : str
        The line that asked for it, as ``path:number``.
    """

    direction: Literal["to device", "to host"]
    nbytes: int
    what: str
    line: str


class Wait(NamedTuple):
    """A place where the host waits until the device has done all its work.

    Attributes
    ----------
    what, line : str
        As of `Transfer`.
    """

    what: str
    line: str


@dataclass
class Seen:
    """The transfers and waits inside a ``with transfers()``, in their order, of all threads.

    Attributes
    ----------
    to_device, to_host : list of Transfer
    waits : list of Wait
        Transfers to the host are among them, unless they are asked not to block.
    """

    to_device: list[Transfer] = field(default_factory=list)
    to_host: list[Transfer] = field(default_factory=list)
    waits: list[Wait] = field(default_factory=list)

    def __str__(self) -> str:
        """Return a line for each transfer and wait."""
        copies = [
            f"{t.line}: {t.what}, {t.nbytes} bytes {t.direction}" for t in self.to_device + self.to_host
        ]
        return "\n".join(copies + [f"{wait.line}: {wait.what} waits" for wait in self.waits])


_seen: list[Seen] = []
_forbidden: list[bool] = []  # for each `no_transfers`: are waits forbidden too


@contextmanager
def transfers() -> Iterator[Seen]:
    """Note all transfers and waits inside; may be nested.

    Yields
    ------
    Seen
    """
    seen = Seen()
    _seen.append(seen)
    try:
        yield seen
    finally:
        # By identity: two records with the same entries are equal.
        del _seen[next(i for i, other in enumerate(_seen) if other is seen)]


@contextmanager
def no_transfers(*, waits: bool = True) -> Iterator[None]:
    """Raise where something is copied between host and device, or the host waits for the device, in any thread.

    Parameters
    ----------
    waits : bool, default True
        Whether waits that copy nothing are forbidden as well, such as for the number of True in a mask.

    Raises
    ------
    TransferError
        At the transfer, with the line that asked for it.
    """
    _forbidden.append(waits)
    try:
        yield
    finally:
        _forbidden.pop()


def note_transfer(direction: Literal["to device", "to host"], nbytes: int, what: str) -> None:
    """Note a copy; raise TransferError where it is forbidden, and CUDA's error where a stream captures."""
    capture.refuse(what)
    transfer = Transfer(direction, nbytes, what, _line())
    if _forbidden:
        raise TransferError(f"{transfer.line}: {what} copies {nbytes} bytes {direction}; none may be here")
    with _lock:
        for seen in _seen:
            (seen.to_device if direction == "to device" else seen.to_host).append(transfer)


def note_wait(what: str) -> None:
    """Note that the host waits for the device; raise as `note_transfer`."""
    capture.refuse(what)
    wait = Wait(what, _line())
    if any(_forbidden):
        raise TransferError(f"{wait.line}: {what} waits for the device; nothing may here")
    with _lock:
        for seen in _seen:
            seen.waits.append(wait)


def _line() -> str:
    """Return the innermost line that is neither in this package nor in NumPy."""
    frame = sys._getframe(1)
    while frame.f_back is not None:
        file = frame.f_code.co_filename
        if not file.startswith((_HERE, "<")) and "/numpy/" not in file:
            break
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"
