"""Where the named data sets come from: folders, the variable RONDEAU_DATA, the cache, downloads and archives."""

import hashlib
import io
import os
import subprocess
import sys
import tarfile
import zipfile
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import numpy as np
import pytest

from rondeau.data import datasets
from rondeau.data.datasets import _archives, _source
from rondeau.data.datasets._registry import File

from .published import IDX, STORY, made, publish


@pytest.fixture
def upstream(tmp_path):
    """A server on this machine, as (the folder it serves, its address)."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *arguments):
            pass

    folder = tmp_path / "upstream"
    folder.mkdir()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=folder)) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield folder, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_without_the_data_an_error_says_what_to_do(nowhere):
    with pytest.raises(datasets.DataError) as caught:
        datasets.timemachine()
    message = str(caught.value)
    assert "timemachine cannot be had: looked for timemachine.txt in " in message
    assert str(nowhere / "data") in message
    assert str(nowhere / "cache" / "rondeau") in message
    assert "no connection to 127.0.0.1:9" in message
    assert "set RONDEAU_DATA to a folder that holds it as timemachine.txt" in message
    assert "stand_in=True" in message
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__
    assert not (nowhere / "data").exists()  # a download that fails leaves no folder


def test_many_files_are_named_in_short(nowhere):
    with pytest.raises(
        datasets.DataError, match=r"names_by_language/Dutch.txt and 14 more in .* and unpack it"
    ):
        datasets.names_by_language()


def test_download_false_downloads_nothing(nowhere):
    with pytest.raises(datasets.DataError, match="download=False keeps it from being downloaded"):
        datasets.names(download=False)


def test_describe_tells_what_is_to_come_and_what_came(nowhere, monkeypatch):
    assert datasets.describe("names").splitlines() == [
        "names: 32,033 first names in lower case, from ssa.gov (karpathy/makemore)",
        "licence: MIT",
        "here: not at hand; to be downloaded from 127.0.0.1:9 (without a network, a generated stand-in)",
    ]
    datasets.names(stand_in=True)
    assert "here: a small generated stand-in of the same form" in datasets.describe("names")
    folder = nowhere / "mine"
    folder.mkdir()
    content = b"ada\ngrace\n"
    (folder / "names.txt").write_bytes(content)
    publish(monkeypatch, "names", "http://127.0.0.1:9", {"names.txt": content})
    assert datasets.describe("names", folder).endswith(f"here: the real data, from the folder {folder}")
    assert datasets.is_real("names", folder)
    assert datasets.names(folder) == ["ada", "grace"]


def test_the_folder_comes_before_the_variable_and_that_before_the_cache(nowhere, monkeypatch):
    content = b"ada\n"
    publish(monkeypatch, "names", "http://127.0.0.1:9", {"names.txt": content})
    for place in ("cache/rondeau", "data", "mine"):
        (nowhere / place).mkdir(parents=True)
        (nowhere / place / "names.txt").write_bytes(content)
        here = {"cache/rondeau": "the cache of downloads", "data": "RONDEAU_DATA", "mine": "mine"}[place]
        assert here in datasets.describe("names", nowhere / "mine")
    monkeypatch.delenv("RONDEAU_DATA")
    assert "the cache of downloads" in datasets.describe("names")


def test_a_file_is_downloaded_checked_and_kept(nowhere, upstream, monkeypatch):
    served, url = upstream
    (served / "names.txt").write_bytes(b"ada\r\ngrace")
    publish(monkeypatch, "names", url, {"names.txt": b"ada\r\ngrace"})
    assert datasets.names() == ["ada", "grace"]
    (served / "names.txt").unlink()
    assert datasets.names() == ["ada", "grace"]
    assert (nowhere / "data" / "names.txt").read_bytes() == b"ada\r\ngrace"
    assert datasets.is_real("names")


def test_without_the_variable_downloads_go_to_the_cache(nowhere, upstream, monkeypatch):
    served, url = upstream
    monkeypatch.delenv("RONDEAU_DATA")
    (served / "names.txt").write_bytes(b"ada")
    publish(monkeypatch, "names", url, {"names.txt": b"ada"})
    assert datasets.names() == ["ada"]
    assert (nowhere / "cache" / "rondeau" / "names.txt").exists()


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="these have no XDG_CACHE_HOME")
@pytest.mark.parametrize("not_absolute", ["", "caches", "./caches", "~/caches"])
def test_a_cache_that_is_no_absolute_path_is_ignored(monkeypatch, tmp_path, not_absolute):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", not_absolute)
    assert _source._pooch_cache() == tmp_path / ".cache" / "rondeau"


def test_only_what_is_missing_is_downloaded(nowhere, upstream, monkeypatch):
    served, url = upstream
    contents = {
        f"mnist/{part}-{kind}-ubyte.gz": idx for part in ("train", "t10k") for kind, idx in IDX.items()
    }
    publish(monkeypatch, "mnist", url, contents)
    (nowhere / "data" / "mnist").mkdir(parents=True)
    for path, content in contents.items():
        at = nowhere / "data" / path if "train" in path else served / path.removeprefix("mnist/")
        at.write_bytes(content)
    digits = datasets.mnist()
    assert digits.test_images.tolist() == [[[0, 1, 2], [3, 4, 5]], [[6, 7, 8], [9, 10, 11]]]
    assert digits.train_labels.tolist() == [7, 3]


def archived(served, kind, members):
    """Write an archive with these members; return its name."""
    name = f"data.{kind}"
    if kind == "zip":
        with zipfile.ZipFile(served / name, "w") as archive:
            for member, content in members.items():
                archive.writestr(member, content)
    else:
        with tarfile.open(served / name, "w:gz") as archive:
            for member, content in members.items():
                information = tarfile.TarInfo(member)
                information.size = len(content)
                archive.addfile(information, io.BytesIO(content))
    return name


def test_archives_are_unpacked_to_the_layout(nowhere, upstream, monkeypatch):
    served, url = upstream
    babi = {
        f"babi/qa1_single-supporting-fact_{part}.txt": STORY + f"{part}\t1\n".encode()
        for part in ("train", "test")
    }
    members = {path: path.replace("babi/", "en-10k/") for path in babi}
    inside = {f"tasks/{members[path]}": content for path, content in babi.items()}
    inside[f"tasks/en/{next(iter(members.values())).removeprefix('en-10k/')}"] = b"another edition"
    publish(monkeypatch, "babi_qa1", f"{url}/{archived(served, 'tar.gz', inside)}", babi, members)
    assert datasets.babi_qa1().test == [(["Eve sat down."], "Where is Eve?", "test")]

    surnames = {
        f"names_by_language/{one}.txt": f"{one}ski \n{one}á\n".encode() for one in made("names_by_language")
    }
    members = {path: path.replace("names_by_language/", "names/") for path in surnames}
    inside = {f"data/{members[path]}": content for path, content in surnames.items()}
    publish(monkeypatch, "names_by_language", f"{url}/{archived(served, 'zip', inside)}", surnames, members)
    assert datasets.names_by_language()["Czech"] == ["Czechski", "Czechá"]
    kept = sorted(path.name for path in (nowhere / "data").rglob("*") if path.is_file())
    assert kept == sorted(path.rpartition("/")[2] for path in [*babi, *surnames])


def test_downloads_that_go_wrong(nowhere, upstream, monkeypatch):
    served, url = upstream
    publish(monkeypatch, "names", url, {"names.txt": b"ada"})
    with pytest.raises(datasets.DataError, match=r"names.txt failed: 127.0.0.1:\d+ answered 404"):
        datasets.names()
    (served / "names.txt").write_bytes(b"eve")
    with pytest.raises(datasets.DataError, match="what came has another SHA-256 than expected"):
        datasets.names()
    (served / "names.txt").write_bytes(b"ada")
    (nowhere / "data").write_bytes(b"a file where a folder should be")
    with pytest.raises(datasets.DataError, match="the folder that RONDEAU_DATA names is a file"):
        datasets.names()


@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
def test_archives_that_go_wrong(nowhere, upstream, monkeypatch, kind):
    served, url = upstream
    contents, members = {"names.txt": b"ada"}, {"names.txt": "names/names.txt"}
    (served / f"data.{kind}").write_bytes(b"no archive")
    publish(monkeypatch, "names", f"{url}/data.{kind}", contents, members)
    with pytest.raises(datasets.DataError, match="what came is not an archive"):
        datasets.names()
    archived(served, kind, {"data/othernames/names.txt": b"ada", "data/xnames/names.txt": b"ada"})
    with pytest.raises(datasets.DataError, match=r"the archive holds no names/names.txt"):
        datasets.names()
    archived(served, kind, {"names/names.txt": b"eve"})
    with pytest.raises(datasets.DataError, match=r"names/names.txt in it has the SHA-256 .*, expected "):
        datasets.names()
    assert not (nowhere / "data").exists()


@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
def test_members_are_measured_before_they_are_unpacked(nowhere, upstream, monkeypatch, kind):
    served, url = upstream
    monkeypatch.setattr(_archives, "_LARGEST_MEMBER", 1000)
    contents, members = {"names.txt": bytes(1000)}, {"names.txt": "names/names.txt"}
    publish(monkeypatch, "names", f"{url}/data.{kind}", contents, members)
    archived(served, kind, {"names/names.txt": bytes(1001)})
    with pytest.raises(
        datasets.DataError, match=r"names.txt in the archive has 1,001 bytes, expected at most 1,000"
    ):
        datasets.names()
    archived(served, kind, {"names/names.txt": bytes(1000)})
    assert datasets.names() == [bytes(1000).decode()]


def test_an_archive_that_unpacks_without_end(nowhere, upstream, monkeypatch):
    served, url = upstream
    monkeypatch.setattr(_archives, "_MOST_UNPACKED", 1 << 16)
    publish(
        monkeypatch, "names", f"{url}/data.tar.gz", {"names.txt": b"ada"}, {"names.txt": "names/names.txt"}
    )
    archived(served, "tar.gz", {"bomb": bytes(1 << 17), "names/names.txt": b"ada"})
    with pytest.raises(datasets.DataError, match="the archive unpacks to more than 65,536 bytes"):
        datasets.names()
    archived(served, "tar.gz", {"names/names.txt": b"ada", "bomb": bytes(1 << 17)})
    assert datasets.names() == ["ada"]  # what is behind the last file is not unpacked


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE])
def test_a_member_that_is_no_file(nowhere, upstream, monkeypatch, kind):
    served, url = upstream
    with tarfile.open(served / "data.tar.gz", "w:gz") as archive:
        information = tarfile.TarInfo("names/names.txt")
        information.type, information.linkname = kind, "/etc/passwd"
        archive.addfile(information)
    publish(
        monkeypatch, "names", f"{url}/data.tar.gz", {"names.txt": b"ada"}, {"names.txt": "names/names.txt"}
    )
    with pytest.raises(
        datasets.DataError, match=r"names/names.txt in the archive is a link or a folder, expected a"
    ):
        datasets.names()
    assert not (nowhere / "data").exists()


def test_zip_members_that_cannot_be_read(nowhere, upstream, monkeypatch):
    served, url = upstream
    publish(monkeypatch, "names", f"{url}/data.zip", {"names.txt": b"ada"}, {"names.txt": "names/names.txt"})
    with zipfile.ZipFile(served / "data.zip", "w", zipfile.ZIP_BZIP2) as archive:
        archive.writestr("names/names.txt", b"ada")
    with pytest.raises(
        datasets.DataError, match=r"names/names.txt in the archive is packed in an unusual way"
    ):
        datasets.names()
    archived(served, "zip", {"names/names.txt": b"ada"})
    content = bytearray((served / "data.zip").read_bytes())
    content[6] |= 1  # encrypted, says the member
    content[content.index(b"PK\1\2") + 8] |= 1  # and the index
    (served / "data.zip").write_bytes(content)
    with pytest.raises(
        datasets.DataError, match=r"what came is not an archive, or a damaged one .*password required"
    ):
        datasets.names()


@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
def test_archives_damaged_anywhere(nowhere, upstream, monkeypatch, kind):
    served, _ = upstream
    file = File("names.txt", hashlib.sha256(b"ada\n" * 50).hexdigest(), "", "names/names.txt")
    archive = served / archived(served, kind, {"names/names.txt": b"ada\n" * 50, "more": b"more"})
    whole = archive.read_bytes()
    generator = np.random.default_rng(0)
    refused = 0
    for at in range(0, len(whole), 3):
        damaged = bytearray(whole)
        damaged[at] ^= 1 << int(generator.integers(8))
        archive.write_bytes(damaged if at % 2 else whole[:at])
        try:
            assert _archives.unpacked(archive, [file]) == [(file, b"ada\n" * 50)]
        except ValueError:
            refused += 1
    assert refused > 10


def test_a_damaged_file_is_named_and_no_stand_in_hides_it(nowhere):
    (nowhere / "data").mkdir()
    (nowhere / "data" / "names.txt").write_bytes(b"ada")
    for ask in (datasets.names, partial(datasets.names, stand_in=True), partial(datasets.describe, "names")):
        with pytest.raises(
            datasets.DataError, match=r"data/names.txt is damaged, or another edition: expected the"
        ):
            ask()


def test_unknown_names():
    for ask in (datasets.describe, datasets.is_real):
        with pytest.raises(
            ValueError, match="there is no data set 'cifar'; expected one of tinyshakespeare, "
        ):
            ask("cifar")
    with pytest.raises(TypeError, match="path must be of type str or PathLike, got int"):
        datasets.names(3)


def test_texts_by_name(nowhere, monkeypatch):
    (nowhere / "names.txt").write_bytes(b"ada\ngrace")
    publish(monkeypatch, "names", "http://127.0.0.1:9", {"names.txt": b"ada\ngrace"})
    assert datasets.load_text("names", nowhere) == "ada\ngrace"


def test_importing_does_not_import_pooch():
    code = "import sys; from rondeau import data; data.datasets; assert 'pooch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ}, timeout=60)


def test_a_file_in_the_place_of_a_folder(nowhere, monkeypatch):
    (nowhere / "names.txt").write_text("emma")
    with pytest.raises(
        datasets.DataError, match=r"the folder .*names.txt is a file, .*: name the folder that holds"
    ):
        datasets.names(nowhere / "names.txt")
    monkeypatch.setenv("RONDEAU_DATA", str(nowhere / "names.txt"))
    with pytest.raises(datasets.DataError, match="the folder that RONDEAU_DATA names is a file, "):
        datasets.names(stand_in=True)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("~nobody-of-this-name/data", "RONDEAU_DATA is '~nobody-of-this-name/data', which names no folder"),
        ("x" * 5000, "the folder that RONDEAU_DATA names cannot be read: File name too long"),
    ],
)
def test_a_variable_that_names_no_folder(nowhere, monkeypatch, value, message):
    monkeypatch.setenv("RONDEAU_DATA", value)
    with pytest.raises(datasets.DataError, match=message):
        datasets.names()


def test_a_file_that_may_not_be_read(nowhere, monkeypatch):
    folder = nowhere / "data"
    folder.mkdir()
    (folder / "names.txt").write_text("emma")

    def refused(path):  # permissions do not keep the superuser out, as whom tests may run
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(_source, "_sha256", refused)
    with pytest.raises(
        datasets.DataError, match=r"cannot be read: Permission denied \(.*names.txt\); change its permissions"
    ):
        datasets.names()
