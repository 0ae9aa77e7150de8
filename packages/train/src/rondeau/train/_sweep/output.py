"""What the training of a trial tells, in a file of its run: a sweep has a line for each."""

import io
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path

from rondeau.tensor.files import durable


class _AppendedText(io.TextIOBase):
    """A text file of which each flush is an append."""

    encoding = "utf-8"

    def __init__(self, path: Path) -> None:
        self._path = path
        self._waiting = ""

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        self._waiting += text
        return len(text)

    def flush(self) -> None:
        if self._waiting:
            content, self._waiting = self._waiting, ""
            durable.append_file(self._path, content.encode("utf-8", "backslashreplace"))


@contextmanager
def telling_in(path: Path) -> Iterator[None]:
    """Append to a file what is printed, on standard output and error, for as long as the context lasts."""
    stream = _AppendedText(path)
    try:
        with redirect_stdout(stream), redirect_stderr(stream):
            yield
    finally:
        stream.flush()
        sys.stdout.flush()
