"""The named data sets: the real ones where they are at hand, the stand-ins, downloads and what can go wrong."""

import gzip
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
from rondeau.data.datasets._mnist import read_idx
from rondeau.data.datasets._registry import DATASETS, Entry, File

LOADERS = {name: getattr(datasets, name) for name in DATASETS}


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


def publish(monkeypatch, name, url, contents, members=None):
    """Enter a data set of files that the server has, as they are or in an archive."""
    files = tuple(
        File(path, hashlib.sha256(content).hexdigest(), url, members and members[path])
        if members
        else File(path, hashlib.sha256(content).hexdigest(), f"{url}/{path.rpartition('/')[2]}")
        for path, content in contents.items()
    )
    monkeypatch.setitem(DATASETS, name, Entry("made for a test", "none", files))


# The real ones


@pytest.fixture
def folder(real_data):
    return real_data("tinyshakespeare.txt").parent


def test_texts(folder):
    text = datasets.tinyshakespeare(folder)
    assert (len(text), len(set(text)), text[:14]) == (1_115_394, 65, "First Citizen:")
    text = datasets.timemachine(folder)
    assert len(text) == 178_979
    assert text.startswith("The Time Machine, by H. G. Wells")


def test_names(folder):
    names = datasets.names(folder)
    assert (len(names), names[0], names[-1]) == (32_033, "emma", "zzyzx")
    assert (len(set(names)), min(map(len, names)), max(map(len, names))) == (29_494, 2, 15)
    surnames = datasets.names_by_language(folder)
    assert sum(map(len, surnames.values())) == 20_074
    assert list(surnames) == sorted(surnames)
    assert len(surnames) == 18
    assert len(surnames["Russian"]) == 9408
    assert surnames["Czech"][:2] == ["Abl", "Adsit"]
    assert "Oh" in surnames["Korean"]  # a space follows it in the file
    assert all(name == name.strip() != "" for family in surnames.values() for name in family)


