"""A lock that the processes of a sweep take in turn, on any machine that shares the folder."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rondeau.tensor.files import durable
from rondeau.train._errors import RunError
from rondeau.train._lock import NO_LOCKS, is_file_at, wait_for


class SharedLock:
    """Held for moments by one process at a time; the others wait, and a process that is killed lets it go.

    Parameters
    ----------
    path : Path
        A file that is there for this alone.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     lock = SharedLock(Path(folder, "lock"))
    ...     with lock.held(), lock.held():  # who has it may take it again
    ...         pass
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._depth = 0
        self._descriptor = -1

    def acquire(self) -> bool:
        """Wait until no other process holds the lock, and take it.

        Raises
        ------
        RunError
            If the file system has no locks.
        """
        while not self._depth:
            descriptor = durable.open_to_rewrite(self.path)
            try:
                wait_for(descriptor)
            except OSError as error:
                durable.close(descriptor)
                if error.errno not in NO_LOCKS:
                    raise
                raise RunError(
                    f"{self.path.parent} cannot be locked ({error.strerror}), and two processes might train the same "
                    "trial; choose a folder on a file system with locks"
                ) from None
            except BaseException:  # such as Ctrl-C, while another process holds it
                durable.close(descriptor)
                raise
            if is_file_at(self.path, descriptor):
                self._descriptor = descriptor
                break
            durable.close(descriptor)  # the folder was removed and made again meanwhile
        self._depth += 1
        return True

    def release(self) -> None:
        """Give the lock back once it was released as often as it was taken."""
        self._depth -= 1
        if not self._depth:
            durable.close(self._descriptor)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the lock for as long as the context lasts."""
        self.acquire()
        try:
            yield
        finally:
            self.release()
