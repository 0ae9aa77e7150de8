"""Compiled kernels on disk: loaded by a second process, compiled anew where they are damaged or of other sources."""

import os
import stat
import subprocess
import sys

import pytest

from rondeau.kernels import cache

PROGRAM = """
import sys
import numpy as np
from numba import types
from rondeau.kernels.compiling import cached_njit
from rondeau.kernels.product import matmul
space = {}
exec("def add(x):\\n    return x + " + sys.argv[1], space)
add = cached_njit(space["add"], source=sys.argv[1])
add.compile((types.float64,))
from rondeau.kernels.product import product
assert (matmul(np.eye(3), np.ones((3, 3))) == 1).all()
print(add(1.0), sum(add.stats.cache_hits.values()), sum(product._multiply_shares.stats.cache_hits.values()))
"""


def run(folder, argument="1", **environment):
    environment = os.environ | {"RONDEAU_CACHE": str(folder)} | environment
    command = [sys.executable, "-c", PROGRAM, argument]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=120)


def test_the_life_of_an_entry(tmp_path):
    folder = tmp_path / "cache"
    assert run(folder).stdout.split() == ["2.0", "0", "0"]
    kept = {path: path.stat().st_mtime_ns for path in folder.rglob("*.bin")}
    assert kept
    if os.name == "posix":
        for path in folder.rglob("*"):
            if path.is_dir():
                assert stat.S_IMODE(path.stat().st_mode) == 0o700

    # A second process loads, and generated code of the same name but another source is not mistaken for it.
    assert run(folder).stdout.split() == ["2.0", "1", "1"]
    assert run(folder, "5").stdout.split() == ["6.0", "0", "1"]
    assert {path: path.stat().st_mtime_ns for path in kept} == kept

    # What is damaged is compiled anew: cut short, empty, or changed in one byte.
    damages = (lambda content: content[:-100], lambda content: b"", lambda content: content[:-1] + b"\0\0")
    for damage in damages:
        for path in folder.rglob("*.bin"):
            path.write_bytes(damage(path.read_bytes()))
        again = run(folder)
        assert again.stdout.split() == ["2.0", "0", "0"]
        assert again.stderr == ""
        assert run(folder).stdout.split() == ["2.0", "1", "1"]


def test_without_a_writable_folder_there_is_one_warning(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    result = run(blocked)
    assert result.stdout.split() == ["2.0", "0", "0"]
    assert result.stderr.count("RuntimeWarning: compiled kernels cannot be kept in") == 1
    assert "Set RONDEAU_CACHE to a writable folder of your own" in result.stderr


@pytest.mark.skipif(os.name != "posix", reason="modes of folders are POSIX's")
def test_a_folder_open_to_others_is_closed(tmp_path):
    folder = tmp_path / "open"
    folder.mkdir()
    folder.chmod(0o777)
    assert cache._usable_folder(folder) == folder
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


@pytest.mark.skipif(os.name != "posix", reason="owners of folders are POSIX's")
def test_a_folder_of_another_user_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "getuid", lambda: tmp_path.stat().st_uid + 1)
    with pytest.warns(RuntimeWarning, match="belongs to another user"):
        assert cache._usable_folder(tmp_path / "theirs") is None


def test_the_key_holds_processor_and_settings(monkeypatch):
    def key(*target):
        cache._environment.cache_clear()
        return cache._environment(target, "rondeau.kernels.scalar")

    first = key("triple", "znver4", "+avx2")
    assert key("triple", "znver4", "+avx2,+fma") != first
    assert key("triple", "haswell", "+avx2") != first
    monkeypatch.setattr(cache.numba, "__version__", "0.0")
    assert key("triple", "znver4", "+avx2") != first
    cache._environment.cache_clear()


def test_default_folder_is_the_users(monkeypatch, tmp_path):
    monkeypatch.delenv("RONDEAU_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    if sys.platform not in ("win32", "darwin"):
        assert cache.cache_folder() == tmp_path / "rondeau" / "kernels"
    monkeypatch.setenv("RONDEAU_CACHE", str(tmp_path / "own"))
    assert cache.cache_folder() == tmp_path / "own" / "kernels"
