"""Compiled kernels on disk: loaded by a second process, compiled again where they are damaged, foreign or not there."""

import hashlib
import os
import pickle
import stat
import subprocess
import sys
import warnings
from types import SimpleNamespace

import pytest
from numba import types

from rondeau.kernels.runtime import cache, private_folder, sources
from rondeau.kernels.runtime.compiling import cached_njit

from .two_users import ATTACKER, VICTIM, acting_as, needs_two_users

PROGRAM = """
import sys
import numpy as np
from numba import types
from rondeau.kernels.runtime.compiling import cached_njit
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


def add_two(x):
    return x + 2


def subtract_two(x):
    return x - 2


def compiled(function=add_two):
    """Compile, or load, a small function as a new process would; return it and whether it was loaded."""
    dispatcher = cached_njit(function)
    dispatcher.compile((types.float64,))
    return dispatcher, bool(sum(dispatcher.stats.cache_hits.values()))


def is_loaded():
    """Compile or load `add_two`, check that it adds, and return whether it was loaded."""
    dispatcher, loaded = compiled()
    assert dispatcher(1.0) == 3.0
    return loaded


def warned(call=is_loaded):
    """Return the warnings of a call that must have compiled."""
    with warnings.catch_warnings(record=True) as given:
        warnings.simplefilter("always")
        assert call() is False
    return [str(warning.message) for warning in given]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty cache's folder, of a process that has not warned yet."""
    monkeypatch.setenv("RONDEAU_CACHE", str(tmp_path))
    monkeypatch.setattr(cache._Warning, "given", False)
    return tmp_path / "kernels"


def test_the_life_of_an_entry(tmp_path):
    folder = tmp_path / "cache"
    assert run(folder).stdout.split() == ["2.0", "0", "0"]
    kept = {path: path.stat().st_mtime_ns for path in folder.rglob("*.bin")}
    assert kept
    if os.name == "posix":
        assert stat.S_IMODE((folder / "kernels").stat().st_mode) == 0o700

    # A second process loads, and generated code of the same name but another source is not mistaken for it.
    assert run(folder).stdout.split() == ["2.0", "1", "1"]
    assert run(folder, "5").stdout.split() == ["6.0", "0", "1"]
    assert {path: path.stat().st_mtime_ns for path in kept} == kept


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[:-100],
        lambda content: b"",
        lambda content: content[:20],
        lambda content: content[:40] + bytes([content[40] ^ 1]) + content[41:],
        lambda content: content[:-1] + bytes([content[-1] ^ 128]),
        lambda content: content + b"\0",
    ],
    ids=["cut", "empty", "stump", "key", "last byte", "longer"],
)
def test_what_is_damaged_is_compiled_again(folder, damage):
    assert not is_loaded()
    (path,) = folder.iterdir()
    whole = path.read_bytes()
    path.write_bytes(damage(whole))
    assert not is_loaded()
    assert path.read_bytes()[:32] == hashlib.sha256(path.read_bytes()[32:]).digest()
    assert is_loaded()


def test_files_that_were_exchanged_are_not_mistaken_for_each_other(folder):
    compiled()
    compiled(subtract_two)
    first, second = folder.iterdir()
    first.rename(folder / "meanwhile")
    second.rename(first)
    (folder / "meanwhile").rename(second)
    assert not is_loaded()
    assert is_loaded()
    dispatcher, loaded = compiled(subtract_two)
    assert dispatcher(1.0) == -1.0
    assert not loaded


def test_a_name_that_a_file_cannot_have_is_made_one_that_it_can(folder):
    def function_with_a_name_that_is_as_long_as_it_may_be_in_python_but_not_in_a_folder(x):
        return x

    function_with_a_name_that_is_as_long_as_it_may_be_in_python_but_not_in_a_folder.__qualname__ *= 5
    for loaded in (False, True):
        assert (
            compiled(function_with_a_name_that_is_as_long_as_it_may_be_in_python_but_not_in_a_folder)[1]
            is loaded
        )
    (path,) = folder.iterdir()
    assert len(path.name) < 128
    assert not set("<>:/\\|?*") & set(path.name)


# What costs a compilation and one warning


def test_without_a_usable_folder_there_is_one_warning(folder):
    folder.write_text("in the way")
    (message,) = warned()
    assert message.startswith("the cache of compiled kernels cannot be used (")
    assert message.endswith("compiled again in each process. Set RONDEAU_CACHE to a folder of your own.")
    assert warned(lambda: compiled(subtract_two)[1]) == []
    assert folder.read_text() == "in the way"


