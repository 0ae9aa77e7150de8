"""Files that only the user, or root, can have written: what is refused, what is not, and that nothing is changed."""

import errno
import os
import stat
import time

import pytest

from rondeau.kernels.runtime import private_folder
from rondeau.kernels.runtime.private_folder import PrivateFolder

from .two_users import ATTACKER, VICTIM, acting_as, needs_two_users

posix = pytest.mark.skipif(os.name != "posix", reason="owners, modes and descriptors of folders are POSIX's")


@pytest.fixture
def folder(tmp_path):
    """A folder with one file, ``name``, that holds ``b"content"``."""
    path = tmp_path / "kernels"
    with PrivateFolder(path, create=True) as opened:
        opened.replace("name", b"content")
    return path


def read(path):
    with PrivateFolder(path) as opened:
        return opened.read("name")


def replace(path, content):
    with PrivateFolder(path, create=True) as opened:
        opened.replace("name", content)


def state(path):
    """Return mode, owner and content of all that is in a folder, links not followed."""
    return {
        entry.name: (entry.lstat().st_mode, entry.lstat().st_uid, entry.is_file() and entry.read_bytes())
        for entry in [path, *path.iterdir()]
    }


@pytest.mark.parametrize("by_descriptor", [pytest.param(True, marks=posix), False])
def test_what_is_written_is_read(tmp_path, monkeypatch, by_descriptor):
    monkeypatch.setattr(private_folder, "_BY_DESCRIPTOR", by_descriptor)
    path = tmp_path / "a" / "b"
    with pytest.raises(FileNotFoundError):
        PrivateFolder(path)
    replace(path, b"first")
    replace(path, b"second\n\r\n\x1a\x00")
    assert read(path) == b"second\n\r\n\x1a\x00"
    with PrivateFolder(path) as opened, pytest.raises(FileNotFoundError):
        opened.read("other")
    assert [entry.name for entry in path.iterdir()] == ["name"]


@posix
@pytest.mark.parametrize("umask", [0o000, 0o002, 0o022, 0o077])
@pytest.mark.parametrize("parent_mode", [0o1777, 0o775, 0o777])
def test_modes_are_private_whatever_the_umask_and_the_parent(tmp_path, umask, parent_mode):
    tmp_path.chmod(parent_mode)
    before = os.umask(umask)
    try:
        replace(tmp_path / "home" / "kernels", b"content")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "home").stat().st_mode) == 0o777 & ~umask
    assert stat.S_IMODE((tmp_path / "home" / "kernels").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "home" / "kernels" / "name").stat().st_mode) == 0o600
    assert read(tmp_path / "home" / "kernels") == b"content"


@posix
@pytest.mark.parametrize("mode", [0o777, 0o775, 0o770, 0o720, 0o702, 0o1777, 0o2775])
def test_a_folder_that_others_may_write_to_is_refused_and_left_as_it_is(folder, mode):
    folder.chmod(mode)
    before = state(folder)
    message = rf"others may write to .*kernels \(mode {mode:o}\); take that from them with: chmod go-w"
    with pytest.raises(PermissionError, match=message):
        read(folder)
    with pytest.raises(PermissionError, match=message):
        replace(folder, b"other")
    assert state(folder) == before


@posix
@pytest.mark.parametrize("mode", [0o666, 0o664, 0o620, 0o602])
def test_a_file_that_others_may_write_to_is_refused_and_replaced(folder, mode):
    (folder / "name").chmod(mode)
    with pytest.raises(PermissionError, match=rf"others may write to .*name \(mode {mode:o}\)"):
        read(folder)
    replace(folder, b"other")
    assert read(folder) == b"other"


@posix
@pytest.mark.parametrize("mode", [0o755, 0o700, 0o555, 0o500])
def test_a_folder_that_others_may_read_is_used(folder, mode):
    (folder / "name").chmod(0o444)
    folder.chmod(mode)
    assert read(folder) == b"content"


@posix
def test_no_link_is_followed(folder, tmp_path):
    link = tmp_path / "link"
    link.symlink_to(folder)
    before = state(folder)
    for call in (read, lambda path: replace(path, b"other")):
        with pytest.raises(PermissionError, match="link is a symbolic link, and is not followed"):
            call(link)
    assert state(folder) == before

    target = tmp_path / "target"
    (folder / "name").rename(target)
    (folder / "name").symlink_to(target)
    with pytest.raises(OSError, match="name") as raised:
        read(folder)
    assert raised.value.errno == errno.ELOOP
    replace(folder, b"other")
    assert target.read_bytes() == b"content"
    assert read(folder) == b"other"


@posix
@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo], ids=["folder", "fifo"])
def test_what_is_no_file_is_refused_at_once(folder, make):
    (folder / "name").unlink()
    make(folder / "name")
    with pytest.raises(OSError, match="name is not a regular file"):
        read(folder)


