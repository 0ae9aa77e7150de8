"""Where the real data lie: the folder RONDEAU_DATA names, or `shared/data` beside the repository."""

import os
from pathlib import Path

import pytest

DATA = Path(os.environ.get("RONDEAU_DATA", Path(__file__).parents[4] / "shared" / "data"))


@pytest.fixture
def real_data():
    """Return a function from a file's name to its path, which skips the test where the file is missing."""

    def path_of(name):
        if not (DATA / name).exists():
            pytest.skip(f"{name} is not in {DATA} (set RONDEAU_DATA)")
        return DATA / name

    return path_of
