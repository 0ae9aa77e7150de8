"""The named data sets: the real ones where they are at hand, the stand-ins, and their formats."""

import gzip
import os
import subprocess
import sys

import numpy as np
import pytest

from rondeau.data import datasets
from rondeau.data.datasets._mnist import read_idx
from rondeau.data.datasets._registry import DATASETS

from .published import IDX, LOADERS, idx, made, publish

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


# The formats


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"plain", "cannot be unpacked: Not a gzipped file"),
        (IDX["images-idx3"][:-12], "cannot be unpacked"),
        (gzip.compress(b""), r"is not an IDX file of bytes in 3 dimension\(s\): .* 00000803, got $"),
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