def test_mnist(folder):
    digits = datasets.mnist(folder)
    assert digits.train_images.shape == (60_000, 28, 28)
    assert digits.test_images.shape == (10_000, 28, 28)
    assert digits.train_labels[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert digits.test_labels[:5].tolist() == [7, 2, 1, 0, 4]
    assert np.bincount(digits.train_labels).tolist() == [
        *(5923, 6742, 5958, 6131, 5842),
        *(5421, 5918, 6265, 5851, 5949),
    ]
    assert digits.train_images.mean() / 255 == pytest.approx(0.1307, abs=5e-5)
    digits.train_images[0] = 0  # they can be written to


def test_pima_diabetes(folder):
    features, labels = datasets.pima_diabetes(folder)
    assert features.shape == (768, 8)
    assert features[0].tolist() == [6, 148, 72, 35, 0, 33.6, 0.627, 50]
    assert (labels.dtype, labels.sum(), labels[-1]) == (np.int64, 268, 0)


def test_babi_qa1(folder):
    train, test = datasets.babi_qa1(folder)
    assert (len(train), len(test)) == (10_000, 1_000)
    assert test[0] == (
        ["John travelled to the hallway.", "Mary journeyed to the bathroom."],
        "Where is John?",
        "hallway",
    )
    assert len(test[4].story) == 10
    assert len(test[5].story) == 2
    assert {q.answer for q in train} == {"bathroom", "bedroom", "garden", "hallway", "kitchen", "office"}


@pytest.mark.parametrize(
    ("name", "count", "first", "last"),
    [
        ("sunspots", 2820, ("1749-01", 58.0), ("1983-12", 33.4)),
        ("airline_passengers", 144, ("1949-01", 112.0), ("1960-12", 432.0)),
        ("min_temperatures", 3650, ("1981-01-01", 20.7), ("1990-12-31", 13.0)),
    ],
)
def test_series(folder, name, count, first, last):
    dates, values = LOADERS[name](folder)
    assert len(dates) == len(values) == count
    assert (dates[0], values[0]) == first
    assert (dates[-1], values[-1]) == last
    stand_in_dates, _ = made(name)
    assert stand_in_dates == dates


@pytest.mark.parametrize("name", DATASETS)
def test_every_one_is_found_through_the_variable(folder, name, monkeypatch):
    monkeypatch.setenv("RONDEAU_DATA", str(folder))
    assert datasets.is_real(name)
    assert "the real data, from the folder that RONDEAU_DATA names" in datasets.describe(name)
    assert str(folder) not in datasets.describe(name)
    LOADERS[name](download=False)


# The stand-ins


def made(name):
    """Return a stand-in, whatever lies on this machine."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("rondeau.data.datasets._source._holder", lambda *arguments: None)
        return LOADERS[name](download=False, stand_in=True)


def flat(value):
    """Return the parts of a data set as a list that can be compared."""
    if isinstance(value, np.ndarray):
        return [value.dtype.str, value.shape, value.tobytes()]
    if isinstance(value, tuple):
        return [flat(part) for part in value]
    return value


@pytest.mark.parametrize("name", [name for name in DATASETS if name != "mnist"])
def test_a_stand_in_is_the_same_each_time(name, nowhere):
    once = LOADERS[name](stand_in=True)
    assert flat(once) == flat(LOADERS[name](download=False, stand_in=True))
    assert not datasets.is_real(name)


def test_stand_in_texts_have_the_form():
    play = made("tinyshakespeare")
    assert 60_000 <= len(play) < 61_000
    speeches = play.rstrip("\n").split("\n\n")
    assert all(speech.split("\n")[0].endswith(":") for speech in speeches)
    novel = made("timemachine")
    assert max(map(len, novel.splitlines())) <= 70
    assert novel.isascii()
    words = novel.lower().split()
    assert len(set(words)) < 250
    assert words.count("the") > words.count("some") > 10


def test_stand_in_names_have_the_form():
    names = made("names")
    assert len(names) == len(set(names)) == 2000
    assert set("".join(names)) <= set("abcdefghijklmnopqrstuvwxyz")
    surnames = made("names_by_language")
    assert list(surnames) == sorted(surnames)
    assert len(surnames) == 18
    assert len(surnames["Russian"]) > 4 * len(surnames["Korean"])
    assert any(not name.isascii() for name in surnames["Spanish"])


def test_stand_in_digits_can_be_told_apart():
    digits = made("mnist")
    assert flat(digits) == flat(made("mnist"))
    assert digits.train_images.shape == (4000, 28, 28)
    assert digits.test_images.shape == (1000, 28, 28)
    assert digits.train_images.dtype == np.uint8
    assert set(digits.train_labels.tolist()) == set(range(10))
    # The nearest mean image, by cosine: a linear rule, which a network must be able to beat.
    means = np.stack(
        [digits.train_images[digits.train_labels == d].mean(axis=0, dtype=float).ravel() for d in range(10)]
    )
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    guessed = (digits.test_images.reshape(1000, -1) @ means.T).argmax(axis=1)
    assert 0.6 < (guessed == digits.test_labels).mean() < 0.99


def test_stand_in_diabetes_follows_its_rule():
    features, labels = made("pima_diabetes")
    assert features.shape == (768, 8)
    assert 0.25 < labels.mean() < 0.45
    assert features[labels == 1, 1].mean() > features[labels == 0, 1].mean() + 10  # glucose


def test_stand_in_stories_are_answered_by_their_last_move():
    train, test = made("babi_qa1")
    assert (len(train), len(test)) == (1000, 200)
    for story, question, answer in train + test:
        person = question.removeprefix("Where is ").removesuffix("?")
        last = next(sentence for sentence in reversed(story) if sentence.startswith(person))
        assert last.endswith(f" the {answer}.")
        assert len(story) in (2, 4, 6, 8, 10)


def test_stand_in_series_have_their_seasons():
    def correlation(values, lag):
        return np.corrcoef(values[:-lag], values[lag:])[0, 1]

    sunspots = made("sunspots").values
    assert (sunspots >= 0).all()
    assert correlation(sunspots, 132) > correlation(sunspots, 66) + 0.3
    passengers = made("airline_passengers").values
    assert passengers[-12:].mean() > 3 * passengers[:12].mean()
    assert correlation(np.diff(np.log(passengers)), 12) > 0.7
    temperatures = made("min_temperatures").values
    assert correlation(temperatures, 365) > 0.5 > -0.3 > correlation(temperatures, 182)


# Where they come from


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
    with pytest.raises(datasets.DataError, match="what came is no archive"):
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
        datasets.DataError, match=r"what came is no archive, or a damaged one .*password required"
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


# The formats


def idx(magic, *sizes, content):
    return gzip.compress(bytes(magic) + b"".join(size.to_bytes(4, "big") for size in sizes) + content)


IDX = {
    "images-idx3": idx((0, 0, 8, 3), 2, 2, 3, content=bytes(range(12))),
    "labels-idx1": idx((0, 0, 8, 1), 2, content=bytes([7, 3])),
}
STORY = b"1 Eve sat down.\n2 Where is Eve? \t"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"plain", "cannot be unpacked: Not a gzipped file"),
        (IDX["images-idx3"][:-12], "cannot be unpacked"),
        (gzip.compress(b""), r"is no IDX file of bytes in 3 dimension\(s\): .* 00000803, got $"),
        (IDX["labels-idx1"], "expected it to begin with 00000803, got 00000801"),
        (idx((0, 0, 13, 3), 1, 1, 1, content=b"0000"), "got 00000d03"),
        (idx((0, 0, 8, 3), 2, 2, 3, content=bytes(11)), r"its sizes \(2, 2, 3\) need 28 bytes, got 27"),
        (idx((0, 0, 8, 3), 2, 2, 3, content=bytes(13)), r"its sizes \(2, 2, 3\) need 28 bytes, got 29"),
        (gzip.compress(bytes((0, 0, 8, 3, 0, 0))), "is damaged"),
    ],
    ids=["not gzip", "cut", "empty", "another magic", "another type", "too short", "too long", "no sizes"],
)
def test_idx_files_are_checked(tmp_path, content, message):
    path = tmp_path / "images.gz"
    path.write_bytes(content)
    with pytest.raises(datasets.DataError, match=message):
        read_idx(path, dimensions=3)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("sunspots", b"a,b\r\n1749-01,58.0,1\r\n", "expected a date and a number in each row"),
        ("sunspots", b"a,b\r\n1749-01,many\r\n", "expected a date and a number in each row"),
        ("babi_qa1", b"1 Where is Eve?\there\n", "expected a question, its answer and its fact between tabs"),
    ],
)
def test_other_formats_are_checked(nowhere, monkeypatch, name, content, message):
    contents = {file.path: content for file in DATASETS[name].files}
    publish(monkeypatch, name, "http://127.0.0.1:9", contents)
    for path in contents:
        at = nowhere / "data" / path
        at.parent.mkdir(parents=True, exist_ok=True)
        at.write_bytes(content)
    with pytest.raises(datasets.DataError, match=message):
        LOADERS[name]()


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


@pytest.mark.parametrize("flag", ["download", "stand_in"])
def test_flags_that_are_none(nowhere, flag):
    with pytest.raises(TypeError, match=f"{flag} must be True or False, got 'no'"):
        datasets.names(**{flag: "no"})


def test_a_notebook_without_widgets_is_not_told_to_install_them():
    code = (
        "import sys, types; sys.modules['ipykernel.zmqshell'] = types.ModuleType('zmqshell');"
        "sys.modules['IPython'] = types.SimpleNamespace(get_ipython=object); sys.modules['ipywidgets'] = None;"
        "from rondeau.data import datasets; datasets.describe('names')"
    )
    environment = {**os.environ, "RONDEAU_DATA": ""}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, check=True, env=environment, capture_output=True, text=True, timeout=60)
    assert done.stderr == ""