def test_a_full_disk_costs_a_warning(folder):
    resource = pytest.importorskip("resource", reason="limits of file sizes are POSIX's")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        (message,) = warned()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "[Errno 27] File too large" in message
    assert list(folder.iterdir()) == []


def test_any_call_to_the_system_may_fail(folder, monkeypatch):
    """A full disk, a lost network folder, no descriptors left: at each call of a load and a save in turn."""
    dispatcher, _ = compiled()
    (result,) = dispatcher.overloads.values()
    kept = dispatcher._cache
    calls = ["open", "fstat", "mkdir", "replace", "listdir", "stat", "unlink"]
    failing, count = None, 0

    def patched(original):
        def call(*arguments, **options):
            nonlocal count
            count += 1
            if count == failing:
                raise OSError(28, "No space left on device")
            return original(*arguments, **options)

        return call

    def load_and_save():
        """As a first use of a kernel does, with nothing in the cache; return how many calls to the system it took."""
        nonlocal count
        for path in folder.parent.rglob("*.bin"):
            path.unlink()
        if folder.exists():
            folder.rmdir()
        cache._forget_unused.cache_clear()
        cache._Warning.given = False
        count = 0
        with monkeypatch.context() as patch, warnings.catch_warnings(record=True) as given:
            warnings.simplefilter("always")
            system = {name: patched(getattr(os, name)) for name in calls}
            patch.setattr(private_folder, "os", SimpleNamespace(**(vars(os) | system)))
            patch.setattr(os, "mkdir", system["mkdir"])  # pathlib's
            assert kept.load_overload(result.signature, dispatcher.targetctx) is None
            kept.save_overload(result.signature, result)
            loaded = kept.load_overload(result.signature, dispatcher.targetctx)
        assert loaded is None or loaded.signature == result.signature
        return count, [str(warning.message) for warning in given]

    total, messages = load_and_save()
    assert messages == []
    assert total > 10
    for failing in range(1, total + 1):
        _, messages = load_and_save()
        assert len(messages) <= 1, (failing, messages)
        assert all("[Errno 28] No space left on device" in message for message in messages)
        assert not list(folder.parent.rglob("*.tmp"))


