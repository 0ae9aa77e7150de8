"""Data sets that tests enter in the registry, and the contents of their files."""

import gzip
import hashlib

import pytest

from rondeau.data import datasets
from rondeau.data.datasets._registry import DATASETS, Entry, File

LOADERS = {name: getattr(datasets, name) for name in DATASETS}


def publish(monkeypatch, name, url, contents, members=None):
    """Enter a data set of files that the server has, as they are or in an archive."""
    files = tuple(
        File(path, hashlib.sha256(content).hexdigest(), url, members and members[path])
        if members
        else File(path, hashlib.sha256(content).hexdigest(), f"{url}/{path.rpartition('/')[2]}")
        for path, content in contents.items()
    )
    monkeypatch.setitem(DATASETS, name, Entry("made for a test", "none", files))


def made(name):
    """Return a stand-in, whatever lies on this machine."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("rondeau.data.datasets._source._holder", lambda *arguments: None)
        return LOADERS[name](download=False, stand_in=True)


def idx(magic, *sizes, content):
    return gzip.compress(bytes(magic) + b"".join(size.to_bytes(4, "big") for size in sizes) + content)


IDX = {
    "images-idx3": idx((0, 0, 8, 3), 2, 2, 3, content=bytes(range(12))),
    "labels-idx1": idx((0, 0, 8, 1), 2, content=bytes([7, 3])),
}
STORY = b"1 Eve sat down.\n2 Where is Eve? \t"
