"""What the command line says where the disk refuses, and of a corpus by name."""

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


def test_the_help_names_every_text():  # it is written out there, because help imports no data sets
    assert all(name in CORPUS_HELP for name in datasets.TEXTS)
