"""Text from files: strict UTF-8, one kind of line end, and errors that say where the trouble is."""

from __future__ import annotations

import codecs
import io
import os
from collections.abc import Iterator
from pathlib import Path

from ._checks import check_path, checked_integer

_BLOCK = 1 << 20  # characters checked at a time
_LARGEST_READ = 1 << 30  # bytes: Python allocates what it is asked to read, however short the file
_NOT_TEXT = (
    (b"\xff\xfe", "it looks like UTF-16: convert it to UTF-8 first"),
    (b"\xfe\xff", "it looks like UTF-16: convert it to UTF-8 first"),
    (b"\x1f\x8b", "it looks like a gzip archive: decompress it first"),
    (b"PK\x03\x04", "it looks like a zip archive: unpack it first"),
)


def read_text(path: str | os.PathLike[str]) -> str:
    r"""Read a text file as UTF-8.

    A byte order mark at the start is dropped. Line ends are made ``"\n"`` (from ``"\r\n"`` and ``"\r"``), so that a
    corpus has the same tokens whichever machine saved it. Every other character is kept, null characters included;
    nothing is normalised.

    Parameters
    ----------
    path : str or path-like
        The file.

    Returns
    -------
    str
        Its text; at least one character.

    Raises
    ------
    FileNotFoundError, IsADirectoryError
        If there is no such file, or it is a directory.
    ValueError
        If the file is empty or is not UTF-8; the message names the file, the byte offset and the byte.

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     _ = (Path(folder) / "poem.txt").write_bytes("紅樓\r\n夢\n".encode())
    ...     read_text(Path(folder) / "poem.txt")
    '紅樓\n夢\n'
    """
    return "".join(read_text_chunks(path))


def read_text_chunks(path: str | os.PathLike[str], chunk_bytes: int = 1 << 24) -> Iterator[str]:
    r"""Read a UTF-8 text file in pieces, for corpora larger than memory.

    The pieces joined are what :func:`read_text` returns. Each but the last ends with a line end, so that tokenizers
    whose tokens do not cross lines give the same tokens for the pieces as for the whole; a line must fit in memory.

    Parameters
    ----------
    path : str or path-like
        The file.
    chunk_bytes : int
        About how many bytes a piece holds, 1 GiB at most. The default, 16 MiB, is far above the cost of a call and far
        below the memory of a machine.

    Yields
    ------
    str
        The next piece.

    Raises
    ------
    FileNotFoundError, IsADirectoryError, ValueError
        As :func:`read_text`; that the file is empty, or where it is not UTF-8, is found when it is read.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.NamedTemporaryFile() as file:
    ...     _ = file.write(b"one\ntwo\nthree\n")
    ...     file.flush()
    ...     list(read_text_chunks(file.name, chunk_bytes=5))
    ['one\n', 'two\n', 'three\n']
    """
    check_path(path)
    chunk_bytes = checked_integer("chunk_bytes", chunk_bytes, 1)
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a directory; expected a text file")
    if not path.exists():
        raise FileNotFoundError(f"there is no file {path}")
    return _read_lines(path, min(chunk_bytes, _LARGEST_READ))


def _read_lines(path: Path, chunk_bytes: int) -> Iterator[str]:
    decode = codecs.getincrementaldecoder("utf-8-sig")().decode
    unify_line_ends = io.IncrementalNewlineDecoder(None, translate=True).decode
    unfinished_line: list[str] = []
    first_bytes = b""
    bytes_read = 0
    empty = True
    with path.open("rb") as file:
        last = False
        while not last:
            block = file.read(chunk_bytes)
            last = not block
            first_bytes = first_bytes or block[:4]
            bytes_read += len(block)
            try:
                text = unify_line_ends(decode(block, last), last)
            except UnicodeDecodeError as error:
                # The decoder was given the end of what was read, so offsets count from there.
                offset = bytes_read - len(error.object) + error.start
                raise ValueError(
                    f"{path} is not UTF-8: byte 0x{error.object[error.start]:02x} at offset {offset:,} is invalid; "
                    + hint_at_encoding(first_bytes)
                ) from None
            empty = empty and not text
            cut = text.rfind("\n") + 1
            if cut:
                unfinished_line.append(text[:cut])
                yield "".join(unfinished_line)
                unfinished_line.clear()
            unfinished_line.append(text[cut:])
    if rest := "".join(unfinished_line):
        yield rest
    if empty:
        raise ValueError(f"{path} is empty; expected some text")


def hint_at_encoding(first_bytes: bytes) -> str:
    """Say what to do with a file that is not UTF-8, by what it begins with."""
    hints = (hint for mark, hint in _NOT_TEXT if first_bytes.startswith(mark))
    return next(hints, "convert it to UTF-8 first")


def check_text(text: str) -> None:
    """Raise unless `text` is a string of Unicode characters: not bytes, and without lone surrogates.

    Raises
    ------
    TypeError
        If it is not a string.
    ValueError
        If it holds a lone surrogate, which stands for no character and cannot be written as UTF-8.
    """
    if not isinstance(text, str):
        raise TypeError(f"expected text as str, got {type(text).__name__}; decode bytes first")
    if text.isascii():
        return
    for start in range(0, len(text), _BLOCK):
        try:
            text[start : start + _BLOCK].encode("utf-8")
        except UnicodeEncodeError as error:
            at = start + error.start
            raise ValueError(
                f"the text holds a lone surrogate, U+{ord(text[at]):04X}, at character {at:,}, which stands for "
                "no character: decode its source again without 'surrogateescape' or 'surrogatepass'"
            ) from None


def embedded_corpus() -> str:
    """Return a corpus that needs no file and no network: the language reference that ships inside CPython.

    It is ``pydoc_data.topics``, some 465,000 characters of English and code, its topics in alphabetical order. It
    differs between releases of Python, so it is for a first run and never for a published number.

    Returns
    -------
    str
        The text, the same in every process of one Python release.

    Raises
    ------
    ModuleNotFoundError
        Where a cut-down Python ships without ``pydoc_data``.

    Examples
    --------
    >>> 'The "assert" statement' in embedded_corpus()
    True
    """
    try:
        from pydoc_data.topics import topics
    except ModuleNotFoundError:
        raise ModuleNotFoundError(
            "this Python ships without pydoc_data, which holds the embedded corpus; give a text file instead"
        ) from None
    return "\n".join(topics[name] for name in sorted(topics))