def test_without_a_home_kernels_are_compiled(monkeypatch):
    pwd = pytest.importorskip("pwd", reason="passwd is POSIX's")

    def no_entry(user):
        raise KeyError(f"getpwuid(): uid not found: {user}")

    for name in ("RONDEAU_CACHE", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", no_entry)
    monkeypatch.setattr(cache._Warning, "given", False)
    (message,) = warned()
    assert "cannot be used (no home folder is known: " in message
    assert cached_njit(add_two).stats.cache_path == ""
    monkeypatch.setenv("RONDEAU_CACHE", "~no_such_user/cache")
    assert warned() == []  # it has been said


def test_without_sources_nothing_is_kept(folder, monkeypatch):
    monkeypatch.setattr(sources, "_files_of", lambda module: {})
    monkeypatch.setattr(sources, "__file__", str(folder / "runtime" / "sources.pyc"))
    for function in (cache._environment, sources.digest_of_sources):
        function.cache_clear()
    (message,) = warned()
    assert "holds no sources, without which an edit would go unnoticed" in message
    assert not folder.exists()


def test_what_lies_in_a_files_place_is_in_nobodys_way(folder):
    is_loaded()
    (path,) = folder.iterdir()
    path.unlink()
    path.mkdir()
    (message,) = warned()
    assert "is not a regular file" in message
    assert warned() == []


@needs_two_users
def test_files_that_cannot_be_read_cost_a_compilation(shared_folder, monkeypatch):
    is_loaded()  # so that nothing is left to import for a user who may not be allowed to
    monkeypatch.setenv("RONDEAU_CACHE", str(shared_folder))
    monkeypatch.setattr(cache._Warning, "given", False)
    folder = shared_folder / "kernels"
    with acting_as(VICTIM):
        is_loaded()
        folder.chmod(0o300)
        (message,) = warned()
        assert "[Errno 13] Permission denied" in message
        cache._Warning.given = False
        folder.chmod(0o700)
        (path,) = folder.iterdir()
        path.chmod(0o200)
        (message,) = warned()
        assert "[Errno 13] Permission denied" in message
        assert is_loaded()


@needs_two_users
@pytest.mark.parametrize("owner", [VICTIM, 0])
def test_a_full_cache_that_cannot_be_written_is_used(shared_folder, monkeypatch, owner):
    is_loaded()
    monkeypatch.setenv("RONDEAU_CACHE", str(shared_folder))
    monkeypatch.setattr(cache._Warning, "given", False)
    folder = shared_folder / "kernels"
    with acting_as(owner):
        assert not is_loaded()
    (path,) = folder.iterdir()
    path.chmod(0o444)
    folder.chmod(0o555)
    shared_folder.chmod(0o555)
    with acting_as(VICTIM):
        assert is_loaded()
        (message,) = warned(lambda: compiled(subtract_two)[1])
        assert "[Errno 13] Permission denied" in message
        assert is_loaded()


# What another user may have written


class Planted:
    """What an attacker pickles: loading it makes a folder."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


def plant(path, trace):
    """Replace a kernel by a file of the same name, whose hash and key are right."""
    content = path.read_bytes()[32:64] + pickle.dumps(Planted(trace))
    path.unlink()
    path.write_bytes(hashlib.sha256(content).digest() + content)


@pytest.mark.skipif(os.name != "posix", reason="owners of files are POSIX's")
def test_the_attack_works_on_the_users_own_files(folder, tmp_path):
    """So that the tests below show more than that the attack is no good."""
    is_loaded()
    (path,) = folder.iterdir()
    plant(path, tmp_path / "trace")
    with pytest.raises(TypeError):
        compiled()
    assert (tmp_path / "trace").is_dir()


@needs_two_users
def test_another_user_exchanges_the_folder_between_two_loads(shared_folder, monkeypatch):
    is_loaded()
    monkeypatch.setenv("RONDEAU_CACHE", str(shared_folder))
    monkeypatch.setattr(cache._Warning, "given", False)
    folder, trace = shared_folder / "kernels", shared_folder / "trace"
    with acting_as(VICTIM):
        assert not is_loaded()
        assert is_loaded()
        name = next(folder.iterdir()).name
        content = (folder / name).read_bytes()
    with acting_as(ATTACKER):
        folder.rename(shared_folder / "away")
        folder.mkdir(mode=0o755)
        (folder / name).write_bytes(content)
        plant(folder / name, trace)
    before = (folder / name).read_bytes()
    with acting_as(VICTIM):
        (message,) = warned()
        assert "kernels belongs to another user (id 54321)" in message
        assert warned() == []
    assert (folder / name).read_bytes() == before
    with acting_as(ATTACKER):
        (folder / name).unlink()
        folder.rmdir()
        (shared_folder / "away").rename(folder)
    with acting_as(VICTIM):
        assert is_loaded()
    assert not trace.exists()


@needs_two_users
def test_another_user_writes_into_an_open_folder(shared_folder, monkeypatch):
    is_loaded()
    monkeypatch.setenv("RONDEAU_CACHE", str(shared_folder))
    monkeypatch.setattr(cache._Warning, "given", False)
    folder, trace = shared_folder / "kernels", shared_folder / "trace"
    with acting_as(VICTIM):
        is_loaded()
        folder.chmod(0o777)
    with acting_as(ATTACKER):
        (path,) = folder.iterdir()
        content = folder / "content"
        content.write_bytes(b"")
    with acting_as(VICTIM):
        path.chmod(0o644)
    with acting_as(ATTACKER):
        plant(path, trace)
    with acting_as(VICTIM):
        (message,) = warned()
        assert "others may write to" in message
        assert stat.S_IMODE(folder.stat().st_mode) == 0o777, "what was found keeps its mode"
        folder.chmod(0o700)  # as the message says: what was planted is still not trusted
        cache._Warning.given = False
        (message,) = warned()
        assert "belongs to another user (id 54321)" in message
        assert is_loaded(), "it was replaced"
    assert not trace.exists()


def test_the_key_holds_processor_and_settings(monkeypatch):
    def key(*target):
        cache._environment.cache_clear()
        return cache._environment(target, "rondeau.kernels.numerics.scalar")

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
        monkeypatch.setenv("HOME", str(tmp_path / "home"))
        for not_absolute in (
            "",
            "caches",
            "./caches",
            "~/caches",
        ):  # invalid, says the XDG specification: ignored
            monkeypatch.setenv("XDG_CACHE_HOME", not_absolute)
            assert cache.cache_folder() == tmp_path / "home" / ".cache" / "rondeau" / "kernels"
    monkeypatch.setenv("RONDEAU_CACHE", str(tmp_path / "own"))
    assert cache.cache_folder() == tmp_path / "own" / "kernels"
