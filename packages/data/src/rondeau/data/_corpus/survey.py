"""The first reading of a corpus: its pieces, what identifies it, and where its held-out part begins."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import accumulate, groupby
from pathlib import Path
from typing import Any, NamedTuple

from .._checks import check_is, checked_integer
from .._cuts import CutRule, back_to_white_space
from .._text import hint_at_encoding
from .sources import Span, as_text, open_source

_MOST_ZEROS = 0.1
"""The largest share of null bytes of a text: in UTF-16, Latin letters have one in every second byte."""


class Piece(NamedTuple):
    """A piece of a corpus.

    Attributes
    ----------
    file : int
        Its number.
    start, stop : int
        Bytes of the file's text.
    characters : int
    line_end : bool
        Whether a line end is added where it has none: the next file begins a line.
    sha256 : str
        Of its text, in UTF-8 and with its line ends unified.
    """

    file: int
    start: int
    stop: int
    characters: int
    line_end: bool
    sha256: str


class Part(NamedTuple):
    """The characters of a piece from `start` to before `stop`: all of them, or one side of the cut."""

    piece: Piece
    start: int
    stop: int


class Survey(NamedTuple):
    """What the first reading found.

    Attributes
    ----------
    files : tuple of Path
    pieces : tuple of Piece
    sha256 : str
        Of the whole text, as of each piece.
    """

    files: tuple[Path, ...]
    pieces: tuple[Piece, ...]
    sha256: str

    @property
    def characters(self) -> int:
        """Return how long the text is."""
        return sum(piece.characters for piece in self.pieces)

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-able dict, from which `from_dict` makes an equal survey; the files are not in it."""
        return {"pieces": [list(piece) for piece in self.pieces], "sha256": self.sha256}

    @classmethod
    def from_dict(cls, files: Sequence[Path], fields: Mapping[str, Any]) -> Survey:
        """Return the survey that `to_dict` described.

        Raises
        ------
        TypeError, ValueError
            If the dict is not one of those.
        """
        check_is("pieces", fields["pieces"], list)
        check_is("sha256", fields["sha256"], str)
        return cls(
            tuple(files),
            tuple(_checked_piece(len(files), *row) for row in fields["pieces"]),
            fields["sha256"],
        )

    def cut_at(self, held_out: float, *, anywhere: bool) -> int:
        """Return the character with which the held-out part begins.

        Parameters
        ----------
        held_out : float
            The last part of the text, as a fraction of its characters.
        anywhere : bool
            Whether it may begin within a word.
        """
        cut = int((1 - held_out) * self.characters)
        if not held_out or anywhere:
            return cut
        before = "".join(self.texts(self.parts(max(0, cut - 100), cut + 1)))
        return cut - back_to_white_space(before)

    def parts(self, start: int, stop: int) -> list[Part]:
        """Return what pieces hold of the characters from `start` to before `stop`."""
        parts = []
        for piece, end in zip(
            self.pieces, accumulate(piece.characters for piece in self.pieces), strict=True
        ):
            begin = end - piece.characters
            part = Part(piece, max(start - begin, 0), min(stop - begin, piece.characters))
            if part.start < part.stop:
                parts.append(part)
        return parts

    def texts(self, parts: Sequence[Part]) -> Iterator[str]:
        """Yield the text of parts that follow each other.

        Raises
        ------
        ValueError
            If a file is not any more what it was.
        """
        return (content.decode() for content in self.contents(parts))

    def contents(self, parts: Sequence[Part]) -> Iterator[bytes]:
        """Yield the text of parts in UTF-8, as `texts`."""
        for number, of_file in groupby(parts, lambda part: part.piece.file):
            path = self.files[number]
            with open_source(path) as source:
                for piece, sides in groupby(of_file, lambda part: part.piece):
                    span = Span(piece.start, piece.stop)
                    whole = as_text(source.read(span), piece.start, line_end=piece.line_end)
                    if hashlib.sha256(whole).hexdigest() != piece.sha256:
                        raise ValueError(
                            f"{path} has changed since the corpus was begun, between the bytes {piece.start:,} and "
                            f"{piece.stop:,}; remove what was built, and build it again"
                        )
                    for _, start, stop in sides:  # both sides of the cut, in the piece that it divides
                        is_part = stop - start < piece.characters
                        yield whole.decode()[start:stop].encode() if is_part else whole


def make_survey(
    files: Sequence[Path],
    rule: CutRule,
    piece_bytes: int,
    tell: Callable[[int], None] = lambda characters: None,
) -> Survey:
    """Read the files once, and cut them into pieces; `tell` is called with the characters read so far.

    Raises
    ------
    FileNotFoundError, IsADirectoryError, ModuleNotFoundError
        If a file is not there, or needs a package.
    ValueError
        If one is empty, damaged or not UTF-8, with the file and the byte.
    """
    pieces: list[Piece] = []
    whole = hashlib.sha256()
    read = 0
    for number, path in enumerate(files):
        characters = zeros = 0
        with open_source(path) as source:
            last: bytes | None = None
            for span, raw in source.cut(rule, piece_bytes):
                last = raw
                count = len(_decoded(path, raw, span.start))
                content = as_text(raw, span.start)
                if content is not raw:
                    count = len(content.decode())
                whole.update(content)
                zeros += raw.count(0)
                characters += count
                tell(read := read + count)
                pieces.append(Piece(number, *span, count, False, hashlib.sha256(content).hexdigest()))
        if not characters:
            raise ValueError(f"{path} is empty; expected some text")
        if zeros > _MOST_ZEROS * characters:
            raise ValueError(
                f"{path} is not UTF-8 text: {100 * zeros / characters:.3g} % of it are null characters, as in UTF-16 "
                "without its mark, or in a file of another kind; convert it to UTF-8 first"
            )
        if last is not None and number + 1 < len(files) and not last.endswith((b"\n", b"\r")):
            piece = pieces[-1]
            content = as_text(last, piece.start, line_end=True)
            whole.update(b"\n")
            pieces[-1] = piece._replace(
                characters=piece.characters + 1, line_end=True, sha256=hashlib.sha256(content).hexdigest()
            )
    return Survey(tuple(files), tuple(pieces), whole.hexdigest())


def _decoded(path: Path, raw: bytes, start: int) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path} is not UTF-8: byte 0x{raw[error.start]:02x} at offset {start + error.start:,} is invalid; "
            + hint_at_encoding(raw[:4] if start == 0 else b"")
        ) from None


def _checked_piece(
    files: int, file: Any, start: Any, stop: Any, characters: Any, line_end: Any, sha256: Any
) -> Piece:
    check_is("line_end", line_end, bool)
    check_is("sha256", sha256, str)
    return Piece(
        checked_integer("file", file, 0, files - 1),
        checked_integer("start", start, 0),
        checked_integer("stop", stop, 0),
        checked_integer("characters", characters, 0),
        line_end,
        sha256,
    )
