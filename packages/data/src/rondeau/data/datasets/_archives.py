"""The files of a data set, read from the archive that was downloaded; what was downloaded is not trusted."""

from __future__ import annotations

import gzip
import hashlib
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from io import BufferedIOBase
from pathlib import Path

from ._registry import File

# The hashes of members are known, an archive's is not: what is read before it can be checked must be of limited size.
_LARGEST_MEMBER = 1 << 26  # bytes: the largest that is sought has less than a million
_MOST_UNPACKED = 1 << 30  # bytes of a tar archive that are unpacked in search of the members
# OSError: not gzip, or a place outside the file. RuntimeError: a member that is encrypted, or (NotImplementedError)
# of a later edition of the format.
_DAMAGE = (
    *(zipfile.BadZipFile, tarfile.TarError, zlib.error, struct.error),
    *(EOFError, OSError, RuntimeError, UnicodeError),
)


def unpacked(archive: Path, files: list[File]) -> list[tuple[File, bytes]]:
    """Return the content of each file, checked against its SHA-256.

    Raises
    ------
    ValueError
        If the archive is damaged or not one, lacks a file, or holds a link, an enormous file or another edition in its
        place.
    """
    try:
        contents = list(_zipped(archive, files) if archive.suffix == ".zip" else _tarred(archive, files))
    except _DAMAGE as error:
        raise ValueError(f"what came is not an archive, or a damaged one ({error})") from None
    for file, content in contents:
        found = hashlib.sha256(content).hexdigest()
        if found != file.sha256:
            raise ValueError(f"{file.member} in it has the SHA-256 {found}, expected {file.sha256}")
    return contents


def _zipped(archive: Path, files: list[File]) -> Iterator[tuple[File, bytes]]:
    with zipfile.ZipFile(archive) as opened:
        for file in files:
            found = next((member for member in opened.infolist() if _is_named(member.filename, file)), None)
            if found is None:
                raise ValueError(f"the archive holds no {file.member}")
            if found.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise ValueError(f"{found.filename} in the archive is packed in an unusual way")
            _check_size(found.filename, found.file_size)
            yield file, opened.read(found)  # of no more bytes than its size says


def _tarred(archive: Path, files: list[File]) -> Iterator[tuple[File, bytes]]:
    sought = list(files)
    # From front to back, without an index: what is looked at is what was unpacked.
    with gzip.open(archive) as unzipped, tarfile.open(fileobj=_Limited(unzipped), mode="r|") as opened:
        for member in opened:
            for file in [file for file in sought if _is_named(member.name, file)]:
                if not member.isfile():
                    raise ValueError(f"{member.name} in the archive is a link or a folder, expected a file")
                _check_size(member.name, member.size)
                content = opened.extractfile(member)
                assert content is not None  # of a file
                yield file, content.read()
                sought.remove(file)
            if not sought:
                return
    raise ValueError(f"the archive holds no {sought[0].member}")


def _is_named(name: str, file: File) -> bool:
    return f"/{name}".endswith(f"/{file.member}")


def _check_size(name: str, size: int) -> None:
    if size > _LARGEST_MEMBER:
        raise ValueError(f"{name} in the archive has {size:,} bytes, expected at most {_LARGEST_MEMBER:,}")


class _Limited(BufferedIOBase):
    """A file of which `tarfile` reads as much as headers say, up to a limit."""

    def __init__(self, file: gzip.GzipFile) -> None:
        self.file = file
        self.left = _MOST_UNPACKED

    def read(self, size: int | None = None, /) -> bytes:
        content = self.file.read(self.left + 1 if size is None else min(size, self.left + 1))
        self.left -= len(content)
        if self.left < 0:
            raise ValueError(f"the archive unpacks to more than {_MOST_UNPACKED:,} bytes")
        return content
