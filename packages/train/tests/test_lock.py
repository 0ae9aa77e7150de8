"""A run's folder has one writer at a time, and the lock ends with its process."""

import copy
import errno
import gc
import os
import socket
import subprocess
import sys

import pytest

from rondeau.train import RunError, RunWarning, _lock
from rondeau.train._lock import FolderLock

HELD = r"is being written by process {} on {} since \d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d [+-]\d{{4}}; wait until"


@pytest.fixture
def path(tmp_path):
    return tmp_path / "rondeau.lock"


def start(code, path):
    """Start a process that has read a line when it goes on; return it after its first line of output."""
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        bufsize=1,
    )
    return process, process.stdout.readline().strip()


HOLDER = """
import sys
from pathlib import Path
from rondeau.train._lock import FolderLock
lock = FolderLock(Path(sys.argv[1]))
lock.acquire()
print("held", flush=True)
sys.stdin.readline()
"""


def test_another_process_is_refused_and_told_who_holds_it(path):
    with start(HOLDER, path)[0] as holder:
        with pytest.raises(RunError, match=HELD.format(holder.pid, socket.gethostname())):
            FolderLock(path).acquire()
        holder.kill()  # which gives nothing back by itself
        holder.wait()
        lock = FolderLock(path)
        lock.acquire()
        lock.release()


def test_this_process_is_refused_twice_and_keeps_the_lock(path):
    first, second = FolderLock(path), FolderLock(path)
    first.acquire()
    with pytest.raises(RunError, match="is being written by this process since"):
        second.acquire()
    path.read_bytes()  # opened and closed: a lock of lockf would be gone
    with pytest.raises(RunError, match="is being written by this process since"):
        second.acquire()
    assert (first.is_held, second.is_held) == (True, False)
    first.release()
    second.acquire()
    second.release()


def test_the_file_stays_the_same(path):
    lock = FolderLock(path)
    lock.acquire()
    number = path.stat().st_ino
    other = FolderLock(path)
    lock.release()
    assert path.stat().st_ino == number, "two processes would lock files of their own"
    other.acquire()
    assert path.stat().st_ino == number
    other.release()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_child_does_not_keep_it(path):
    code = HOLDER.replace(
        'print("held", flush=True)',
        """
import os
if os.fork() == 0:
    print("held" if lock.is_held else "child", flush=True)
    sys.stdin.readline()
    os._exit(0)
sys.stdin = open(os.devnull)
""",
    )
    child_and_parent, who = start(code, path)
    with child_and_parent:
        assert who == "child"
        child_and_parent.wait()  # the parent has ended; its child waits for a line
        lock = FolderLock(path)
        lock.acquire()
        lock.release()
        child_and_parent.stdin.write("\n")


def test_a_copy_holds_nothing_and_gives_nothing_back(path):
    lock = FolderLock(path)
    lock.acquire()
    other = copy.deepcopy(lock)
    assert not other.is_held
    other.release()
    with pytest.raises(RunError, match="is being written by this process"):
        other.acquire()
    lock.release()


def test_a_lock_that_is_forgotten_is_given_back(path):
    lock = FolderLock(path)
    lock.acquire()
    del lock
    gc.collect()
    again = FolderLock(path)
    again.acquire()
    again.release()


@pytest.mark.skipif(sys.platform == "win32", reason="descriptors are passed on otherwise there")
def test_a_program_that_is_started_does_not_inherit_it(path):
    lock = FolderLock(path)
    lock.acquire()
    assert not os.get_inheritable(lock._descriptor)
    lock.release()


@pytest.mark.skipif(sys.platform == "win32", reason="a folder whose files are open cannot be renamed there")
def test_a_folder_made_anew_meanwhile_is_noticed(tmp_path, monkeypatch):
    folder = tmp_path / "run"
    folder.mkdir()
    lock, take, taken = FolderLock(folder / "rondeau.lock"), _lock._take, []

    def exchange(descriptor):
        if not taken:
            folder.rename(tmp_path / "old")
            folder.mkdir()
        taken.append(descriptor)
        take(descriptor)

    monkeypatch.setattr(_lock, "_take", exchange)
    lock.acquire()
    assert len(taken) == 2
    with pytest.raises(RunError, match="is being written by this process"):
        FolderLock(folder / "rondeau.lock").acquire()
    lock.release()


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_said_and_used(path, monkeypatch, number):
    def refuse(descriptor):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(_lock, "_take", refuse)
    lock = FolderLock(path)
    with pytest.warns(
        RunWarning, match=r"cannot be locked \(.*\): start no second process that writes there"
    ):
        lock.acquire()
    assert lock.is_held
    lock.release()


@pytest.mark.parametrize(
    "content", [b"", b'{"host": "a', b"[[[[", b'{"host": "\\u001b[31m", "process": 1, "since": ""}']
)
def test_a_holder_that_has_not_written_who_it_is(path, content, monkeypatch):
    monkeypatch.setattr(_lock, "_PAUSE", 0)
    lock = FolderLock(path)
    lock.acquire()
    path.write_bytes(content)
    with pytest.raises(RunError, match="is being written by another process; wait"):
        FolderLock(path).acquire()
    lock.release()


@pytest.mark.skipif(sys.platform == "win32", reason="processes cannot be asked for there")
def test_an_earlier_holder_is_not_taken_for_this_one(path, monkeypatch):
    """Between taking the lock and writing who took it, the file tells of whoever had it before."""
    with start(HOLDER, path)[0] as ended:
        earlier = path.read_bytes()
        ended.stdin.close()
        ended.wait()
    lock = FolderLock(path)
    lock.acquire()
    own = path.read_bytes()
    path.write_bytes(earlier)
    monkeypatch.setattr(_lock.time, "sleep", lambda seconds: path.write_bytes(own))
    with pytest.raises(RunError, match="is being written by this process"):
        FolderLock(path).acquire()
    lock.release()
