"""The metrics of a training in event files, which TensorBoard shows (extra `tensorboard`)."""

import importlib.util
import os
import re
import socket
import struct
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rondeau.tensor.files import durable
from rondeau.train._callback import Callback, Row
from rondeau.train._checks import check_is
from rondeau.train._extras import how_to_install

if TYPE_CHECKING:
    from rondeau.train._trainer import Trainer

_PREFIX = "events.out.tfevents."
_STAMP = re.compile(re.escape(_PREFIX) + r"(\d+)\.")


class TensorBoard(Callback):
    """Writes the numbers of every row of metrics as scalars, which ``tensorboard --logdir`` shows over the steps.

    The tags are the names of the columns, such as ``train_loss``, ``lr`` and ``held_out_loss``. NaN and infinities are
    written as they are: TensorBoard marks them. Every row is on the disk before the training goes on.

    A training that continues adds an event file that hides what was written of later steps than that at which it
    continues, so that TensorBoard shows none twice. Likewise, one that begins at step 0 hides all that is there.

    Parameters
    ----------
    folder : path-like
        One training each; made where it is not there.

    Raises
    ------
    TypeError
        If it is not a path.
    ModuleNotFoundError
        If the package tensorboardX is missing; the message says how to install it.

    Notes
    -----
    The files are written here, by single appends, with the messages and the checksum of tensorboardX. Its own writer
    keeps events in a queue, which a kill would lose although a checkpoint counts their steps as done.

    Examples
    --------
    >>> from rondeau import train
    >>> callbacks = [train.TensorBoard("runs/mine/tensorboard")]  # doctest: +SKIP
    """

    main_only = True

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        check_is("folder", folder, str, os.PathLike)
        if importlib.util.find_spec("tensorboardX") is None:
            raise ModuleNotFoundError(
                f"TensorBoard needs the package tensorboardX; {how_to_install('tensorboard')}"
            )
        self.folder = Path(folder)
        self._file: Path | None = None
        self._began_at = 0

    def on_begin(self, trainer: "Trainer") -> None:
        """Remember where the training begins; a file is begun with the first row."""
        self._file, self._began_at = None, trainer.step

    def on_row(self, trainer: "Trainer", row: Row) -> None:
        """Write the numbers of a row."""
        first = b""
        if self._file is None:
            durable.make_folder(self.folder)
            self._file = self.folder / f"{_PREFIX}{_stamp(self.folder)}.{socket.gethostname()}"
            first = _beginning(self._began_at + 1)
        durable.append_file(self._file, first + _scalars(row["step"], row))


def remove_event_files(folder: Path) -> None:
    """Remove what `TensorBoard` has written to a folder, and the folder where nothing else is in it."""
    if folder.is_dir():
        for path in [*folder.iterdir()]:
            if _STAMP.match(path.name):
                durable.remove_file(path)
        durable.remove_folder_if_empty(folder)


def _stamp(folder: Path) -> int:
    """Return the time in seconds, or a later one: TensorBoard reads files by their names, and this one comes last."""
    stamps = [int(match[1]) for match in map(_STAMP.match, os.listdir(folder)) if match]
    return max([int(time.time()), *(stamp + 1 for stamp in stamps)])


def _beginning(first_step: int) -> bytes:
    """Return what begins a file: the version of the format, and that events from a step on are written again."""
    from tensorboardX.proto.event_pb2 import Event, SessionLog

    now = time.time()
    begins_again = SessionLog(status=SessionLog.START)
    return _record(Event(wall_time=now, file_version="brain.Event:2")) + _record(
        Event(wall_time=now, step=first_step, session_log=begins_again)
    )


def _scalars(step: int, row: Mapping[str, Any]) -> bytes:
    """Return the event that holds the numbers of a row."""
    from tensorboardX.proto.event_pb2 import Event
    from tensorboardX.proto.summary_pb2 import Summary

    numbers = {
        name: float(value)
        for name, value in row.items()
        if name != "step" and isinstance(value, int | float | np.number)
    }
    values = [Summary.Value(tag=name, simple_value=number) for name, number in numbers.items()]
    return _record(Event(wall_time=time.time(), step=step, summary=Summary(value=values)))


def _record(event: Any) -> bytes:
    """Return an event as a record of TensorFlow's format: length, content, and the checksum of each."""
    from tensorboardX.record_writer import masked_crc32c

    content = event.SerializeToString()
    length = struct.pack("<Q", len(content))
    return b"".join(part + struct.pack("<I", masked_crc32c(part)) for part in (length, content))
