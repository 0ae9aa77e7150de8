"""The journal of a sweep: optuna's, a file of JSON lines, under a lock that ends with the process that holds it."""

import os
from pathlib import Path
from typing import Any

from optuna.storages.journal import JournalFileBackend

from rondeau.tensor.files import durable
from rondeau.train._sweep.shared_lock import SharedLock


class Journal(JournalFileBackend):
    """Optuna's journal file, which a process may be killed at any moment of writing.

    Optuna's own locks are files: one of a killed process holds up the others for 30 seconds, and is then taken from
    whoever holds it. And a line that was cut by a kill, or by a full disk, would join the next one, so that the journal
    could not be read any more; it tells of something that was never done, and is dropped before the next is written.

    There is nothing here but JSON: optuna pickles snapshots of a journal for Redis alone, and none for files.

    Parameters
    ----------
    path : Path
        Made where it is not there.
    lock : SharedLock
        One for all processes.
    """

    def __init__(self, path: Path, lock: SharedLock) -> None:
        super().__init__(str(path), lock_obj=lock)  # type: ignore[arg-type]  # their base is private
        self._path, self._shared_lock = path, lock

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Write lines at the end of the journal."""
        with self._shared_lock.held():
            _drop_cut_line(self._path)
            super().append_logs(logs)


def _drop_cut_line(path: Path) -> None:
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - 1))
        if file.read(1) in (b"", b"\n"):
            return
    durable.cut_file(path, durable.read_file(path).rfind(b"\n") + 1)
