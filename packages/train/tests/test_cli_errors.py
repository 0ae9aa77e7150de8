"""What the command line says where the disk refuses, and of a corpus by name."""

import os
import sys

import pytest

from rondeau.data import datasets
from rondeau.train import cli
from rondeau.train._options import CORPUS_HELP


def test_a_folder_that_cannot_be_made_is_one_line_and_no_traceback(tmp_path, capsys):
    corpus, file = tmp_path / "corpus.txt", tmp_path / "file"
    corpus.write_text("the quick brown fox " * 200, encoding="utf-8")
    file.write_text("", encoding="utf-8")
    sizes = ["--hidden_size", "2", "--batch_size", "2", "--num_steps", "4", "--max_steps", "1"]
    assert cli.main(["train", str(corpus), "--output", str(file / "below"), *sizes]) == 1
    said = capsys.readouterr().err
    assert said == f"rondeau train: {file / 'below'}: Not a directory; choose another --output\n"
    assert file.read_bytes() == b""


def test_a_corpus_may_be_a_named_data_set(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(datasets, "load_text", lambda name: f"the text of {name}, told twice: {name}\n" * 50)
    options = ["--hidden_size=4", "--batch_size=2", "--num_steps=8", "--max_steps=1", "--output=run"]
    assert cli.main(["train", "timemachine", *options]) == 0, capsys.readouterr().err
    assert "corpus: timemachine\n" in (tmp_path / "run" / "config.yaml").read_text(encoding="utf-8")
    assert cli.main(["evaluate", "run"]) == 0, capsys.readouterr().err
    assert cli.main(["corpus", "timemachine"]) == 0
    assert "timemachine: " in capsys.readouterr().out
    (tmp_path / "timemachine").write_text("a file of that name wins\n", encoding="utf-8")
    assert cli.main(["corpus", "timemachine"]) == 0
    assert "25 characters" in capsys.readouterr().out


def test_a_corpus_that_is_neither_file_nor_data_set(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for command in ("train", "corpus"):
        assert cli.main([command, "shakespear"]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.endswith(
            "there is no file shakespear, nor a data set of that name: names, timemachine, tinyshakespeare"
        )

    def refuse(name):
        raise datasets.DataError(f"the data set {name} cannot be had: no connection")

    monkeypatch.setattr(datasets, "load_text", refuse)
    assert cli.main(["train", "names"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith("cannot read the corpus: the data set names cannot be had: no connection")


def test_a_device_that_is_not_usable(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "cupy", None)
    for command in (["train"], ["evaluate", "nowhere"], ["generate", "nowhere"]):
        assert cli.main([*command, "--device=cuda"]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith(
            f"rondeau {command[0]}: --device: device 'cuda' needs CuPy, which is not installed: in the clone "
            'of rondeau: python -m pip install -e ".[cuda]" (for CUDA 12: ".[cuda12]")'
        )
        assert line.endswith("or use --device cpu")
        assert cli.main([*command, "--device=tpu"]) == 2
        assert "--device: expected cpu or cuda, got tpu" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_the_help_names_every_text():  # it is written out there, because help imports no data sets
    assert all(name in CORPUS_HELP for name in datasets.TEXTS)


# Files that are no text, and paths that are none: one line each, before anything is written

TEXT = "the quick brown fox jumps over the lazy dog\n" * 30
SMALL = ["--hidden_size=2", "--max_steps=1"]


def refused(capsys, *arguments):
    assert cli.main(list(map(str, arguments))) in (1, 2), capsys.readouterr().out
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    return err


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is empty; expected some text"),
        (b"\xef\xbb\xbf", "is empty; expected some text"),
        (
            TEXT.encode("utf-16"),
            "byte 0xff at offset 0 is invalid; it looks like UTF-16: convert it to UTF-8 first",
        ),
        (TEXT.encode("utf-16-le"), "50 % of it are null characters, as in UTF-16 without its mark"),
        (bytes(1000), "100 % of it are null characters"),
        (
            (TEXT + "é").encode("latin-1"),
            "is not UTF-8: byte 0xe9 at offset 1,320 is invalid; convert it to UTF-8 first",
        ),
        (b"\x89PNG\r\n\x1a\n\0\0", "is not UTF-8: byte 0x89 at offset 0 is invalid"),
        (b"\x1f\x8b\x08\0", "it looks like a gzip archive: decompress it first"),
        (b"abc\xed\xa0\x80", "is not UTF-8: byte 0xed at offset 3 is invalid"),
    ],
    ids=[
        "empty",
        "mark alone",
        "UTF-16",
        "UTF-16 without mark",
        "zeros",
        "Latin-1",
        "picture",
        "archive",
        "surrogate",
    ],
)
def test_files_that_are_no_text(content, says, tmp_path, capsys):
    path = tmp_path / "file.txt"
    path.write_bytes(content)
    for command in ("train", "corpus"):
        err = refused(capsys, command, path)
        assert err.startswith(f"rondeau {command}: cannot read the corpus: {path} is ")
        assert says in err
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("content", [b"\xef\xbb\xbf" + TEXT.encode(), TEXT.replace("\n", "\r\n").encode()])
def test_marks_and_line_ends_of_other_systems_are_none_of_the_text(content, tmp_path, capsys):
    path, plain = tmp_path / "file.txt", tmp_path / "plain.txt"
    path.write_bytes(content)
    plain.write_bytes(TEXT.encode())
    tables = []
    for corpus in (path, plain):
        assert cli.main(["corpus", str(corpus), "--tokens=characters", "--ngrams=1"]) == 0
        tables.append(capsys.readouterr().out.removeprefix(str(corpus)))
    assert tables[0] == tables[1]


def test_paths_that_are_none(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    corpus = tmp_path / "3"  # which YAML takes for a number
    corpus.write_text(TEXT, encoding="utf-8")
    (tmp_path / "c.yaml").write_text("corpus: 3\n", encoding="utf-8")
    assert refused(capsys, "train", tmp_path) == (
        f"rondeau train: cannot read the corpus: {tmp_path} is a directory; expected a text file\n"
    )
    assert (
        refused(capsys, "train", corpus, "--output=")
        == "rondeau train: --output: expected a path, got nothing\n"
    )
    assert refused(capsys, "train", "\udcff.txt").startswith(r"rondeau train: the path '")
    assert r"\udcff.txt' is not UTF-8, and cannot be kept in config.yaml" in refused(
        capsys, "train", "\udcff.txt"
    )
    assert refused(capsys, "train", corpus, *SMALL, f"--output={corpus}") == (
        f"rondeau train: {corpus} is a file; choose another --output\n"
    )
    assert refused(capsys, "train", "--resume", corpus).startswith(f"rondeau train: {corpus} is not a run")
    assert refused(capsys, "generate", corpus).startswith(f"rondeau generate: {corpus} is not a run")
    assert refused(capsys, "train", "x" * 300 + ".txt").endswith("x.txt: File name too long\n")
    assert {path.name for path in tmp_path.iterdir()} == {"3", "c.yaml"}
    assert cli.main(["train", "--config=c.yaml", *SMALL, "--output=run"]) == 0
    assert "corpus: '3'\n" in (tmp_path / "run" / "config.yaml").read_text(encoding="utf-8")


def test_a_home_folder_is_meant_wherever_the_shell_leaves_the_tilde(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    (tmp_path / "text.txt").write_text(TEXT, encoding="utf-8")
    assert cli.main(["train", "~/text.txt", *SMALL, "--output=~/run"]) == 0
    assert (tmp_path / "run" / "summary.json").exists()


def test_what_may_not_be_read_or_written(tmp_path, capsys):
    corpus, folder = tmp_path / "text.txt", tmp_path / "folder"
    corpus.write_text(TEXT, encoding="utf-8")
    folder.mkdir(mode=0o500)
    corpus.chmod(0)
    if os.access(corpus, os.R_OK):
        pytest.skip("this user may read every file, as root does, or the system knows no such modes")
    corpus.chmod(0o400)
    assert refused(capsys, "train", corpus, *SMALL, f"--output={folder / 'run'}") == (
        f"rondeau train: {folder / 'run'}: Permission denied; choose another --output\n"
    )
    corpus.chmod(0)
    assert refused(capsys, "corpus", corpus) == (
        f"rondeau corpus: cannot read the corpus: {corpus}: Permission denied\n"
    )
