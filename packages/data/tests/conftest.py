"""The real data, where RONDEAU_DATA says or in `shared/data` beside the repository, and a place without any."""

import os
from pathlib import Path

import pytest

from rondeau.data.datasets import _source
from rondeau.data.datasets._registry import DATASETS, Entry, File

DATA = Path(os.environ.get("RONDEAU_DATA", Path(__file__).parents[4] / "shared" / "data"))


@pytest.fixture
def real_data():
    """Return a function from a file's name to its path, which skips the test where the file is missing."""

    def path_of(name):
        if not (DATA / name).exists():
            pytest.skip(f"{name} is not in {DATA} (set RONDEAU_DATA)")
        return DATA / name

    return path_of


@pytest.fixture
def nowhere(tmp_path, monkeypatch):
    """An environment without data sets: empty folders, and nobody to download from."""
    monkeypatch.setenv("RONDEAU_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(_source, "_refused", set())
    offline = {
        name: Entry(
            entry.what,
            entry.licence,
            tuple(
                File(f.path, f.sha256, f"http://127.0.0.1:9/{f.url.rpartition('/')[2]}", f.member)
                for f in entry.files
            ),
        )
        for name, entry in DATASETS.items()
    }
    for name, entry in offline.items():
        monkeypatch.setitem(DATASETS, name, entry)
    return tmp_path