@pytest.mark.parametrize("by_descriptor", [pytest.param(True, marks=posix), False])
def test_a_failed_write_leaves_what_was_there(folder, monkeypatch, by_descriptor):
    monkeypatch.setattr(private_folder, "_BY_DESCRIPTOR", by_descriptor)

    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", interrupted)
        with pytest.raises(KeyboardInterrupt):
            replace(folder, b"other")
    assert [entry.name for entry in folder.iterdir()] == ["name"]
    assert read(folder) == b"content"


@pytest.mark.parametrize("by_descriptor", [pytest.param(True, marks=posix), False])
def test_files_that_nobody_used_are_removed(folder, monkeypatch, by_descriptor):
    monkeypatch.setattr(private_folder, "_BY_DESCRIPTOR", by_descriptor)
    past, now = time.time() - 61 * 86400, time.time()
    (folder / "folder").mkdir()
    for name, times in (("unused", (past, past)), ("read", (now, past)), ("written", (past, now))):
        (folder / name).write_bytes(b"")
        os.utime(folder / name, times)
    with PrivateFolder(folder) as opened:
        opened.remove_unused(60)
    assert {entry.name for entry in folder.iterdir()} == {"name", "read", "written", "folder"}


@posix
def test_descriptors_are_closed(folder):
    def lowest_free():
        descriptor = os.open(os.devnull, os.O_RDONLY)
        os.close(descriptor)
        return descriptor

    before = lowest_free()
    read(folder)
    replace(folder, b"content")
    (folder / "name").chmod(0o666)
    with pytest.raises(PermissionError):
        read(folder)
    folder.chmod(0o777)
    with pytest.raises(PermissionError):
        read(folder)
    assert lowest_free() == before


@needs_two_users
def test_what_belongs_to_another_user_is_refused(shared_folder):
    with acting_as(ATTACKER):
        replace(shared_folder / "theirs", b"planted")
        (shared_folder / "theirs").chmod(0o755)
        (shared_folder / "theirs" / "name").chmod(0o644)
    for user in (VICTIM, 0):
        with acting_as(user):
            with pytest.raises(PermissionError, match=r"theirs belongs to another user \(id 54321\)"):
                read(shared_folder / "theirs")
            with pytest.raises(PermissionError, match="belongs to another user"):
                replace(shared_folder / "theirs", b"mine")
    assert (shared_folder / "theirs" / "name").read_bytes() == b"planted"


@needs_two_users
def test_a_file_that_another_user_planted_while_the_folder_was_open_is_refused(shared_folder):
    with acting_as(VICTIM):
        replace(shared_folder / "mine", b"content")
        (shared_folder / "mine").chmod(0o777)
    with acting_as(ATTACKER):
        (shared_folder / "mine" / "name").rename(shared_folder / "mine" / "original")
        (shared_folder / "mine" / "name").write_bytes(b"planted")
    with acting_as(VICTIM):
        (shared_folder / "mine").chmod(0o700)
        with pytest.raises(PermissionError, match=r"name belongs to another user \(id 54321\)"):
            read(shared_folder / "mine")


@needs_two_users
def test_a_link_of_another_user_leads_nowhere(shared_folder):
    with acting_as(VICTIM):
        (shared_folder / "diary").mkdir(mode=0o755)
    with acting_as(ATTACKER):
        (shared_folder / "kernels").symlink_to(shared_folder / "diary")
    with acting_as(VICTIM), pytest.raises(PermissionError, match="kernels is a symbolic link"):
        replace(shared_folder / "kernels", b"content")
    assert list((shared_folder / "diary").iterdir()) == []
    assert stat.S_IMODE((shared_folder / "diary").stat().st_mode) == 0o755


@needs_two_users
def test_what_root_made_is_used(shared_folder):
    replace(shared_folder / "kernels", b"content")
    (shared_folder / "kernels").chmod(0o755)
    (shared_folder / "kernels" / "name").chmod(0o644)
    with acting_as(VICTIM):
        assert read(shared_folder / "kernels") == b"content"
        with pytest.raises(PermissionError):
            replace(shared_folder / "kernels", b"other")


@needs_two_users
def test_what_the_user_may_not_read_is_an_error(shared_folder):
    with acting_as(VICTIM):
        replace(shared_folder / "kernels", b"content")
        for path, mode in ((shared_folder / "kernels" / "name", 0o200), (shared_folder / "kernels", 0o300)):
            path.chmod(mode)
            with pytest.raises(PermissionError, match="Permission denied"):
                read(shared_folder / "kernels")
            path.chmod(0o700)
        assert read(shared_folder / "kernels") == b"content"
