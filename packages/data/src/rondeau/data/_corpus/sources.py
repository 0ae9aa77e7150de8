"""Files of text, plain or compressed, and where they are cut into pieces."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

from .._checks import check_path
from .._cuts import CutRule
from .._extras import missing_package

PIECE_BYTES = 1 << 22
"""About how many bytes of text a process counts or encodes at a time."""

_LONGEST = 1 << 26  # bytes of a line, where it cannot be cut
_READ = 1 << 20
_AROUND = 1 << 12  # bytes on either side of a cut in which a token may be found that it would divide
_MARK = b"\xef\xbb\xbf"


class Span(NamedTuple):
    """A piece of a file: its bytes from `start` to before `stop`, of the text that a compressed file holds."""

    start: int
    stop: int


class Source:
    """A file of text, read from its beginning to its end; one that ends with ``.gz`` or ``.zst`` is decompressed.

    Parameters
    ----------
    path : path

    Raises
    ------
    FileNotFoundError, IsADirectoryError
        If there is no such file, or it is a directory.
    ModuleNotFoundError
        For ``.zst`` without the package `zstandard`.
    """

    def __init__(self, path: Path) -> None:
        check_path(path)
        if path.is_dir():
            raise IsADirectoryError(f"{path} is a directory; expected a text file")
        if not path.exists():
            raise FileNotFoundError(f"there is no file {path}")
        self.path = path
        self._stream, self._damage = _opened(path)
        self._at = 0

    def __enter__(self) -> Source:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stream.close()

    def read(self, span: Span) -> bytes:
        """Return the bytes of a piece that is not before the last one that was read.

        Raises
        ------
        ValueError
            If the file is not whole, or ends before.
        """
        while self._at < span.start:
            if not (skipped := self._read_at_most(min(_READ, span.start - self._at))):
                break
            self._at += len(skipped)
        content = self._read(span.stop - span.start)
        if self._at != span.stop:
            raise ValueError(f"{self.path} has changed: it ends at byte {self._at:,}; build the corpus again")
        return content

    def cut(self, rule: CutRule, piece_bytes: int) -> Iterator[tuple[Span, bytes]]:
        """Yield the file in pieces of at most `piece_bytes`, or one line where that is longer and is not to be cut.

        Raises
        ------
        ValueError
            If the file is not whole, or a line is longer than 64 MiB and there is no place to cut it.
        """
        rest, start = b"", 0
        while True:
            size = piece_bytes
            while True:
                rest += self._read(max(0, size + _AROUND - len(rest)))
                is_last = len(rest) < size + _AROUND
                end = len(rest) if is_last and len(rest) <= size else _place_of_cut(rest, size, rule)
                if end or is_last:
                    break
                if size >= _LONGEST:
                    raise ValueError(
                        f"{self.path}: the line at byte {start:,} is longer than {_LONGEST:,} bytes, and there is no "
                        "place in it where these tokens may be cut; break its lines, or take characters as tokens"
                    )
                size *= 2
            end = end or len(rest)
            if not end:
                return
            yield Span(start, start + end), rest[:end]
            rest, start = rest[end:], start + end

    def _read(self, count: int) -> bytes:
        parts = []
        while count and (part := self._read_at_most(min(count, _READ))):
            parts.append(part)
            count -= len(part)
            self._at += len(part)
        return b"".join(parts)

    def _read_at_most(self, count: int) -> bytes:
        try:
            content: bytes = self._stream.read(count)
        except self._damage as error:
            raise ValueError(f"{self.path} is not a complete {self.path.suffix} file: {error}") from None
        return content


class PlainSource(Source):
    """A file that is text itself: what lies before a piece is not read."""

    def read(self, span: Span) -> bytes:
        """Return the bytes of a piece."""
        self._stream.seek(span.start)
        self._at = span.start
        return super().read(span)


def open_source(path: Path) -> Source:
    """Open a file of text, by the end of its name."""
    return (Source if path.suffix in (".gz", ".zst") else PlainSource)(path)


def as_text(raw: bytes, start: int, *, line_end: bool = False) -> bytes:
    r"""Return a piece as `read_text` would: without the mark at the file's start, with one kind of line end.

    Parameters
    ----------
    raw : bytes
    start : int
        Where in its file the piece begins.
    line_end : bool
        Whether to end it with a line end, if it does not: the next file begins a line.

    Examples
    --------
    >>> as_text(b"one\r\ntwo", 0, line_end=True)
    b'one\ntwo\n'
    """
    if start == 0:
        raw = raw.removeprefix(_MARK)
    if b"\r" in raw:
        raw = raw.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    return raw + b"\n" if line_end and not raw.endswith(b"\n") else raw


def _opened(path: Path) -> tuple[Any, tuple[type[Exception], ...]]:
    """Open a file to read its text, and say which exceptions tell of damage."""
    if path.suffix == ".gz":
        return gzip.open(path, "rb"), (gzip.BadGzipFile, EOFError, zlib.error)
    if path.suffix == ".zst":
        try:
            import zstandard
        except ModuleNotFoundError:
            raise missing_package(str(path), "zstandard", "zstd") from None
        return zstandard.open(path, "rb"), (zstandard.ZstdError, EOFError)
    return path.open("rb"), ()


def _place_of_cut(raw: bytes, size: int, rule: CutRule) -> int:
    """Return where to cut off at most `size` bytes: after the last line end, else within the line; 0 if nowhere."""
    for mark in (b"\n", b"\r"):
        end = raw.rfind(mark, 0, size) + 1
        while end:
            divides = raw[end - 1 : end + 1] == b"\r\n"
            if not divides and not (rule.crosses_lines and rule.crosses_lines(*_around(raw, end))):
                return end
            end = raw.rfind(mark, 0, end - 1) + 1
    if rule.within_line is None:
        return 0
    for first in (max(0, size - _AROUND), 0):
        ends = [match.end() for match in rule.within_line.finditer(raw, first, size)]
        if ends:
            return ends[-1]
    return 0


def _around(raw: bytes, end: int) -> tuple[str, str]:
    r"""Return the text before and after a cut: from a line's start, if there is one near, and with "\n" alone."""
    before = raw[max(0, end - _AROUND) : end]
    before = before[before.find(b"\n", 0, -1) + 1 :]
    after = raw[end : end + _AROUND]
    return tuple(as_text(part, 1).decode(errors="ignore") for part in (before, after))  # type: ignore[return-value]
