"""Files of text, plain or compressed, and where they are cut into pieces."""

from __future__ import annotations

import gzip
import re
import zlib
from bisect import bisect_left
from collections.abc import Callable, Iterator
from itertools import takewhile
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
_AROUND = 1 << 12  # bytes in which a place to cut a long line is looked for first
_AHEAD = 1 << 18  # bytes behind a cut in which a token must end that reaches over lines
_MARK = b"\xef\xbb\xbf"
_LINE_END = re.compile(rb"\r\n|\r|\n")


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
    ValueError
        If it is a pipe or a device.
    ModuleNotFoundError
        For ``.zst`` without the package `zstandard`.
    """

    def __init__(self, path: Path) -> None:
        check_path(path)
        if path.is_dir():
            raise IsADirectoryError(f"{path} is a directory; expected a text file")
        if not path.exists():
            raise FileNotFoundError(f"there is no file {path}")
        if not path.is_file():
            raise ValueError(
                f"{path} is a pipe or a device, and the text is read more than once: write it to a file first"
            )
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
        ahead = _AHEAD if rule.tokens_with_line_ends else 1
        while True:
            size = piece_bytes
            while True:
                rest += self._read(max(0, size + ahead - len(rest)))
                is_last = len(rest) < size + ahead
                end = len(rest) if is_last and len(rest) <= size else _place_of_cut(rest, start, size, rule)
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


def _place_of_cut(raw: bytes, start: int, size: int, rule: CutRule) -> int:
    """Return where to cut off at most `size` bytes: after the last line end, else within the line; 0 if nowhere.

    The bytes begin with a piece, at byte `start` of their file: what is a token depends on where the first one begins.
    """
    if rule.tokens_with_line_ends is not None:
        return _last_line_end_between_tokens(rule.tokens_with_line_ends, raw, start, size)
    for mark in (b"\n", b"\r"):
        end = raw.rfind(mark, 0, size) + 1
        if end and raw[end - 1 : end + 1] == b"\r\n":
            end = raw.rfind(mark, 0, end - 1) + 1
        if end:
            return end
    if rule.within_line is None:
        return 0
    for first in (max(0, size - _AROUND), 0):
        ends = [match.end() for match in rule.within_line.finditer(raw, first, size)]
        if ends:
            return ends[-1]
    return 0


def _last_line_end_between_tokens(
    tokens_with_line_ends: Callable[[str], list[tuple[int, int]]], raw: bytes, start: int, size: int
) -> int:
    """Return where the last line within `size` bytes ends at which no token goes on; 0 if there is none."""
    text = as_text(raw, start).decode(errors="ignore")
    tokens = tokens_with_line_ends(text)
    ends = (match.end() for match in _LINE_END.finditer(raw, 0, size + 1))
    in_text = (match.end() for match in re.finditer("\n", text))
    place = 0
    for end, at in zip(takewhile(lambda end: end <= size, ends), in_text, strict=False):
        following = bisect_left(tokens, (at,))  # the first token that begins there or later
        if following == 0 or tokens[following - 1][1] <= at:
            place = end
    return place
